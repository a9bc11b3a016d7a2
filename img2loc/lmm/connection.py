"""One HTTP request to a model's server: it reaches no other server, shares nothing with others, and can be given up."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from img2loc.addresses import is_loopback, public_address
from img2loc.environment import check_certificates, check_proxies
from img2loc.errors import ConfigError
from img2loc.lmm.retry import in_thread

MAX_BODY_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Response:
    """What a server sent back, whatever its status; it may quote the key."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON; None where it is not, or is nested too deeply."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server.

    A client of its own serves each request, so that no cookie travels from one visitor to the next. Redirects are not
    followed: the photo and the key are for this server. Of the environment only proxies and certificates are used.

    Args:
        base_url: The address that paths are appended to. A name and password in it take the key's place.
        api_key: Sent as a bearer token; empty sends none.
        public_only: Connect to addresses on the public internet only, and never through a proxy, which would look the
            name up again and might be inside the private network.

    Raises:
        ConfigError: The address can't be read, or the environment's certificates or proxies can't be used.
    """

    base_url: str = field(repr=False)
    api_key: str = field(default="", repr=False)
    public_only: bool = False

    def __post_init__(self) -> None:
        try:
            httpx2.URL(self.base_url)
        except httpx2.InvalidURL:
            raise ConfigError("The server's address can't be read. Check it for typing errors.") from None
        check_certificates()
        if not (self.public_only or self.is_local):
            check_proxies()

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, which is never asked through a proxy, NO_PROXY or not."""
        return is_loopback(httpx2.URL(self.base_url).host)

    def request(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float, cancel: threading.Event
    ) -> Response:
        """Send one request, without retries.

        Args:
            path: Appended to the base_url.
            body: Posted as JSON; None for a GET.
            timeout_s: Seconds until the request is given up.
            cancel: Set when nobody waits for the response any more.

        Returns:
            The response, of any status.

        Raises:
            TimeoutError: No complete response came in time.
            httpx2.HTTPError: The server can't be reached, or broke off.
            AddressError: `public_only`, and the server is not on the public internet.
            ConfigError: The certificates or proxies that the environment names can't be used.
            LMMCancelledError: `cancel` was set.
        """
        if timeout_s <= 0:
            raise TimeoutError
        check_certificates()  # again: the file may have gone since
        line = _Line()
        client = httpx2.Client(
            transport=self._transport(),  # None for the default one, which uses the environment's proxies
            follow_redirects=False,
            timeout=timeout_s,
            # A few packed bytes could fill the memory: nothing is unpacked.
            headers={"User-Agent": "Img2Loc", "Accept-Encoding": "identity"},
            event_hooks={"request": [line.watch]},
        )
        base = httpx2.URL(self.base_url)
        auth = httpx2.BasicAuth(base.username, base.password) if base.userinfo else None
        url = base.copy_with(username="", password="", path=base.path.rstrip("/") + path)  # httpx2 logs it
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

        def send() -> Response:
            method = "GET" if body is None else "POST"
            with client.stream(method, url, json=body, headers=headers, auth=auth) as response:
                received = bytearray()
                for piece in response.iter_raw():
                    received += piece
                    if len(received) > MAX_BODY_BYTES:
                        return Response(response.status_code, response.headers, b"")
                return Response(response.status_code, response.headers, bytes(received))

        def close() -> None:
            line.cut()
            client.close()

        try:
            return in_thread(send, timeout_s=timeout_s, cancel=cancel, close=close)
        except httpx2.TimeoutException:
            pass
        raise TimeoutError  # outside the handler: the package's own error holds the request, and with it the key

    def _transport(self) -> httpx2.HTTPTransport | None:
        if self.public_only:
            return _PublicTransport()
        return httpx2.HTTPTransport() if self.is_local else None


class _PublicTransport(httpx2.HTTPTransport):
    """Connects to public addresses alone."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        request.extensions = {**request.extensions, "sni_hostname": host}  # whom the certificate has to name
        request.url = request.url.copy_with(host=public_address(host))
        return super().handle_request(request)


class _Line:
    """The TCP connection of one request.

    Closing a client does not wake the thread that waits for a silent server's next byte, and the server goes on working
    for nobody. Cutting the connection ends both.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def watch(self, request: httpx2.Request) -> None:
        """Follow a request; for the client's event hooks."""
        request.extensions = {**request.extensions, "trace": self._on_event}

    def cut(self) -> None:
        """End the connection, or the next one as soon as it is there."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the server was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def _on_event(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_cut:
                self.cut()

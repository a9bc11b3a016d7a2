"""One request to a model's server through the openai package: cancellable, and sent to no other server."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.request import getproxies

import httpx2
import openai

from img2loc.errors import ConfigError
from img2loc.hardening.addresses import is_loopback, leads_to_loopback, public_address
from img2loc.lmm.response import Response
from img2loc.lmm.retry import in_thread
from img2loc.system.environment import check_certificates, check_proxies

MAX_BODY_BYTES: Final = 20_000_000
# Trusts nobody. Where TLS isn't used, loading the certificates would take 30 ms for nothing.
NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server.

    Each request has a client of its own, so that no cookie travels from one visitor to the next. Redirects aren't
    followed: the photo and the key are for this server. Of the environment only proxies and certificates are used.

    Raises:
        ConfigError: The address can't be read, or the environment's certificates or proxies can't be used.
    """

    base_url: str = field(repr=False)  # paths are appended to it; a name and password in it take the key's place
    api_key: str = field(default="", repr=False)  # sent as a bearer token; empty sends none
    # Connect to addresses on the public internet only, and never through a proxy, which would look the name up again
    # and might be inside the private network.
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
        """Whether the server is on this machine and so is never asked through a proxy, whatever NO_PROXY says.

        A name is looked up only where a proxy could read the photo: without TLS.
        """
        url = httpx2.URL(self.base_url)
        if url.scheme == "http" and getproxies() and not self.public_only:
            return leads_to_loopback(url.host)
        return is_loopback(url.host)

    def request(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float, cancel: threading.Event
    ) -> Response:
        """Send one request, without retries.

        Args:
            path: Appended to the base_url.
            body: Posted as JSON; None for a GET.
            timeout_s: Seconds until the request is given up.
            cancel: Set when the response is no longer wanted.

        Raises:
            TimeoutError: No complete response came in time.
            httpx2.HTTPError: The server can't be reached, or closed the connection.
            AddressError: `public_only`, and the server is not on the public internet.
            ConfigError: The certificates or proxies that the environment names can't be used.
            LMMCancelledError: `cancel` was set.
        """
        if timeout_s <= 0:
            raise TimeoutError
        check_certificates()  # again: the file may have been deleted since
        logging.getLogger("openai").setLevel(logging.WARNING)  # whatever OPENAI_LOG says
        base = httpx2.URL(self.base_url)
        # The whole address, since the package would append the path to the base_url's query. httpx2 logs it.
        url = str(base.copy_with(username="", password="", path=base.path.rstrip("/") + path))
        tcp = _CancellableConnection()
        client = _Client(
            base_url=url,  # without it and a key, which may not be empty, the package uses those of the environment
            api_key=self.api_key or "none",
            timeout=timeout_s,
            max_retries=0,
            http_client=self._http_client(tcp),
        )
        authorization = f"Bearer {self.api_key}" if self.api_key else openai.Omit()
        options: openai.RequestOptions = {"headers": {"Authorization": authorization}}

        def send() -> Response:
            try:
                if body is None:
                    response = client.get(url, cast_to=httpx2.Response, options=options)
                else:
                    response = client.post(url, cast_to=httpx2.Response, body=body, options=options)
            except openai.APIStatusError as error:
                response = error.response
            return Response(response.status_code, response.headers, response.content)

        def close() -> None:
            tcp.cut()
            client.close()

        try:
            return in_thread(send, timeout_s=timeout_s, cancel=cancel, close=close)
        except openai.APITimeoutError:
            failure: Exception = TimeoutError()
        except openai.APIConnectionError as error:
            cause = error.__cause__
            failure = cause if isinstance(cause, httpx2.HTTPError) else httpx2.NetworkError("The connection broke.")
        raise failure  # outside the handlers: the package's own errors hold the request, and with it the key

    def _http_client(self, tcp: _CancellableConnection) -> httpx2.Client:
        base = httpx2.URL(self.base_url)
        transport: httpx2.HTTPTransport | None = None  # the default one, which uses the environment's proxies
        if self.public_only:
            transport = _PublicTransport()
        elif self.is_local:
            tls = NO_CERTIFICATES if base.scheme == "http" else True
            transport = httpx2.HTTPTransport(verify=tls)
        return httpx2.Client(
            transport=transport,
            follow_redirects=False,
            auth=httpx2.BasicAuth(base.username, base.password) if base.userinfo else None,
            headers={"User-Agent": "Img2Loc", "Accept-Encoding": "identity"},
            event_hooks={"request": [tcp.follow], "response": [_read_body]},
        )


def _read_body(response: httpx2.Response) -> None:
    """Read a response's body in place of the package; one that is too long becomes empty.

    The package would read it whole, decompress it (a few bytes could fill the memory), and decode an error's in any
    charset that the server names (megabytes of punycode take hours).
    """
    stream = cast("httpx2.SyncByteStream", response.stream)
    body = bytearray()
    for piece in stream:
        body += piece
        if len(body) > MAX_BODY_BYTES:
            body.clear()
            break
    stream.close()
    response.stream = httpx2.ByteStream(bytes(body))
    for name in ("Content-Encoding", "Content-Type"):
        response.headers.pop(name, None)


class _Client(openai.OpenAI):
    """The package's client, without the headers that it takes from the environment and the machine."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return {"Content-Type": "application/json"}


class _PublicTransport(httpx2.HTTPTransport):
    """Connects to public addresses only."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        request.extensions = {**request.extensions, "sni_hostname": host}  # the name in the certificate
        request.url = request.url.copy_with(host=public_address(host))
        return super().handle_request(request)


class _CancellableConnection:
    """The TCP connection of one request.

    Closing a client doesn't wake the thread that waits for a silent server's next byte, and the server goes on working.
    Cutting the connection ends both.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def follow(self, request: httpx2.Request) -> None:
        """Learn a request's socket; for the client's event hooks."""
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

"""OpenAI's models, and every server that speaks its protocol: vLLM, Ollama, the presets in servers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import httpx2
import openai

from img2loc.addresses import public_address
from img2loc.errors import AddressError, ConfigError, LMMError, MissingKeyError
from img2loc.lmm.base import BackendOptions
from img2loc.lmm.chat import ChatLMM, Failure, host_of, is_name, retry_after_s
from img2loc.lmm.line import Line
from img2loc.lmm.request import Parameters, response_format
from img2loc.lmm.retry import in_thread, persist
from img2loc.lmm.servers import server_named

OPENAI_URL: Final = "https://api.openai.com/v1"

_NO_KEY = "no-key"  # sent to servers that need none: the protocol wants some

T = TypeVar("T")


class _PublicTransport(httpx2.HTTPTransport):
    """Connects to public addresses alone."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        request.extensions = {**request.extensions, "sni_hostname": host}  # whom the certificate has to name
        request.url = request.url.copy_with(host=public_address(host))
        return super().handle_request(request)


class OpenAILMM(ChatLMM):
    """A model behind OpenAI's chat.completions protocol.

    Args:
        options: Key, model, server (a preset's name or an address) and time-out. The environment is never asked for a
            key or a server.
        default_model: The model where the options name none and the server has no default of its own.

    Raises:
        MissingKeyError: A provider that needs a key is asked, and there is none.
        ConfigError: The server's address is no http(s) address, or the key holds characters that no key has.
    """

    name = "openai"

    def __init__(self, options: BackendOptions, *, default_model: str) -> None:
        server = server_named(options.base_url)
        model = options.model.strip() or (server.models[0] if server.models else default_model)
        parameters = Parameters(temperature=options.temperature, limit_name=server.limit_name)
        host = server.label if server.public or not server.base_url else host_of(server.base_url)
        super().__init__(options, model=model, host=host, parameters=parameters)
        if server.needs_key and not self._key:
            raise MissingKeyError(
                f"{server.label} needs a key and there is none; enter yours in the page's key field, "
                f"or set {server.key_variable} where the program runs."
            )
        self._url = server.base_url or OPENAI_URL
        try:
            httpx2.URL(self._url)
        except httpx2.InvalidURL:
            raise ConfigError(f"No request can go to {host}; write the server's address another way.") from None
        self._public_only = options.public_only and not server.public

    def send(self, messages: list[dict[str, Any]], parameters: Parameters, timeout_s: float) -> object | Failure:
        """Send one request, without retries."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            parameters.limit_name: parameters.limit,
        }
        if parameters.schema:
            body["response_format"] = response_format(parameters.letters)
        if parameters.temperature is not None:
            body["temperature"] = parameters.temperature
        found = self._call(lambda client: client.chat.completions.create(**body), timeout_s)
        return Failure("garbage") if isinstance(found, str) else found  # a page, which the package hands on as it is

    def models(self) -> tuple[str, ...]:
        """Ask the server which models it has.

        Returns:
            Their names in alphabetical order; the protocol doesn't say which of them see pictures.

        Raises:
            LMMError: The server gave no list.
        """

        def attempt(left_s: float) -> tuple[str, ...]:
            found = self._call(lambda client: list(client.models.list()), left_s)
            if isinstance(found, Failure):
                raise self._explain(found)
            names = {self._without_key(name) for item in found if is_name(name := getattr(item, "id", None))}
            if not names:
                raise LMMError(f"{self._host} lists no models; type the model's name.")
            return tuple(sorted(names))

        return persist(attempt, timeout_s=self._timeout_s, cancel=self._cancel)

    def _call(self, ask: Callable[[openai.OpenAI], T], timeout_s: float) -> T | Failure:
        # Built with the address and the key, so that neither comes from the environment; the retries are ours.
        # No redirect is followed: the photo is for this server, and the next might be one of this machine's network.
        line = Line()
        http = httpx2.Client(
            follow_redirects=False,
            transport=_PublicTransport() if self._public_only else None,
            event_hooks={"request": [line.watch]},
        )
        client = openai.OpenAI(
            api_key=self._key or _NO_KEY, base_url=self._url, timeout=timeout_s, max_retries=0, http_client=http
        )
        client.organization = client.project = None  # read from the environment: not for another's key or server

        def close() -> None:
            line.cut()
            client.close()

        try:
            return in_thread(lambda: ask(client), timeout_s=timeout_s, cancel=self._cancel, close=close)
        except (openai.APITimeoutError, TimeoutError):
            return Failure("timeout")
        except AddressError as error:
            return Failure("address", text=str(error))
        except openai.APIConnectionError:
            return Failure("connection")
        except openai.APIStatusError as error:
            return Failure(
                "status",
                status=error.status_code,
                code=error.code or "",
                text=error.message,
                retry_after_s=retry_after_s(error.response.headers),
            )
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):  # a body that is no JSON, or another's
            return Failure("garbage")

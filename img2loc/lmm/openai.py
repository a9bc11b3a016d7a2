"""The client for every server that speaks OpenAI's chat.completions protocol."""

from __future__ import annotations

import base64
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeGuard

import httpx2

from img2loc.errors import (
    AddressError,
    ConfigError,
    LMMError,
    LMMRateLimitError,
    LMMRejectedError,
    LMMServerError,
    LMMTimeoutError,
    LMMUnreachableError,
    MissingKeyError,
    quoted,
)
from img2loc.lmm.base import BackendOptions, Turn
from img2loc.lmm.connection import Connection, Response
from img2loc.lmm.keys import check_key
from img2loc.lmm.request import Parameters, request_body
from img2loc.lmm.retry import with_retries
from img2loc.lmm.servers import OPENAI_URL, Server, host_of
from img2loc.lmm.usage import token_count
from img2loc.types import Reply

MAX_STATED_WAIT_S: Final = 48 * 3600

# Source: https://platform.openai.com/docs/guides/error-codes
_QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_GATEWAY_STATUSES = (502, 504, 524)  # a gateway gave up, but the model behind it may have answered
_MAX_COMPLAINT_CHARS = 10_000
_MAX_EXCERPT_CHARS = 200
_MAX_NAME_CHARS = 200
_SECRET_PART_CHARS = 8  # of a key; fewer give nothing away
_MIN_PASSWORD_CHARS = 4  # shorter ones stand in many texts by chance
_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")  # a character that may be in a key
_LIKE_A_KEY = re.compile(r"\S*\*{3}\S*|\b(?:sk|pk|hf|gsk|xai|key|bearer)[-_]\S+|[\w\-]{24,}", re.I)


class ChatLMM:
    """A model behind a server that speaks the protocol.

    Args:
        server: The server. The environment is never asked for a server or a key.
        options: Its base_url is ignored.
        name: The backend's exact name.
        default_model: The model where neither the options nor the server name one.

    Raises:
        MissingKeyError: The server needs a key, and there is none.
        ConfigError: The server's address, the key, or the environment's proxies or certificates can't be used.
    """

    def __init__(self, server: Server, options: BackendOptions, *, name: str, default_model: str) -> None:
        self.name = name
        self.model = options.model.strip() or (server.models[0] if server.models else default_model)
        self._key = check_key(options.api_key)
        if server.needs_key and not self._key:
            raise MissingKeyError(server.label, server.key_variable)
        url = server.base_url or OPENAI_URL
        self._connection = Connection(url, self._key, public_only=options.public_only and not server.public)
        self._secret_parts = _secret_parts(self._key, url)
        self._label = server.label
        self._host = server.label if server.public else host_of(url)
        self._options = options
        # What a server refuses in one request is left out of the next.
        self._parameters = Parameters(temperature=options.temperature, limit_name=server.limit_name)

    def __repr__(self) -> str:
        return f"ChatLMM(model={self._masked(self.model)!r}, host={self._host!r})"

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo; see LMM. The reply's text is empty where the model sent none."""
        return with_retries(lambda left_s: self._complete(turns, jpeg, left_s), self._options)

    def models(self) -> tuple[str, ...]:
        """Ask the server for its models, in alphabetical order; the protocol doesn't say which of them see pictures.

        Raises:
            LMMError: The server gave no list.
        """
        # A list is never billed, and doesn't count towards a rate of requests.
        options = replace(self._options, resend_billed=True, pace=lambda: 0.0)
        response = with_retries(self._list_models, options)
        entries = _item(response.json(), "data")
        ids = [_item(entry, "id") for entry in entries] if isinstance(entries, list) else []
        names = {self._without_key(name) for name in ids if _is_name(name)}
        if not names:
            raise LMMError(f"{self._host} lists no models. Type the model's name.")
        return tuple(sorted(names))

    def _list_models(self, timeout_s: float) -> Response:
        response = self._request("/models", None, timeout_s)
        if not _is_success(response):
            raise self._explain(response)
        return response

    def _complete(self, turns: Sequence[Turn], jpeg: bytes, timeout_s: float) -> Reply:
        """Send a request, and send it again without what the server refuses."""
        deadline = time.monotonic() + timeout_s
        pictures = any(turn.pictures for turn in turns)
        parameters = replace(self._parameters, letters=turns[-1].letters, pictures=pictures)
        while True:
            start = time.monotonic()
            body = request_body(self.model, turns, jpeg, parameters)
            response = self._request("/chat/completions", body, deadline - start)
            if _is_success(response):
                self._parameters = replace(parameters, letters=(), pictures=False)
                return self._read(response.json(), latency_s=time.monotonic() - start)
            changed = parameters.without(_complaint(response)) if response.status in (400, 422) else None
            if changed is None:
                raise self._explain(response)
            parameters = changed
            deadline += self._options.pace()

    def _request(self, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Response:
        """Send one request, without retries; if there is no response, raise the LMMError that says why."""
        try:
            return self._connection.request(path, body, timeout_s=timeout_s, cancel=self._options.cancel)
        except TimeoutError:
            failure: LMMError = LMMTimeoutError(
                f"{self._host} sent no complete reply within {self._options.timeout_s:g} s. "
                "Try again, or allow more time.",
                may_be_billed=timeout_s > 0,  # otherwise nothing was sent
            )
        except (AddressError, ConfigError) as error:
            failure = LMMError(str(error), may_be_billed=False)
        except UnicodeError:  # part of the host name is empty or too long, which its lookup finds
            failure = LMMError(
                f"{self._host} isn't the name of a server. Check the server's address.", may_be_billed=False
            )
        except httpx2.HTTPError as error:
            never_sent = isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
            failure = LMMUnreachableError(self._describe(error), may_be_billed=not never_sent)
        raise failure  # outside the handlers: the package's own error contains the request, and with it the key

    def _describe(self, error: httpx2.HTTPError) -> str:
        host = self._host
        if isinstance(error, httpx2.ProxyError):
            return f"The proxy doesn't connect to {host}. Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return f"{host}'s certificate can't be verified. If your own authority signed it, set SSL_CERT_FILE."
        if not isinstance(error, httpx2.ConnectError):
            return f"{host} closed the connection before its reply was complete. Try again."
        if self._connection.is_local:
            place = host if self._label == host else f"{self._label}'s address ({host})"
            return f"Nothing answers at {place}. Is it running?"
        return f"Can't connect to {host}. Check the network and the server's address."

    def _read(self, completion: object, *, latency_s: float) -> Reply:
        """Read a completion without trusting any part of it."""
        choices = _item(completion, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = _item(choice, "message")
        model, usage = _item(completion, "model"), _item(completion, "usage")
        input_tokens = token_count(_item(usage, "prompt_tokens"))
        output_tokens = token_count(_item(usage, "completion_tokens"))
        if not isinstance(message, dict):
            raise LMMError(
                f"{self._host}'s reply isn't a chat completion. Check that its address is that of an "
                "OpenAI-compatible server (it usually ends in /v1).",
                input_tokens=input_tokens,
                output_tokens=output_tokens,
            )
        refusal, content = message.get("refusal"), message.get("content")
        text = next((part for part in (refusal, content) if isinstance(part, str) and part), "")
        return Reply(
            # A lone surrogate can't be shown.
            text=self._without_key(text.encode("utf-8", "replace").decode()),
            model=self._without_key(model) if _is_name(model) else self.model,
            latency_s=latency_s,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            refused=bool(refusal) or _item(choice, "finish_reason") == "content_filter",
            truncated=_item(choice, "finish_reason") == "length",
        )

    def _explain(self, response: Response) -> LMMError:
        """Our own error for a failed response: a provider's words may quote the key."""
        host, model, status = self._host, self._masked(self.model), response.status
        message, code = _error_in(response)
        wait_s = retry_after_s(response.headers)
        if status == 402 or code in _QUOTA_CODES:
            text = f"The account behind this key has no credit left at {host}. Top it up, or use another key."
        elif status == 429:
            return LMMRateLimitError(
                f"Rate limit reached at {host}; try again {_in_words(wait_s)}.", retry_after_s=wait_s
            )
        elif status >= 500 or status == 408:
            return LMMServerError(
                f"{host} returned an error (HTTP {status}). Try again later.",
                retry_after_s=wait_s,
                may_be_billed=status in _GATEWAY_STATUSES,
            )
        elif 300 <= status < 400:
            text = f"{host} redirects to another address (HTTP {status}); redirects aren't followed. "
            text += "Give the final address instead."
        elif status == 401 and not self._key:
            text = f"{host} needs a key, and none was sent."
        elif status == 401:
            text = f"{host} rejected the key. Check that it is complete and still valid."
        elif status == 403:
            text = f"{host} doesn't allow this key to use the model {quoted(model)}. Choose another model or key."
        elif status == 404:
            text = f"{host} has no model {quoted(model)}. Check the model's name and the server's address."
        else:
            reason = self._masked(message)
            text = f"{host} rejected the request (HTTP {status}){f': {reason}' if reason else ''}"
            text += "" if reason.endswith((".", "!", "?")) else "."
        return LMMRejectedError(text)

    def _masked(self, text: str) -> str:
        """A provider's or visitor's text on one line, shortened, with everything that looks like a key masked."""
        text = "".join(char for char in text[:2000] if char.isprintable() or char.isspace())
        return " ".join(_LIKE_A_KEY.sub("***", self._without_key(text)).split())[:_MAX_EXCERPT_CHARS]

    def _without_key(self, text: str) -> str:
        """A server's text without key and password, which it may quote, escape or cut, since others may see it."""
        if not self._secret_parts:
            return text
        unescaped = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)  # JSON is decoded after this
        if any(part in unescaped for part in self._secret_parts):
            text = unescaped
        for part in self._secret_parts:
            text = text.replace(part, "***")
        return text


def _secret_parts(key: str, url: str) -> tuple[str, ...]:
    """What is masked in a server's text: the key, the password in the server's address, and parts of them."""
    address = httpx2.URL(url)
    secrets, logins = [key], []
    if address.userinfo:
        login, escaped = f"{address.username}:{address.password}", address.userinfo.decode("ascii")
        passwords = (address.password or address.username, escaped.partition(":")[2])  # a token may stand alone
        secrets += [base64.b64encode(login.encode()).decode(), *passwords]
        logins = [login, escaped, *(text for text in passwords if len(text) >= _MIN_PASSWORD_CHARS)]
    size = _SECRET_PART_CHARS
    parts = [text[start : start + size] for text in secrets for start in range(len(text) - size + 1)]
    whole = [text for text in secrets if len(text) >= size]
    return tuple(dict.fromkeys([*whole, *logins, *parts]))


def _is_name(value: object) -> TypeGuard[str]:
    """Whether a value that a server sent can be a model's name."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME_CHARS and value.isprintable()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds a provider asks to wait; None where it doesn't say.

    Args:
        headers: Of its response, with names in lower case or case-insensitive.

    Source: RFC 9110, section 10.2.3; retry-after-ms is OpenAI's own.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value, re.ASCII):
            return float(value) * unit_s
        if value and name == "retry-after":
            try:
                return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
            except (ValueError, OverflowError):
                return None
    return None


def _in_words(wait_s: float | None) -> str:
    """When to try again: "in 24 hours"."""
    if wait_s is None or wait_s < 1:
        return "in a minute"
    if wait_s > MAX_STATED_WAIT_S:
        return "another day"
    unit, unit_s = next(pair for pair in (("hour", 3600), ("minute", 60), ("second", 1)) if wait_s >= pair[1])
    count = math.ceil(wait_s / unit_s)
    return f"in {count} {unit}{'s' if count > 1 else ''}"


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300


def _item(value: object, name: str) -> object:
    """A member of a JSON object; None where the value isn't an object or lacks it."""
    return value.get(name) if isinstance(value, dict) else None


def _complaint(response: Response) -> str:
    """A server's own words about an error."""
    return response.body[:_MAX_COMPLAINT_CHARS].decode("utf-8", "replace")


def _error_in(response: Response) -> tuple[str, str]:
    """A provider's message and code for an error, in any of the shapes that servers use; the code may be empty."""
    body = response.json()
    body = body[0] if isinstance(body, list) and body else body  # Gemini's
    error = _item(body, "error") or body
    messages = (error, _item(error, "message"), _item(error, "detail"))
    code = _item(error, "code")
    return next((text for text in messages if isinstance(text, str)), _complaint(response)), str(code or "")

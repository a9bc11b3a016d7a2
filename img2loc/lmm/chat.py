"""The chat.completions protocol, which OpenAI began and most servers speak: what every client of it has in common.

A client sends one request and hands back what came, or a Failure; this module tries again without what a server or a
model refuses, reads the completion and explains the failure.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeGuard, cast
from urllib.parse import urlsplit

from img2loc.errors import (
    ConfigError,
    LMMAuthError,
    LMMError,
    LMMQuotaError,
    LMMRateLimitError,
    LMMServerError,
    LMMTimeoutError,
    LMMUnreachableError,
)
from img2loc.keys import check_key
from img2loc.lmm.base import BackendOptions, Turn
from img2loc.lmm.request import Parameters, worded
from img2loc.lmm.retry import persist
from img2loc.types import Reply

# Source: https://platform.openai.com/docs/guides/error-codes
_QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_MAX_EXCERPT_CHARS = 200
_MAX_NAME_CHARS = 200
_TELLING_CHARS = 8  # of a key; fewer give nothing away
_LIKE_A_KEY = re.compile(r"\S*\*{3}\S*|\b(?:sk|pk|hf|gsk|xai|key|bearer)[-_]\S+|[\w\-]{24,}", re.I)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought no completion.

    Args:
        kind: The server answered with an error status; or not in time; or not at all; or with something else; or its
            address is none that may be asked, for the reason in `text`.
        status: The HTTP status, for kind "status".
        code: The provider's own code for the error, where it gives one.
        text: The provider's own words; they may quote the key, so they are shown masked only.
        retry_after_s: How long the provider asks to wait.
    """

    kind: Literal["status", "timeout", "connection", "garbage", "address"]
    status: int = 0
    code: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    retry_after_s: float | None = None


class ChatLMM(ABC):
    """A model behind a server that speaks the protocol; a subclass sends one request.

    Args:
        options: Key, model, time-out and the rest; its model and base_url are taken from the arguments below.
        model: The model's name.
        host: The server's name, for messages.
        parameters: What goes with the first request.
    """

    name: str

    def __init__(self, options: BackendOptions, *, model: str, host: str, parameters: Parameters) -> None:
        self.model = model
        self._key = check_key(options.api_key)
        self._host = host
        self._timeout_s = options.timeout_s
        self._cancel, self._pace = options.cancel, options.pace
        self._parameters = parameters  # replaced, never changed: what one request learns spares the next one the error

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self._masked(self.model)!r}, host={self._host!r})"

    @abstractmethod
    def send(self, messages: list[dict[str, Any]], parameters: Parameters, timeout_s: float) -> object | Failure:
        """Send one request, without retries.

        Args:
            messages: In the protocol's own shape.
            parameters: What goes with them.
            timeout_s: Seconds until the request is given up.

        Returns:
            The completion, not validated yet, or why there is none.

        Raises:
            LMMCancelledError: Nobody waits any more.
        """

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo.

        Args:
            turns: The conversation, the user's turn first and last.
            jpeg: The photo as a JPEG without metadata, sent with the first turn.

        Returns:
            The model's reply; its text is empty where the model sent none.

        Raises:
            LMMError: No reply came within the time-out, retries included; the subclass says why.
        """
        return persist(
            lambda left_s: self._complete(turns, jpeg, left_s),
            timeout_s=self._timeout_s,
            cancel=self._cancel,
            pace=self._pace,
        )

    def _complete(self, turns: Sequence[Turn], jpeg: bytes, timeout_s: float) -> Reply:
        """Send a request, and again without what the server refuses."""
        deadline = time.monotonic() + timeout_s
        pictures = any(turn.pictures for turn in turns)
        parameters = replace(self._parameters, letters=turns[-1].letters, pictures=pictures)
        while True:
            start = time.monotonic()
            messages = worded(turns, jpeg, pictures=parameters.pictures)
            found = self.send(messages, parameters, deadline - start)
            if not isinstance(found, Failure):
                self._parameters = replace(parameters, letters=(), pictures=False)
                return self._read(found, latency_s=time.monotonic() - start)
            changed = parameters.without(found.text) if found.status in (400, 422) else None
            if changed is None:
                raise self._explain(found)
            parameters = changed
            deadline += self._pace()

    def _read(self, completion: object, *, latency_s: float) -> Reply:
        """Read a completion; no client validates what the server sent."""
        choices = getattr(completion, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if message is None:
            raise self._explain(Failure("garbage"))
        refusal, content = getattr(message, "refusal", None), getattr(message, "content", None)
        finish_reason = getattr(cast("list[object]", choices)[0], "finish_reason", None)
        text = next((part for part in (refusal, content) if isinstance(part, str) and part), "")
        model, usage = getattr(completion, "model", None), getattr(completion, "usage", None)
        return Reply(
            # Half of a character (a lone surrogate) can't be shown.
            text=self._without_key(text.encode("utf-8", "replace").decode()),
            model=self._without_key(model) if is_name(model) else self.model,
            latency_s=latency_s,
            input_tokens=_count(usage, "prompt_tokens"),
            output_tokens=_count(usage, "completion_tokens"),
            refused=bool(refusal) or finish_reason == "content_filter",
            truncated=finish_reason == "length",
        )

    def _explain(self, failure: Failure) -> LMMError:
        """Our error for a failure, in our words: a provider's may quote the key."""
        host, model, status = self._host, self._masked(self.model), failure.status
        wait_s = failure.retry_after_s
        match failure.kind:
            case "timeout":
                return LMMTimeoutError(
                    f"{host} sent no full reply within {self._timeout_s:g} s; try again, or allow more time."
                )
            case "connection":
                return LMMUnreachableError(
                    f"{host} can't be reached or cut the connection; check the network and the server's address."
                )
            case "address":
                return LMMError(failure.text)
            case "garbage":
                return LMMError(
                    f"{host} sent something that is no chat completion; check that its address is that of an "
                    "OpenAI-compatible server (it usually ends in /v1)."
                )
        if status == 402 or failure.code in _QUOTA_CODES:
            return LMMQuotaError(f"The account behind the key has no credit left at {host}; top it up or use another.")
        if 300 <= status < 400:
            return LMMError(f"{host} sends requests on to another address (HTTP {status}); give that address instead.")
        if status == 401:
            return LMMAuthError(f"{host} refuses the key; check that it is complete and still valid.")
        if status == 403:
            return LMMAuthError(f"{host} doesn't let this key use the model {model!r}; choose another model or key.")
        if status == 404:
            return LMMError(f"{host} knows no model {model!r}; check the model's name and the server's address.")
        if status == 429:
            wait = f"{wait_s:.0f} s" if wait_s is not None and wait_s >= 1 else "a minute"
            return LMMRateLimitError(
                f"{host} takes no more requests for now; wait {wait} and try again.", retry_after_s=wait_s
            )
        if status >= 500 or status == 408:
            return LMMServerError(
                f"{host} has a fault of its own (HTTP {status}); try again later.", retry_after_s=wait_s
            )
        return LMMError(f"{host} refuses the request (HTTP {status}): {self._masked(failure.text)}")

    def _masked(self, text: str) -> str:
        """A provider's or visitor's text on one line, bounded, with what looks like a key masked."""
        text = "".join(char for char in text[:2000] if char.isprintable() or char.isspace())
        return " ".join(_LIKE_A_KEY.sub("***", self._without_key(text)).split())[:_MAX_EXCERPT_CHARS]

    def _without_key(self, text: str) -> str:
        """A server's words without the key, which it may quote, escape or cut: they may be kept for others."""
        parts = [self._key[at : at + _TELLING_CHARS] for at in range(len(self._key) - _TELLING_CHARS + 1)]
        for part in (self._key, *parts) if parts else ():
            text = text.replace(part, "***")
        return text


def is_name(value: object) -> TypeGuard[str]:
    """Whether something that a server sent can be a model's name."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME_CHARS and value.isprintable()


def host_of(url: str) -> str:
    """Name a server for messages: without path, and without a password that the address may carry.

    Raises:
        ConfigError: It is no http(s) address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "The server's address must begin with http:// or https:// and name a host, "
            "for example http://localhost:8000/v1."
        )
    return f"{host}:{port}" if port else host


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long a provider asks to wait.

    Args:
        headers: Of its answer, names in lower case or case-insensitive.

    Returns:
        Seconds, or None where it says nothing that can be read.
        Source: RFC 9110, section 10.2.3; retry-after-ms is OpenAI's own.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value, re.ASCII):
            return float(value) * unit_s
        if value and name == "retry-after":
            try:
                return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
            except ValueError:
                return None
    return None


def _count(usage: object, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else None

"""OpenAI's models, and every server that speaks its chat.completions protocol: vLLM, Ollama, the Hub's router."""

from __future__ import annotations

import base64
import functools
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, cast
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletionMessageParam
from openai.types.shared_params import ResponseFormatJSONSchema

from img2loc import prompt
from img2loc.errors import (
    ConfigError,
    LMMAuthError,
    LMMError,
    LMMQuotaError,
    LMMRateLimitError,
    LMMTimeoutError,
    LMMUnreachableError,
    MissingKeyError,
)
from img2loc.lmm.base import BackendOptions, Turn
from img2loc.types import Reply

OPENAI_URL: Final = "https://api.openai.com/v1"
MAX_OUTPUT_TOKENS: Final = 4000  # an answer takes 150; the rest is for models that think first
MAX_RETRIES: Final = 1

_NO_KEY = "no-key"  # sent to servers that need none: the protocol wants some
_QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_MAX_EXCERPT_CHARS = 200
_FORMAT_COMPLAINT = re.compile(r"response_format|json_schema|structured output", re.I)
_LIKE_A_KEY = re.compile(r"\S*\*{3}\S*|\b(?:sk|pk|hf|gsk|xai|key|bearer)[-_]\S+|[\w\-]{24,}", re.I)


class OpenAILMM:
    """A model behind OpenAI's chat.completions protocol.

    Args:
        options: Key, model, server and time-out. The environment is never asked for a key or a server.
        default_model: The model where the options name none.

    Raises:
        MissingKeyError: OpenAI itself is asked, and there is no key.
        ConfigError: The server's address is no http(s) address, or the key holds characters that no key has.
    """

    name = "openai"

    def __init__(self, options: BackendOptions, *, default_model: str) -> None:
        self.model = options.model.strip() or default_model
        key, url = options.api_key.strip(), options.base_url.strip()
        if not url and not key:
            raise MissingKeyError(
                "OpenAI needs a key and there is none; enter yours in the page's key field, "
                "or set OPENAI_API_KEY where the program runs."
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("The key holds spaces or characters that no key has; copy it again.")
        self._host = _host(url) if url else "OpenAI"
        self._url = url or OPENAI_URL
        self._key = key or _NO_KEY
        self._timeout_s = options.timeout_s

    def __repr__(self) -> str:
        return f"OpenAILMM(model={self.model!r}, host={self._host!r})"

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
        start = time.perf_counter()
        failure: LMMError
        try:
            completion = self._complete(_messages(turns, jpeg))
        except (openai.OpenAIError, ValueError, TimeoutError) as error:  # ValueError: a body that is no JSON
            failure = self._explain(error)
        else:
            return self._read(completion, latency_s=time.perf_counter() - start)
        raise failure  # outside the handler: the provider's error, which may quote the key, doesn't travel along

    def _complete(self, messages: list[ChatCompletionMessageParam]) -> object:
        """Run the request in a thread of its own, so that a server that drips can't hold us beyond the time-out."""
        client = openai.OpenAI(api_key=self._key, base_url=self._url, timeout=self._timeout_s, max_retries=MAX_RETRIES)
        client.organization = client.project = None  # read from the environment: not for another's key or server
        result: Future[object] = Future()

        def work() -> None:
            try:
                result.set_result(self._request(client, messages))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=work, name="openai-request", daemon=True).start()
        try:
            return result.result(timeout=self._timeout_s)
        finally:
            client.close()  # a request still under way ends with its next byte, and is not retried

    def _request(self, client: openai.OpenAI, messages: list[ChatCompletionMessageParam]) -> object:
        create = functools.partial(
            client.chat.completions.create,
            model=self.model,
            messages=messages,
            max_completion_tokens=MAX_OUTPUT_TOKENS,
        )
        schema: ResponseFormatJSONSchema = {
            "type": "json_schema",
            "json_schema": {"name": "position", "strict": True, "schema": prompt.ANSWER_SCHEMA},
        }
        try:
            return create(response_format=schema)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not _FORMAT_COMPLAINT.search(error.message):
                raise
        return create()

    def _read(self, completion: object, *, latency_s: float) -> Reply:
        """Read a completion; openai does not validate what the server sent."""
        choices = getattr(completion, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if message is None:
            raise LMMError(
                f"{self._host} sent no chat completion; check that its address is that of an "
                "OpenAI-compatible server (it usually ends in /v1)."
            )
        refusal, content = getattr(message, "refusal", None), getattr(message, "content", None)
        finish_reason = getattr(cast("list[object]", choices)[0], "finish_reason", None)
        text = next((part for part in (refusal, content) if isinstance(part, str) and part), "")
        model, usage = getattr(completion, "model", None), getattr(completion, "usage", None)
        return Reply(
            text=text,
            model=model if isinstance(model, str) and model else self.model,
            latency_s=latency_s,
            input_tokens=_count(usage, "prompt_tokens"),
            output_tokens=_count(usage, "completion_tokens"),
            refused=bool(refusal) or finish_reason == "content_filter",
            truncated=finish_reason == "length",
        )

    def _explain(self, error: Exception) -> LMMError:
        """Our error for the package's, in our words: a provider's may quote the key."""
        host, model = self._host, self._masked(self.model)
        match error:
            case openai.APITimeoutError() | TimeoutError():
                return LMMTimeoutError(
                    f"{host} sent no full reply within {self._timeout_s:g} s; try again, or allow more time."
                )
            case openai.APIConnectionError():
                return LMMUnreachableError(
                    f"{host} can't be reached or cut the connection; check the network and the server's address."
                )
            case openai.APIStatusError() if error.status_code == 402 or error.code in _QUOTA_CODES:
                return LMMQuotaError(
                    f"The account behind the key has no credit left at {host}; top it up or use another."
                )
            case openai.AuthenticationError():
                return LMMAuthError(f"{host} refuses the key; check that it is complete and still valid.")
            case openai.PermissionDeniedError():
                return LMMAuthError(
                    f"{host} doesn't let this key use the model {model!r}; choose another model or key."
                )
            case openai.RateLimitError():
                return LMMRateLimitError(f"{host} takes no more requests for now; wait a minute and try again.")
            case openai.NotFoundError():
                return LMMError(f"{host} knows no model {model!r}; check the model's name and the server's address.")
            case openai.APIStatusError() if error.status_code >= 500:
                return LMMError(f"{host} has a fault of its own (HTTP {error.status_code}); try again later.")
            case openai.APIStatusError():
                excerpt = self._masked(error.message)
                return LMMError(f"{host} refuses the request (HTTP {error.status_code}): {excerpt}")
            case _:
                return LMMError(f"{host} sent something that is no chat completion; check the server's address.")

    def _masked(self, text: str) -> str:
        """A provider's or visitor's text on one line, bounded, with what looks like a key masked."""
        masked = _LIKE_A_KEY.sub("***", text[:2000].replace(self._key, "***"))
        return " ".join(masked.split())[:_MAX_EXCERPT_CHARS]


def _messages(turns: Sequence[Turn], jpeg: bytes) -> list[ChatCompletionMessageParam]:
    first, *rest = turns
    image_url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    messages: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": first.text},
                {"type": "image_url", "image_url": {"url": image_url}},
            ],
        }
    ]
    for turn in rest:
        if turn.role == "user":
            messages.append({"role": "user", "content": turn.text})
        else:
            messages.append({"role": "assistant", "content": turn.text})
    return messages


def _host(url: str) -> str:
    """The server's name for messages: without path, and without a password that the address may carry."""
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


def _count(usage: object, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None

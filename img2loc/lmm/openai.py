"""The client for every server that speaks OpenAI's chat.completions protocol."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, TypeGuard

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
from img2loc.lmm.base import BackendOptions, Turn, check_key
from img2loc.lmm.connection import Connection
from img2loc.lmm.request import Parameters, request_body
from img2loc.lmm.response import Failure, Response, completion_in, failure_in, names_in, usage_in
from img2loc.lmm.retry import retry_after_s, wait_in_words, with_retries
from img2loc.lmm.servers import OPENAI_URL, Server, host_of
from img2loc.types import Reply

_MAX_EXCERPT_CHARS = 200
_MAX_NAME_CHARS = 200
_SECRET_PART_CHARS = 8  # of a key; fewer give nothing away
_MIN_PASSWORD_CHARS = 4  # shorter ones stand in many texts by chance
_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")  # a character that may be in a key
_LIKE_A_KEY = re.compile(r"\S*\*{3}\S*|\b(?:sk|pk|hf|gsk|xai|key|bearer)[-_]\S+|[\w\-]{24,}", re.I)

# Source: https://platform.openai.com/docs/guides/error-codes; the words are Anthropic's, OpenRouter's and others'.
_NO_CREDIT = re.compile(
    r"insufficient[ _](?:account )?(?:quota|credits?|balance|funds)|exceeded_current_quota|billing_hard_limit_reached"
    r"|billing_not_active|balance is (?:too low|insufficient)|requires more credits|(?:out of|no|included) credits"
    r"|credits? exhausted|余额不足",
    re.I,
)
# Gemini's status for it is 400, and xAI's, too.
_KEY = r"\b(?:api|access|auth\w*|bearer)[ _-]?(?:key|token)\b"
_WRONG_KEY = re.compile(
    rf"invalid_api_key|API_KEY_INVALID|authentication fail|invalid authentication|^unauthorized|身份验证失败"
    rf"|{_KEY}[^.]{{0,40}}\b(?:not valid|invalid|incorrect|expired|not found|leaked|disabled|revoked|required)\b"
    rf"|\b(?:invalid|incorrect|expired|wrong|malformed|unregistered|missing|no|provide)\b[^.]{{0,20}}{_KEY}",
    re.I,
)
# The words for a model that sees nothing, of OpenAI, OpenRouter, Gemini, Anthropic, vLLM, Ollama, llama.cpp, LM Studio,
# DeepSeek, Groq, Mistral, Zhipu and others: words that say it alone (of servers whose messages are texts only, too) ...
_BLIND = re.compile(
    r"\bnot (?:an? )?(?:\w+ )?(?:multi-?modal|vision|visual|vlm)\b|\btext-only\b|\bat most 0 image|\bmmproj\b"
    r"|\bonly (?:support|accept|take)s? text\b"
    r"|\bdata required for image|\bunknown (?:variant|type|part type|content type):? ?['`\"]?image"
    r"|\bunsupported content\[\]\.type|\bsupported values are:? ['\"]text['\"]|\['text'\]"
    r"|\bcontent\b.{0,20}(?:must be (?:a|of type) (?:\w+ )?string|should be a valid string)|\bcontent of type string"
    r"|\binvalid type: sequence, expected a string|\bexpected string, received array|\bconcatenate str \(not .{0,2}list"
    r"|不支持(?:图片|图像|视觉|多模态)",
    re.I,
)
# ... or a picture and something unsupported, unless that may be this picture, its number, or a parameter.
_SIGHT = re.compile(
    r"(?<![-/.\w])(?:image|vision|visual|picture|multi-?modal|vision-language)s?(?:_url)?(?![-/\w])", re.I
)
_LACK = re.compile(
    r"(?:\bnot|n't) (?:\w+ ){0,3}?(?:support|accept|allow|enable|permit|handle|capable|have )|\bunsupported\b"
    r"|\bno (?:\w+ ){0,4}?(?:support|adapter)|\bonly (?:\w+ )?(?:support|accept|text)"
    r"|\b(?:cannot|can't) \w+ (?:images|image input)\b",
    re.I,
)
_OTHER_LACK = re.compile(
    r"\b(?:image|picture)s? (?:url|format|type|size|detail|generation|edit|dimension)|\bformats?\b"
    r"|multiple|too many|at most [1-9]|\b(?:one|1) image|\bvalid\b|response_format|temperature|_tokens|\btools?\b|json"
    r"|base64|no longer|deprecat|webp|safety",
    re.I,
)
# Of FastAPI (vLLM), Go (Ollama), llama.cpp, LM Studio and OpenAI for a path that they don't have.
_NO_ENDPOINT = re.compile(
    r"^(?:404:? )?(?:(?:page|file|endpoint|route|resource|path|url) )?not found\.?$|unexpected endpoint|^invalid url"
    r"|method not allowed",
    re.I,
)


class _Cause(Enum):
    """What is behind an error, where the server's words or its status say it; the request would fail again."""

    NO_PICTURES = 1  # the model can't see
    NO_CREDIT = 2
    WRONG_KEY = 3
    NO_ENDPOINT = 4  # the server's address is wrong


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
        names = {self._without_key(name) for name in names_in(response.json) if _is_name(name)}
        if not names:
            raise LMMError(f"{self._host} lists no models. Type the model's name.")
        return tuple(sorted(names))

    def _list_models(self, timeout_s: float) -> Response:
        response = self._request("/models", None, timeout_s)
        failure = failure_in(response)
        if failure and failure.status not in (404, 405, 501):  # a server may have no list
            raise self._explain(failure, response)
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
            failure = failure_in(response)
            if failure is None:
                self._parameters = replace(parameters, letters=(), pictures=False)
                return self._read(response, latency_s=time.monotonic() - start)
            may_resend = self._options.resend_billed or not failure.may_be_billed
            is_about_request = failure.status in (None, 400, 422, 501)
            changed = parameters.without(failure.complaint) if may_resend and is_about_request else None
            if changed is None:
                raise self._explain(failure, response)
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

    def _read(self, response: Response, *, latency_s: float) -> Reply:
        """Read a completion without trusting any part of it."""
        completion = completion_in(response)
        input_tokens, output_tokens = usage_in(response.json)
        if completion is None:
            raise LMMError(
                f"{self._host}'s reply isn't a chat completion. Check that its address is that of an "
                "OpenAI-compatible server (it usually ends in /v1).",
                input_tokens=input_tokens,
                output_tokens=output_tokens,
            )
        return Reply(
            # A lone surrogate can't be shown.
            text=self._without_key(completion.text.encode("utf-8", "replace").decode()),
            model=self._without_key(completion.model) if _is_name(completion.model) else self.model,
            latency_s=latency_s,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            refused=completion.refused,
            truncated=completion.truncated,
        )

    def _explain(self, failure: Failure, response: Response) -> LMMError:
        """Our own error for a server's, whose words may quote the key."""
        wait_s = retry_after_s(response.headers)
        wait_s = failure.retry_after_s if wait_s is None else wait_s
        kind: type[LMMError] = LMMRejectedError
        cause = _cause_of(failure)
        if cause is None and failure.status == 429:
            kind = LMMRateLimitError
        elif cause is None and _is_servers_fault(failure.status):
            kind = LMMServerError
        input_tokens, output_tokens = usage_in(response.json)
        return kind(
            self._sentence(failure, wait_s),
            retry_after_s=wait_s,
            may_be_billed=failure.may_be_billed,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def _sentence(self, failure: Failure, wait_s: float | None) -> str:
        host, model, status, cause = self._host, quoted(self._masked(self.model)), failure.status, _cause_of(failure)
        words = self._masked(failure.words or failure.complaint).rstrip(".")
        says = f" ({words})" if failure.words and words else ""
        code = f" (HTTP {status})" if status else ""
        if cause is _Cause.NO_PICTURES:
            return f"The model {model} at {host} can't see photos{says}. Choose one that can."
        if cause is _Cause.NO_CREDIT:
            return f"The account behind this key has no credit left at {host}{says}. Top it up, or use another key."
        if cause is _Cause.WRONG_KEY and not self._key:
            return f"{host} needs a key, and none was sent."
        if cause is _Cause.WRONG_KEY:
            return f"{host} rejected the key{says}. Check that it is complete and still valid."
        if cause is _Cause.NO_ENDPOINT:
            return f"{host} has nothing at this address{says}. Check the server's address (it usually ends in /v1)."
        if status == 429:
            return f"Rate limit reached at {host}{says}; try again {wait_in_words(wait_s)}."
        if _is_servers_fault(status):
            return f"{host} returned an error{code}{f': {words}' if says else ''}. Try again later."
        if status is not None and 300 <= status < 400:
            return (
                f"{host} redirects to another address{code}; redirects aren't followed. Give the final address instead."
            )
        if status == 403:
            return f"{host} doesn't allow this key to use the model {model}{says}. Choose another model or key."
        if status == 404:
            return f"{host} has no model {model}{says}. Check the model's name and the server's address."
        end = "" if words.endswith(("!", "?")) else "."
        return f"{host} rejected the request{code}{f': {words}' if words else ''}{end}"

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


def _cause_of(failure: Failure) -> _Cause | None:
    """What is behind an error; None where nothing is known beyond its status."""
    status = failure.status
    if status == 402 or _NO_CREDIT.search(failure.complaint):
        return _Cause.NO_CREDIT
    if status == 401 or (status in (None, 400, 403) and _WRONG_KEY.search(failure.complaint)):
        return _Cause.WRONG_KEY
    if status not in (403, 429) and _says_blind(failure.words):
        return _Cause.NO_PICTURES
    if status in (None, 404, 405) and _NO_ENDPOINT.search(failure.words):
        return _Cause.NO_ENDPOINT
    return None


def _says_blind(words: str) -> bool:
    if _BLIND.search(words):
        return True
    return bool(_SIGHT.search(words) and _LACK.search(words)) and not _OTHER_LACK.search(words)


def _is_servers_fault(status: int | None) -> bool:
    """Whether an error of this status may pass, as the request's own faults don't."""
    return status == 408 or (status is not None and status >= 500 and status != 501)

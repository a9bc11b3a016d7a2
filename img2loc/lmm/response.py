"""What a server sent back: a completion, or an error, in any of the shapes that servers use."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from typing import Final

from img2loc.lmm.usage import token_count

_MAX_DEPTH: Final = 20
_MAX_WORDS_CHARS: Final = 2_000
_MAX_COMPLAINT_CHARS: Final = 10_000

_WORDS = ("message", "detail", "error", "errors", "msg", "title", "error_description", "description", "reason")
_UPSTREAM = ("", "provider returned error")  # OpenRouter's message; the reason is in the metadata
_ECHOES = ("input", "body", "request")  # what FastAPI and others repeat of the request
_MARKUP = re.compile(r"<[!?a-z]", re.I)
_HEADLINE = re.compile(r"<(?:title|h[1-3]|p|message)\b[^>]{0,200}>\s{0,50}([^<]{1,300})", re.I)

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thought")
_THOUGHT_TYPES = re.compile(r"reasoning|think|thought|redacted", re.I)
_FAILED = ("error", "network_error", "insufficient_system_resource")  # OpenRouter's, z.AI's, DeepSeek's
_WITHHELD = ("content_filter", "safety", "refusal", "sensitive", "prohibited_content")
_CUT = ("length", "max_tokens", "model_context_window_exceeded")

# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto, RetryInfo
_RETRY_DELAY: Final = re.compile(r"\bretryDelay (\d{1,9}(?:\.\d{1,9})?)s\b")

# What errors inside HTTP 200 are called where they have no number.
_STATUS_OF_NAME: Final = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "api_error": 500,
    "internal_error": 500,
    "server_error": 500,
    "overloaded_error": 503,
    "unavailable": 503,
}


@dataclass(frozen=True)  # without slots, for the cached property
class Response:
    """What a server sent back, whatever its status; it may quote the key."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def json(self) -> object:
        """The body as JSON, a stream of events as the one completion that it adds up to; None where it is neither."""
        text = self.body.decode(json.detect_encoding(self.body), "replace")
        value = _load(text)
        return _joined(text) if value is None else value


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a server reports, in words that may quote the key."""

    status: int | None  # HTTP's, or what an error inside HTTP 200 names; None where that names none
    words: str = field(repr=False)  # the server's own sentence, without markup; empty where it gives none
    complaint: str = field(repr=False)  # everything that it says, codes and parameters' names too
    may_be_billed: bool

    @property
    def retry_after_s(self) -> float | None:
        """How many seconds it asks to wait, as Gemini does in the body."""
        delay = _RETRY_DELAY.search(self.complaint)
        return float(delay[1]) if delay else None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's reply."""

    text: str
    model: object
    refused: bool
    truncated: bool


def failure_in(response: Response) -> Failure | None:
    """The error that a response reports; None where it may be a completion.

    An error inside HTTP 200 is one, too. It counts as not billed only where its code says that the model was never
    asked, and no tokens are reported.
    """
    body = _unlisted(response.json)
    if not 200 <= response.status < 300:
        text = response.body[:_MAX_COMPLAINT_CHARS].decode("utf-8", "replace")
        words = words_in(text if body is None else body)
        return Failure(response.status, words, _flat(body) or words, may_be_billed=response.status in (502, 504, 524))
    choice = _choice(body)
    has_failed = str(item(choice, "finish_reason")).lower() in _FAILED
    error = item(choice, "error") or (item(body, "error") if has_failed else None)
    if error or has_failed:
        return Failure(_status_in(error) or 502, words_in(error), _flat(error), may_be_billed=True)
    error = item(body, "error") or (body if isinstance(body, dict) and _message(choice) is None else None)
    words, status = words_in(error), _status_in(error) or _status_in(body)
    if not words and status is None:
        return None
    was_asked = status is None or status == 408 or status >= 500 or any(usage_in(body))
    return Failure(status, words, _flat(error), may_be_billed=was_asked)


def completion_in(response: Response) -> Completion | None:
    """The model's reply in a response; None where there is none. Text that is only thought stands in <think> tags."""
    body = _unlisted(response.json)
    choice = _choice(body)
    message = _message(choice)
    if message is None:
        return None
    reason = str(item(choice, "finish_reason")).lower()
    content = message.get("content")
    refusal = message.get("refusal") or _refusal_in(content)
    # Arguments of tool calls first: of several objects in a reply the last counts.
    text = _text(refusal) or "\n".join(part for part in (_arguments(message), _text(content)) if part.strip())
    if not text and (thoughts := _thoughts_in(message).strip()):
        text = f"<think>{thoughts}</think>"
    return Completion(text, item(body, "model"), bool(refusal) or reason in _WITHHELD, reason in _CUT)


def usage_in(body: object) -> tuple[int | None, int | None]:
    """The tokens read and written that a server reports, each None where it gives no believable number."""
    body = _unlisted(body)
    usage = item(body, "usage") or item(_choice(body), "usage")
    read = token_count(_either(usage, "prompt_tokens", "input_tokens"))
    written = token_count(_either(usage, "completion_tokens", "output_tokens"))
    total = token_count(item(usage, "total_tokens"))
    if read is not None and written is not None and total is not None:
        written = max(written, total - read)  # Gemini and xAI count thoughts in the total only
    return read, written


def names_in(body: object) -> list[str]:
    """The names in a list of models: OpenAI's, a bare array, or Ollama's and Gemini's own."""
    entries = body if isinstance(body, list) else item(body, "data") or item(body, "models")
    names = []
    for entry in entries if isinstance(entries, list) else []:
        name = entry if isinstance(entry, str) else item(entry, "id") or item(entry, "model") or item(entry, "name")
        if isinstance(name, str):
            # Gemini's have a prefix that it doesn't ask for.
            is_gemini = item(entry, "owned_by") == "google" or item(entry, "id") is None
            names.append(name.removeprefix("models/") if is_gemini else name)
    return names


def words_in(value: object, depth: int = 0) -> str:
    """A server's own words about an error, without markup; empty where there are none."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        text = value[:_MAX_COMPLAINT_CHARS].strip()
        if _MARKUP.match(text):
            headline = _HEADLINE.search(text)
            return unescape(headline[1]).strip() if headline else ""
        inner = _load(text) if text.startswith(("{", "[")) else None
        return (words_in(inner, depth + 1) or text)[:_MAX_WORDS_CHARS]
    if isinstance(value, list):
        return "; ".join(words for entry in value[:3] if (words := words_in(entry, depth + 1)))
    if not isinstance(value, dict):
        return ""
    words = next((words for name in _WORDS if (words := words_in(value.get(name), depth + 1))), "")
    if words.lower().rstrip(".") in _UPSTREAM:
        words = words_in(item(value.get("metadata"), "raw"), depth + 1) or words
    place = value.get("loc")  # FastAPI's
    return f"{'.'.join(map(str, place[:5]))}: {words}" if words and isinstance(place, list) else words


def item(value: object, name: str) -> object:
    """A member of a JSON object; None where the value isn't an object or lacks it."""
    return value.get(name) if isinstance(value, dict) else None


def _either(value: object, first: str, second: str) -> object:
    member = item(value, first)
    return item(value, second) if member is None else member


def _unlisted(body: object) -> object:
    """A body without the list that Gemini puts an error into."""
    first = body[0] if isinstance(body, list) and body else None
    return first if item(first, "error") or item(first, "choices") else body


def _load(text: str) -> object:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _flat(value: object, depth: int = 0) -> str:
    """All names and values in JSON, without what is repeated of the request."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, dict):
        parts = [f"{name} {_flat(inner, depth + 1)}" for name, inner in value.items() if name not in _ECHOES]
    elif isinstance(value, list):
        parts = [_flat(inner, depth + 1) for inner in value]
    else:
        parts = [] if value is None else [str(value)]
    return " ".join(parts)[:_MAX_COMPLAINT_CHARS]


def _status_in(error: object) -> int | None:
    """The HTTP status that an error names, as a number or in a word."""
    for name in ("code", "status", "status_code", "type"):
        value = item(error, name)
        text = str(value).lower() if isinstance(value, int | str) else ""
        if re.fullmatch(r"[45]\d\d", text, re.ASCII):
            return int(text)
        if text in _STATUS_OF_NAME:
            return _STATUS_OF_NAME[text]
    return None


def _choice(body: object) -> object:
    choices = item(body, "choices")
    return choices[0] if isinstance(choices, list) and choices else None


def _message(choice: object) -> dict[str, object] | None:
    """A choice's message; its text alone is one in the older protocol."""
    message = item(choice, "message") or item(choice, "delta")
    if isinstance(message, dict):
        return message
    text = message or item(choice, "text")
    return {"content": text} if isinstance(text, str) else None


def _text(content: object, depth: int = 0) -> str:
    """The text in a message's content: a string, a list of parts, or an object; thoughts are none of it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and depth < _MAX_DEPTH:
        return "\n".join(text for part in content if (text := _text(part, depth + 1)))
    if not isinstance(content, dict) or depth >= _MAX_DEPTH:
        return ""
    if _THOUGHT_TYPES.match(str(content.get("type"))) or content.get("thought") is True:
        return ""
    inner = next((content[name] for name in ("text", "content", "parts", "value") if content.get(name)), None)
    if inner is not None:
        return _text(inner, depth + 1)
    return "" if "type" in content or not content else json.dumps(content, ensure_ascii=False)


def _refusal_in(content: object) -> str:
    parts = content if isinstance(content, list) else []
    return "\n".join(text for part in parts if isinstance(text := item(part, "refusal"), str))


def _thoughts_in(message: dict[str, object]) -> str:
    """What a model only thought, in any of the places where servers put it."""
    content = message.get("content")
    places = [*(message.get(name) for name in _THOUGHTS), content if isinstance(content, list) else None]
    return next((thoughts for place in places if (thoughts := _thoughts(place))), "")


def _thoughts(value: object, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth >= _MAX_DEPTH or not isinstance(value, list | dict):
        return ""
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := _thoughts(part, depth + 1)))
    inner = (value.get(name) for name in (*_THOUGHTS, "text", "summary", "content"))
    return next((text for part in inner if (text := _thoughts(part, depth + 1))), "")


def _arguments(message: dict[str, object]) -> str:
    """The arguments of a model's tool calls, which take an answer's place where it calls the schema a tool."""
    calls = message.get("tool_calls")
    functions = [item(call, "function") for call in calls] if isinstance(calls, list) else []
    arguments = [item(function, "arguments") for function in (*functions, message.get("function_call"))]
    return "\n".join(_text(argument) for argument in arguments if argument)


def _joined(text: str) -> dict[str, object] | None:
    """A stream of events as one completion; None where the text is no stream."""
    completion: dict[str, object] = {}
    choice: dict[str, object] = {}
    pieces: defaultdict[str, list[str]] = defaultdict(list)
    for event in _events(text):
        completion |= {name: value for name, value in event.items() if value and name in ("model", "usage", "error")}
        part = _choice(event)
        if part is None and not event.get("usage") and words_in(event):
            completion["error"] = event.get("error") or event
        if isinstance(part, dict):
            choice |= {name: value for name, value in part.items() if value and name not in ("delta", "message")}
        message = _message(part) or {}
        for name in ("refusal", "content"):
            pieces[name].append(_text(message.get(name)))
        pieces["arguments"].append(_arguments(message))
        if not pieces["content"][-1]:
            pieces["reasoning"].append(_thoughts_in(message))
    if not completion and not choice and not pieces:
        return None
    if "error" not in completion and "[DONE]" not in text:
        choice.setdefault("finish_reason", "network_error")  # it broke off, perhaps in the middle of a number
    whole = {name: "".join(parts) for name, parts in pieces.items()}
    whole["content"] = whole.get("content") or whole.get("arguments", "")
    return {**completion, "choices": [{**choice, "message": whole}] if choice or any(whole.values()) else []}


def _events(text: str) -> Iterator[dict[str, object]]:
    """The JSON objects in a stream of events.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html; llama.cpp had a field of its own for errors.
    """
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        name, _, value = line.strip().partition(":")
        if name in ("data", "error") and value.strip() not in ("", "[DONE]"):
            lines.append(value)
        elif not name and not value:  # the end of an event, which some servers leave out
            whole = _load("\n".join(lines)) if lines else None
            values = [_load(value) for value in lines] if whole is None and len(lines) > 1 else [whole]
            yield from (value for value in values if isinstance(value, dict))
            lines = []

"""A server on loopback that speaks OpenAI's chat.completions protocol, well or badly as told.

    with OpenAIServer() as server:
        server.enqueue("rate_limit", "good")
        ...  # anything that talks to server.base_url with server.key
        assert server.requests[0].jpeg.startswith(b"\\xff\\xd8")

Each request takes the next behaviour from the queue; an empty queue means "good". A request that breaks the protocol is
answered 400, as OpenAI does, takes no behaviour and is noted in `faults`; leaving the `with` block then fails.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

KEY = "sk-proj-t3stK3y0123456789AbcDefGhiJklMnoPqrStuVwxYz"  # its end isn't a number, which a log has by chance
GOOD = {"latitude": 48.8584, "longitude": 2.2945, "place": "Eiffel Tower, Paris", "reasoning": "An iron lattice tower."}
DRIP_S = 0.05
USAGE = 1200, 60  # tokens in and out

# behaviour -> (status, error message, error code); the words are OpenAI's own
ERRORS: dict[str, tuple[int, str, str | None]] = {
    "bad_key": (
        401,
        "Incorrect API key provided: {key}. You can find your API key at https://platform.openai.com.",
        "invalid_api_key",
    ),
    "forbidden": (403, "Project `proj_1` does not have access to model `{model}`.", "model_not_found"),
    "no_model": (404, "The model `{model}` does not exist or you do not have access to it.", "model_not_found"),
    "rate_limit": (429, "Rate limit reached for {model} on requests per min (RPM): Limit 3.", "rate_limit_exceeded"),
    "no_quota": (
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
    ),
    "no_response_format": (
        400,
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        None,
    ),
    "bad_request": (
        400,
        "Your request with key {whole_key} was rejected: the image is too small.",
        "image_parse_error",
    ),
    "server_error": (500, "The server had an error while processing your request. Sorry about that!", "server_error"),
    "overloaded": (503, "The engine is currently overloaded, please try again later.", "engine_overloaded"),
    "rate_limit_silent": (429, "Rate limit reached for {model}: Limit 3. Please wait.", "rate_limit_exceeded"),
    "rate_limit_asks": (429, "Rate limit reached for {model}: Limit 3. Please wait.", "rate_limit_exceeded"),
    "rate_limit_date": (429, "Rate limit reached for {model}: Limit 3. Please wait.", "rate_limit_exceeded"),
    "rate_limit_long": (429, "Rate limit reached for {model} on requests per day.", "rate_limit_exceeded"),
    "no_temperature": (
        400,
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported.",
        "unsupported_value",
    ),
    "no_max_tokens": (
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "unsupported_parameter",
    ),
    "no_max_completion_tokens": (422, "body.max_completion_tokens: Extra inputs are not permitted", None),
    "small_context": (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 4096 "
        "tokens and your request has 1100 input tokens.",
        "BadRequestError",
    ),
}
# What a server asks for: milliseconds in OpenAI's own header, seconds, a date in the past, an hour; nothing elsewhere.
RETRY_AFTER: dict[str, tuple[str, str]] = {
    "rate_limit": ("retry-after-ms", "10"),
    "no_quota": ("retry-after-ms", "10"),
    "rate_limit_asks": ("Retry-After", "1"),
    "rate_limit_date": ("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"),
    "rate_limit_long": ("Retry-After", "3600"),
    "server_error": ("retry-after-ms", "10"),
}
TEXTS = {
    "good": json.dumps(GOOD),
    "fenced": f"```json\n{json.dumps(GOOD)}\n```",
    "malformed": "I would rather look at the sky.",
    "length": '{"latitude": 48.85',
    "megabyte": json.dumps(GOOD) + " Hmm." * 200_000,
}
BEHAVIOURS = (
    *TEXTS,
    *ERRORS,
    "refusal",
    "content_filter",
    "empty",
    "no_choices",
    "hang",
    "slow_drip",
    "cut",
    "not_json",
    "html",
    "not_an_object",
    "html_error",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that kept to the protocol."""

    key: str
    body: dict[str, Any]
    jpeg: bytes
    headers: dict[str, str]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][0]["content"][0]["text"])


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer in a server's own way, byte for byte; as the files of cases have it."""

    status: int
    body: Any  # sent as JSON unless it is text or bytes
    content_type: str = "application/json"
    if_request_has: str = ""  # a parameter; requests without it are answered well

    def applies_to(self, request: Request) -> bool:
        return not self.if_request_has or self.if_request_has in request.body

    @property
    def raw(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class OpenAIServer:
    """The server; `key=None` takes any key, as local servers do."""

    def __init__(self, *, key: str | None = KEY) -> None:
        self.key = key
        self.models = ["gpt-test", "another", "gpt-test"]
        self.models_error = ""  # what whoever asks for them is told instead
        self.models_shape: Shape | None = None  # the list in a server's own way
        self.shapes: list[Shape] = []  # how requests are answered before the queue's behaviours; the last one stays
        self.requests: list[Request] = []
        self.usage: dict[str, tuple[int, int]] = {}  # tokens in and out, by behaviour, where they aren't USAGE
        self.billed: list[tuple[int, int]] = []  # of each request that the model answered, whoever got to see it
        self.faults: list[str] = []
        self._queue: deque[tuple[str, str | None]] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False  # so that leaving waits for every handler
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def enqueue(self, *behaviours: str, text: str | None = None) -> None:
        """Say how the next requests are answered; `text` replaces the words of a reply."""
        for behaviour in behaviours:
            if behaviour not in BEHAVIOURS:
                raise ValueError(f"no behaviour {behaviour!r}; there are {', '.join(BEHAVIOURS)}")
            self._queue.append((behaviour, text))

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if kind is None and self.faults:
            raise AssertionError("; ".join(self.faults))

    def next_behaviour(self, request: Request) -> tuple[str, str | None]:
        with self._lock:
            self.requests.append(request)
            return self._queue.popleft() if self._queue else ("good", None)

    def next_shape(self, request: Request) -> Shape | None:
        """The shape of the answer to a request; None for one of the behaviours."""
        with self._lock:
            if not self.shapes or not self.shapes[0].applies_to(request):
                return None
            self.requests.append(request)
            return self.shapes.pop(0) if len(self.shapes) > 1 else self.shapes[0]

    def hold(self, connection: socket.socket, request: Request) -> bool:
        """For a server that takes its time: whether the client is still there at the end of it."""
        return True

    def wait(self, seconds: float) -> bool:
        """Wait; True as soon as the server is being stopped."""
        return self._stop.wait(seconds)


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.close_connection = True
            try:
                self.answer()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as some tests want it to

        def do_GET(self) -> None:
            self.close_connection = True
            key = self.headers.get("Authorization", "").partition(" ")[2]
            if self.path != "/v1/models":
                return self.error(404, f"Invalid URL (GET {self.path})", None)
            if server.models_shape:
                shape = server.models_shape
                return self.send(shape.status, shape.raw, shape.content_type)
            if server.models_error:
                return self.error(400, server.models_error, None)
            if server.key is not None and key != server.key:
                return self.error(401, ERRORS["bad_key"][1].format(key=_half_hidden(key)), "invalid_api_key")
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in server.models]
            self.send(200, json.dumps({"object": "list", "data": listed}).encode(), "application/json")

        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if len(raw) < int(self.headers["Content-Length"]):
                raise BrokenPipeError("the client hung up while it was sending")
            if self.path != "/v1/chat/completions":
                return self.error(404, f"Invalid URL (POST {self.path})", None)
            scheme, _, key = self.headers.get("Authorization", "").partition(" ")
            if server.key is not None and (scheme != "Bearer" or not key):
                return self.error(401, "You didn't provide an API key.", None)
            if server.key is not None and key != server.key:
                return self.error(401, ERRORS["bad_key"][1].format(key=_half_hidden(key)), "invalid_api_key")
            try:
                request = _checked(key, raw, dict(self.headers.items()))
            except (ValueError, KeyError, TypeError, OSError) as fault:
                server.faults.append(f"the request breaks the protocol: {fault!r}")
                return self.error(400, str(fault), None)
            if shape := server.next_shape(request):
                return self.send(shape.status, shape.raw, shape.content_type)
            behaviour, text = server.next_behaviour(request)
            if server.hold(self.connection, request):
                self.behave(behaviour, text, request)

        def behave(self, behaviour: str, text: str | None, request: Request) -> None:
            model = request.body["model"]
            usage = server.usage.get(behaviour, USAGE)
            if behaviour not in ERRORS:
                server.billed.append(usage)
            if behaviour in ERRORS:
                status, message, code = ERRORS[behaviour]
                message = message.format(key=_half_hidden(request.key), whole_key=request.key, model=model)
                self.error(status, text or message, code, RETRY_AFTER.get(behaviour))
            elif behaviour == "hang":
                server.wait(30)
            elif behaviour == "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
            elif behaviour == "not_json":
                self.send(200, b"<!doctype html><title>Sign in</title>", "application/json")
            elif behaviour == "html_error":  # as a proxy before the server does it
                self.send(502, b"<html><body>Bad Gateway</body></html>", "text/html")
            elif behaviour == "not_an_object":
                self.send(200, b'["not", "a", "completion"]', "application/json")
            elif behaviour == "html":
                self.send(200, b"<!doctype html><title>Sign in</title>", "text/html")
            else:
                completion = _completion(behaviour, text, model)
                if behaviour in server.usage:
                    completion["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
                self.send(200, json.dumps(completion).encode(), "application/json", drip=behaviour == "slow_drip")

        def error(self, status: int, message: str, code: str | None, header: tuple[str, str] | None = None) -> None:
            error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
            self.send(status, json.dumps({"error": error}).encode(), "application/json", header=header)

        def send(
            self,
            status: int,
            body: bytes,
            content_type: str,
            *,
            drip: bool = False,
            header: tuple[str, str] | None = None,
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            if header:
                self.send_header(*header)
            self.end_headers()
            if not drip:
                self.wfile.write(body)
                return
            for position in range(len(body)):
                if server.wait(DRIP_S):
                    return
                self.wfile.write(body[position : position + 1])

    return Handler


def _completion(behaviour: str, text: str | None, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text or TEXTS.get(behaviour, TEXTS["good"]),
        "refusal": None,
    }
    if behaviour == "refusal":
        message |= {"content": None, "refusal": text or "I'm sorry, I can't assist with that request."}
    elif behaviour in ("empty", "content_filter"):
        message["content"] = ""
    finish_reason = behaviour if behaviour in ("length", "content_filter") else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": f"{model}-2026-01-01",
        "choices": [] if behaviour == "no_choices" else [choice],
        "usage": {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)},
    }


def _checked(key: str, raw: bytes, headers: dict[str, str]) -> Request:
    body = json.loads(raw)
    if not isinstance(body["model"], str) or not body["model"]:
        raise ValueError("model isn't a name")
    messages = body["messages"]
    if [message["role"] for message in messages] != [("user", "assistant")[n % 2] for n in range(len(messages))]:
        raise ValueError("user and assistant don't take turns")
    if messages[-1]["role"] != "user":
        raise ValueError("the last turn is not the user's")
    text, image, *more = messages[0]["content"]
    for label, picture in zip(more[::2], more[1::2], strict=True):
        if not label["text"].strip() or not picture["image_url"]["url"].startswith("https://"):
            raise ValueError("what follows the photo isn't a picture on the web after its label")
    if text["type"] != "text" or not text["text"].strip() or image["type"] != "image_url":
        raise ValueError("the first turn is not text, then image")
    if not all(isinstance(message["content"], str) and message["content"] for message in messages[1:]):
        raise ValueError("a later turn isn't text")
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if name in body]
    if len(limits) != 1 or not 0 < limits[0] <= 16_384:
        raise ValueError("the reply's length is not bounded, or bounded twice")
    if "temperature" in body and not 0 <= body["temperature"] <= 2:
        raise ValueError("temperature is out of range")
    if "response_format" in body:
        _check_strict(body["response_format"])
    prefix, _, data = image["image_url"]["url"].partition(",")
    if prefix != "data:image/jpeg;base64":
        raise ValueError(f"the image is {prefix[:40]!r}")
    jpeg = base64.b64decode(data, validate=True)
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.load()
        if picture.format != "JPEG" or picture.getexif() or "exif" in picture.info:
            raise ValueError("the image isn't a JPEG, or carries EXIF")
    return Request(key, body, jpeg, {name.lower(): value for name, value in headers.items()})


def _check_strict(response_format: dict[str, Any]) -> None:
    """What OpenAI demands of a strict schema."""
    wrapper = response_format["json_schema"]
    schema = wrapper["schema"]
    if response_format["type"] != "json_schema" or wrapper["strict"] is not True or not wrapper["name"]:
        raise ValueError("response_format isn't a strict json_schema")
    if schema["additionalProperties"] is not False or sorted(schema["required"]) != sorted(schema["properties"]):
        raise ValueError("Invalid schema: every property must be required, and no other allowed")


def _half_hidden(key: str) -> str:
    return f"{key[:8]}{'*' * 12}{key[-4:]}"

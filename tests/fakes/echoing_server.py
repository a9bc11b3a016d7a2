"""A provider on loopback that quotes what it was sent, the key above all, in whatever it answers.

Which way it fails is told by the model's name. It keeps every request as it came.
"""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

STATUSES = (400, 401, 402, 403, 404, 409, 422, 429, 500, 503)
MODELS = (
    "good",
    "says",  # the key stands in a reply that is fine otherwise
    "mumbles",  # and in one that isn't an answer
    "refuses",
    "plain",  # an error that isn't JSON
    "straddles",  # an error so long that the key lies across the place where it is cut short
    "moved",
    "page",
    "torn",
    "cut",
    *map(str, STATUSES),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").partition(" ")[2]

    @property
    def jpeg(self) -> bytes:
        first = json.loads(self.body)["messages"][0]["content"]
        return base64.b64decode(first[1]["image_url"]["url"].partition(",")[2], validate=True)


class EchoingServer:
    """The server; `base_url` is its address."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> EchoingServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @contextmanager
    def listening(self) -> Iterator[list[Sent]]:
        """Gives those requests alone that come meanwhile."""
        before = len(self.sent)
        new: list[Sent] = []
        yield new
        new += self.sent[before:]


def echo(key: str) -> str:
    """A key as a server might quote it: whole and in part, as it is and escaped."""
    forms = (key, quote(key, safe=""), json.dumps(key), html.escape(key), key[:20], key[20:])
    return "Authorization: Bearer " + " or ".join(forms)


def _handler(server: EchoingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            key = self.remember().key
            self.answer(200, {"data": [{"id": f"gpt {key}", "object": "model"}, {"id": "good", "object": "model"}]})

        def do_POST(self) -> None:
            sent = self.remember()
            model, key = json.loads(sent.body)["model"].rpartition("/")[2], sent.key
            said, encoded = echo(key), base64.b64encode(sent.headers["authorization"].encode()).decode()
            place = {"latitude": 48.8584, "longitude": 2.2945, "place": "Paris"}
            match model:
                case "good":
                    self.complete(json.dumps({**place, "reasoning": "An iron lattice tower."}))
                case "says":
                    self.complete(json.dumps({**place, "place": key, "reasoning": said}), model=key)
                case "mumbles":
                    self.complete(said)
                case "refuses":
                    self.complete(None, refusal=said)
                case "plain":
                    self.send(400, f"{said} {encoded}".encode(), "text/plain")
                case "straddles":
                    self.fail(400, " " * (2000 - len("Your key is ") - 20) + f"Your key is {key}")
                case "moved":
                    self.send(307, b"", "text/plain", Location=f"/v1/{quote(key, safe='')}")
                case "page":
                    self.send(200, f"<title>{said}</title>".encode(), "text/html")
                case "torn":
                    self.send(200, f'{{"choices": [{{"message": "{said}'.encode(), "application/json")
                case "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "9999")
                    self.end_headers()
                    self.wfile.write(said.encode())
                case _:
                    self.fail(int(model) if model in MODELS else 404, f"{said} {encoded}")
            self.close_connection = True

        def remember(self) -> Sent:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = Sent(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            server.sent.append(sent)
            return sent

        def complete(self, text: str | None, *, refusal: str | None = None, model: str = "good") -> None:
            message = {"role": "assistant", "content": text, "refusal": refusal}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(200, {"object": "chat.completion", "model": model, "choices": [choice]})

        def fail(self, status: int, message: str) -> None:
            key = self.headers["Authorization"]
            self.answer(status, {"error": {"message": message, "code": key, "type": key, "param": key}})

        def answer(self, status: int, content: object) -> None:
            self.send(status, json.dumps(content).encode(), "application/json")

        def send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            key = self.headers["Authorization"]
            self.send_response(status)
            fixed = {"Content-Type": kind, "Content-Length": str(len(body)), "retry-after-ms": "1"}
            for name, value in {**fixed, "X-Request-Id": key, "X-Error-Message": key, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler

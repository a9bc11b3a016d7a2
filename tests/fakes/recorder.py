"""A server or proxy on loopback that answers everything the same way and remembers what it got."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes.openai_server import TEXTS

COMPLETION = {"model": "m", "choices": [{"message": {"role": "assistant", "content": TEXTS["good"]}}]}


@dataclass(frozen=True, slots=True)
class Received:
    target: str  # a path, or what a proxy is asked for
    headers: dict[str, str]
    body: bytes


class Recorder:
    """The server; `status`, `headers` and `body` are what it answers."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(COMPLETION).encode()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.received.append(Received(self.path, headers, body))
                self.send_response(recorder.status)
                for name, value in {**recorder.headers, "Content-Length": str(len(recorder.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(recorder.body)
                except OSError:
                    pass  # the client has had enough

            do_GET = do_CONNECT = do_POST

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._http = Server((host, 0), Handler)
        self.port = self._http.server_port
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Recorder:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

"""A Hugging Face Hub on loopback: serves folders as model repositories, speaking the real client's protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """The repositories, and what was asked for.

    Args:
        url: Where it listens.
        repos: Each repository's folder, by owner/name.
        requests: Method and path of every request.
    """

    url: str
    repos: dict[str, Path] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def commit(self, repo: str) -> str:
        """The commit that a repository is at: a hash of its content."""
        digest = hashlib.sha1()
        for name in self.files(repo):
            digest.update(name.encode() + (self.repos[repo] / name).read_bytes())
        return digest.hexdigest()

    def files(self, repo: str) -> list[str]:
        folder = self.repos[repo]
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a Hub on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} /{path}")
            api = path.startswith("api/models/")
            parts = path.removeprefix("api/models/").split("/")
            repo = "/".join(parts[:2])
            if repo not in hub.repos:
                return self.fail(404, "RepoNotFound", "Repository Not Found")
            verb, revision = (parts[2], parts[3]) if len(parts) > 3 else ("revision", "main")
            commit = hub.commit(repo)
            if revision not in {"main", commit}:
                return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if api and verb == "revision":
                siblings = [{"rfilename": name} for name in hub.files(repo)]
                return self.send_json({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings})
            if api and verb == "tree":
                return self.send_json([self.entry(repo, name) for name in hub.files(repo)])
            file = hub.repos[repo] / "/".join(parts[4:])
            if not file.is_file():
                return self.fail(404, "EntryNotFound", "Entry not found")
            data = file.read_bytes()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            return self.send(200, data, "application/octet-stream", headers)

        def entry(self, repo: str, name: str) -> dict[str, object]:
            data = (hub.repos[repo] / name).read_bytes()
            return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

        def fail(self, status: int, code: str, message: str) -> None:
            self.send(status, b"{}", "application/json", {"X-Error-Code": code, "X-Error-Message": message})

        def send_json(self, body: object) -> None:
            self.send(200, json.dumps(body).encode(), "application/json", {})

        def send(self, status: int, data: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

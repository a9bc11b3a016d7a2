"""A Hugging Face Hub on loopback: folders as repositories, read and written in the real client's protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Space:
    """A Space's machine, beside its repository.

    Args:
        hardware: What was asked for.
        variables: As the Hub serves them to whoever may write.
        secrets: Kept, and never served.
        stages: What it goes through after the next change; the last one stays.
        error: Why it failed, as the Hub words it.
        restarts: How often it was woken.
    """

    hardware: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    error: str = ""
    restarts: int = 0

    def stage(self) -> str:
        return self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]


@dataclass
class Hub:
    """The repositories, and what was asked for.

    Args:
        url: Where it listens.
        repos: Each repository's folder, by owner/name, or by datasets/owner/name or spaces/owner/name.
        spaces: The machines of those that are Spaces, by owner/name.
        build: What a Space goes through after a commit.
        requests: Method and path of every request.
        made: Where new repositories are made; None to refuse them.
        private: Those that were made private.
        commits: The file of every commit, in order.
        cut: Files whose next answer breaks off after so many bytes.
        refuse_commits_after: How many commits are taken before the Hub fails.
        held: Files whose content is held back as long as they stand here.
        moved: Files whose content lies at another address, which requests are sent on to.
    """

    url: str
    repos: dict[str, Path] = field(default_factory=dict)
    spaces: dict[str, Space] = field(default_factory=dict)
    build: list[str] = field(default_factory=lambda: ["BUILDING", "APP_STARTING", "RUNNING"])
    requests: list[str] = field(default_factory=list)
    made: Path | None = None
    private: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)
    refuse_commits_after: int = 1_000_000
    held: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)

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

        def do_PUT(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} /{path}")
            if path == "api/validate-yaml":
                return self.send_json({"errors": [], "warnings": []})
            if path == "api/repos/create":
                return self.create(json.loads(body))
            _, kind, owner, name, verb, *_ = path.split("/")
            repo = f"{kind}/{owner}/{name}".removeprefix("models/")
            if repo not in hub.repos:
                return self.fail(404, "RepoNotFound", "Repository Not Found")
            if verb in ("variables", "secrets", "hardware", "restart", "settings"):
                return self.change_space(repo, verb, json.loads(body or b"{}"))
            if verb == "paths-info":
                wanted = re.findall(r"paths=([^&]*)", body.decode()) or json.loads(body)["paths"]
                here = hub.files(repo)
                return self.send_json([self.entry(repo, unquote(path)) for path in wanted if unquote(path) in here])
            if verb == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                for file in files:
                    if file["path"] in hub.files(repo):
                        file["oid"] = self.entry(repo, file["path"])["oid"]
                return self.send_json({"files": files})
            if len(hub.commits) >= hub.refuse_commits_after:
                return self.fail(503, "", "Service Unavailable")
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    continue
                file = hub.repos[repo] / line["value"]["path"]
                hub.commits.append(line["value"]["path"])
                if line["key"] == "deletedFile":
                    file.unlink()
                    continue
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(line["value"]["content"]))
            if kind == "spaces":
                hub.spaces[f"{owner}/{name}"].stages = list(hub.build)
            commit = hub.commit(repo)
            return self.send_json(
                {"success": True, "commitOid": commit, "commitUrl": f"{hub.url}/{repo}/commit/{commit}"}
            )

        def create(self, wanted: dict[str, object]) -> None:
            name = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
            repo = f"spaces/{name}" if wanted.get("type") == "space" else name
            if hub.made is None:
                return self.fail(403, "", "Forbidden")
            if repo in hub.repos:
                taken = json.dumps({"url": f"{hub.url}/{repo}", "error": "You already created this model repo"})
                return self.send(409, taken.encode(), "application/json", {})
            hub.repos[repo] = hub.made / str(wanted["name"])
            hub.repos[repo].mkdir()
            if repo != name:
                hub.spaces[name] = Space(hardware=str(wanted["hardware"]))
                (hub.repos[repo] / ".gitattributes").write_text("*.faiss filter=lfs diff=lfs merge=lfs -text\n")
            if wanted.get("private") or wanted.get("visibility") == "private":
                hub.private.add(repo)
            return self.send_json({"url": f"{hub.url}/{repo}", "id": repo, "name": repo})

        def change_space(self, repo: str, verb: str, wanted: dict[str, str]) -> None:
            space = hub.spaces[repo.removeprefix("spaces/")]
            if verb == "settings":
                hub.private |= {repo} if wanted["visibility"] == "private" else set()
                return self.send_json({})
            if verb == "hardware":
                space.hardware = wanted["flavor"]
            elif verb == "restart":
                space.stages, space.restarts = list(hub.build), space.restarts + 1
            else:
                getattr(space, verb)[wanted["key"]] = wanted["value"]
            return self.read_space(repo, "variables" if verb == "variables" else "runtime")

        def read_space(self, repo: str, verb: str) -> None:
            space = hub.spaces[repo.removeprefix("spaces/")]
            if verb == "logs":
                log = "".join(f'data: {{"data": "line {n}\\n", "timestamp": ""}}\n\n' for n in range(30))
                return self.send(200, log.encode(), "text/event-stream", {})
            if verb == "variables":
                return self.send_json({name: {"value": value} for name, value in space.variables.items()})
            if verb == "secrets":
                return self.send_json({name: {"description": None} for name in space.secrets})
            runtime = {"stage": space.stage(), "hardware": {"current": None, "requested": space.hardware}}
            return self.send_json({**runtime, "sha": hub.commit(repo), "errorMessage": space.error or None})

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.requests.append(f"{self.command} /{path}")
            api = path.startswith("api/")
            api_path = path.removeprefix("api/")
            prefix = next((kind for kind in ("datasets/", "spaces/") if api_path.startswith(kind)), "")
            parts = api_path.removeprefix(prefix or "models/").split("/")
            repo = prefix + "/".join(parts[:2])
            if repo not in hub.repos:
                return self.fail(404, "RepoNotFound", "Repository Not Found")
            if prefix == "spaces/" and parts[2:3] and parts[2] in ("variables", "secrets", "runtime", "logs"):
                return self.read_space(repo, parts[2])
            verb, revision = (parts[2], parts[3]) if len(parts) > 3 else ("revision", "main")
            commit = hub.commit(repo)
            if revision not in {"main", commit}:
                return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if api and verb == "revision":
                siblings = [{"rfilename": name} for name in hub.files(repo)]
                name = repo.removeprefix(prefix)
                private = repo in hub.private
                return self.send_json(
                    {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": private}
                )
            if api and verb == "tree":
                return self.send_json([self.entry(repo, name) for name in hub.files(repo)])
            file = hub.repos[repo] / "/".join(parts[4:])
            if not file.is_file():
                return self.fail(404, "EntryNotFound", "Entry not found")
            while self.command == "GET" and file.name in hub.held:
                time.sleep(0.02)
            data = file.read_bytes()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
            if file.name in hub.moved:
                return self.send(302, b"", "text/plain", {**headers, "Location": hub.moved[file.name]})
            if not (span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
                return self.send(200, data, "application/octet-stream", headers)
            first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.send(206, data[first : last + 1], "application/octet-stream", headers)

        def entry(self, repo: str, name: str) -> dict[str, object]:
            data = (hub.repos[repo] / name).read_bytes()
            blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            return {"type": "file", "path": name, "size": len(data), "oid": blob}

        def fail(self, status: int, code: str, message: str) -> None:
            self.send(status, b"{}", "application/json", {"X-Error-Code": code, "X-Error-Message": message})

        def send_json(self, body: object) -> None:
            self.send(200, json.dumps(body).encode(), "application/json", {})

        def send(self, status: int, data: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            name = unquote(urlsplit(self.path).path).rsplit("/", 1)[-1]
            if self.command == "GET" and name in hub.cut:
                self.wfile.write(data[: hub.cut.pop(name)])
                self.close_connection = True
            elif self.command != "HEAD":
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

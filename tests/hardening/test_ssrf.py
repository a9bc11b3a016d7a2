"""No words of a stranger make the server fetch from its own network, or read a file of its own: asked of the app."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests.conftest import PHOTOS
from tests.fakes.app_process import ROOT, AppProcess

TOWER = PHOTOS / "c2lc-coding-enviro__Eiffel-Tower-Paris-France-8a1669.jpg"
PACKED = gzip.compress(bytes(5_000_000))
INTERNET = "127.0.0.2"  # plays a public address
NAMES = {"inside.example": ["127.0.0.1"], "outside.example": [INTERNET], "rebound.example": [INTERNET, "127.0.0.1"]}
# Imported by the app's Python at its start: an internet of one address, and a resolver with names for it. What it says
# of a name twice is its last answer.
SITECUSTOMIZE = f"""
import socket
from img2loc.hardening import addresses

names, is_public, lookup = {NAMES!r}, addresses.is_public, socket.getaddrinfo

def getaddrinfo(host, *arguments, **more):
    answers = names.get(host, [host])
    return lookup(answers.pop(0) if len(answers) > 1 else answers[0], *arguments, **more)

socket.getaddrinfo = getaddrinfo
addresses.is_public = lambda address: address == {INTERNET!r} or is_public(address)
"""
META = {"_type": "gradio.FileData"}
# Loopback, as people write it who hope that a check reads it otherwise than the connection does.
DISGUISES = (
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "①②⑦.⓪.⓪.①",
    f"{INTERNET}@127.0.0.1",
    "inside.example",
)


class Site:
    """A web server that remembers what it was asked for."""

    def __init__(self, host: str) -> None:
        site = self
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.let_go = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers)))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                what, _, more = unquote(self.path).removeprefix("/").partition("/")
                moved = {"to": 302, "resend": 307}.get(what)
                self.send_response(moved or (404 if what == "gone" else 200))
                if moved:
                    self.send_header("Location", more)
                if what == "packed":
                    self.send_header("Content-Encoding", "gzip")
                if what == "slow":
                    site.let_go.wait(10)
                self.end_headers()
                try:
                    for _ in range(32 if what == "endless" else 1):
                        self.wfile.write({"packed": PACKED, "endless": bytes(1_000_000)}.get(what, TOWER.read_bytes()))
                except OSError:
                    pass  # whoever asked has had enough

            do_POST = do_GET

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def server_bind(self) -> None:
                if ":" in host:
                    self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                super().server_bind()

        self._http = Server((host, 0), Handler)
        self.port = self._http.server_port

    def __enter__(self) -> Site:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def inside() -> Iterator[Site]:
    """A server of this machine's own network, on each of its addresses. Nothing may ever ask it."""
    with Site("::" if socket.has_dualstack_ipv6() else "0.0.0.0") as site:
        yield site


@pytest.fixture(scope="module")
def outside() -> Iterator[Site]:
    """A server on the internet."""
    with Site(INTERNET) as site:
        yield site


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def http(uploads: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The app as a careless operator runs it: with every door that can be opened."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    opened = {"IMG2LOC_ALLOW_BASE_URL": "yes", "IMG2LOC_TIMEOUT_S": "5", "GRADIO_MCP_SERVER": "True"}
    opened["HF_HUB_OFFLINE"] = "0"
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "GRADIO_TEMP_DIR": str(uploads)}
    with AppProcess(**opened, **paths) as app, httpx.Client(base_url=f"{app.address}gradio_api/", timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
def left_alone(inside: Site) -> Iterator[None]:
    inside.asked.clear()
    yield
    assert inside.asked == []


def call(http: httpx.Client, name: str, headers: dict[str, str] | None = None, **data: Any) -> tuple[str, Any]:
    """Call an endpoint of the API: "complete" and its result, or "error" and what went wrong."""
    event = http.post(f"call/v2/{name}", json=data, headers=headers).json()["event_id"]
    last = http.get(f"call/{name}/{event}").text.strip().rsplit("event: ", 1)[-1]
    kind, _, given = last.partition("\ndata: ")
    return (kind, json.loads(given)[0]) if kind == "complete" else (kind, json.loads(given)["error"])


def send(http: httpx.Client, *events: tuple[int, list[Any]]) -> list[dict[str, Any]]:
    """Do what the page does, event by event, and give what became of each that was not refused at once."""
    ids = []
    for index, data in events:
        body = {"fn_index": index, "data": data, "session_hash": "page"}
        joined = http.post("queue/join", json=body)
        if joined.is_success:
            ids.append(joined.json()["event_id"])
        else:  # a check at a field comes before the queue
            assert not joined.json().get("event_id")
    done: dict[str, dict[str, Any]] = {}
    with http.stream("GET", "queue/data", params={"session_hash": "page"}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") == "process_completed":
                done[message["event_id"]] = message
            if len(done) == len(ids):
                break
    return [done[event] for event in ids]


def file(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": META, **more}


def tool(http: httpx.Client, **arguments: Any) -> dict[str, Any]:
    """Ask as an agent does."""
    body = {"method": "tools/call", "params": {"name": "neighbours", "arguments": {"nearest": 1, **arguments}}}
    accept = {"accept": "application/json, text/event-stream"}
    answer = http.post("mcp/", json={"jsonrpc": "2.0", "id": 1, **body}, headers=accept).text
    return json.loads(answer if answer.startswith("{") else answer.split("data: ", 1)[1])["result"]


def test_a_photo_is_fetched_from_the_internet_and_the_inner_server_does_listen(http, inside, outside):
    there = f"http://outside.example:{outside.port}"
    kind, found = call(http, "locate", photo=file(f"{there}/to/{there}/photo.jpg"))
    assert kind == "complete" and found["place"]["city"] == "Paris"
    assert [headers["Host"] for _, headers in outside.asked] == [f"outside.example:{outside.port}"] * 2
    assert not tool(http, photo=f"{there}/photo.jpg")["isError"]
    assert httpx.get(f"http://localhost:{inside.port}/").status_code == 200 and inside.asked.pop()


@pytest.mark.parametrize("host", DISGUISES)
def test_nothing_is_fetched_from_ones_own_network(http, inside, outside, host):
    url = f"http://{host}:{inside.port}/photo.jpg"
    for photo in (file(url, url=url), file(f"http://{INTERNET}:{outside.port}/to/{url}")):
        kind, words = call(http, "neighbours", photo=photo)
        assert kind == "error"
        assert "public internet" in words or "can't be reached" in words or "can't be read from its address" in words


def test_nor_is_it_for_a_batch_or_an_agent(http, inside, outside):
    for host in ("127.0.0.1", "inside.example"):
        url = f"http://{host}:{inside.port}/photo.jpg"
        assert call(http, "locate_batch", photos=[file(url)])[0] == "error"
        assert tool(http, photo=url)["isError"]
    for given in (str(TOWER), file(str(TOWER)), {"path": str(TOWER)}):  # an agent's file is not the server's
        assert tool(http, photo=given)["isError"]


def test_no_model_is_asked_in_ones_own_network(http, inside, outside):
    photo = {"photo": file(f"http://{INTERNET}:{outside.port}/photo.jpg"), "nearest": 1, "farthest": 0}
    keys = {"x-openai-api-key": "sk-visitors-own", "x-hf-token": "hf_visitors0wn"}
    for host in ("127.0.0.1", "[::ffff:7f00:1]", f"{INTERNET}@127.0.0.1", "inside.example"):
        url = f"http://{host}:{inside.port}/v1"
        for asked in (
            {"backend": "openai", "base_url": url},
            {"backend": "openai", "base_url": f"http://{INTERNET}:{outside.port}/resend/{url}"},
            {"backend": "openai", "base_url": f"http://{INTERNET}:{outside.port}/to/{url}"},
            {"backend": "hf", "base_url": url},
            {"backend": "hf", "model": url},
            {"backend": "llava", "model": url},
        ):
            kind, given = call(http, "locate", keys, **photo, **asked)
            assert kind == "error" or given["outcome"]["kind"] == "provider_error", asked
    resent = [headers for path, headers in outside.asked if path.startswith("/resend/")]
    assert len(resent) == 4 and "Bearer sk-visitors-own" in resent[0].values()  # it does ask, out there


def test_a_name_that_changes_its_mind_is_asked_where_it_was_checked(http, outside):
    kind, _ = call(http, "neighbours", photo=file(f"http://rebound.example:{outside.port}/once.jpg"))
    assert kind == "complete" and outside.asked[-1][0] == "/once.jpg"
    kind, words = call(http, "neighbours", photo=file(f"http://rebound.example:{outside.port}/twice.jpg"))
    assert kind == "error" and "rebound.example is not on the public internet" in words


def inputs(http: httpx.Client, types: str = "") -> Iterator[tuple[int, int, list[Any]]]:
    """Each input of each event: the event's index, the input's number, and what the page would send with it.

    Args:
        types: Of components; all of them where it is empty.
    """
    config = http.get("../config").json()
    components = {item["id"]: item for item in config["components"]}
    for event in config["dependencies"]:
        for number, item in enumerate(event["inputs"] if event["backend_fn"] else ()):
            kind = components[item]["type"]
            if kind in types.split() if types else kind != "state":  # a state never comes from the client
                yield event["id"], number, [components[item]["props"].get("value") for item in event["inputs"]]


def test_no_input_of_the_page_reaches_ones_own_network(http, inside, outside):
    """An address where a text, a number or a choice belongs is fetched by Gradio all the same: each input in turn."""
    asked = list(inputs(http))
    assert len(asked) > 50
    outside.asked.clear()
    events = []
    for index, number, data in asked:
        for site in (f"http://localhost:{inside.port}", f"http://{INTERNET}:{outside.port}"):
            events.append((index, [*data[:number], file(f"{site}/gone/{index}-{number}"), *data[number + 1 :]]))
    send(http, *events)
    # As a check of this test: the same way, each of the page's does reach the internet. The API's values are checked.
    events = http.get("../config").json()["dependencies"]
    checked = {event["id"] for event in events if event["api_visibility"] == "public"}
    reached = {path for path, _ in outside.asked}
    assert reached >= {f"/gone/{index}-{number}" for index, number, _ in asked if index not in checked}
    assert reached & {f"/gone/{index}-{number}" for index, number, _ in asked if index in checked and number} == set()


def test_what_is_no_photo_is_fetched_up_to_a_photos_size_and_not_unpacked(http, outside, uploads):
    there = f"http://{INTERNET}:{outside.port}"
    for what, words in (("endless", "larger than 30 MB"), ("packed", "a JPEG"), ("gone", "HTTP 404")):
        kind, said = call(http, "neighbours", photo=file(f"{there}/{what}"))
        assert kind == "error" and words in said
    assert outside.asked[-1][1]["Accept-Encoding"] == "identity"
    assert [path.stat().st_size for path in uploads.rglob("packed")] == [len(PACKED)]


@pytest.mark.parametrize(
    "route",
    ["file=http://{}/", "file/https://{}/", "file=%68ttp://{}/", "proxy=http://{}/", "proxy=https://x.hf.space/"],
)
def test_the_server_is_nobodys_proxy(http, outside, route):
    asked = len(outside.asked)
    for method in ("GET", "HEAD"):
        answer = http.request(method, route.format(f"{INTERNET}:{outside.port}"))
        assert answer.status_code == 404 and len(outside.asked) == asked


def test_no_program_works_on_what_anybody_sends(http):
    assert http.post("process_recording", files={"video": ("a.mp4", b"#EXTM3U")}).status_code == 404


def test_no_file_of_the_server_is_a_photo(http, uploads):
    (uploads / "inner").mkdir()
    climbing = f"{uploads}/inner/../../../{os.path.relpath(TOWER, '/')}"
    files = [
        *({"path": path} for path in (str(TOWER), climbing, os.path.relpath(TOWER, ROOT), "/proc/self/environ")),
        *({"path": str(TOWER), "meta": meta} for meta in ({}, {"_type": "another"})),
        *(file(path) for path in (str(TOWER), climbing)),
        file(str(TOWER), is_stream=True),
        file(str(TOWER), url=f"/gradio_api/file={TOWER}"),
    ]
    many = {index for index, _, _ in inputs(http, "file")}
    events = [
        (index, [*data[:number], [wanted] if index in many else wanted, *data[number + 1 :]])
        for index, number, data in inputs(http, "image file")
        for wanted in files
    ]
    assert len(events) >= 7 * len(files)
    for done in send(http, *events):
        assert not done["success"] or done["output"]["data"] == [], done


def test_uploads_stay_in_their_folder(http, uploads):
    names = ("../../../evil.jpg", "/etc/evil.jpg", "..\\..\\evil.jpg", "a\x00b.jpg", "inner/../evil.jpg")
    for name in names:
        stored = http.post("upload", files=[("files", (name, b"x"))]).json()
        assert [Path(path).resolve().is_relative_to(uploads.resolve()) for path in stored] == [True]
        assert Path(stored[0]).parent.parent.parent == uploads  # in a folder of the server's own
    assert http.post("upload", files=[("files", ("..", b"x"))]).status_code == 400


def test_no_route_gives_a_file_of_the_server(http, uploads):
    for path in (
        "file=/etc/passwd",
        "file=file:///etc/passwd",
        "file=../../etc/passwd",
        "file=..%2f..%2fetc%2fpasswd",
        f"file={uploads}/../../../etc/passwd",
        "file=app.py",
        f"file={TOWER}",
        "../assets/..%2f..%2f..%2fapp.py",
        "../static/..%2f..%2fapp.py",
        "../svelte/..%2fapp.py",
        "stream/..%2f/x/0/playlist.m3u8",
        "custom_component/..%2f/client/example/style.css",
    ):
        answer = http.get(path)
        assert answer.status_code >= 400 and "root:" not in answer.text and "Img2Loc" not in answer.text, path


def test_a_deep_link_names_no_file(http, uploads):
    for folder in (uploads, *uploads.glob("img2loc-*")):
        (folder / "state.json").write_text("[]")
    for link in ("..", "../..", "%2e%2e", str(uploads)):
        assert '"deep_link_state":"invalid"' in http.get("../config", params={"deep_link": link}).text.replace(" ", "")

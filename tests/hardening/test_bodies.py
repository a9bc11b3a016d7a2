"""Requests larger than any honest one are answered in words, and never taken into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest

from img2loc.hardening.bodies import MAX_AGENTS_BYTES, MAX_FIELD_BYTES, REFUSALS
from img2loc.web.page import MAX_REQUEST_BYTES
from tests.conftest import in_own_loop
from tests.fakes.app_process import AppProcess

LARGE = 60_000_000
GROWTH_MB = 40  # of the app, whatever is sent to it
TEMPLATE = "\U0001f5fc" * 20_000  # twelve bytes each, as Python writes JSON
CLOSING = httpx.Limits(max_keepalive_connections=0)


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with AppProcess(GRADIO_MCP_SERVER="True") as app:
        yield app


@pytest.fixture(scope="module")
def http(app: AppProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60, limits=CLOSING) as client:
        tower = Path(gr.get_image("tower.jpg")).read_bytes()
        (path,) = client.post("upload", files=[("files", ("a.jpg", tower))]).json()
        photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = client.post("call/v2/locate", json={"photo": photo}).json()["event_id"]
        assert "Paris" in client.get(f"call/locate/{event}").text  # all that the app needs is in memory
        yield client


def most_mb(app: AppProcess) -> int:
    """The highest use of memory so far."""
    status = Path(f"/proc/{app.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1000


def pieces(size: int) -> Iterator[bytes]:
    """JSON that doesn't say how long it is."""
    yield b'{"data":["'
    for _ in range(size // 60_000):
        yield b"x" * 60_000
    yield b'"]}'


@pytest.mark.parametrize("route", ["call/locate", "call/v2/locate", "queue/join", "run/predict"])
@pytest.mark.parametrize(
    "body", ['[NaN,"SECRET"]', '{"data":[],"trigger_id":"SECRET","event_data":"x","fn_index":NaN}']
)
def test_a_request_of_no_shape_is_repeated_to_nobody(http: httpx.Client, route: str, body: str):
    answer = http.post(route, content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500 and "SECRET" not in answer.text


@pytest.mark.parametrize("route", ["call/locate", "call/v2/locate", "queue/join", "run/predict", "cancel", "../config"])
@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in pieces"])
def test_a_large_request_is_refused_unread(app: AppProcess, http: httpx.Client, route: str, told: bool):
    before_mb = most_mb(app)
    body = json.dumps({"data": ["x" * LARGE]}).encode() if told else pieces(LARGE)
    method = "GET" if route == "../config" else "POST"
    answer = http.request(method, route, content=body, headers={"content-type": "application/json"})
    if method == "POST" or told:
        assert answer.status_code == 413 and f"larger than {MAX_REQUEST_BYTES:,} bytes" in answer.text
    assert most_mb(app) - before_mb < GROWTH_MB


def test_a_large_field_of_an_upload_is_refused_unread(app: AppProcess, http: httpx.Client):
    before_mb = most_mb(app)
    photo = ("files", ("a.jpg", b"a"))
    for path in ("upload", "upload?upload_id=1"):
        answer = http.post(path, data={"a": "x" * LARGE}, files=[photo])
        assert (answer.status_code, answer.text) == (400, "The upload contains more than photos.")
        assert http.post(path, data={"a": "x" * MAX_FIELD_BYTES}, files=[photo]).is_success
    assert most_mb(app) - before_mb < GROWTH_MB


def test_an_agent_s_large_request_is_refused(app: AppProcess, http: httpx.Client):
    before_mb = most_mb(app)
    arguments = {"photo": f"data:image/jpeg;base64,{'A' * LARGE}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "locate", "arguments": arguments}}
    answer = http.post("mcp/", json=body, headers={"accept": "application/json, text/event-stream"})
    assert answer.status_code == 413 and most_mb(app) - before_mb < GROWTH_MB


def test_what_is_as_large_as_it_may_be_is_taken(http: httpx.Client):
    joined = http.post("call/v2/locate", json={"photo": None, "prompt": TEMPLATE})
    assert len(json.dumps(TEMPLATE)) < MAX_REQUEST_BYTES < MAX_AGENTS_BYTES
    assert "photo must be a file" in http.get(f"call/locate/{joined.json()['event_id']}").text
    photos = [("files", (f"{n}.jpg", bytes([n]) * 1_000_000)) for n in range(5)]
    assert len(http.post("upload", files=photos).json()) == 5


def test_a_visitors_photo_is_stored_by_nobody_on_its_way(app: AppProcess, http: httpx.Client):
    (path,) = http.post("upload", files=[("files", ("a.jpg", b"a photo"))]).json()
    for route in (f"file={path}", f"file/{path}", "info"):
        answer = http.get(route)
        assert answer.is_success and answer.headers["cache-control"] == "private, no-store"
    asset = re.search(r"assets/[\w.-]+\.js", http.get(app.address).text)
    assert asset and "no-store" not in http.get(f"{app.address}{asset[0]}").headers.get("cache-control", "")


def test_a_full_queue_is_told_in_words():
    answer = in_own_loop(REFUSALS[503](None, None))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "60"
    assert json.loads(answer.body)["detail"] == "Too many photos are waiting. Try again in a minute."


@pytest.mark.parametrize("depth", [100, 900, 20_000])
def test_a_deep_request_gets_words(http: httpx.Client, depth: int):
    joined = http.post(
        "call/v2/locate",
        content=b'{"photo":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1),
        headers={"content-type": "application/json"},
    )
    answer = joined if joined.is_error else http.get(f"call/locate/{joined.json()['event_id']}")
    assert "error" in answer.text and "null" not in answer.text


@pytest.mark.parametrize(
    ("endpoint", "arguments", "status", "words"),
    [
        (
            "locate",
            {"photo": None, "bakend": "vote"},
            422,
            "no argument 'bakend'; there are photo, backend,",
        ),
        ("locate", {}, 422, "photo is missing; it must be a file, "),
        ("locat", {"photo": None}, 404, "There is no endpoint 'locat'; there are locate, locate_batch,"),
    ],
)
def test_a_wrong_name_gets_words(http: httpx.Client, endpoint: str, arguments: dict, status: int, words: str):
    answer = http.post(f"call/v2/{endpoint}", json=arguments)
    assert answer.status_code == status and words in answer.json()["error"]

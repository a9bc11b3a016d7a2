"""Wrong arguments, names and bodies get one sentence of ours, and are repeated in no answer and no log: on the app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import httpx
import pytest
from gradio.mcp import GradioMCPServer

from img2loc.web.api.checked_requests import ReadableRequests
from tests.fakes.app_process import AppProcess

SECRET = "sk-SECRET"
HUGE = json.dumps("x" * 100 + SECRET * 5_000)
FILE = '"meta": {"_type": "gradio.FileData"}'
WRONG = {
    "null": "null",
    "number": "7000",
    "fraction": "2.5",
    "NaN": "NaN",
    "huge number": "9" * 4000,
    "true": "true",
    "list": f'["{SECRET}"]',
    "deep list": "[" * 900 + f'"{SECRET}"' + "]" * 900,
    "object": f'{{"{SECRET}": 1}}',
    "no object's file": "{}",
    "no path": '{"path": null}',
    "path of a number": f'{{"path": 3, {FILE}}}',
    "url of a number": '{"url": 3}',
    "server's path": f'{{"path": "/etc/passwd", {FILE}}}',
    "server's path alone": '{"path": "/etc/passwd"}',
    "meta of a text": f'{{"path": "/{SECRET}", "meta": "{SECRET}"}}',
    "meta of another": f'{{"path": "/{SECRET}", "meta": {{"_type": "{SECRET}"}}}}',
    "size of a text": f'{{"path": "http://a.example/x", "size": "{SECRET}", {FILE}}}',
    "path of no host": f'{{"path": "http://[{SECRET}", {FILE}}}',
    "deep in a file": f'{{"path": "http://[", "a": {"[" * 900}{"]" * 900}, {FILE}}}',
    "files": f'[{{"path": "/etc/{SECRET}", {FILE}}}, 3]',
}
TEXTS = {
    "empty": '""',
    "huge": HUGE,
    "half a character": '"\\ud800"',
    "nul": '"\\u0000"',
    "a path": '"/etc/passwd"',
    "another scheme": f'"ftp://{SECRET}"',
    "no host": f'"http://[{SECRET}"',
    "cut data": f'"data:image/png;base64,AAAAA{SECRET}"',
    "no data": '"data:"',
    "not base64": '"data:image/png,%%%"',
    "data in another alphabet": '"data:image/png;base64,\\u00e9"',
}
COUNTS = dict.fromkeys(("nearest", "farthest"), "integer")
ASKED = dict.fromkeys(("model", "prompt", "base_url", "judge", "within"), "text")
ENDPOINTS = {
    "locate": {"photo": "photo", "backend": "choice", **COUNTS, **ASKED},
    "locate_batch": {"photos": "photos", "backend": "choice", **COUNTS, **ASKED},
    "neighbours": {"photo": "photo", **COUNTS, "within": "text"},
}
ROUTES = ("call/locate", "call/v2/locate", "queue/join", "run/locate", "api/locate", "cancel", "reset", "mcp/")
NOT_OURS = re.compile(
    r"view API|gradio app|pydantic|validation|Traceback|padding|Received|traceback|\\n", re.IGNORECASE
)


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with AppProcess(GRADIO_MCP_SERVER="True") as app:
        yield app
        printed = app.stop()
        assert "Traceback" not in printed and SECRET not in printed, printed[-3000:]


@pytest.fixture(scope="module")
def http(app: AppProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def uploaded(http: httpx.Client) -> str:
    tower = Path(gradio.get_image("tower.jpg")).read_bytes()
    (path,) = http.post("upload", files=[("files", ("a.jpg", tower))]).json()
    return f'{{"path": "{path}", {FILE}}}'


def post(http: httpx.Client, route: str, body: str | bytes, kind: str = "application/json") -> httpx.Response:
    headers = {"content-type": kind, "accept": "application/json, text/event-stream"}
    return http.post(route, content=body, headers=headers)


def by_v2(http: httpx.Client, name: str, arguments: dict[str, str]) -> tuple[bool, str]:
    """Call an endpoint with JSON values: whether it answered, and what it said."""
    body = ", ".join(f'"{key}": {value}' for key, value in arguments.items())
    return answer_of(http, name, post(http, f"call/v2/{name}", f"{{{body}}}"))


def by_position(http: httpx.Client, name: str, values: list[str]) -> tuple[bool, str]:
    return answer_of(http, name, post(http, f"call/{name}", f'{{"data": [{", ".join(values)}]}}'))


def answer_of(http: httpx.Client, name: str, joined: httpx.Response) -> tuple[bool, str]:
    if joined.is_error:
        return False, joined.json().get("error") or joined.json()["detail"]
    last = http.get(f"call/{name}/{joined.json()['event_id']}").text.strip().rsplit("event: ", 1)[-1]
    kind, _, data = last.partition("\ndata: ")
    return kind == "complete", data if kind == "complete" else json.loads(data)["error"]


def by_mcp(http: httpx.Client, name: str, arguments: dict[str, str]) -> tuple[bool, str]:
    values = ", ".join(f'"{key}": {value}' for key, value in arguments.items())
    call = f'{{"name": "{name}", "arguments": {{{values}}}}}'
    answer = post(http, "mcp/", f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {call}}}')
    result = told(answer)
    return not result["result"]["isError"], result["result"]["content"][0]["text"]


def told(answer: httpx.Response) -> dict[str, Any]:
    """What the MCP server says, as JSON or as an event."""
    return json.loads(answer.text if answer.text.startswith("{") else answer.text.split("data: ", 1)[1])


WAYS = {"v2": by_v2, "mcp": by_mcp}


def check_words(words: str, about: str = "") -> None:
    assert words.endswith(".") and len(words) < 400 and not NOT_OURS.search(words), words
    assert words.count(SECRET) < 12 and about in words, words


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "argument"), [(n, a) for n, arguments in ENDPOINTS.items() for a in arguments])
def test_a_wrong_argument_is_named(http: httpx.Client, uploaded: str, way: str, name: str, argument: str):
    kind = ENDPOINTS[name][argument]
    photo = '"https://a.invalid/x.jpg"' if way == "mcp" else uploaded  # never fetched, since the argument is wrong
    first = next(iter(ENDPOINTS[name]))
    right = {first: f"[{photo}]" if first == "photos" else photo}
    values = WRONG if kind == "text" else {**WRONG, **TEXTS}
    for title, value in values.items():
        answered, words = WAYS[way](http, name, {**right, argument: value})
        if kind == "photos" and value[:2] == '["':  # texts are photos there; each has an answer of its own
            assert answered and words.count(SECRET) < 30  # it names the photo
            continue
        assert not answered, f"{title}: {words[:300]}"
        check_words(words, "photo" if kind.startswith("photo") else argument)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_any_text_gets_an_answer_or_a_sentence(http: httpx.Client, uploaded: str, way: str, name: str):
    first = next(iter(ENDPOINTS[name]))
    photo = json.dumps("data:image/gif;base64,R0lGODlhAQABAAAAACw=") if way == "mcp" else uploaded
    for argument in (argument for argument, kind in ENDPOINTS[name].items() if kind == "text"):
        for backend in ("vote", "openai") if "backend" in ENDPOINTS[name] else ("",):
            more = {"backend": json.dumps(backend)} if backend else {}
            for value in TEXTS.values():
                right = {first: f"[{photo}]" if first == "photos" else photo, **more}
                answered, words = WAYS[way](http, name, {**right, argument: value})
                assert words.count(SECRET) < 25
                if not answered:
                    check_words(words)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("locate", {}, "photo is missing"),
        ("locate_batch", {}, "photos is missing"),
        ("neighbours", {}, "photo is missing"),
        ("neighbours", {SECRET: "1"}, "no argument"),
        ("info", {f"x{'y' * 100_000}{SECRET}": "1"}, "no argument"),
        ("backends", {"photo": "1"}, "no argument 'photo'"),
        ("locat", {}, "'locat'"),
        (f"x{'y' * 5_000}{SECRET}", {}, "'xyyy"),
    ],
)
def test_wrong_names_get_a_sentence(http: httpx.Client, way: str, name: str, arguments: dict[str, str], words: str):
    answered, said = WAYS[way](http, name, arguments)
    assert not answered
    check_words(said, words)


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("more", [-100, -1, 1, 20])
def test_a_wrong_number_of_arguments_is_named(http: httpx.Client, uploaded: str, name: str, more: int):
    count = len(ENDPOINTS[name])
    values = ([uploaded] + [f'"{SECRET}"'] * (count - 1 + more))[: max(count + more, 0)]
    answered, words = by_position(http, name, values)
    assert not answered
    check_words(words, f"takes {count} arguments")


@pytest.mark.parametrize("route", ["call", "run", "api"])
def test_an_endpoint_that_isnt_there_gets_a_sentence(http: httpx.Client, route: str):
    answer = post(http, f"{route}/{'x' * 5_000}{SECRET}", f'{{"data": ["{SECRET}"]}}')
    assert answer.status_code == 404
    check_words(answer.json()["error"], "no endpoint")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "x"])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[" * 100_000, b'{"data":' * 30_000, b'{"a":"\xff\xfe"}', b"1", b"[]", b"null", HUGE.encode()),
        *(b'{"data": 3}', b'{"data": []', b'{"data": [], "fn_index": 99999, "session_hash": "sk-SECRET"}'),
        *(b'{"data": ' + b"9" * 5_000 + b"}", b'{"jsonrpc": "2.0", "id": {}, "method": "sk-SECRET"}'),
        *(b'{"data": [' + b"[" * n + b"]" * n + b"]}" for n in (300, 950)),
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_cant_be_read_gets_a_sentence(http: httpx.Client, route: str, body: bytes, kind: str):
    answer = post(http, route, body, kind)
    assert answer.status_code < 500 or answer.headers["content-type"] == "application/json"
    if answer.is_error:
        said = answer.json()
        words = said.get("error") or said["detail"]
        check_words(words["message"] if isinstance(words, dict) else words)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        *(("tools/call", params) for params in ("3", "[]", "{}", '{"name": 3}', '{"name": "locate", "arguments": 3}')),
        *(("tools/call", f'{{"name": "locate", "arguments": ["{SECRET}"]}}'), ("initialize", f'{{"a": "{SECRET}"}}')),
        *((f"{SECRET}/x", "{}"), ("notifications/progress", f'{{"progressToken": ["{SECRET}"]}}'), (SECRET, "3")),
        *(("resources/read", f'{{"uri": "{SECRET}"}}'), ("prompts/get", f'{{"name": "{SECRET}"}}')),
    ],
)
@pytest.mark.parametrize("request_id", ['"id": 1,', ""])
def test_a_message_that_mcp_doesnt_have_gets_a_sentence(http: httpx.Client, method: str, params: str, request_id: str):
    body = f'{{"jsonrpc": "2.0", {request_id} "method": "{method}", "params": {params}}}'
    answer = post(http, "mcp/", body)
    assert answer.status_code < 500 and answer.text.count(SECRET) < 2
    if answer.text:
        check_words(told(answer)["error"]["message"])


def test_tools_are_known_by_the_names_that_they_have_on_a_space(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "owner/img-2.loc")
    named = {GradioMCPServer.valid_and_unique_tool_name(f"img-2.loc_{name}", set()) for name in (*ENDPOINTS, "info")}
    assert named | {"img_2_loc_backends"} == set(ReadableRequests(None, ["vote"])._tools)

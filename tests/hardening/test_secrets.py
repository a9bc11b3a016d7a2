"""A key that comes in by any way stands nowhere afterwards, whatever a provider does with it. PLACES says where."""

from __future__ import annotations

import html
import io
import json
import resource
import traceback
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from img2loc.__main__ import main
from img2loc.errors import LMMError
from img2loc.lmm import BackendOptions, Turn, open_lmm, retry
from img2loc.locator import Locator
from img2loc.policy.settings import Settings
from img2loc.web.request import LocateRequest
from img2loc.web.tabs import contestants
from tests.conftest import PHOTOS
from tests.fakes.canaries import Canaries, as_bytes, canary, unpacked
from tests.fakes.echoing_server import MODELS, EchoingServer
from tests.fakes.watched_app import WatchedApp

Places = dict[str, list[str | bytes]]

TOWER = PHOTOS / "c2lc-coding-enviro__Eiffel-Tower-Paris-France-8a1669.jpg"
CLOSING = httpx.Limits(max_keepalive_connections=0)
KEYS = Canaries(
    page=canary("page"),
    compare=canary("compare"),
    api=canary("api", ""),  # as some providers' keys are, it begins like no key
    agent=canary("agent"),
    environment=canary("environment"),
    hf_page=canary("hf page", "hf_"),
    hf_api=canary("hf api", "hf_"),
    hf_agent=canary("hf agent", "hf_"),
    hf_environment=canary("hf environment", "hf_"),
    misplaced=canary("misplaced"),
)
KEY_FIELDS = list(contestants.keyed_providers(Settings(openai_base_url="http://127.0.0.1:1/v1")))
OPENAI, HF = "x-openai-api-key", "x-hf-token"
FORCED = "FORCED $nearest $farthest"
# Where a key could be found, and a word that stands there for certain: proof that the place was looked at.
PLACES = {
    "answers of the API": "redirects to another address",
    "answers to agents": "Paris",
    "answers to the page": "process_completed",
    "exports in the page": "FeatureCollection",
    "the page": "Gallery: starter",
    "/config": '"components"',
    "/gradio_api/info": "/locate_batch",
    "/gradio_api/openapi.json": "openapi",
    "/gradio_api/runs": "Not found",
    "/gradio_api/deep_link": "doesn't offer",
    "/gradio_api/queue/status": "queue_size",
    "/gradio_api/mcp/schema": "locate_batch",
    "/monitoring/summary": "not enabled",
    "/info and /backends": "gpt-5.5",
    "stdout and stderr": "Running on local URL",
    "tracebacks": "RuntimeError: an error that nobody expects",
    "crash output": "Fatal Python error: Aborted",
    "logs": "HTTP Request: POST",
    "uploads and caches": "JFIF",
    "names of files": "tower.jpg",
    "process list": "app.py",
    "journals": '"answered"',
    "reports": "median error",
    "output of the command line": "has no model",
    "exceptions, their reprs and locals": "LMMRateLimitError",
    "reprs of what holds a key": "Settings(",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[EchoingServer]:
    with EchoingServer() as server:
        yield server


class Visitor:
    """Asks the app in every way there is, and keeps what it is told, by place."""

    def __init__(self, http: httpx.Client, places: Places) -> None:
        self.http = http
        self.places = places
        picture = io.BytesIO()
        with Image.open(TOWER) as tower:
            tower.resize((320, 320)).save(picture, "JPEG")
        self.data_url = f"data:image/jpeg;base64,{b64encode(picture.getvalue()).decode()}"
        stored = http.post("upload", files=[("files", ("tower.jpg", picture.getvalue()))]).json()[0]
        self.photo = {"path": stored, "meta": {"_type": "gradio.FileData"}, "orig_name": "tower.jpg"}
        config = http.get("../config").json()
        self.events = {item["api_name"]: item["id"] for item in config["dependencies"]}
        values = {item["id"]: item["props"].get("value") for item in config["components"]}
        taking = next(item for item in config["dependencies"] if item["api_name"] == "take")
        self.key_labels = values[taking["inputs"][1]]

    def api(self, endpoint: str, headers: Mapping[str, str], place: str = "answers of the API", **data: Any) -> None:
        joined = self.http.post(f"call/v2/{endpoint}", json=data, headers=headers)
        self.keep(place, joined)
        if joined.is_success:
            self.keep(place, self.http.get(f"call/{endpoint}/{joined.json()['event_id']}"))

    def agent(self, headers: Mapping[str, str], place: str = "answers to agents", **arguments: Any) -> None:
        if isinstance(arguments.get("photo"), dict) and "orig_name" in arguments["photo"]:
            arguments["photo"] = self.data_url
        arguments.setdefault("photo", self.data_url)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "locate", "arguments": arguments}}
        accept = {"accept": "application/json, text/event-stream"}
        self.keep(place, self.http.post("mcp/", json=body, headers={**accept, **headers}))

    def page(self, session: str, event: str, *data: Any) -> None:
        """Do what the page does when a visitor acts; None stands for the session's state."""
        body = {"fn_index": self.events[event], "data": data, "session_hash": session}
        joined = self.http.post("queue/join", json=body)
        self.keep("answers to the page", joined)
        if joined.status_code == httpx.codes.UNPROCESSABLE_ENTITY:  # what is wrong is said beside its field
            assert event == "take"
            return
        self.keep("answers to the page", self.http.get("queue/data", params={"session_hash": session}))
        assert '"process_completed"' in self.places["answers to the page"][-1]

    def type_key(self, session: str, provider: str, key: str) -> None:
        """Type a key into a provider's field of the page."""
        self.page(session, "take", None, self.key_labels, *(key if name == provider else "" for name in KEY_FIELDS))

    def keep(self, place: str, answer: httpx.Response) -> None:
        self.places.setdefault(place, []).append(f"{answer.headers}\n{answer.text}")


def visit(visitor: Visitor) -> None:
    """Bring every key to every failure."""
    key, photo = KEYS.keys, visitor.photo
    few = {"nearest": 1, "farthest": 1}
    with ThreadPoolExecutor(8) as pool:
        asked = [{"backend": backend, "model": name, **few} for model in MODELS for backend, name in both(model)]
        for header in ({OPENAI: key["api"], HF: key["hf_api"]}, {}):  # without, it's at the operator's expense
            list(pool.map(lambda how, header=header: visitor.api("locate", header, photo=photo, **how), asked))
    for model in ("says", "400", FORCED):
        for backend, name in both(model):
            how = {"backend": backend, "model": name, "prompt": FORCED if model == FORCED else "", **few}
            visitor.agent({OPENAI: key["agent"], HF: key["hf_agent"]}, **how)
            visitor.api("locate_batch", {OPENAI: key["api"], HF: key["hf_api"]}, photos=[photo], **how)
    for session, backend, name in (("page", "openai", ""), ("hf_page", "hf", "some/")):
        visitor.type_key(session, backend, key[session])
        visitor.page(session, "list_models", backend, "", "good", None)
        for template, model in (("", "says"), ("", "plain"), ("", "400"), (FORCED, "good")):
            visitor.page(session, "locate_1", photo, "", backend, name + model, None, 1, 1, template, "", "off", "")
        visitor.page(session, "locate_all", [photo], backend, f"{name}says", None, 1, 1, "", "", "0,10", "")
    visitor.type_key("compare", "openai", key["compare"])
    visitor.page("compare", "compare", photo, [f"openai:{model}" for model in MODELS[:6]], None, "")
    visitor.places["what was misplaced"] = []  # it comes back to who sent it
    for wrong in ("model", "prompt", "base_url", "backend", "nearest", "judge", "photo", "api_key"):
        for misplaced in (key["misplaced"], [key["misplaced"]], {"path": key["misplaced"]}, {"url": key["misplaced"]}):
            how = {**few, "photo": photo, "backend": "openai", wrong: misplaced}
            visitor.api("locate", {}, "what was misplaced", **how)
            visitor.agent({}, "what was misplaced", **how)
    for misplaced in (key["misplaced"], [key["misplaced"]], [{"path": key["misplaced"], "meta": photo["meta"]}]):
        visitor.api("locate_batch", {}, "what was misplaced", photos=misplaced)
        visitor.api("neighbours", {}, "what was misplaced", photo=misplaced)
    visitor.type_key("misplaced", "openai", f"{key['misplaced']} {key['misplaced']}")
    for path in (name for name in PLACES if name.startswith("/") and " " not in name):
        sessions = ("page", "hf_page", "compare") if path.endswith("deep_link") else ("",)
        for session in sessions:
            visitor.keep(path, visitor.http.get(f"..{path}", params={"session_hash": session}))
    visitor.keep("the page", visitor.http.get("../"))
    for endpoint in ("info", "backends"):
        visitor.api(endpoint, {}, "/info and /backends")


def both(model: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The backends that ask a provider, and how a model is called at each."""
    return ("openai", model), ("hf", f"some/{model}")


@pytest.fixture(scope="module")
def served(provider: EchoingServer, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """All that an app has said and left behind that has had every key, met every failure, and crashed."""
    places: Places = {}
    machine = tmp_path_factory.mktemp("machine")
    settings = {"IMG2LOC_OPENAI_BASE_URL": provider.base_url, "IMG2LOC_TIMEOUT_S": "2"}
    operators = {"OPENAI_API_KEY": KEYS.keys["environment"], "HF_TOKEN": KEYS.keys["hf_environment"]}
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))  # whatever crashes leaves its picture
    try:
        with WatchedApp(machine, router=provider.base_url, **settings, **operators) as app:
            with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60, limits=CLOSING) as http:
                visit(Visitor(http, places))
            places["process list"] = [Path(f"/proc/{app.pid}/cmdline").read_bytes()]
            said = app.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
    left = app.files("home", "temporary", "work")
    for place in ("stdout and stderr", "tracebacks", "crash output"):
        places[place] = [said]
    places["exports in the page"] = list(unpacked(*places["answers to the page"]))
    places["logs"] = [app.log]
    places["uploads and caches"] = [file.read_bytes() for file in left]
    places["names of files"] = ["\n".join(map(str, left))]
    places["connections"] = sorted(app.connections)
    return places


@pytest.fixture(scope="module")
def on_the_command_line(
    provider: EchoingServer, starter: Locator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Places]:
    """What runs leave behind that take their key from the environment."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "photos").mkdir()
    (folder / "photos" / TOWER.name).write_bytes(TOWER.read_bytes())
    (folder / "truth.csv").write_text(f"id,lat,lon\n{TOWER.name},48.8584,2.2945\n")
    data = ["--truth", str(folder / "truth.csv"), "--photos", str(folder / "photos"), "--out", str(folder / "runs")]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(Locator, "open", lambda *_, **__: starter)
        patch.setattr(retry, "FIRST_WAIT_S", 0.001)
        patch.setenv("OPENAI_API_KEY", KEYS.keys["environment"])
        patch.setenv("HF_TOKEN", KEYS.keys["hf_environment"])
        for model in ("good", "says", "mumbles", "404", "429"):
            for backend, name in both(model):
                asked = ["--backend", backend, "--model", name, "--base-url", provider.base_url]
                main(["evaluate", "run", *data, *asked])
                main(["locate", str(TOWER), "--json", *asked])
        assert main(["evaluate", "report", str(folder / "runs"), "--out", str(folder / "report")]) == 0
    journals, reports = (folder / "runs").iterdir(), folder.glob("report.*")
    return {
        "output of the command line": [said.getvalue()],
        "journals": [file.read_bytes() for file in journals],
        "reports": [file.read_bytes() for file in reports],
    }


@pytest.fixture(scope="module")
def raised(provider: EchoingServer) -> Places:
    """Every error of a model, as a debugger would show it; and all that holds a key, as it shows itself."""
    shown, reprs = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "FIRST_WAIT_S", 0.001)
        for model in MODELS:
            for (backend, name), channel in zip(both(model), ("api", "hf_api"), strict=True):
                options = BackendOptions(KEYS.keys[channel], name, provider.base_url, timeout_s=2)
                lmm = open_lmm(backend, options)
                reprs += [repr(options), repr(lmm)]
                try:
                    reprs.append(repr(lmm.reply((Turn("user", "Where is this?"),), b"")))
                except LMMError as error:
                    inside = error.__traceback__.tb_next  # this function's own variables are of no interest
                    told = traceback.TracebackException(type(error), error, inside, capture_locals=True)
                    shown += ["".join(told.format()), repr(error)]
    settings = Settings(openai_api_key=KEYS.keys["environment"], hf_token=KEYS.keys["hf_environment"])
    reprs += [
        repr(settings),
        repr(settings.options("openai")),
        repr(LocateRequest(None, keys={"openai": KEYS.keys["page"]})),
    ]
    return {"exceptions, their reprs and locals": shown, "reprs of what holds a key": reprs}


@pytest.fixture(scope="module")
def places(served: Places, on_the_command_line: Places, raised: Places) -> Places:
    return {**served, **on_the_command_line, **raised}


@pytest.mark.parametrize("place", PLACES)
def test_no_key_stands_in(place: str, places: Places):
    assert any(PLACES[place].encode() in as_bytes(content) for content in places[place])
    assert KEYS.found(*places[place]) == set()


def test_each_key_was_used(places: Places, provider: EchoingServer):
    """And each would be found: the requests that the provider got hold them all."""
    assert {sent.key for sent in provider.sent} >= {key for name, key in KEYS.keys.items() if name != "misplaced"}
    assert KEYS.found(*(sent.key for sent in provider.sent), *places["what was misplaced"]) == set(KEYS.keys)


def test_a_crash_leaves_no_picture_of_the_memory(places: Places):
    assert "core" not in places["names of files"][0].replace("score", "")


def test_the_server_asks_nobody_but_the_provider(places: Places):
    assert places["connections"] == ["127.0.0.1"]


@pytest.mark.parametrize("form", [str, quote, json.dumps, html.escape, lambda key: b64encode(key.encode()).decode()])
def test_a_key_is_found_in_every_form(form):
    for channel, key in KEYS.keys.items():
        text = f"... {form(key)} ..."
        assert (
            KEYS.found(text) == KEYS.found(f"data:text/plain;base64,{b64encode(text.encode()).decode()}") == {channel}
        )
    assert KEYS.found("... ... Running on local URL") == set()

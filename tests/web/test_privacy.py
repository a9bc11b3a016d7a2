"""What visitors send goes no further than it must, and doesn't stay. The page's own requests: browser/conftest.py."""

from __future__ import annotations

import os
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from img2loc.hardening import upload_folder
from tests.fakes.echoing_server import EchoingServer
from tests.fakes.watched_app import WatchedApp
from tests.soak.photos import JPEG_PARTS
from tests.soak.picture_files import FORMATS, SERIAL, SMALL, encoded, picture, sources

KEPT_S = 3600  # as SECURITY.md says
SOON_S = 20
NAME = "our-house-in-ulm"


@pytest.fixture(scope="module")
def provider() -> Iterator[EchoingServer]:
    with EchoingServer() as server:
        yield server


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="module")
def app(provider: EchoingServer, machine: Path) -> Iterator[WatchedApp]:
    with WatchedApp(
        machine, router=provider.base_url, IMG2LOC_OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="sk-operator"
    ) as app:
        yield app


@pytest.fixture
def http(app: WatchedApp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60) as client:
        yield client


def described(format_name: str) -> bytes:
    """A picture whose file says more than the picture."""
    if format_name == "GIF":
        return encoded(picture(0, SMALL, "P"), "GIF", comment=SERIAL)
    return next(source for source in sources(format_name) if SERIAL in source)


def upload(http: httpx.Client, *photos: tuple[str, bytes]) -> list[dict[str, object]]:
    stored = http.post("upload", files=[("files", photo) for photo in photos]).json()
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in stored]


def ask(http: httpx.Client, endpoint: str, **data: object) -> str:
    data |= {"backend": "openai", "model": "good", "nearest": 1, "farthest": 1}
    event = http.post(f"call/v2/{endpoint}", json=data).json()["event_id"]
    return http.get(f"call/{endpoint}/{event}").text


def soon(holds) -> bool:
    end = time.monotonic() + SOON_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def assert_bare(provider: EchoingServer, sent: list, count: int) -> None:
    """What the provider got is a picture, a prompt and nothing else."""
    assert len(sent) == count
    for request in sent:
        assert request.jpeg.startswith(b"\xff\xd8") and SERIAL not in request.jpeg
        assert {bytes([part]) for part in parts_of(request.jpeg)} <= JPEG_PARTS
        assert NAME.encode() not in request.body and SERIAL not in request.body


def parts_of(jpeg: bytes) -> Iterator[int]:
    """The kinds of a JPEG's segments, up to its first scan."""
    at, kind = 2, 0
    while kind != 0xDA:
        assert jpeg[at] == 0xFF
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield kind
        at += 2 + length


@pytest.mark.parametrize("format_name", FORMATS)
def test_only_the_picture_reaches_a_provider(http: httpx.Client, provider: EchoingServer, format_name: str):
    photos = upload(http, (f"{NAME}.{format_name.lower()}", described(format_name)))
    with provider.listening() as sent:
        found = ask(http, "locate", photo=photos[0]) + ask(http, "locate_batch", photos=photos)
    assert found.count("An iron lattice tower.") >= 2, found[:500]
    assert_bare(provider, sent, 2)


def test_only_the_picture_of_an_agent_reaches_a_provider(http: httpx.Client, provider: EchoingServer):
    photo = f"data:image/jpeg;base64,{b64encode(described('JPEG')).decode()}"
    arguments = {"photo": photo, "backend": "openai", "model": "good"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "locate", "arguments": arguments}}
    with provider.listening() as sent:
        answer = http.post("mcp/", json=body, headers={"accept": "application/json, text/event-stream"})
    assert "An iron lattice tower." in answer.text
    assert_bare(provider, sent, 1)


def test_the_guard_would_see_a_description():
    whole = described("JPEG")
    assert SERIAL in whole and not {bytes([part]) for part in parts_of(whole)} <= JPEG_PARTS


def pictures(app: WatchedApp) -> list[Path]:
    return [file for file in app.files("home", "temporary", "work") if file.suffix in (".jpg", ".webp", ".png")]


def test_uploads_are_deleted_on_schedule(app: WatchedApp, http: httpx.Client):
    (photo,) = upload(http, (f"{NAME}.jpg", described("JPEG")))
    ask(http, "locate", photo=photo)
    file = Path(str(photo["path"]))
    time.sleep(0.5)  # several sweeps: its age counts from when it is first seen
    app.move_clock(KEPT_S - 60)
    time.sleep(0.5)
    assert file.exists()
    app.move_clock(KEPT_S + 60)
    assert soon(lambda: not file.exists())
    examples = {"tower.jpg", "cheetah1.jpg"}
    assert soon(lambda: {left.name for left in pictures(app)} == examples)  # an agent's is gone, too
    app.move_clock(0)


def test_the_operator_may_keep_photos_for_a_minute_only(provider: EchoingServer, tmp_path: Path):
    (tmp_path / "machine").mkdir()
    with (
        WatchedApp(tmp_path / "machine", router=provider.base_url, IMG2LOC_KEEP_MINUTES="1") as app,
        httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60) as http,
    ):
        (photo,) = upload(http, (f"{NAME}.jpg", described("JPEG")))
        time.sleep(0.5)  # several sweeps, which see it
        app.move_clock(65)
        assert soon(lambda: not Path(str(photo["path"])).exists())


@pytest.mark.parametrize("wrong_s", [-1e9, -4000.0, 0.0, 4000.0, 1e9])
def test_a_clock_that_is_set_deletes_no_upload_early_and_none_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong_s: float
):
    """Files' own times may be anything; what counts is how long a file has been there since it was last sent."""
    folder = upload_folder.make_upload_folder(tmp_path)
    every_s, files = upload_folder.SWEEP_EVERY_S, (folder.path / "photo.jpg", folder.path / "again.jpg")
    sent, gone = dict.fromkeys(files, every_s / 2), dict[Path, float]()

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def wait(self, seconds: float) -> bool:
            """Let the time pass, and what happens in it; whether it is over."""
            gone.update({file: self.now for file in files if self.now > 0 and not file.exists() and file not in gone})
            for file in files if self.now == 0 else files[1:] if self.now == KEPT_S - every_s else ():
                sent[file] = self.now + seconds / 2
                file.write_bytes(b"photo")
                os.utime(file, (0, 2e9 + self.now + wrong_s))
            self.now += seconds
            return self.now > 3 * KEPT_S

    clock = Clock()
    monkeypatch.setattr(upload_folder, "time", clock)
    upload_folder._sweep(folder, set(), KEPT_S, clock)
    assert {file: KEPT_S <= gone[file] - sent[file] <= KEPT_S + every_s for file in files} == dict.fromkeys(files, True)


def test_a_killed_server_leaves_nothing_for_long(app: WatchedApp, provider: EchoingServer, tmp_path: Path):
    """Its folder goes when the next server starts; that of one that lives stays."""
    here = {"TMPDIR": str(app.machine / "temporary")}
    (tmp_path / "machine").mkdir()
    with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60) as http:
        (ours,) = upload(http, ("ours.jpg", described("JPEG")))
    killed = WatchedApp(tmp_path / "machine", router=provider.base_url)
    killed.environment |= here
    with killed, httpx.Client(base_url=f"{killed.address}gradio_api/", timeout=60) as http:
        (left,) = upload(http, (f"{NAME}.jpg", described("PNG")))
        os.kill(killed.pid, signal.SIGKILL)
        assert soon(lambda: not killed.runs())
    assert Path(str(left["path"])).exists()
    with killed, httpx.Client(base_url=f"{killed.address}gradio_api/", timeout=60) as http:
        assert not Path(str(left["path"])).exists()
        (again,) = upload(http, (f"{NAME}.jpg", described("PNG")))
    assert not Path(str(again["path"])).exists()  # it ended as it should
    assert Path(str(ours["path"])).exists()


def test_the_server_asks_nobody_but_the_provider(app: WatchedApp, http: httpx.Client):
    """Run last: all of the above has happened by then."""
    http.get("../").raise_for_status()
    assert app.connections == {"127.0.0.1"}

"""The host: the starter stands in while, or where, the configured gallery can't be had."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

import img2loc.locator
import img2loc.web.gallery_loader
from img2loc.errors import ConfigError, GalleryError, GalleryMismatchError
from img2loc.policy.settings import Settings
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import CALIBRATION, INDEX, MANIFEST
from img2loc.web.gallery_loader import Host
from tests.conftest import PHOTOS
from tests.fakes.app_process import ROOT, AppProcess
from tests.fakes.hub_server import serve_hub
from tests.retrieval.test_gallery import reseal
from tests.soak.faults import write_planet


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch):
    """Later ones would fall into other tests."""
    monkeypatch.setattr(img2loc.web.gallery_loader, "RETRY_AFTER_S", (3600.0,))


def test_the_starter_is_known_before_it_is_opened(monkeypatch):
    monkeypatch.setattr(img2loc.locator, "open_gallery", lambda name, **_: pytest.fail("opened"))
    host = Host(Settings())
    assert (host.manifest.name, host.pending, host.notice) == ("starter", False, "")


def test_those_who_come_at_once_wait_for_one_opening(monkeypatch):
    opened, entered, arrive = [], threading.Event(), threading.Event()

    def slowly(name, *, on_bytes):
        opened.append(name)
        entered.set()
        assert arrive.wait(60)
        return open_gallery(name)

    monkeypatch.setattr(img2loc.locator, "open_gallery", slowly)
    host = Host(Settings())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: host.locator)
        assert entered.wait(60)
        second = pool.submit(lambda: host.locator)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.1)
        arrive.set()
        assert first.result() is second.result() is host.locator
    assert opened == ["starter"]


def test_a_gallery_that_cannot_be_had_leaves_the_starter(tmp_path, capsys):
    host = Host(Settings(gallery=str(tmp_path)))
    assert host.pending and "Opening gallery" in host.notice
    assert host.locator.gallery.manifest.name == host.manifest.name == "starter" and not host.pending
    assert (
        host.notice == f"Gallery {tmp_path.name} can't be opened right now; the starter gallery answers until it can."
    )
    assert f"{tmp_path} has no manifest.json" in capsys.readouterr().err


def test_an_encoder_that_cannot_be_had_on_the_starter_stops_the_start():
    with pytest.raises(ConfigError, match=r"IMG2LOC_ENCODER can't be used: .*no/such/encoder"):
        Host(Settings(encoder="no/such/encoder")).open()


def test_a_setting_that_is_wrong_stops_the_start(tmp_path, monkeypatch, capsys):
    def refuse(manifest):
        raise ConfigError("set IMG2LOC_ENCODER to that folder")

    monkeypatch.setattr(img2loc.locator, "_encoder_source", refuse)
    shutil.copytree(STARTER, tmp_path / "g")
    with pytest.raises(ConfigError, match="IMG2LOC_ENCODER"):
        Host(Settings(gallery=str(tmp_path / "g")), grace_s=60).open()
    assert capsys.readouterr().err == ""  # app.py says it, once


def opening(monkeypatch, *outcomes):
    """Let tries to open another gallery than the starter fail with what is given, the last one again and again."""
    tries = []

    def open_it(name, **_):
        if name == "starter":
            return open_gallery(name)
        tries.append(name)
        outcome = outcomes[min(len(tries), len(outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return open_gallery(outcome)

    monkeypatch.setattr(img2loc.locator, "open_gallery", open_it)
    return tries


def soon(holds) -> bool:
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_a_log_that_cannot_be_written_ends_no_opening(monkeypatch):
    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opening(monkeypatch, RuntimeError("x"), GalleryError("y"), str(STARTER))
    monkeypatch.setattr(img2loc.web.gallery_loader, "RETRY_AFTER_S", (0.05,))
    monkeypatch.setattr(sys, "stderr", FullDisk())
    host = Host(Settings(gallery="someone/gallery"), grace_s=60)
    assert host.locator.gallery.manifest.name == "starter"
    assert soon(lambda: host.notice == "")


def test_a_missing_folder_does_not_become_a_strangers_repository(tmp_path, monkeypatch):
    (tmp_path / "galleries").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("img2loc.retrieval.gallery.fetch", lambda *_, **__: pytest.fail("the Hub was asked"))
    with pytest.raises(GalleryError, match="the folder galleries has no folder 'holiday'"):
        open_gallery("galleries/holiday")


def test_an_unexpected_error_is_a_failure_that_the_log_explains_without_its_words(tmp_path, monkeypatch, capsys):
    opening(monkeypatch, RuntimeError("Illegal header value: Bearer hf_secret"))
    host = Host(Settings(gallery="someone/gallery"), grace_s=60)
    assert host.locator.gallery.manifest.name == "starter" and not host.pending
    assert host.notice.startswith("Gallery someone/gallery can't be opened right now;")
    logged = capsys.readouterr().err
    assert "The gallery 'someone/gallery' can't be opened (RuntimeError)" in logged
    assert "will try again automatically" in logged
    assert "unexpected RuntimeError at" in logged and "in _open" in logged
    assert "hf_secret" not in logged + host.notice


def test_a_gallery_that_fails_is_tried_again_until_it_answers(tmp_path, monkeypatch, capsys):
    other = shutil.copytree(STARTER, tmp_path / "other")
    away = GalleryError("The Hub can't be reached.")
    tries = opening(monkeypatch, away, away, MemoryError(), str(other))
    monkeypatch.setattr(img2loc.web.gallery_loader, "RETRY_AFTER_S", (0.2, 0.05))
    host = Host(Settings(gallery="someone/gallery"), grace_s=60)
    assert host.locator.gallery.folder == STARTER
    assert soon(lambda: host.locator.gallery.folder == other)
    assert (host.notice, host.pending, len(tries)) == ("", False, 4)
    assert capsys.readouterr().err.count("The Hub can't be reached.") == 1  # not at every try


def test_what_only_another_setting_mends_is_not_tried_again(monkeypatch, capsys):
    tries = opening(monkeypatch, GalleryMismatchError("Made with another encoder."))
    monkeypatch.setattr(img2loc.web.gallery_loader, "RETRY_AFTER_S", (0.01,))
    host = Host(Settings(gallery="someone/gallery"), grace_s=60)
    assert host.locator.gallery.folder == STARTER
    assert host.notice == "Gallery someone/gallery can't be opened; the starter gallery answers instead."
    logged = capsys.readouterr().err
    assert "Made with another encoder. The starter gallery answers instead. Restart to try again." in logged
    assert not host.can_change  # so that no page asks again
    time.sleep(0.2)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("gallery", "name"),
    [
        ("/srv/secret/planet", "planet"),
        ("~/galleries/planet/", "planet"),
        ("img2loc/starter", "starter"),  # a folder, as tests run in the root of the repository
        ("someone/gallery@main", "someone/gallery@main"),
        ("../a\0b", "a\0b"),
        ("x" * 5000, "x" * 5000),
        ("/", "/"),
    ],
)
def test_visitors_see_a_gallerys_name_without_the_folders_above_it(gallery, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    host = Host(Settings(gallery=gallery))
    assert host.notice == f"Opening gallery {name}. The starter gallery answers in the meantime."


@pytest.mark.parametrize("damage", ["index", "calibration", "manifest"])
def test_visitors_see_no_reason_and_the_log_has_it(damage, tmp_path, capsys):
    """FAISS quotes its source, pydantic links to its documentation, and both name folders of the server."""
    folder = tmp_path / "planet"
    write_planet(folder, 0)
    if damage == "manifest":
        (folder / MANIFEST).write_text('{"schema_version": 1}', encoding="utf-8")
    else:
        (folder / {"index": INDEX, "calibration": CALIBRATION}[damage]).write_bytes(b"{}")
        reseal(folder)
    host = Host(Settings(gallery=str(folder)), grace_s=60)
    host.open()
    assert host.notice == "Gallery planet can't be opened right now; the starter gallery answers until it can."
    logged = capsys.readouterr().err
    assert str(folder) in logged and "can't be read" in logged and "pydantic.dev" not in logged


def test_an_opening_that_hangs_is_said_to_and_pages_stop_asking(tmp_path, monkeypatch):
    other = shutil.copytree(STARTER, tmp_path / "other")
    arrive = threading.Event()

    def hang(name, **_):
        assert name == "starter" or arrive.wait(60)
        return open_gallery(name)

    monkeypatch.setattr(img2loc.locator, "open_gallery", hang)
    monkeypatch.setattr(img2loc.web.gallery_loader, "STALLED_S", 0.5)
    host = Host(Settings(gallery=str(other)), grace_s=0.1)
    assert host.locator.gallery.folder == STARTER
    assert soon(lambda: not host.pending) and "takes unusually long" in host.notice
    arrive.set()
    assert soon(lambda: host.locator.gallery.folder == other) and host.notice == ""


def test_a_starter_that_fails_is_tried_again_and_the_configured_gallery_is_opened_once(tmp_path, monkeypatch):
    other, arrive, opened = shutil.copytree(STARTER, tmp_path / "other"), threading.Event(), []

    def open_it(name, **_):
        opened.append(name)
        if name == "starter":
            raise OSError("too many open files")
        assert arrive.wait(60)
        return open_gallery(name)

    monkeypatch.setattr(img2loc.locator, "open_gallery", open_it)
    host = Host(Settings(gallery=str(other)), grace_s=0.05)
    for _ in range(3):
        with pytest.raises(OSError, match="too many"):
            _ = host.locator
    arrive.set()
    assert soon(lambda: not host.pending) and host.locator.gallery.folder == other
    assert opened.count(str(other)) == 1


LATE = """
import sys, threading, time
from types import SimpleNamespace
import img2loc.web.gallery_loader, img2loc.locator
from img2loc.errors import GalleryError
from img2loc.retrieval.gallery import open_gallery
from img2loc.policy.settings import Settings
from img2loc.web.page import build
tries = []
def open_it(name, **_):
    if name != "starter":
        tries.append(name)
        if len(tries) == 1:
            raise GalleryError("The Hub can't be reached.")
    return open_gallery("starter")
img2loc.locator.open_gallery = open_it
retry = threading.Event()
img2loc.web.gallery_loader.time = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: retry.wait(60))
settings = Settings(gallery="someone/gallery")
host = img2loc.web.gallery_loader.Host(settings, grace_s=60)
demo = build(host, settings)
follow = next(event.fn for event in demo.fns.values() if event.name == "follow_gallery")
asks_again = [(follow()[1].active, follow()[1].value)]  # being opened, as far as anybody knows
host.open()
told, clock = follow()
assert "can&#39;t be opened right now" in told, told
asks_again.append((clock.active, clock.value))
retry.set()
end = time.monotonic() + 60
while host.notice and time.monotonic() < end:
    time.sleep(0.05)
told, clock = follow()  # as each page does when it is opened, and now and then while it is open
asks_again.append((clock.active, clock.value))
[banner] = [block for block in demo.blocks.values() if block.elem_id == "banner"]
assert "instead" not in told and banner.value == told
print(asks_again)
"""


def test_a_late_arrival_reaches_open_pages_and_later_ones_and_no_page_asks_for_ever():
    done = subprocess.run([sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("[(True, 2), (True, 60), (False, 60)]\n"), done.stdout + done.stderr


def test_the_starter_answers_while_a_gallery_is_on_its_way(tmp_path, monkeypatch):
    shutil.copytree(STARTER, tmp_path / "other")
    arrive = threading.Event()

    def slowly(name, *, on_bytes):
        if name != "starter":
            on_bytes(123_000_000)
            assert arrive.wait(60)
        return open_gallery(name)

    monkeypatch.setattr(img2loc.locator, "open_gallery", slowly)
    host = Host(Settings(gallery=str(tmp_path / "other")), grace_s=0.2)
    first = host.locator
    assert host.pending and "Downloading gallery other (123 MB so far)." in host.notice
    assert first.gallery.folder == STARTER
    arrive.set()
    deadline = time.monotonic() + 60
    while host.pending and time.monotonic() < deadline:
        time.sleep(0.05)
    assert host.locator.gallery.folder == tmp_path / "other" and host.notice == ""


def test_the_page_starts_while_the_gallery_is_pulled_and_then_answers_from_it(tmp_path: Path):
    """A Hub that holds a file back until told: banner first, the pulled gallery after, without a restart."""
    gallery = tmp_path / "gallery"
    shutil.copytree(STARTER, gallery)
    manifest = gallery / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"starter"', '"pulled"', 1), encoding="utf-8")
    with serve_hub() as hub:
        hub.repos["someone/gallery"] = gallery
        hub.held.add("index.faiss")
        cache = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "60"}
        with AppProcess(IMG2LOC_GALLERY="someone/gallery", HF_ENDPOINT=hub.url, **cache) as app:
            page = httpx.get(f"{app.address}config")
            assert "ing gallery someone/gallery" in page.text and "Gallery: starter" in page.text
            client = Client(app.address, verbose=False)
            tower = handle_file(next(PHOTOS.glob("*Eiffel*")))
            assert client.predict(tower, nearest=1, farthest=0, api_name="/neighbours")["gallery"]["name"] == "starter"
            hub.held.clear()
            deadline = time.monotonic() + 60
            name = "starter"
            while name == "starter" and time.monotonic() < deadline:
                found = client.predict(tower, nearest=1, farthest=0, api_name="/neighbours")
                name = found["gallery"]["name"]
            assert name == "pulled"
            assert "Eiffel" in found["nearest"][0]["photo"]["id"]
            client.close()
            # One visitor's page asks what has become of it; those who come later are told at once.
            [banner] = [item["id"] for item in page.json()["components"] if item["props"].get("elem_id") == "banner"]
            [asks] = [event["id"] for event in page.json()["dependencies"] if banner in event["outputs"]]
            question = {"fn_index": asks, "data": [], "session_hash": "visitor"}
            told = httpx.post(f"{app.address}gradio_api/run/predict", json=question).json()["data"][0]
            later = httpx.get(f"{app.address}config").text
            assert "Gallery: pulled" in told and "Gallery: pulled" in later and "in the meantime" not in told + later

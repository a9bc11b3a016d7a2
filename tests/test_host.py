"""The host: the starter stands in while, or where, the configured gallery can't be had."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

import img2loc.locator
from img2loc.errors import ConfigError
from img2loc.gallery import STARTER, open_gallery
from img2loc.host import Host
from img2loc.settings import Settings
from tests.app_process import AppProcess
from tests.conftest import PHOTOS
from tests.hub_server import serve_hub


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
    assert host.pending and "is on its way" in host.notice
    assert host.locator.gallery.manifest.name == host.manifest.name == "starter" and not host.pending
    assert "holds no manifest.json" in host.notice and "starter gallery answers" in host.notice
    assert "holds no manifest.json" in capsys.readouterr().err


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
    assert host.pending and "is on its way: 123 MB so far" in host.notice
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
            assert "someone/gallery is on its way" in page.text and "Gallery: starter" in page.text
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
            assert "Gallery: pulled" in told and "Gallery: pulled" in later and "is on its way" not in told + later

"""Disks fill and rot, processes are killed, servers share a folder; how providers fail: lmm/test_conformance.py.

The long version of the first test: `python -m tests.soak.faults`.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from img2loc.errors import GalleryError
from img2loc.evaluation import calibrate
from img2loc.retrieval.calibration import Calibration, Group
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import CALIBRATION
from tests.conftest import PHOTOS
from tests.fakes.app_process import ROOT, AppProcess
from tests.fakes.hub_server import Hub, serve_hub
from tests.soak import faults

OPEN_GALLERY = """
import sys
from img2loc.errors import Img2LocError
from img2loc.retrieval.gallery import open_gallery
try:
    gallery = open_gallery(sys.argv[1])
    print(gallery.manifest.count, gallery.folder.name)
except Img2LocError as error:
    print(type(error).__name__, error)
"""
NAME = "someone/gallery"
SOON_S = 30


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve_hub() as hub:
        hub.repos[NAME] = tmp_path / "hub" / "gallery"
        hub.made = tmp_path / "hub"
        shutil.copytree(STARTER, hub.repos[NAME])
        yield hub


def start(hub: Hub, cache: Path, *command: object, file_bytes: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    """Start a Python that knows this Hub, and whose files may grow to so many bytes."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": "hf_test"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: full_at(file_bytes),
    )


def full_at(file_bytes: int) -> None:
    """Let no file of this process grow further: to the program it is a full disk, but for the error's number."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=120)[0].strip()


def soon(holds) -> bool:
    end = time.monotonic() + SOON_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def test_a_damaged_gallery_is_refused_or_answers_as_before(capsys):
    assert faults.main(["--every", "23"]) == 0
    printed = capsys.readouterr().out
    assert ", 0 faults" in printed and "refused" in printed and "harmless" in printed


def test_damage_that_changes_answers_would_be_found(tmp_path: Path):
    shutil.copytree(STARTER, tmp_path / "hurt")
    faults.write_codes(tmp_path / "codes")
    assert faults.answer(tmp_path / "hurt") == faults.answer(STARTER) != faults.answer(tmp_path / "codes")
    for seed in (0, 1):
        faults.write_planet(tmp_path / f"planet{seed}", seed)
    one, other = (faults.answer(tmp_path / f"planet{seed}") for seed in (0, 1))
    assert all(a != b for a, b in zip(one, other, strict=True)) and len(one) == 7


def test_a_pull_that_was_killed_is_made_good(hub: Hub, tmp_path: Path):
    cache = tmp_path / "cache"
    hub.held.add("positions.npy")
    pulling = start(hub, cache, "-c", OPEN_GALLERY, NAME)
    assert soon(lambda: any("positions.npy" in request for request in hub.requests if request.startswith("GET")))
    pulling.kill()
    pulling.communicate()
    hub.held.clear()
    assert said(start(hub, cache, "-c", OPEN_GALLERY, NAME)).endswith(f"260 {hub.commit(NAME)}")


def test_two_servers_pull_into_one_cache(hub: Hub, tmp_path: Path):
    hub.held.add("index.faiss")
    both = [start(hub, tmp_path / "cache", "-c", OPEN_GALLERY, NAME) for _ in range(2)]
    assert soon(lambda: any("index.faiss" in request for request in hub.requests if request.startswith("GET")))
    hub.held.clear()
    assert [said(one)[-44:] for one in both] == [f"260 {hub.commit(NAME)}"] * 2


def test_a_publication_that_was_killed_is_made_good(hub: Hub, tmp_path: Path):
    shutil.copytree(STARTER, tmp_path / "planet")
    publish = ("-m", "index_builder", "publish", tmp_path / "planet", "someone/planet")
    publishing = start(hub, tmp_path / "cache", *publish)
    assert soon(lambda: len(hub.commits) >= 2)
    publishing.kill()
    publishing.communicate()
    done = start(hub, tmp_path / "cache", *publish)
    printed = said(done)
    assert done.returncode == 0, printed
    pulled = said(start(hub, tmp_path / "pulled", "-c", OPEN_GALLERY, "someone/planet"))
    assert pulled.endswith(f"260 {hub.commit('someone/planet')}")


@pytest.mark.parametrize("at", [1, 2])
def test_a_calibration_that_was_killed_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int):
    """Between any two of its steps; the files are put in their places one after the other."""
    gallery = tmp_path / "gallery"
    shutil.copytree(STARTER, gallery)
    identity = open_gallery(str(gallery)).manifest.identity
    arguments = SimpleNamespace(data=[], out=gallery / CALIBRATION)
    replaced = []

    def killed(*paths: Path) -> None:
        replaced.append(paths)
        if len(replaced) == at:
            raise KeyboardInterrupt
        os.rename(*paths)

    def measured(radius_km: float) -> Calibration:
        return Calibration("own", "2026-11-26", identity, 0.9, {"vote": (Group(0.5, radius_km, 50),)})

    for radius_km in (30.0, 40.0):
        monkeypatch.setattr(calibrate, "calibration_of", lambda _, km=radius_km: measured(km))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            replaced.clear()
            patch.setattr("img2loc.system.durable.os.replace", killed)
            calibrate.calibrate(arguments)
        with suppress(GalleryError):
            open_gallery(str(gallery))
        assert {path.name for path in gallery.iterdir()} <= {*(p.name for p in STARTER.iterdir()), CALIBRATION}
        assert calibrate.calibrate(arguments) == 0
        assert open_gallery(str(gallery)).calibration == measured(radius_km)


def test_a_pull_that_finds_no_room_gets_words_and_is_made_good(hub: Hub, tmp_path: Path):
    refused = said(start(hub, tmp_path / "cache", "-c", OPEN_GALLERY, NAME, file_bytes=100_000))
    assert refused.splitlines()[-1].startswith("GalleryError") and "Traceback" not in refused
    assert said(start(hub, tmp_path / "cache", "-c", OPEN_GALLERY, NAME)).endswith(f"260 {hub.commit(NAME)}")


def test_a_build_that_finds_no_room_gets_words_and_is_made_good(hub: Hub, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted(PHOTOS.glob("*.jpg"))[:4]:
        shutil.copy(photo, photos)
    build = ("-m", "index_builder", "build", "--photos", photos, "--positions", PHOTOS / "photos.csv")
    build += ("--encoder", "lite0", "--out", tmp_path / "gallery")
    building = start(hub, tmp_path / "cache", *build, file_bytes=8_000)
    printed = said(building)
    assert building.returncode == 1 and "Traceback" not in printed and "index_builder" in printed.splitlines()[-1]
    again = start(hub, tmp_path / "cache", *build)
    printed = said(again)
    assert again.returncode == 0 and "4 x 1280" in printed, printed


def test_an_upload_that_finds_no_room_gets_words_and_the_next_is_taken(tmp_path: Path):
    photo = (PHOTOS / "pannellum-org__Baltimore-Museum-of-Art-USA-07cec4.jpg").read_bytes()
    with AppProcess(GRADIO_TEMP_DIR=str(tmp_path)) as app:
        with httpx.Client(base_url=f"{app.address}gradio_api/", timeout=60) as http:
            resource.prlimit(app.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            refused = http.post("upload", files=[("files", ("a.jpg", photo))])
            assert refused.status_code == 507 and "disk is full" in refused.text
            assert not list(tmp_path.rglob("a.jpg"))
            resource.prlimit(app.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert http.post("upload", files=[("files", ("a.jpg", photo))]).is_success

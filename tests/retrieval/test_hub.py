"""The Hub: pinned, cached, and gone; in a process of its own, since the client reads its address once, at import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from img2loc.errors import HubError
from img2loc.retrieval.gallery import STARTER
from img2loc.retrieval.hub import split_revision
from tests.conftest import MOBILENET
from tests.fakes.hub_server import serve_hub

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

OPEN_ENCODER = """
import sys
from img2loc.errors import Img2LocError
from img2loc.retrieval.encoders import open_encoder
try:
    encoder = open_encoder(sys.argv[1])
    print(encoder.dim, encoder.spec.source, encoder.spec.revision)
except Img2LocError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serve_hub() as hub:
        hub.repos["someone/gallery"] = tmp_path_factory.mktemp("hub") / "gallery"
        shutil.copytree(STARTER, hub.repos["someone/gallery"])
        hub.repos["someone/mobilenet"] = MOBILENET
        yield hub


def run(program: str, name: str, endpoint: str, cache) -> str:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", program, name], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_a_gallery_is_pulled_at_its_revision_and_kept_when_the_hub_goes(hub, tmp_path):
    commit = hub.commit("someone/gallery")
    assert run(OPEN_GALLERY, f"someone/gallery@{commit}", hub.url, tmp_path) == f"260 {commit}"
    assert run(OPEN_GALLERY, "someone/gallery", hub.url, tmp_path) == f"260 {commit}"
    start = time.monotonic()
    assert run(OPEN_GALLERY, f"someone/gallery@{commit}", "http://127.0.0.1:9", tmp_path) == f"260 {commit}"
    assert time.monotonic() - start < 20


def test_what_has_arrived_is_reported_while_a_gallery_is_pulled(hub, tmp_path):
    count = "received = [0]; open_gallery(sys.argv[1], on_bytes=received.append); print(received[-1])"
    program = f"import sys; from img2loc.retrieval.gallery import open_gallery; {count}"
    whole = sum((hub.repos["someone/gallery"] / name).stat().st_size for name in hub.files("someone/gallery"))
    assert int(run(program, "someone/gallery", hub.url, tmp_path)) >= whole
    assert run(program, "someone/gallery", hub.url, tmp_path) == "0"


def test_only_a_gallerys_files_are_pulled(hub, tmp_path):
    (hub.repos["someone/gallery"] / "unasked.bin").write_bytes(b"0" * 100)
    run(OPEN_GALLERY, "someone/gallery", hub.url, tmp_path)
    assert not [request for request in hub.requests if request.endswith("unasked.bin")]
    (hub.repos["someone/gallery"] / "unasked.bin").unlink()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("someone/gallery@0123", "no revision '0123'"),
        ("someone/else", "no model repository someone/else"),
        ("../secrets", "has no folder"),
    ],
)
def test_what_the_hub_has_not_gets_words(hub, tmp_path, name, words):
    said = run(OPEN_GALLERY, name, hub.url, tmp_path)
    assert said.startswith("GalleryError") and words in said


def test_a_hub_that_is_down_gets_words_soon(tmp_path):
    start = time.monotonic()
    said = run(OPEN_GALLERY, "someone/gallery", "http://127.0.0.1:9", tmp_path)
    assert "can't be reached" in said and said.startswith("GalleryError")
    assert time.monotonic() - start < 20


def test_an_encoder_is_pulled_and_known_by_its_commit(hub, tmp_path):
    commit = hub.commit("someone/mobilenet")
    assert run(OPEN_ENCODER, "someone/mobilenet", hub.url, tmp_path) == f"1024 someone/mobilenet {commit}"


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "../x", "a b/c", "owner/na me"])
def test_what_is_no_repository_is_refused(name):
    with pytest.raises(HubError, match="neither a folder"):
        split_revision(name)


def test_a_revision_is_split_off():
    assert split_revision("owner/name@v1") == ("owner/name", "v1")
    assert split_revision("owner/name") == ("owner/name", None)

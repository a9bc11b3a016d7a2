"""The Hub: pinned, cached, and gone."""

from __future__ import annotations

import shutil
import time

import pytest

from img2loc.errors import GalleryError, HubError
from img2loc.retrieval.encoders import open_encoder
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.hub import split_revision
from tests.conftest import MOBILENET, NOBODY
from tests.fakes.hub_server import serve_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serve_hub() as hub:
        hub.repos["someone/gallery"] = tmp_path_factory.mktemp("hub") / "gallery"
        shutil.copytree(STARTER, hub.repos["someone/gallery"])
        hub.repos["someone/mobilenet"] = MOBILENET
        yield hub


def test_a_gallery_is_pulled_at_its_revision_and_kept_when_the_hub_goes(hub, connect):
    commit = hub.commit("someone/gallery")
    connect(hub.url)
    for name in (f"someone/gallery@{commit}", "someone/gallery"):
        gallery = open_gallery(name)
        assert (gallery.manifest.count, gallery.folder.name) == (260, commit)
    connect(NOBODY)
    start = time.monotonic()
    assert open_gallery(f"someone/gallery@{commit}").folder.name == commit
    assert time.monotonic() - start < 20


def test_what_has_arrived_is_reported_while_a_gallery_is_pulled(hub, connect):
    connect(hub.url)
    whole = sum((hub.repos["someone/gallery"] / name).stat().st_size for name in hub.files("someone/gallery"))
    received = [0]
    open_gallery("someone/gallery", on_bytes=received.append)
    assert received[-1] >= whole
    again = [0]
    open_gallery("someone/gallery", on_bytes=again.append)
    assert again == [0]


def test_only_a_gallerys_files_are_pulled(hub, connect):
    connect(hub.url)
    (hub.repos["someone/gallery"] / "unasked.bin").write_bytes(b"0" * 100)
    open_gallery("someone/gallery")
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
def test_what_the_hub_has_not_gets_words(hub, connect, name, words):
    connect(hub.url)
    with pytest.raises(GalleryError, match=words):
        open_gallery(name)


def test_a_hub_that_is_down_gets_words_soon(connect):
    connect(NOBODY)
    start = time.monotonic()
    with pytest.raises(GalleryError, match="can't be reached"):
        open_gallery("someone/gallery")
    assert time.monotonic() - start < 20


def test_an_encoder_is_pulled_and_known_by_its_commit(hub, connect):
    connect(hub.url)
    encoder = open_encoder("someone/mobilenet")
    assert (encoder.dim, encoder.spec.source) == (1024, "someone/mobilenet")
    assert encoder.spec.revision == hub.commit("someone/mobilenet")


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "../x", "a b/c", "owner/na me"])
def test_what_is_no_repository_is_refused(name):
    with pytest.raises(HubError, match="neither a folder"):
        split_revision(name)


def test_a_revision_is_split_off():
    assert split_revision("owner/name@v1") == ("owner/name", "v1")
    assert split_revision("owner/name") == ("owner/name", None)

"""Publishing to the Hub and pulling from it again: pinned, gone on with, and refused when torn."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from huggingface_hub import HfFileSystem, constants

from img2loc.errors import GalleryError
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import INDEX, MANIFEST
from index_builder.__main__ import main
from index_builder.stages.publish import card
from index_builder.storage import pieces
from tests.conftest import NOBODY
from tests.fakes.hub_server import serve_hub
from tests.index_builder.test_listing import picture, write_tar

# The Hub's client wonders about records.parquet in a model repository.
pytestmark = pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file")
REPO = "someone/planet"


@pytest.fixture
def hub(tmp_path, connect, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with serve_hub() as hub:
        hub.made = tmp_path / "repositories"
        hub.made.mkdir()
        connect(hub.url)
        yield hub


@pytest.fixture
def gallery(tmp_path):
    shutil.copytree(STARTER, tmp_path / "gallery")
    return tmp_path / "gallery"


@pytest.fixture
def builder(capsys):
    """Runs the command line; gives its status, and what it wrote to standard output and standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def test_what_is_published_is_what_the_app_opens_at_that_commit(hub, gallery, builder):
    status, printed, _ = builder("publish", gallery, REPO, "--private")
    assert status == 0
    name = re.fullmatch(r"IMG2LOC_GALLERY=(someone/planet@[0-9a-f]{40})\n", printed)[1]
    assert hub.private == {"someone/planet"}
    assert hub.commits == ["index.faiss", "positions.npy", "records.parquet", "README.md", "manifest.json"]
    opened = open_gallery(name)
    assert (opened.manifest.count, opened.folder.name) == (260, name.partition("@")[2])
    # Said again, nothing is sent, and the revision stays.
    assert builder("publish", gallery, REPO)[:2] == (0, printed)
    assert len(hub.commits) == 5


def test_publishing_goes_on_where_it_broke_off(hub, gallery, builder):
    hub.refuse_commits_after = 2
    status, _, said = builder("publish", gallery, REPO)
    assert status == 1 and "can't be published to someone/planet" in said
    assert hub.commits == ["index.faiss", "positions.npy"]
    with pytest.raises(GalleryError, match=r"no manifest\.json"):
        open_gallery(REPO)
    hub.refuse_commits_after = 100
    assert builder("publish", gallery, REPO)[0] == 0
    assert hub.commits == ["index.faiss", "positions.npy", "records.parquet", "README.md", "manifest.json"]


def test_what_cannot_be_published_gets_words(hub, gallery, builder):
    hub.made = None
    status, _, said = builder("publish", gallery, REPO)
    assert status == 1 and "is HF_TOKEN set" in said
    assert "neither a folder" in builder("publish", gallery, "no-owner")[2]
    assert "names a revision" in builder("publish", gallery, f"{REPO}@main")[2]
    (gallery / INDEX).write_bytes(b"torn")
    assert "is not the one its manifest describes" in builder("publish", gallery, REPO)[2]
    assert not hub.commits


def test_a_download_cut_midway_is_gone_on_with(hub, gallery):
    hub.repos[REPO] = gallery
    hub.cut[INDEX] = 100_000
    opened = open_gallery(REPO)
    assert (opened.manifest.count, opened.folder.name) == (260, hub.commit(REPO))
    assert not hub.cut


def test_a_file_that_changed_behind_its_manifest_is_refused(hub, gallery):
    hub.repos[REPO] = gallery
    data = bytearray((gallery / INDEX).read_bytes())
    data[5000] ^= 1
    (gallery / INDEX).write_bytes(data)
    with pytest.raises(GalleryError, match=f"{INDEX} in .* not the one its manifest describes"):
        open_gallery(REPO)


def test_an_absent_revision_and_a_hub_that_is_down_get_words(hub, gallery, connect):
    hub.repos[REPO] = gallery
    name = f"{REPO}@{hub.commit(REPO)}"
    with pytest.raises(GalleryError, match="no revision"):
        open_gallery(f"{REPO}@{'0' * 40}")
    connect(NOBODY)
    with pytest.raises(GalleryError, match="can't be reached"):
        open_gallery(name)
    for address in (hub.url, NOBODY):
        connect(address)
        assert open_gallery(name).manifest.count == 260


def test_the_card_says_what_a_visitor_and_a_lawyer_need(gallery):
    text = card(open_gallery(str(gallery)), "someone/planet")
    manifest = json.loads((gallery / MANIFEST).read_text(encoding="utf-8"))
    for words in (
        manifest["source"],
        manifest["licence"],
        manifest["about"],
        "lite0",
        "260 x 1280",
        "1.0 nearest, 1.0 farthest",
        "IMG2LOC_GALLERY=someone/planet",
        "`records.parquet`",
    ):
        assert words in text
    assert "$" not in text and text.startswith("---\nlibrary_name: img2loc")
    with pytest.raises(GalleryError):
        open_gallery(str(gallery / "none"))


def test_tars_of_a_hub_data_set_are_streamed(hub, builder, tmp_path, monkeypatch):
    # Its own default is the address of when it was imported.
    monkeypatch.setattr(pieces, "_hub", lambda: HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True))
    folder = tmp_path / "data"
    folder.mkdir()
    place = json.dumps({"latitude": 1, "longitude": 2}).encode()
    for tar in range(2):
        names = range(3 * tar, 3 * tar + 3)
        write_tar(
            folder / f"{tar}.tar",
            [(f"{n}.{kind}", place if kind == "json" else picture(n * 30)) for n in names for kind in ("json", "png")],
        )
    hub.repos["datasets/someone/photos"] = folder
    out = tmp_path / "gallery"
    source = "hf://datasets/someone/photos/*.tar"
    status, printed, _ = builder("build", "--photos", source, "--encoder", "lite0", "--out", out)
    assert status == 0 and "6 in, 6 kept, 0 dropped" in printed
    local = tmp_path / "local"
    tars = folder / "*.tar"
    assert builder("build", "--photos", tars, "--encoder", "lite0", "--out", local)[0] == 0
    for name in ("index.faiss", "positions.npy", "records.parquet"):
        assert (out / name).read_bytes() == (local / name).read_bytes()
    source = "hf://datasets/someone/none/*.tar"
    status, _, said = builder("listing", "--photos", source, "--out", tmp_path / "l.parquet")
    assert status == 1 and "can't be listed on the Hub" in said

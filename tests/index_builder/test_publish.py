"""Publishing to the Hub and pulling from it again: pinned, gone on with, and refused when torn."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from img2loc.errors import GalleryError
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import INDEX, MANIFEST
from index_builder.__main__ import main
from index_builder.stages.publish import card
from tests.fakes.hub_server import serve_hub
from tests.index_builder.test_listing import picture, write_tar
from tests.retrieval.test_hub import OPEN_GALLERY
from tests.retrieval.test_hub import run as run_hub

BUILDER = "import sys; from index_builder.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def hub(tmp_path):
    with serve_hub() as hub:
        hub.made = tmp_path / "repositories"
        hub.made.mkdir()
        yield hub


@pytest.fixture
def gallery(tmp_path):
    shutil.copytree(STARTER, tmp_path / "gallery")
    return tmp_path / "gallery"


def builder(hub, cache, *arguments) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": "hf_test"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", BUILDER, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def publish(hub, tmp_path, gallery, *options) -> subprocess.CompletedProcess[str]:
    return builder(hub, tmp_path / "cache", "publish", gallery, "someone/planet", *options)


def test_what_is_published_is_what_the_app_opens_at_that_commit(hub, gallery, tmp_path):
    done = publish(hub, tmp_path, gallery, "--private")
    assert done.returncode == 0, done.stderr
    name = re.fullmatch(r"IMG2LOC_GALLERY=(someone/planet@[0-9a-f]{40})\n", done.stdout)[1]
    commit = name.partition("@")[2]
    assert hub.private == {"someone/planet"}
    assert hub.commits == ["index.faiss", "positions.npy", "records.parquet", "README.md", "manifest.json"]
    assert run_hub(OPEN_GALLERY, name, hub.url, tmp_path / "pulled") == f"260 {commit}"
    # Said again, nothing is sent, and the revision stays.
    assert publish(hub, tmp_path, gallery).stdout == done.stdout
    assert len(hub.commits) == 5


def test_publishing_goes_on_where_it_broke_off(hub, gallery, tmp_path):
    hub.refuse_commits_after = 2
    done = publish(hub, tmp_path, gallery)
    assert done.returncode == 1 and "can't be published to someone/planet" in done.stderr
    assert hub.commits == ["index.faiss", "positions.npy"]
    said = run_hub(OPEN_GALLERY, "someone/planet", hub.url, tmp_path / "pulled")
    assert said.startswith("GalleryError") and "no manifest.json" in said
    hub.refuse_commits_after = 100
    assert publish(hub, tmp_path, gallery).returncode == 0
    assert hub.commits == ["index.faiss", "positions.npy", "records.parquet", "README.md", "manifest.json"]


def test_what_cannot_be_published_gets_words(hub, gallery, tmp_path):
    hub.made = None
    done = publish(hub, tmp_path, gallery)
    assert done.returncode == 1 and "is HF_TOKEN set" in done.stderr and "Traceback" not in done.stderr
    assert "neither a folder" in builder(hub, tmp_path, "publish", gallery, "no-owner").stderr
    assert "names a revision" in builder(hub, tmp_path, "publish", gallery, "someone/planet@main").stderr
    (gallery / INDEX).write_bytes(b"torn")
    assert "is not the one its manifest describes" in publish(hub, tmp_path, gallery).stderr
    assert not hub.commits


def test_a_download_cut_midway_is_gone_on_with(hub, gallery, tmp_path):
    hub.repos["someone/planet"] = gallery
    hub.cut[INDEX] = 100_000
    commit = hub.commit("someone/planet")
    assert run_hub(OPEN_GALLERY, "someone/planet", hub.url, tmp_path / "pulled") == f"260 {commit}"
    assert not hub.cut


def test_a_file_that_changed_behind_its_manifest_is_refused(hub, gallery, tmp_path):
    hub.repos["someone/planet"] = gallery
    data = bytearray((gallery / INDEX).read_bytes())
    data[5000] ^= 1
    (gallery / INDEX).write_bytes(data)
    said = run_hub(OPEN_GALLERY, "someone/planet", hub.url, tmp_path / "pulled")
    assert said.startswith("GalleryError") and f"{INDEX} in" in said and "not the one its manifest describes" in said


def test_an_absent_revision_and_a_hub_that_is_down_get_words(hub, gallery, tmp_path):
    hub.repos["someone/planet"] = gallery
    cache = tmp_path / "pulled"
    commit = hub.commit("someone/planet")
    assert "no revision" in run_hub(OPEN_GALLERY, f"someone/planet@{'0' * 40}", hub.url, cache)
    assert "can't be reached" in run_hub(OPEN_GALLERY, f"someone/planet@{commit}", "http://127.0.0.1:9", cache)
    assert run_hub(OPEN_GALLERY, f"someone/planet@{commit}", hub.url, cache) == f"260 {commit}"
    assert run_hub(OPEN_GALLERY, f"someone/planet@{commit}", "http://127.0.0.1:9", cache) == f"260 {commit}"


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


def test_tars_of_a_hub_data_set_are_streamed(hub, tmp_path):
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
    done = builder(hub, tmp_path / "cache", "build", "--photos", source, "--encoder", "lite0", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "6 in, 6 kept, 0 dropped" in done.stdout
    local = tmp_path / "local"
    tars = folder / "*.tar"
    assert main(["build", "--photos", str(tars), "--encoder", "lite0", "--out", str(local)]) == 0
    for name in ("index.faiss", "positions.npy", "records.parquet"):
        assert (out / name).read_bytes() == (local / name).read_bytes()
    done = builder(
        hub, tmp_path, "listing", "--photos", "hf://datasets/someone/none/*.tar", "--out", tmp_path / "l.parquet"
    )
    assert done.returncode == 1 and "can't be listed on the Hub" in done.stderr

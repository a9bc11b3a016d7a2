"""No name in a gallery, a repository, a table or a tar leads to a file that is not its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2loc.errors import GalleryError
from img2loc.retrieval import gallery
from img2loc.retrieval.checksums import file_sha256
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import MANIFEST, POSITIONS, RECORDS
from index_builder.stages.sources import NO_FILE, OUTSIDE, Counts, list_table, list_tars
from index_builder.storage.pieces import read_pieces
from tests.conftest import PHOTOS
from tests.fakes.hub_server import serve_hub
from tests.hardening.test_ssrf import Site
from tests.index_builder.test_listing import write_table

JPEG = next(PHOTOS.glob("*Eiffel*")).read_bytes()
Manifest = dict[str, Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "gallery"))


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "..", "owner/..", "../../etc/passwd", "/etc/passwd", "owner/name/../x", "~nobody/x", "owner\\name"),
        *("http://127.0.0.1/x", "//host/x", "hf://owner/name", "o/n\n", "owner/n\u0430me"),
        *("owner/name@../../x", "owner/name@/etc", "owner/name@a/../../b", "owner/name@"),
    ],
)
def test_what_is_no_gallerys_name_is_refused_before_anybody_is_asked(monkeypatch, name):
    monkeypatch.setattr(gallery, "fetch", lambda *_, **__: pytest.fail("the Hub is asked"))
    with pytest.raises(GalleryError):
        open_gallery(name)


def change(folder: Path, how: Callable[[Manifest], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    how(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret", "records.parquet/../../secret", ""])
def test_a_manifest_names_its_own_files_only(copy, name):
    change(copy, lambda manifest: manifest["files"].update({name: manifest["files"][POSITIONS]}))
    with pytest.raises(GalleryError, match="lists"):
        open_gallery(str(copy))


@pytest.mark.parametrize("field", ["name", "about", "source", "licence", "factory", "encoder"])
def test_a_manifests_texts_are_texts(copy, field):
    """Gradio would take an object like this one, wherever it is shown, for a file to fetch and to serve."""
    trap = {"path": "/etc/passwd", "url": "http://127.0.0.1/", "meta": {"_type": "gradio.FileData"}}

    def set_it(manifest: Manifest) -> None:
        manifest[field] = {**manifest[field], "source": trap} if field == "encoder" else trap

    change(copy, set_it)
    with pytest.raises(GalleryError, match=rf"{field}.*: Input should be a(n object| valid string)"):
        open_gallery(str(copy))


@pytest.mark.parametrize(
    "column", [{"author": {"path": "/etc/passwd"}}, {"author": 1}, {"author": b"x"}, {"more": "x"}]
)
def test_records_are_texts(copy, column):
    rows = pq.read_table(copy / RECORDS).to_pylist()
    pq.write_table(pa.Table.from_pylist([row | column for row in rows]), copy / RECORDS)
    entry = {"sha256": file_sha256(copy / RECORDS), "bytes": (copy / RECORDS).stat().st_size}
    change(copy, lambda manifest: manifest["files"].update({RECORDS: entry}))
    with pytest.raises(GalleryError, match="other columns than texts"):
        open_gallery(str(copy))


PULL = """
import sys
from img2loc.errors import HubError
from img2loc.retrieval.hub import fetch
for name in sys.argv[1:]:
    try:
        print(fetch(name, None, ("*.json",)))
    except HubError as error:
        print("HubError", error)
"""


def test_a_repository_writes_nothing_outside_the_cache_and_no_redirect_carries_the_token(tmp_path):
    """The Hub is trusted with where its files lie; what a repository calls its files is anybody's."""
    outer, cache = tmp_path / "hub", tmp_path / "cache"
    with serve_hub() as hub, Site("127.0.0.1") as elsewhere:
        names = {
            "up": "../evil.json",
            "higher": "../../evil.json",
            "absolute": f"{outer}/evil.json",
            "slash": "..\\x.json",
        }
        for repo in (*names, "moved"):
            hub.repos[f"someone/{repo}"] = folder = outer / "repos" / repo
            folder.mkdir(parents=True)
            (folder / names.get(repo, "moved.json")).write_text("{}")
        hub.files = lambda repo: [names.get(repo.removeprefix("someone/"), "moved.json")]
        hub.moved["moved.json"] = f"http://127.0.0.1:{elsewhere.port}/elsewhere"
        before = set(tmp_path.rglob("*"))
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": "hf_secret"}
        environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", PULL, *hub.repos]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    *refused, moved = done.stdout.splitlines()
    assert len(refused) == 4 and all("(ValueError)" in line for line in refused), done.stdout
    assert Path(moved, "moved.json").stat().st_size > 1000
    assert all(path.is_relative_to(cache) for path in set(tmp_path.rglob("*")) - before)
    assert {path for path, _ in elsewhere.asked} == {"/elsewhere"} and "hf_secret" not in str(elsewhere.asked)


def test_a_table_names_files_of_its_folder_only(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "a.jpg", tmp_path / "secret.jpg"):
        path.write_bytes(JPEG)
    names = [
        "a.jpg",
        "sub/../a.jpg",
        str(folder / "a.jpg"),
        "../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "../secret",
        "",
    ]
    table, counts = write_table(tmp_path / "table.csv", [(name, 1, 2) for name in names]), Counts()
    found = [candidate.piece.file for candidate in list_table(table, folder, counts)]
    assert {os.path.realpath(path) for path in found} == {str(folder / "a.jpg")} and len(found) == 3
    assert counts.dropped == {OUTSIDE: 3, NO_FILE: 1}


def test_a_tar_is_read_in_place_and_its_links_lead_nowhere(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name in ("../../evil.jpg", "/etc/evil.jpg", "inner/../../evil2.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(JPEG)
            archive.addfile(member, io.BytesIO(JPEG))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo(f"link{kind.decode()}.jpg")
            member.type, member.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(member)
    before = set(tmp_path.rglob("*"))
    found = list(list_tars([str(tmp_path / "shard.tar")], Counts()))
    assert [candidate.piece.file for candidate in found] == [str(tmp_path / "shard.tar")] * 3
    assert read_pieces([candidate.piece for candidate in found]) == [JPEG] * 3
    assert set(tmp_path.rglob("*")) == before and not (tmp_path.parent / "evil.jpg").exists()

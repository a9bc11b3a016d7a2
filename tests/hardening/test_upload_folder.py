"""The upload folder: what is deleted at a start is provably ours; on the running app: web/test_privacy.py."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from img2loc.errors import ConfigError
from img2loc.hardening import upload_folder
from img2loc.hardening.upload_folder import (
    delete_old_uploads_periodically,
    delete_upload_folder,
    make_upload_folder,
    use_private_upload_folder,
)
from tests.fakes.app_process import ROOT, AppProcess

_KILLED = """
import os, sys
from pathlib import Path
from img2loc.hardening.upload_folder import make_upload_folder
folder = make_upload_folder(Path(sys.argv[1])).path
(folder / "hash").mkdir()
(folder / "hash" / "photo.jpg").write_bytes(b"photo")
print(folder)
os.kill(os.getpid(), 9)
"""


def left_by_a_killed_server(parent: Path) -> Path:
    command = [sys.executable, "-c", _KILLED, str(parent)]
    return Path(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip())


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A killed server's folder, to be copied."""
    return left_by_a_killed_server(tmp_path_factory.mktemp("killed"))


def marker_of(folder: Path) -> Path:
    (marker,) = (path for path in folder.iterdir() if path.is_file())
    return marker


def test_a_killed_servers_folder_is_deleted_and_a_living_ones_stays(tmp_path: Path):
    killed = left_by_a_killed_server(tmp_path)
    assert (killed / "hash" / "photo.jpg").exists()
    living = make_upload_folder(tmp_path)
    assert not killed.exists()
    another = make_upload_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {living.path, another.path}


@pytest.mark.parametrize("name", ["img2loc-main", "img2loc-", "img2loc-uploads-", "img2loc-uploads-2026", "img2loc"])
def test_a_folder_with_a_name_like_ours_stays(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    make_upload_folder(tmp_path)
    assert (tmp_path / name / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "kind", "stays"),
    [
        ("{}", "the same", False),  # so that nothing else keeps the others
        ("{}-backup", "the same", True),  # the marker names its folder
        ("{}", "none", True),
        ("{}", "empty", True),
        ("{}", "longer", True),
        ("{}", "a link", True),
        ("{}", "a folder", True),
        ("{}", "a pipe", True),
        ("{}", "another user's", True),
    ],
)
def test_a_folder_is_deleted_for_its_own_marker_only(left: Path, tmp_path: Path, name: str, kind: str, stays: bool):
    folder = tmp_path / name.format(left.name)
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"photo")
    genuine = marker_of(left)
    marker = folder / genuine.name
    match kind:
        case "the same":
            marker.write_bytes(genuine.read_bytes())
        case "empty":
            marker.touch()
        case "longer":
            marker.write_bytes(genuine.read_bytes() + b"x")
        case "a link":
            marker.symlink_to(genuine)
        case "a folder":
            marker.mkdir()
        case "a pipe":
            os.mkfifo(marker)
        case "another user's":
            if os.getuid() != 0:
                pytest.skip("only root can give a file away")
            marker.write_bytes(genuine.read_bytes())
            os.chown(marker, 12345, 12345)
    make_upload_folder(tmp_path)
    assert (folder / "photo.jpg").exists() == stays


def test_a_link_to_a_killed_servers_folder_is_not_followed(left: Path, tmp_path: Path):
    (tmp_path / left.name).symlink_to(left)
    make_upload_folder(tmp_path)
    assert (left / "hash" / "photo.jpg").exists() and (tmp_path / left.name).is_symlink()


def test_a_folder_that_is_only_half_deleted_keeps_its_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_upload_folder(tmp_path)
    marker = marker_of(folder.path)
    (folder.path / "photo.jpg").write_bytes(b"photo")
    (folder.path / "0").mkdir()
    unlink = os.unlink

    def fail(path: str, **options: Any) -> None:
        if path == "photo.jpg":
            raise OSError("busy")
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", fail)
    delete_upload_folder(folder)
    assert set(folder.path.iterdir()) == {marker, folder.path / "photo.jpg"}
    monkeypatch.undo()
    delete_upload_folder(folder)
    assert not folder.path.exists()


@pytest.mark.parametrize("kind", ["a link", "a folder"])
def test_what_is_put_in_place_of_a_living_servers_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(upload_folder, "SWEEP_EVERY_S", 0.02)
    with use_private_upload_folder() as folder:
        assert folder
        (folder.path / "photo.jpg").write_bytes(b"photo")
        precious = folder.path.rename(tmp_path / "moved").with_name("precious")
        precious.mkdir()
        if kind == "a link":
            folder.path.symlink_to(precious)
        else:
            precious = folder.path
            precious.mkdir()
        with delete_old_uploads_periodically(folder, 0.1):
            (precious / "thesis").mkdir()
            for file in (precious / "thesis.tex", precious / "thesis" / "thesis.tex"):
                file.write_text("years of work")
            (tmp_path / "moved" / "late.jpg").write_bytes(b"photo")
            while (tmp_path / "moved" / "late.jpg").exists():
                time.sleep(0.01)
            time.sleep(0.2)  # several more sweeps
        assert len(list(precious.rglob("thesis.tex"))) == 2
    assert len(list(precious.rglob("thesis.tex"))) == 2
    assert [path.name for path in (tmp_path / "moved").iterdir()] == [".img2loc-uploads"]


def test_links_in_an_upload_folder_are_deleted_and_not_followed(tmp_path: Path):
    folder = make_upload_folder(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    (folder.path / "hash").mkdir()
    for link in (folder.path / "link", folder.path / "hash" / "link"):
        link.symlink_to(tmp_path / "precious")
    os.mkfifo(folder.path / "pipe")
    delete_upload_folder(folder)
    assert not folder.path.exists() and (tmp_path / "precious" / "thesis.tex").exists()


def test_a_folder_whose_marker_cannot_be_locked_stays(left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Path(shutil.copytree(left, tmp_path / left.name))
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "no locks")))
    delete_upload_folder(make_upload_folder(tmp_path))
    assert list(tmp_path.iterdir()) == [folder]


def test_windows_gets_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with use_private_upload_folder() as folder:
        assert folder is None
        (Path(os.environ["GRADIO_TEMP_DIR"]) / "photo.jpg").touch()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_temporary_folder_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    file = tmp_path / "file"
    file.write_text("")
    wrong = file if kind == "a file" else file / "below"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(wrong))
    with pytest.raises(ConfigError, match=f"GRADIO_TEMP_DIR is '{wrong}': .* Set GRADIO_TEMP_DIR to a folder"):
        with use_private_upload_folder():
            pass


def test_everything_that_gradio_writes_lies_in_the_folder(tmp_path: Path):
    """Its editor's folder, too, which it makes for every page."""
    with AppProcess(GRADIO_TEMP_DIR=str(tmp_path)) as app:
        (folder,) = tmp_path.iterdir()
        assert folder.name.startswith("img2loc-uploads-")
        app.stop()
    assert not list(tmp_path.iterdir())

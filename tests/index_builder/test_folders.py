"""Where galleries are written: whole folders take their places, and nothing that isn't the builder's is deleted."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2loc.errors import ConfigError
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import CALIBRATION, INDEX, MANIFEST, RECORDS
from index_builder.__main__ import main as build_main
from index_builder.stages.build import LISTING, SHARDS, _clear, _discard_shards
from index_builder.storage import folders
from index_builder.storage.folders import MARKER, NEW, OLD, check_gallery_folder, put_in_place, restore, working_folder
from index_builder.storage.store import PLAN, Job, Store
from tests.fakes.app_process import ROOT
from tests.retrieval.test_gallery import SPEC, unit, write

SEARCH = """
import sys
from pathlib import Path
import numpy as np
from img2loc.retrieval.gallery import open_gallery
gallery = open_gallery(sys.argv[1])
count, dim = gallery.manifest.count, gallery.manifest.dim
queries = np.random.default_rng(5).normal(size=(2, dim)).astype(np.float32)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)
def answers():
    return [gallery.search(query, count, count) for query in queries], gallery.records([0, count - 1])
first, rounds = answers(), 0
print(count, flush=True)
while not Path(sys.argv[2]).exists():
    assert answers() == first, "another answer"
    rounds += 1
print("the same", rounds)
"""


def searching(gallery: Path, stop: Path) -> subprocess.Popen[str]:
    """A process that opens a gallery, says how many rows it has, and searches all of them until told to stop."""
    command = [sys.executable, "-c", SEARCH, str(gallery), str(stop)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process


def test_what_is_open_answers_as_before_while_the_gallery_is_replaced(tmp_path):
    gallery, stop = tmp_path / "g", tmp_path / "stop"
    write(gallery, unit(3000, 32))
    process = searching(gallery, stop)
    assert process.stdout.readline() == "3000\n"
    for rows, seed in ((10, 0), (6000, 0), (3000, 9)):  # smaller, larger, and other photos
        write(gallery, unit(rows, 32, seed), may_replace=True)
        assert open_gallery(str(gallery)).manifest.count == rows
    stop.touch()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and said.startswith("the same"), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g", "stop"]


def test_what_is_open_answers_as_before_when_its_folder_is_gone(tmp_path):
    write(tmp_path / "g", unit(300, 8))
    gallery = open_gallery(str(tmp_path / "g"))
    before = gallery.search(unit(1, 8)[0], 300, 300)
    shutil.rmtree(tmp_path / "g")
    assert gallery.search(unit(1, 8)[0], 300, 300) == before and before.nearest[0].photo is not None


@pytest.mark.parametrize("name", ["thesis.tex", ".gitattributes", "README.md", "head.safetensors", "sub/x"])
def test_files_beside_a_gallerys_own_are_never_deleted(tmp_path, name):
    gallery = tmp_path / "g"
    write(gallery, unit(20, 8))
    (gallery / name).parent.mkdir(exist_ok=True)
    (gallery / name).write_text("years of work")
    with pytest.raises(ConfigError, match="has files that aren't part of the gallery, such as"):
        write(gallery, unit(30, 8), may_replace=True)
    assert (gallery / name).read_text() == "years of work" and open_gallery(str(gallery)).manifest.count == 20


@pytest.mark.parametrize("content", ["{}", "not JSON", None])
def test_a_folder_with_anothers_manifest_is_no_gallery(tmp_path, content):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / (MANIFEST if content else INDEX)).write_text(content or "x")
    with pytest.raises(ConfigError, match="of a gallery"):
        check_gallery_folder(tmp_path / "g", may_replace=True)
    assert len(list((tmp_path / "g").iterdir())) == 1


def test_a_working_folder_that_somebody_else_made_is_left_alone(tmp_path):
    for name in (".g.partial", ".g.build"):
        (tmp_path / name / "gallery").mkdir(parents=True)
        (tmp_path / name / "gallery" / "photo.jpg").write_text("mine")
    with pytest.raises(ConfigError, match="Remove it by hand"):
        write(tmp_path / "g", unit(20, 8))
    with pytest.raises(ConfigError, match="Remove it by hand"), working_folder(tmp_path / ".g.build"):
        pytest.fail("entered")
    assert len(list(tmp_path.rglob("photo.jpg"))) == 2 and not (tmp_path / "g").exists()


def built(out: Path) -> int:
    """A build that fails, as no photo can be used."""
    (out.parent / "photos").mkdir(exist_ok=True)
    (out.parent / "photos" / "x.jpg").write_text("no photo")
    return build_main(["build", "--photos", str(out.parent / "photos"), "--encoder", "lite0", "--out", str(out)])


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("text", ["", MARKER.text[:10], "whole"])
def test_a_users_file_that_is_linked_as_the_marker_is_not_written_to(tmp_path, text):
    own, work = tmp_path / "own.txt", tmp_path / ".g.build"
    own.write_text(f"{MARKER.text}: .g.build\n" if text == "whole" else text)
    before = own.read_text()
    work.mkdir()
    os.link(own, work / MARKER.name)
    assert built(tmp_path / "g") == 2
    assert own.read_text() == before and (work / MARKER.name).exists()


def test_what_stood_in_a_working_folder_stays_when_the_build_fails(tmp_path, capsys):
    work = tmp_path / ".g.build"
    (work / SHARDS).mkdir(parents=True)
    (work / MARKER.name).write_text(f"{MARKER.text}: .g.build\n")
    (work / LISTING).write_text("mine")
    assert built(tmp_path / "g") == 2
    assert "isn't a listing" in capsys.readouterr().err
    assert (work / LISTING).read_text() == "mine" and (work / SHARDS).is_dir()


@pytest.mark.parametrize("marker", [".img2loc-builder", MARKER.name])
@pytest.mark.parametrize(
    "kind", ["empty", "another folder's", "longer", "a link", "a hard link", "a link to a genuine one", "a pipe"]
)
def test_a_forged_marker_costs_nobody_a_file(tmp_path, marker, kind):
    work, thesis = tmp_path / ".g.build", tmp_path / "thesis.txt"
    (work / SHARDS).mkdir(parents=True)
    for file in (thesis, work / SHARDS / "mine.txt", work / LISTING):
        file.write_text("years of work")
    match kind:
        case "empty":
            (work / marker).touch()
        case "another folder's":
            (work / marker).write_text(f"{MARKER.text}: .other.build\n")
        case "longer":
            (work / marker).write_text(f"{MARKER.text}: .g.build\nmine\n")
        case "a link":
            (work / marker).symlink_to("../thesis.txt")
        case "a hard link":
            os.link(thesis, work / marker)
        case "a link to a genuine one":
            (tmp_path / "genuine").write_text(f"{MARKER.text}: .g.build\n")
            (work / marker).symlink_to("../genuine")
        case "a pipe":
            os.mkfifo(work / marker)
    before = contents(tmp_path)
    assert built(tmp_path / "g") == 2
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before} == before and (work / marker).lstat()


@pytest.mark.parametrize("name", [".g.build", ".g.partial"])
def test_a_link_in_place_of_a_working_folder_is_not_followed(tmp_path, name):
    with working_folder(tmp_path / name):
        (tmp_path / name / "kept").touch()
    precious = tmp_path / "precious"
    (tmp_path / name).rename(precious)
    for folder in (SHARDS, NEW, OLD):
        (precious / folder).mkdir()
        (precious / folder / "x").write_text("years of work")
    (tmp_path / name).symlink_to(precious)
    before = contents(precious)
    with pytest.raises(ConfigError, match="Remove it by hand"):
        write(tmp_path / "g", unit(20, 8)) if name == ".g.partial" else working_folder(tmp_path / name).__enter__()
    assert contents(precious) == before and not (tmp_path / "g").exists()


def test_what_a_forged_working_folder_has_does_not_become_a_gallery(tmp_path):
    (tmp_path / ".g.partial" / OLD).mkdir(parents=True)
    (tmp_path / ".g.partial" / OLD / "own.txt").write_text("mine")
    (tmp_path / ".g.partial" / ".img2loc-builder").touch()
    with pytest.raises(ConfigError, match="Remove it by hand"):
        write(tmp_path / "g", unit(20, 8))
    assert (tmp_path / ".g.partial" / OLD / "own.txt").exists() and not (tmp_path / "g").exists()


def test_links_inside_a_working_folder_are_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in (PLAN, LISTING):
        (precious / name).write_text("years of work")
    gallery = Path(shutil.copytree(STARTER, tmp_path / "gallery"))
    before = sorted(gallery.iterdir())
    (tmp_path / "g").mkdir()
    with working_folder(tmp_path / "w") as work:
        (tmp_path / "w" / SHARDS).symlink_to(precious)
        (tmp_path / "w" / LISTING).symlink_to(precious / LISTING)
        _clear(work)
        assert work.names() == []
        (tmp_path / "w" / OLD).symlink_to(gallery)
        with pytest.raises(ConfigError, match="isn't a folder"):
            restore(work, tmp_path / "g")
    assert contents(precious) == dict.fromkeys((PLAN, LISTING), "years of work") and sorted(gallery.iterdir()) == before


def test_a_folder_put_in_place_of_a_working_folder_meanwhile_stays(tmp_path):
    with working_folder(tmp_path / "w") as work:
        (tmp_path / "w" / SHARDS).mkdir()
        (tmp_path / "w").rename(tmp_path / "moved")
        (tmp_path / "w" / SHARDS).mkdir(parents=True)
        (tmp_path / "w" / SHARDS / "x").write_text("years of work")
        _clear(work)
    assert (tmp_path / "w" / SHARDS / "x").exists() and not (tmp_path / "moved" / SHARDS).exists()


@pytest.mark.parametrize("text", [None, "", MARKER.text[:10]])
def test_an_empty_folder_with_the_name_of_a_working_folder_is_not_adopted(tmp_path, text):
    """Ours never is empty under its own name, nor is its marker."""
    (tmp_path / "w").mkdir()
    if text is not None:
        (tmp_path / "w" / MARKER.name).write_text(text)
    with pytest.raises(ConfigError, match="Remove it by hand"), working_folder(tmp_path / "w"):
        pytest.fail("entered")
    assert (tmp_path / "w").is_dir() and contents(tmp_path / "w") == ({} if text is None else {MARKER.name: text})


def test_what_killed_runs_left_under_temporary_names_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    ours = [tmp_path / f"w.{pid}.tmp" for pid in (ended.pid, 999_999_998, os.getpid())]
    names = "w.tmp", "w.x.tmp", "v.1.tmp", f"w.{os.getppid()}.tmp", "w.999999997.tmp", "w.999999999.tmp"
    theirs = [tmp_path / name for name in names]  # the fourth is that of a process that is running
    for folder in (*ours, *theirs):
        folder.mkdir()
    (ours[1] / MARKER.name).write_bytes(MARKER.content(tmp_path / "w"))
    (ours[2] / MARKER.name).write_bytes(MARKER.content(tmp_path / "w")[:20])  # its writer was killed
    (theirs[-2] / MARKER.name).write_text("years of work")
    (theirs[-1] / "x").write_text("years of work")
    (tmp_path / "w.4.tmp").symlink_to(theirs[0])
    with working_folder(tmp_path / "w"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, tmp_path / "w.4.tmp"])
    assert contents(theirs[-2]) == {MARKER.name: "years of work"} and (theirs[-1] / "x").exists()


@pytest.mark.parametrize("name", [".g.build", ".g.partial"])
def test_a_foreign_working_folder_is_found_before_the_work(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr("index_builder.verbs.open_encoder", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / name).mkdir()
    assert built(tmp_path / "g") == 2
    assert f"Nothing proves that {tmp_path / name} is a folder that Img2Loc made" in capsys.readouterr().err


def test_a_working_folder_of_another_user_is_left_alone(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    (tmp_path / "w").mkdir()
    os.chown(tmp_path / "w", 12345, 12345)
    with pytest.raises(ConfigError, match="Remove it by hand"), working_folder(tmp_path / "w"):
        pytest.fail("entered")
    assert not list((tmp_path / "w").iterdir())


def test_two_builders_dont_work_in_one_folder(tmp_path):
    with working_folder(tmp_path / "w"):
        with pytest.raises(ConfigError, match="Another process is at work"), working_folder(tmp_path / "w"):
            pytest.fail("entered")
        (tmp_path / "w" / "kept").touch()
    assert {path.name for path in (tmp_path / "w").iterdir()} == {MARKER.name, "kept"}  # for the next run
    (tmp_path / "w" / "kept").unlink()
    with working_folder(tmp_path / "w"):
        pass
    assert not (tmp_path / "w").exists()


def test_a_build_that_is_killed_at_any_step_is_finished_by_the_same_command():
    """Some steps here; all by `python -m tests.index_builder.kill_steps`, and with a second kill by --twice."""
    command = [sys.executable, "-m", "tests.index_builder.kill_steps", "--every", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    # Killed before and after the gallery had its place.
    assert report["fresh"]["left nothing"] and report["fresh"]["left a gallery of 5"]
    assert report["replace"]["left a gallery of 20"] and report["replace"]["left a gallery of 5"]


def test_what_a_killed_run_left_does_not_allow_to_replace_another_gallery(tmp_path):
    write(tmp_path / "g", unit(20, 8))
    with working_folder(tmp_path / ".g.build"):
        (tmp_path / ".g.build" / "listing.parquet").touch()
    with pytest.raises(ConfigError, match="already has a gallery, 'test' with 20 rows"):
        write(tmp_path / "g", unit(30, 8))
    assert open_gallery(str(tmp_path / "g")).manifest.count == 20
    write(tmp_path / "g", unit(20, 8))  # the same: as if the killed run had put it there
    data = bytearray((tmp_path / "g" / INDEX).read_bytes())
    data[-1] ^= 1
    (tmp_path / "g" / INDEX).write_bytes(data)
    with pytest.raises(ConfigError, match="Use --replace"):  # a damaged one isn't the same
        write(tmp_path / "g", unit(20, 8))
    write(tmp_path / "g", unit(20, 8), may_replace=True)
    assert open_gallery(str(tmp_path / "g")).manifest.count == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [".g.build", "g"]


def test_a_gallery_that_appears_during_a_build_is_not_replaced(tmp_path, monkeypatch):
    real = put_in_place

    def late(work, folder, **options):
        shutil.copytree(STARTER, folder)
        real(work, folder, **options)

    monkeypatch.setattr("index_builder.stages.index.put_in_place", late)
    with pytest.raises(ConfigError, match="already has a gallery, 'starter'"):
        write(tmp_path / "g", unit(20, 8))
    assert open_gallery(str(tmp_path / "g")).manifest.name == "starter"
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def test_a_lock_on_a_marker_that_another_process_has_removed_is_none(tmp_path, monkeypatch):
    flock = fcntl.flock

    def finish_first(file, how):
        (tmp_path / "w" / MARKER.name).unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with pytest.raises(ConfigError, match="Another process is at work"), working_folder(tmp_path / "w"):
        pytest.fail("entered")


def test_shards_whose_deletion_was_cut_short_are_made_again(tmp_path):
    """Their arrays may be gone and the marks that they are whole still there."""
    shards = tmp_path / ".g.build" / SHARDS
    with working_folder(shards.parent) as work:
        shards.mkdir()
        for name in (PLAN, "00000.npy", "00000.json"):
            (shards / name).touch()
        _discard_shards(work)
        assert not shards.exists()
    shards.mkdir(parents=True)
    (shards / "00000.json").touch()
    with pytest.raises(ConfigError, match="something other than shards"):  # build begins anew then
        Store.create(shards, Job("", 1, 1, 1, "float32", 1, 1, SPEC))


@pytest.mark.parametrize("at", range(8))
def test_a_replacement_that_was_killed_leaves_the_old_or_the_new_gallery(tmp_path, monkeypatch, at):
    """Between any two of its steps; the next run finishes it."""
    gallery = tmp_path / "g"
    write(gallery, unit(20, 8))
    steps = []

    def counted(function):
        def step(*arguments, **options):
            steps.append(function)
            if len(steps) == at:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return step

    def killed(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(folders.os, "rename", counted(os.rename))
            patch.setattr(folders, "sync_folder", counted(folders.sync_folder))
            patch.setattr(folders.os, "unlink", counted(os.unlink))
            patch.setattr(folders.os, "rmdir", counted(os.rmdir))
            put_in_place(*arguments, **options)
        if at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("index_builder.stages.index.put_in_place", killed)
        if at:
            with pytest.raises(KeyboardInterrupt):
                write(gallery, unit(30, 8), may_replace=True)
        else:
            write(gallery, unit(30, 8), may_replace=True)
    here = [path for path in (gallery, tmp_path / ".g.partial" / "replaced") if (path / MANIFEST).exists()]
    assert here and open_gallery(str(here[0])).manifest.count in (20, 30)
    write(gallery, unit(40, 8), may_replace=True)
    assert open_gallery(str(gallery)).manifest.count == 40
    assert [path.name for path in tmp_path.iterdir()] == ["g"]


def test_a_gallery_that_cannot_take_its_place_leaves_the_old_one(tmp_path):
    write(tmp_path / "g", unit(20, 8))
    with pytest.raises(FileNotFoundError), working_folder(tmp_path / "w") as work:
        put_in_place(work, tmp_path / "g", may_replace=True)
    assert open_gallery(str(tmp_path / "g")).manifest.count == 20 and not (tmp_path / "w").exists()


def test_what_was_put_into_a_replaced_gallery_meanwhile_is_kept(tmp_path):
    (tmp_path / "g").mkdir()
    with working_folder(tmp_path / "w") as work:
        old = Path(shutil.copytree(STARTER, tmp_path / "w" / OLD))
        (old / "notes.txt").write_text("mine")
        with pytest.raises(OSError, match="not empty"):
            restore(work, tmp_path / "g")
    assert [path.name for path in old.iterdir()] == ["notes.txt"]


def test_a_calibration_goes_with_its_gallery_and_a_link_is_followed(tmp_path):
    write(tmp_path / "g1", unit(20, 8))
    (tmp_path / "g1" / CALIBRATION).write_text("cut short before it was listed")
    (tmp_path / "g").symlink_to("g1")
    write(tmp_path / "g", unit(30, 8), may_replace=True)
    assert (tmp_path / "g").is_symlink() and open_gallery(str(tmp_path / "g1")).manifest.count == 30
    assert not (tmp_path / "g1" / CALIBRATION).exists() and (tmp_path / "g1" / RECORDS).exists()
    assert np.load(tmp_path / "g" / "positions.npy").shape == (30, 2)

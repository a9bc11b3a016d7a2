"""The builder with names that aren't text, stopped by a signal, and with output that fails: a sentence each time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from index_builder import verbs
from index_builder.__main__ import main
from tests.conftest import PHOTOS
from tests.index_builder.test_listing import picture, rows_of, with_gps, write_table, write_tar
from tests.paths import ROOT


@pytest.fixture
def folder(tmp_path):
    """Two photos with a position in their EXIF, and the same under names, and in a folder, that aren't UTF-8."""
    photos = tmp_path / "photos"
    odd = photos / "d\udcfe"
    odd.mkdir(parents=True)
    for number, name in enumerate(("Eiffel", "Taj-Mahal")):
        photo = with_gps(next(PHOTOS.glob(f"*{name}*")).read_bytes(), "48.8", "2.2")
        (photos / f"{number}.jpg").write_bytes(photo)
        (photos / f"caf\udce9{number}.jpg").write_bytes(photo)
        (odd / f"{number}.jpg").write_bytes(photo)
    os.mkfifo(photos / "pipe.jpg")
    return photos


def listing(tmp_path, *arguments):
    return main(["listing", "--out", str(tmp_path / "listing.parquet"), *map(str, arguments)])


def test_a_folders_files_whose_names_are_not_text_are_dropped_and_named(folder, tmp_path, capsys):
    assert listing(tmp_path, "--photos", folder) == 0
    said = capsys.readouterr().out
    assert "7 in, 2 kept, 5 dropped" in said and "1  no such file" in said
    assert f"4  name that is not UTF-8: rename the file or its folder ({folder}/caf\\xe9" in said
    assert [row.record.id for row in rows_of(tmp_path)] == ["0.jpg", "1.jpg"]


def test_a_tars_members_whose_names_are_not_text_are_kept_with_their_names_escaped(folder, tmp_path):
    photo, place = (folder / "0.jpg").read_bytes(), json.dumps({"lat": 1, "lon": 2, "author": "\ud83d"}).encode()
    write_tar(tmp_path / "a.tar", [("caf\udce9.jpg", photo), ("caf\udce9.json", place), ("b.jpg", picture(1))])
    table = write_table(tmp_path / "t.csv", [("b.jpg", 3, 4)])
    assert listing(tmp_path, "--photos", tmp_path / "a.tar", "--positions", table) == 0
    first, second = rows_of(tmp_path)
    assert (first.record.id, first.record.author) == ("caf\\xe9.jpg", "\\ud83d") and second.record.id == "b.jpg"


def test_a_table_may_name_files_that_no_system_could_have(folder, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [("x" * 300 + ".jpg", 1, 1), ("a\0b.jpg", 1, 1), ("0.jpg", 1, 1)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
    assert "2  no such file" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["listing", "--photos", "d\udcfe", "--out", "listing.parquet"],
        ["index", "--listing", "l", "--embeddings", "e", "--out", "g\udcff"],
        ["build", "--photos", "p", "--out", "g", "--about", "\udcff"],
    ],
)
def test_arguments_that_are_not_text_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "must be text in UTF-8" in said and "Traceback" not in said


def test_a_tar_whose_own_name_is_not_text_is_refused(tmp_path, capsys):
    write_tar(tmp_path / "o\udcff.tar", [("b.jpg", picture(1))])
    assert listing(tmp_path, "--photos", tmp_path / "*.tar") == 2
    assert "o\\xff.tar is not UTF-8; rename the tar file" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "x", "9" * 5000, "-1", "1.5"])
def test_a_number_that_is_none_is_refused_in_words(number, capsys):
    with pytest.raises(SystemExit):
        main(["embed", "--listing", "l", "--out", "o", f"--batch={number}"])
    said = capsys.readouterr().err
    assert "is not a whole number from 1." in said or "The number is too large." in said


@pytest.mark.parametrize("program", ["python -m index_builder", "img2loc-index"])
def test_usage_names_the_command_as_it_was_called_and_the_verb(program, capsys):
    for arguments in (["verify", "g", "--unknown"], ["verify"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments, program=program)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith(f"usage: {program} verify [-h] ")


@pytest.mark.parametrize("verb", ["build", "listing", "embed", "index", "merge", "verify", "publish", "geoclip"])
def test_ctrl_c_ends_every_stage_in_a_sentence(verb, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, verb, interrupt)
    needed = {
        "build": ["--photos", "p"],
        "listing": ["--photos", "p"],
        "embed": ["--listing", "l"],
        "index": ["--listing", "l", "--embeddings", "e"],
        "merge": ["g"],
        "verify": ["g"],
        "publish": ["g", "a/b"],
        "geoclip": [],
    }
    out = [] if verb in ("verify", "publish") else ["--out", "o"]
    assert main([verb, *needed[verb], *out]) == 130
    assert capsys.readouterr().err == "index_builder: Stopped. Run the same command again to continue.\n"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_stopped_says_so_and_goes_on_later(tmp_path, stop, begin):
    with (PHOTOS / "photos.csv").open(encoding="utf-8") as file:
        lines = file.readlines()[:61]
    (tmp_path / "t.csv").write_text("".join(lines), encoding="utf-8")
    arguments = ["--photos", PHOTOS, "--positions", tmp_path / "t.csv", "--encoder", "lite0", "--out", tmp_path / "g"]
    command = [sys.executable, "-m", "index_builder", "build", *map(str, arguments)]
    process = begin(command)
    said = b""
    while b"embed" not in said:
        said += os.read(process.stderr.fileno(), 1000)
    process.send_signal(stop)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        rest.endswith(b"index_builder: Stopped. Run the same command again to continue.\n") and b"Traceback" not in rest
    )
    assert main(["build", *map(str, arguments)]) == 0
    assert (tmp_path / "g" / "manifest.json").exists()


@pytest.mark.parametrize("redirect", [">/dev/full", "| true"])
def test_output_that_fails_is_one_sentence_after_the_work(folder, tmp_path, redirect):
    out = tmp_path / "listing.parquet"
    command = f"'{sys.executable}' -m index_builder listing --photos '{folder}' --out '{out}' {redirect}"
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert found.returncode == 1 and out.exists()
    assert found.stderr.count(b"Standard output can't be written") == 1 and b"Traceback" not in found.stderr

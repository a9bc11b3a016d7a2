"""The command line as a process that is stopped, or whose output fails: what has been answered is never lost."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from img2loc.__main__ import main
from img2loc.lmm import Turn
from img2loc.locator import Locator
from img2loc.system.terminal import print_message
from index_builder.__main__ import main as builder
from tests.conftest import PHOTOS
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted_lmm import ScriptedLMM
from tests.paths import ROOT

EIFFEL, TAJ, STONEHENGE = (str(next(PHOTOS.glob(f"*{name}*"))) for name in ("Eiffel", "Taj-Mahal", "Stonehenge"))
SHAPES = ("", "--json", "--geojson", "--csv")
# The command line with an encoder that sees the Taj Mahal in every photo: the real one takes two seconds to load.
PROGRAM = """
from types import SimpleNamespace
import numpy as np
import img2loc.__main__
import img2loc.locator
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.index import Searcher

def open_encoder(*_, **__):
    gallery = open_gallery("starter")
    records = gallery.records(list(range(gallery.manifest.count)))
    taj = next(row for row, record in records.items() if "Taj-Mahal" in record.id)
    embedding = gallery.searcher.vectors.reconstruct(taj)
    embed = lambda images: np.stack([embedding] * len(images))
    return SimpleNamespace(spec=gallery.manifest.encoder, dim=gallery.manifest.dim, embed=embed)

img2loc.locator.open_encoder = open_encoder
Searcher.use_gpu = lambda *_: None
img2loc.__main__.command()
"""
COMMAND = [sys.executable, "-c", PROGRAM, "locate"]


@pytest.fixture
def start(begin):
    def start(*arguments, stdout=subprocess.PIPE, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMG2LOC_", "OPENAI_"))}
        return begin([*COMMAND, *filter(None, arguments)], env={**inherited, **environment}, stdout=stdout)

    return start


def asks(server):
    return ["--backend", "openai", "--base-url", server.base_url], {"OPENAI_API_KEY": server.key}


def positions(shape, printed):
    """The latitudes in what was printed, which has to be whole."""
    if shape == "--json":
        return [found["position"]["lat"] for found in json.loads(printed)]
    if shape == "--geojson":
        return [found["geometry"]["coordinates"][1] for found in json.loads(printed)["features"]]
    if shape == "--csv":
        return [float(row["lat"]) for row in csv.DictReader(io.StringIO(printed))]
    return [float(line.split("\t")[1].split(",")[0]) for line in printed.splitlines()]


@pytest.mark.parametrize(
    ("shape", "stop"),
    [("", signal.SIGINT), ("--json", signal.SIGTERM), ("--geojson", signal.SIGHUP), ("--csv", signal.SIGINT)],
)
def test_stopped_amid_the_third_photo_the_first_two_are_there(shape, stop, start):
    with OpenAIServer() as server:
        server.enqueue("good", "good", "hang")
        arguments, environment = asks(server)
        process = start(EIFFEL, TAJ, STONEHENGE, *arguments, shape, **environment)
        deadline = time.monotonic() + 60
        while len(server.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(stop)
        printed, said = process.communicate(timeout=30)
    assert positions(shape, printed.decode()) == pytest.approx([48.8584, 48.8584], abs=0.01)
    assert process.returncode == 130
    assert b"img2loc: Stopped." in said and b"Traceback" not in said


def test_replies_about_a_photo_that_is_broken_off_go_to_stderr(start):
    with OpenAIServer() as server:
        server.enqueue("good", "malformed", "hang")
        arguments, environment = asks(server)
        process = start(EIFFEL, "--samples", "3", "--json", *arguments, **environment)
        deadline = time.monotonic() + 60
        while len(server.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=30)
    assert json.loads(printed) == [] and process.returncode == 130
    first, second = (line for line in said.decode().splitlines() if "The model replied" in line)
    assert first.startswith(f"img2loc: {EIFFEL}: ") and "48.858" in first and "look at the sky" in second


@pytest.mark.parametrize("shape", SHAPES)
def test_replies_that_no_output_holds_go_to_stderr(shape, monkeypatch, capsys, starter):
    replies = ["No \x1b[31m idea \u2028 \x9b1m.\nNone.", "Still none."] * 2
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    monkeypatch.setattr("img2loc.__main__.open_lmm", lambda name, options: ScriptedLMM(replies))
    assert main(["locate", EIFFEL, shape or EIFFEL]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "The model replied" in line]
    assert len(said) == {"": 4, "--json": 0}.get(shape, 2)
    if said:
        assert said[0] == rf'img2loc: {EIFFEL}: The model replied: "No \u001b[31m idea \u2028 \u009b1m.\nNone."'


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_replies_before_an_unexpected_end_go_to_stderr(error, monkeypatch, capsys, starter):
    def locate(photo, ask):
        ask.lmm.reply((Turn("user", "Where?"),), b"")
        raise error

    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    monkeypatch.setattr(starter, "locate", locate)
    monkeypatch.setattr("img2loc.__main__.open_lmm", lambda name, options: ScriptedLMM(["48.858, 2.294"]))
    assert main(["locate", EIFFEL, "--json"]) == (130 if error is KeyboardInterrupt else 1)
    said = capsys.readouterr()
    assert f'img2loc: {EIFFEL}: The model replied: "48.858, 2.294"' in said.err and json.loads(said.out) is not None


@pytest.mark.parametrize("errors", ["2>/dev/full", "2>&-", "2> >(head -c 1 >/dev/null)"])
def test_messages_that_fail_stop_nothing(errors, tmp_path):
    missing = str(tmp_path / "none.jpg")
    command = shlex.join([*COMMAND, EIFFEL, missing, TAJ])
    environment = {**os.environ, "TQDM_MININTERVAL": "0"}
    found = subprocess.run(
        ["bash", "-c", f"{command} --json {errors}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert [bool(one.get("position")) for one in json.loads(found.stdout)] == [True, False, True]
    assert found.returncode == 1


def test_a_closed_pipe_ends_the_asking_and_the_answer_in_hand_goes_to_stderr(start):
    with OpenAIServer() as server:
        server.enqueue("good", "good", "good")
        arguments, environment = asks(server)
        reader, writer = os.pipe()
        process = start(EIFFEL, TAJ, STONEHENGE, *arguments, "--json", stdout=writer, **environment)
        os.close(writer)
        first = b""
        while b"48.858" not in first:
            first += os.read(reader, 100)
        os.close(reader)
        _, said = process.communicate(timeout=60)
        asked = len(server.requests)
    assert process.returncode == 1 and asked <= 3
    assert b"Standard output can't be written (Broken pipe)" in said and b"Traceback" not in said
    if asked == 2:
        assert b"48.858" in said and b"no further photo was located" in said


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_fills_up_ends_the_asking(tmp_path, unbuffered):
    """The limit of a file's size stands in for the disk's."""
    with OpenAIServer() as server:
        arguments, environment = asks(server)
        command = shlex.join([*COMMAND, *[EIFFEL] * 60, *arguments, "--csv"])
        found = subprocess.run(
            ["bash", "-c", f"ulimit -f 1; exec {command} > '{tmp_path}/out'"],
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": unbuffered},
            capture_output=True,
            timeout=120,
            check=False,
        )
        asked = len(server.requests)
    assert found.returncode == 1 and 2 < asked < 60
    assert b"Standard output can't be written (File too large)" in found.stderr and b"Traceback" not in found.stderr
    printed = (tmp_path / "out").read_text()
    whole = list(csv.DictReader(io.StringIO(printed.rpartition("\n")[0])))
    assert len(whole) + found.stderr.decode().count(Path(EIFFEL).name) == asked


@pytest.mark.parametrize("closed", ["/dev/full", "closed"])
def test_output_that_is_closed_or_full_from_the_start_costs_nothing(closed):
    with OpenAIServer() as server:
        arguments, environment = asks(server)
        redirect = ">&-" if closed == "closed" else f">{closed}"
        command = shlex.join([*COMMAND, EIFFEL, *arguments, "--csv"])
        found = subprocess.run(
            ["bash", "-c", f"{command} {redirect}"],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert server.requests == []
    assert found.returncode == 1
    (sentence,) = found.stderr.decode().splitlines()
    assert sentence.startswith("img2loc: Standard output can't be written (")


@pytest.mark.parametrize(
    ("shape", "environment"),
    [
        ("", {"PYTHONIOENCODING": "utf-8:strict"}),
        ("--csv", {"PYTHONIOENCODING": "cp1252:strict"}),
        ("--geojson", {"PYTHONIOENCODING": "ascii:strict"}),
        ("--json", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_names_and_outputs_that_cannot_hold_a_character_are_escaped(tmp_path, shape, environment, start):
    odd = tmp_path / "caf\udce9 Łódź 😀.jpg"
    shutil.copy(EIFFEL, odd)
    process = start(os.fsencode(odd), os.fsencode(f"{tmp_path}/no\udcff"), TAJ, shape, **environment)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 1 and b"Traceback" not in said
    name = (environment.get("PYTHONIOENCODING") or "utf-8").split(":")[0]
    text = printed.decode(name)
    if shape in ("", "--csv"):
        assert "caf\\xe9 " in text and "no\\xff" in text and "Agra" in text
    else:
        found = json.loads(text)
        names = (
            [x["photo"] for x in found] if shape == "--json" else [x["properties"]["photo"] for x in found["features"]]
        )
        assert "caf\\xe9 " in names[0] and names[1].endswith("no\\xff") and names[2] == TAJ
        if name != "utf-8":
            assert names[0].endswith("Łódź 😀.jpg")


def test_a_message_that_standard_error_cannot_hold_is_escaped(monkeypatch):
    """Python's own standard error escapes; one that a program has put in its place may not."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    print_message("img2loc: caf\udce9 Łódź: The model replied: 48°")
    assert raw.getvalue() == b"img2loc: caf\\xe9 \\u0141\\xf3d\\u017a: The model replied: 48\\xb0\n"


def test_an_unexpected_error_is_one_photos_failure(monkeypatch, capsys, starter):
    def locate(photo, ask):
        photos.append(photo)
        if len(photos) == 2:
            raise ZeroDivisionError("Bearer sk-secret")
        return locate_photo(photo, ask)

    photos = []
    locate_photo = starter.locate
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    monkeypatch.setattr(starter, "locate", locate)
    assert main(["locate", EIFFEL, TAJ, EIFFEL, "--json"]) == 1
    said = capsys.readouterr()
    first, second, third = json.loads(said.out)
    assert first["place"] == third["place"] and "ZeroDivisionError in test_output.py" in second["error"]
    assert f"img2loc: {TAJ}: An unexpected error" in said.err and "secret" not in said.out + said.err


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        ("-", "Standard input isn't supported; give file names."),
        (str(PHOTOS), f"That is a folder; give its photos, for example {PHOTOS}/*.jpg."),
        ("*.nef", "No file matches this pattern."),
        ("no/such/photo.jpg", "The file can't be read: No such file or directory."),
        ("/dev/zero", "This is a folder, a pipe, a socket or a device; only files can be read."),
    ],
)
def test_what_is_no_photo_gets_a_sentence(photo, words, monkeypatch, capsys, starter):
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    assert main(["locate", photo]) == 1
    assert f"img2loc: {photo}: {words}" in capsys.readouterr().err


def test_pipes_and_sockets_are_not_waited_for_and_the_other_photos_are_located(tmp_path, start):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))
        process = start(f"{tmp_path}/pipe.jpg", f"{tmp_path}/socket.jpg", "/dev/tty", TAJ)
        printed, said = process.communicate(timeout=60)
    assert said.count(b"only files can be read.") == 3 and b"Agra" in printed
    assert process.returncode == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_terminal_is_sent_nothing_that_it_would_act_on(tmp_path, shape, monkeypatch, capsys, starter):
    odd = tmp_path / "a\x1b]0;title\x07\r\nb\u202eg\x9b1m\u2028.jpg"
    odd.write_bytes(b"no picture")
    escaped = r"a\x1b]0;title\x07\r\nb\u202eg\x9b1m\u2028.jpg"
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    assert main(["locate", str(odd), *filter(None, [shape])]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"img2loc: {tmp_path}/{escaped}: ") and said.err.count("\n") == 1
    if not shape:
        assert said.out == f"{tmp_path}/{escaped}\tno position\n"
    elif shape == "--csv":
        assert next(csv.DictReader(io.StringIO(said.out, newline="")))["photo"] == str(odd)
    else:
        found = json.loads(said.out)
        assert str(odd) in (found[0]["photo"] if shape == "--json" else found["features"][0]["properties"]["photo"])


@pytest.mark.parametrize("command", [main, builder])
def test_wrong_usage_repeats_arguments_escaped(command, capsys):
    with pytest.raises(SystemExit):
        command(["locate" if command is main else "verify", "x", "--\x1b[31m\u202e"])
    assert r"unrecognized arguments: --\x1b[31m\u202e" in capsys.readouterr().err


def test_help_into_a_full_disk_is_no_traceback():
    found = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m img2loc --help >/dev/full"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1 and found.stderr.decode().count("\n") == 1

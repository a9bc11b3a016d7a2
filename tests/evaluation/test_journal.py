"""The journal of a run: whole whatever happens, and refused where it isn't the run's."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from img2loc.__main__ import main
from img2loc.errors import DataError
from img2loc.evaluation.report.score import open_run
from img2loc.evaluation.run.journal import Journal, read_journal
from img2loc.evaluation.run.record import Header
from tests.evaluation.runs import ITEMS, SETUP, CountingLMM


def test_a_torn_last_line_is_dropped_and_its_photo_asked_again(start, journal):
    _, record = start(CountingLMM())
    whole = journal.read_bytes()
    last = json.loads(whole.splitlines()[-1])["entry"]["id"]
    journal.write_bytes(whole[:-20])
    assert last in read_journal(journal).under_way
    lmm = CountingLMM()
    _, again = start(lmm)
    assert lmm.asked == Counter([int(last[:2])]) and again.attempts[last] == 2
    scores = [open_run("run", each).main.figures for each in (record, again)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_torn_first_line_begins_the_run_anew(start, journal, cut):
    start(CountingLMM())
    journal.write_bytes(journal.read_bytes()[:cut])
    with pytest.raises(DataError, match="no complete first line"):
        read_journal(journal)
    assert start(CountingLMM())[1].entries


def test_a_damaged_line_is_named(start, journal):
    start(CountingLMM())
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][: len(lines[4]) // 2] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match="Line 5 of"):
        start(CountingLMM())


def test_another_run_gets_no_place_in_the_journal(start, tmp_path, journal):
    start(CountingLMM())
    with pytest.raises(DataError, match="it differs in model, farthest"):
        start(CountingLMM(), setup=replace(SETUP, model="test-2", farthest=0))
    with pytest.raises(DataError, match="it differs in photos of the listing"):
        Journal(journal, Header(SETUP, ITEMS[:-1], (), "2026-11-23"))


def test_a_journal_in_which_nothing_happened_makes_way(start, journal):
    start(CountingLMM(), setup=replace(SETUP, model="test-2"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0])
    _, record = start(CountingLMM())
    assert record.header.setup == SETUP == read_journal(journal).header.setup


def test_two_processes_cannot_write_one_journal(start, journal):
    start(CountingLMM())
    header = Header(SETUP, ITEMS, (), "2026-11-23")
    with Journal(journal, header), pytest.raises(DataError, match="Another process is writing"):
        Journal(journal, header)


def test_a_last_line_that_lacks_only_its_line_break_is_kept(start, journal):
    start(CountingLMM())
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-1])
    assert len(read_journal(journal).entries) == 12
    start(lmm := CountingLMM())
    assert not lmm.asked and journal.read_bytes() == whole


@pytest.mark.parametrize(
    "content", [b"x", b"my notes, in one line", b'{"a": 1}', b'{"header":{"title":"mine', b"[" * 9**5]
)
def test_a_file_of_somebody_elses_is_left_alone(journal, content):
    journal.write_bytes(content)
    with pytest.raises(DataError):
        Journal(journal, Header(SETUP, ITEMS, (), "2026-11-23"))
    assert journal.read_bytes() == content


def test_half_a_character_in_a_reply_reaches_the_journal_and_the_report(start, journal, tmp_path):
    _, record = start(CountingLMM(lambda number: f"{number}.1, {2 * number}.1 \ud83d"))
    assert read_journal(journal).entries == record.entries
    assert main(["evaluate", "report", str(journal), "--out", str(tmp_path / "report")]) == 0


@pytest.mark.parametrize("full_at", [3, 10])
def test_a_disk_that_fills_up_keeps_the_journal_whole_and_the_answer_in_hand(
    start, journal, monkeypatch, capsys, full_at
):
    """A line is torn, then there is room again: what follows it can be read, and what was paid for stands on stderr."""

    class FullDisk:
        lines = 0

        def __init__(self, file):
            self._file = file

        def write(self, content):
            FullDisk.lines += 1
            if FullDisk.lines == full_at and b'{"entry' in bytes(content[:10]):
                self._file.write(content[:20])
                raise OSError(28, "No space left on device")
            return self._file.write(content)

        def __getattr__(self, name):
            return getattr(self._file, name)

    make = Journal.__init__

    def made(self, *given):
        make(self, *given)
        self._file = FullDisk(self._file)

    monkeypatch.setattr(Journal, "__init__", made)
    FullDisk.lines = full_at % 2  # so that it is an entry's line
    with pytest.raises(OSError, match="No space left") as caught:
        start(CountingLMM(), concurrency=1)
    assert caught.value.filename == journal
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith('{"entry"')]
    assert "append the next line" in said and json.loads(line)["entry"]["outcome"]["replies"]
    before = read_journal(journal)
    with journal.open("a") as file:
        file.write(line + "\n")
    assert len(read_journal(journal).entries) == len(before.entries) + 1

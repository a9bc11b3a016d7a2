"""Runs: every photo accounted for, none asked twice, and failures and interrupts that lose nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from img2loc.answer import ask
from img2loc.errors import LMMCancelledError, LMMUnreachableError
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.report import answers
from img2loc.evaluation.report.score import open_run
from img2loc.evaluation.run import runner
from img2loc.evaluation.run.journal import read_journal
from img2loc.evaluation.run.runner import KILLED_TWICE, exclusion
from img2loc.lmm.prices import Pricing
from img2loc.types import LatLon, Neighbour, PhotoRecord
from tests.evaluation.runs import GALLERY, SETUP, CountingLMM, Killed, number_of


def test_every_photo_is_accounted_for(start, photos, journal):
    (photos / "00.png").unlink()
    (photos / "01.png").write_bytes(b"no picture")
    lmm = CountingLMM(lambda number: "I can't help with that." if number == 2 else f"{number}.1, {2 * number}.1")
    reason, record = start(lmm)
    assert reason == "" and lmm.asked == Counter(range(2, 12))
    assert record.entries == read_journal(journal).entries
    model, system, *_ = (row for row in answers.of_record(record))
    assert [case.kind for case in model.cases] == ["missing", "unreadable", "refused", *["answered"] * 9]
    assert [case.predicted is None for case in model.cases] == [True] * 3 + [False] * 9
    assert [case.predicted is None for case in system.cases] == [True] * 2 + [False] * 10
    run = open_run("run", record)
    assert run.main.n == 12 and run.main.figures["geodesic"].accuracy[1].value == 9 / 12
    dropped = open_run("run", record, drop_absent=True)
    assert dropped.main.n == 10 and dropped.main.figures["geodesic"].accuracy[1].value == 9 / 10


def test_a_second_start_asks_nothing(start, journal):
    start(CountingLMM())
    before = journal.read_bytes()
    lmm = CountingLMM()
    start(lmm)
    assert not lmm.asked and journal.read_bytes() == before


def test_a_photo_that_was_missing_is_taken_up_when_it_is_there(start, photos):
    hidden = (photos / "00.png").rename(photos.parent / "00.png")
    start(CountingLMM())
    hidden.rename(photos / "00.png")
    lmm = CountingLMM()
    _, record = start(lmm)
    assert lmm.asked == Counter([0]) and record.entries["00.png"].kind == "answered"


def test_a_photo_cut_short_twice_is_not_asked_a_third_time_unless_wanted(start, journal):
    def fail(number):
        raise Killed  # the photo stays without an entry

    cut = CountingLMM(fail)
    for _ in range(2):
        with pytest.raises(Killed):
            start(cut)
    assert cut.asked == Counter({0: 2}) and set(read_journal(journal).under_way) == {"00.png"}
    lmm = CountingLMM()
    reason, record = start(lmm)
    entry = record.entries["00.png"]
    assert reason == "" and lmm.asked == Counter(range(1, 12)) and record.attempts["00.png"] == 2
    assert (entry.kind, entry.outcome.message, entry.position) == ("provider_error", KILLED_TWICE, entry.vote.position)
    assert entry.nearest and answers.replay(record).entries["00.png"] == entry
    start(lmm)
    assert lmm.asked == Counter(range(1, 12))
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter(range(12)) and record.entries["00.png"].kind == "answered"


def test_a_provider_that_is_down_ends_the_run_and_can_be_asked_again(start, monkeypatch):
    monkeypatch.setattr(runner, "FAILURES_IN_A_ROW", 4)
    down = CountingLMM(lambda number: LMMUnreachableError("The provider can't be reached."))
    reason, record = start(down, concurrency=1)
    assert "4 photos failed in a row" in reason and "can't be reached" in reason
    assert sum(down.asked.values()) == len(record.entries) == 4
    lmm = CountingLMM()
    start(lmm)
    assert len(lmm.asked) == 8
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter(range(12))
    assert {entry.kind for entry in record.entries.values()} == {"answered"}


def test_an_interrupt_keeps_what_is_under_way(start):
    lmm = CountingLMM()

    def interrupt(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(lmm, on_photo=interrupt)
    assert 0 < len(lmm.asked) < 12
    again = CountingLMM()
    start(again)
    assert sorted([*lmm.asked, *again.asked]) == list(range(12))


def test_an_interrupt_gives_up_requests_that_hang_and_they_are_asked_again(start, monkeypatch):
    def answer(turns, jpeg):
        number = number_of(jpeg)
        if number in (1, 2):
            assert cancel.wait(20)
            raise LMMCancelledError("The request was cancelled.")
        return reply(turns, jpeg)

    def interrupt(entry):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "FINISH_S", 0.2)
    cancel, lmm = threading.Event(), CountingLMM()
    reply, lmm.reply = lmm.reply, answer
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        start(lmm, on_photo=lambda entry: entry.id == "00.png" or interrupt(entry), cancel=cancel)
    assert time.monotonic() - begun < 10
    _, record = start(again := CountingLMM())
    assert {1, 2} <= set(again.asked) and 0 not in again.asked
    assert {entry.kind for entry in record.entries.values()} == {"answered"}


def test_an_unexpected_error_is_one_photos_failure_and_its_replies_are_kept(start, monkeypatch):
    """They were paid for. The error's own words, which may hold a key, stay out."""
    seen = Counter()

    def spoil(text, *rest):
        seen[text] += 1
        if text.startswith("7.1") and seen[text] == 1:
            raise ZeroDivisionError("Bearer sk-secret")
        return parse(text, *rest)

    parse = ask.parse
    monkeypatch.setattr(ask, "parse", spoil)
    reason, record = start(CountingLMM(), pricing=Pricing(10.0, 40.0))
    entry = record.entries["07.png"]
    assert reason == "" and len(record.entries) == len(record.used) == 12
    assert entry.kind == "unexpected_error" and entry.outcome.replies[0].text.startswith("7.1")
    assert "ZeroDivisionError in test_runner.py" in entry.message and "secret" not in entry.message
    lmm = CountingLMM()
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter([7]) and record.entries["07.png"].kind == "answered"


def test_an_error_that_all_photos_meet_ends_the_run(start):
    def fail(number):
        raise ZeroDivisionError

    reason, _ = start(CountingLMM(fail))
    assert "10 photos failed in a row" in reason and "ZeroDivisionError" in reason


def test_itself_its_authors_and_near_duplicates_are_left_out():
    item = Item("05.png", "author1", LatLon(0, 0))
    excluded = exclusion(item, SETUP)
    assert [neighbour.row for neighbour in GALLERY if excluded(neighbour)] == [1, 5, 6, 11, 16, 21, 26]
    assert excluded(Neighbour(99, LatLon(0, 0), 0.99)) and not excluded(Neighbour(99, LatLon(0, 0), 0.98))
    everything = replace(SETUP, exclude_itself=False, exclude_author=False, near_duplicate=2)
    assert not any(exclusion(item, everything)(neighbour) for neighbour in GALLERY)
    nobody = Item("99.png", "", LatLon(0, 0))
    assert not exclusion(nobody, SETUP)(Neighbour(1, LatLon(0, 0), 0.5, PhotoRecord("1.png")))

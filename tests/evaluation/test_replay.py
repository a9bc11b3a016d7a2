"""Scores from a journal alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from img2loc.answer import ask
from img2loc.answer.vote import vote
from img2loc.errors import LMMUnreachableError
from img2loc.evaluation.report import answers
from img2loc.evaluation.report.metrics import FORMULAS
from img2loc.evaluation.report.score import open_run
from img2loc.evaluation.run import runner
from img2loc.evaluation.run.runner import exclusion
from img2loc.types import LatLon
from tests.evaluation.runs import GALLERY, ITEMS, SETUP, CountingLMM


@pytest.mark.parametrize("samples", [1, 3])
def test_replay_asks_nothing_and_gives_the_same(start, samples):
    replies = {3: "no idea", 4: "I can't help with that.", 5: LMMUnreachableError("Gone.")}
    _, record = start(
        CountingLMM(lambda number: replies.get(number, f"{number}.1, {2 * number}.1")),
        setup=replace(SETUP, samples=samples),
    )
    again = answers.replay(record)
    assert again.entries == record.entries
    kinds = Counter(entry.kind for entry in again.entries.values())
    assert kinds == {"answered": 9, "unparseable": 1, "refused": 1, "provider_error": 1}


def test_replay_reads_with_todays_parser(start, monkeypatch):
    _, record = start(CountingLMM(lambda number: "somewhere" if number == 7 else f"{number}.1, {2 * number}.1"))
    assert record.entries["07.png"].kind == "unparseable"
    parse = ask.parse
    monkeypatch.setattr(ask, "parse", lambda text: parse(text.replace("somewhere", "7.1, 14.1")))
    again = answers.replay(record)
    assert again.entries["07.png"].outcome.position == LatLon(7.1, 14.1)
    assert {id_ for id_ in record.entries if record.entries[id_] != again.entries[id_]} == {"07.png"}


def test_baselines_come_from_the_journal(start):
    _, record = start(None, setup=replace(SETUP, backend="vote", model="", template="", nearest=20))
    rows = {row.method: row for row in answers.of_record(record)}
    assert list(rows) == ["vote", "top 1", "oracle"]
    measure = FORMULAS["geodesic"]
    for number, item in enumerate(ITEMS):
        kept = [neighbour for neighbour in GALLERY if not exclusion(item, SETUP)(neighbour)][:20]
        assert rows["top 1"].cases[number].predicted == kept[0].position
        assert rows["vote"].cases[number].predicted == vote(kept[:16]).position
        best = min(measure(neighbour.position, item.position) for neighbour in kept)
        assert measure(rows["oracle"].cases[number].predicted, item.position) == best
    for one, first in zip(answers.votes_of(record, 1).cases, rows["top 1"].cases, strict=True):
        assert measure(one.predicted, first.predicted) < 1e-6


def test_photos_not_reached_yet_are_misses(start, monkeypatch):
    monkeypatch.setattr(runner, "FAILURES_IN_A_ROW", 1)
    _, record = start(CountingLMM(lambda number: LMMUnreachableError("Gone.")), concurrency=1)
    score = open_run("run", record).main
    assert score.n == 12 and score.outcomes == {"not_run": 11, "provider_error": 1}
    assert score.figures["geodesic"].accuracy[4].value == 0

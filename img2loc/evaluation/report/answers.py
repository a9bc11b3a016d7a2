"""From a journal, without any call: the answers of the run, and of the baselines that its neighbours allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from img2loc.answer.vote import vote
from img2loc.errors import LMMError
from img2loc.evaluation.data.datasets import Item, Predictions, Truth
from img2loc.evaluation.report.metrics import oracle
from img2loc.evaluation.run.record import (
    MISSING,
    NO_POSITION,
    NOT_RUN,
    UNAVAILABLE,
    UNREADABLE,
    VOTED,
    Entry,
    Record,
    area_of,
)
from img2loc.geo.areas import Area
from img2loc.judge.candidates import rescored
from img2loc.judge.sampling import ask_often
from img2loc.lmm import Turn
from img2loc.types import LatLon, OutcomeKind, Reply

MODEL: Final = "model"
SYSTEM: Final = "model, else vote"
VOTE: Final = "vote"
TOP_1: Final = "top 1"
ORACLE: Final = "oracle"
JUDGED: Final = "judged"
# The judge with parts of the candidates' scores left out.
ABLATIONS: Final = {
    "judged, without fit": ("likelihood",),
    "judged, without neighbours": ("density",),
    "judged, without choice": ("choice",),
    "judged, without answers": ("agreement", "choice"),  # the model isn't heard at all
    "judged, answers alone": ("density", "likelihood", "choice"),
}
BEST: Final = "best candidate"

# Kinds of failure of which there is nothing to score, however well the system might have done.
ABSENT: Final = (MISSING, UNAVAILABLE, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Case:
    """A photo, what was predicted for it, and how that ended.

    Args:
        item: The photo with its true position.
        predicted: The position; None for a miss.
        kind: How it ended: "voted" and such where there is a position, else the kind of failure.
    """

    item: Item
    predicted: LatLon | None
    kind: str

    @property
    def cluster(self) -> str:
        """Whom the photo is by; a photo of unknown origin stands for itself."""
        return f"by {self.item.author}" if self.item.author else f"photo {self.item.id}"


@dataclass(frozen=True, slots=True)
class Answers:
    """One row of a table: every photo of a ground truth with its answer.

    Args:
        method: What answered.
        cases: One a photo, in the ground truth's order.
    """

    method: str
    cases: tuple[Case, ...]


def of_predictions(truth: Truth, predictions: Predictions) -> Answers:
    """Somebody's predictions as answers."""
    cases = []
    for item in truth.items:
        found = predictions.positions[item.id]
        cases.append(Case(item, None, found) if isinstance(found, str) else Case(item, found, "predicted"))
    return Answers("predictions", tuple(cases))


def of_record(record: Record) -> tuple[Answers, ...]:
    """All that a journal can tell: the model's answers, the system's, the vote's, the first neighbour's, the oracle's.

    A model's failure is a miss in its own row, and the vote's answer in the system's. Where candidates were judged, the
    judge's answers stand in place of both, with those that it would have given with a part of it left out.

    Args:
        record: A journal. Photos that it does not hold yet are misses of the kind not_run.
    """
    setup = record.header.setup
    if setup.judge is not None:
        methods = [JUDGED, *ABLATIONS, BEST]
        if not setup.judge.choice:
            methods.remove("judged, without choice")
        if setup.backend == "vote":  # there are no answers to leave out
            methods = [JUDGED, "judged, without fit", BEST]
        rows = [_row(record, method) for method in methods]
    else:
        rows = [] if setup.backend == "vote" else [_row(record, MODEL), _row(record, SYSTEM)]
    rows.append(_row(record, VOTE))
    if setup.nearest:
        rows += [_row(record, TOP_1), _row(record, ORACLE)]
    return tuple(rows)


def votes_of(record: Record, count: int) -> Answers:
    """The vote of only the first neighbours.

    Args:
        record: A journal.
        count: How many vote; no more than were retrieved.
    """
    cases = []
    for item, entry in _pairs(record):
        voted = vote(entry.nearest[:count], within=area_of(item, record.header.setup))
        cases.append(_case(item, entry, voted.position if voted else None, VOTED))
    return Answers(f"vote of {count}", tuple(cases))


def replay(record: Record) -> Record:
    """Read every reply of a journal again with today's parser, and let the neighbours vote again. Nothing is asked.

    Args:
        record: A journal.

    Returns:
        The same run as today's code would have it. A reply that today's parser can't read and yesterday's could has no
        second reply to follow it; it becomes a provider_error that says so. Judged entries stay as they are: how well
        a photo fits a place can't be told without the photo.
    """
    if record.header.setup.judge is not None:
        return record
    setup, items = record.header.setup, {item.id: item for item in record.header.items}
    entries = {
        id_: _replayed(entry, setup.samples, area_of(items[id_], setup)) for id_, entry in record.entries.items()
    }
    return replace(record, entries=entries)


def without_absent(answers: Answers) -> Answers:
    """Leave photos that could not be had out of N; only for who asks for it."""
    return replace(answers, cases=tuple(case for case in answers.cases if case.kind not in ABSENT))


class _Recorded:
    """Says again what a model said."""

    name = model = "journal"

    def __init__(self, replies: Sequence[Reply], failure: str) -> None:
        self._replies, self._failure = list(replies), failure

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """The next reply, or the failure that came in its place."""
        if not self._replies:
            raise LMMError(self._failure or "The journal holds no further reply.")
        return self._replies.pop(0)


def _replayed(entry: Entry, samples: int, within: Area | None) -> Entry:
    # Fewer than the vote had may be stored, where the prompt took fewer; then the stored vote stands.
    whole = entry.vote is not None and len(entry.nearest) >= entry.vote.neighbours
    voted = vote(entry.nearest[: entry.vote.neighbours], within=within) if whole and entry.vote else entry.vote
    outcome = entry.outcome
    if outcome is None:
        return replace(entry, vote=voted, position=voted.position if voted else None)
    failure = outcome.message if outcome.kind is OutcomeKind.PROVIDER_ERROR else ""
    outcome = ask_often(_Recorded(outcome.replies, failure), "", b"", samples=samples, within=within)
    position = outcome.position or (voted.position if voted else None)
    return replace(entry, kind=outcome.kind.value, outcome=outcome, vote=voted, position=position)


def _pairs(record: Record) -> list[tuple[Item, Entry]]:
    return [(item, record.entries.get(item.id, Entry(item.id, NOT_RUN))) for item in record.header.items]


def _row(record: Record, method: str) -> Answers:
    return Answers(method, tuple(_answer(item, entry, method) for item, entry in _pairs(record)))


def _answer(item: Item, entry: Entry, method: str) -> Case:
    if method == MODEL:
        return Case(item, entry.outcome.position if entry.outcome else None, entry.kind)
    if method == SYSTEM:
        return Case(item, entry.position, entry.kind)
    if method == BEST:
        places = (one.position for one in entry.candidates)
        return _case(item, entry, oracle(places, item.position), BEST)
    if method == JUDGED or method in ABLATIONS:
        best = rescored(entry.candidates, without=ABLATIONS.get(method, ()))
        return _case(item, entry, best[0].position if best else None, entry.kind)
    if method == VOTE:
        return _case(item, entry, entry.vote.position if entry.vote else None, VOTED)
    if method == TOP_1:
        return _case(item, entry, entry.nearest[0].position if entry.nearest else None, TOP_1)
    return _case(item, entry, oracle((neighbour.position for neighbour in entry.nearest), item.position), ORACLE)


def _case(item: Item, entry: Entry, predicted: LatLon | None, kind: str) -> Case:
    if entry.kind in (*ABSENT, NOT_RUN):
        return Case(item, None, entry.kind)
    return Case(item, predicted, kind if predicted else NO_POSITION)

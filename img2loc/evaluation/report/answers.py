"""From a journal, without any request: the answers of the run, and of the baselines that its neighbours allow."""

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
from img2loc.judge.sampling import ask_all, central_outcome
from img2loc.lmm import Turn
from img2loc.types import LatLon, OutcomeKind, Reply

MODEL: Final = "model"
SYSTEM: Final = "model, else vote"
VOTE: Final = "vote"
TOP_1: Final = "top 1"
ORACLE: Final = "oracle"
JUDGED: Final = "judged"
# The judge without some parts of the candidates' scores.
ABLATIONS: Final = {
    "judged, without fit": ("likelihood",),
    "judged, without neighbours": ("density",),
    "judged, without choice": ("choice",),
    "judged, without answers": ("agreement", "choice"),  # the model is ignored
    "judged, answers alone": ("density", "likelihood", "choice"),
}
BEST: Final = "best candidate"

# The photo itself was not available, so the system could not answer.
ABSENT: Final = (MISSING, UNAVAILABLE, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Case:
    """A photo with its prediction."""

    item: Item  # the photo with its true position
    predicted: LatLon | None  # None for a miss
    kind: str  # where the position comes from, or the kind of failure

    @property
    def photographer(self) -> str:
        """Its photographer; each photo by an unknown one has its own."""
        return f"by {self.item.author}" if self.item.author else f"photo {self.item.id}"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one method to every photo of a ground truth, in its order: a row of the tables."""

    method: str
    cases: tuple[Case, ...]


def of_predictions(truth: Truth, predictions: Predictions) -> Answers:
    """Somebody's predictions as answers."""
    cases = []
    for item in truth.items:
        result = predictions.positions[item.id]
        cases.append(Case(item, None, result) if isinstance(result, str) else Case(item, result, "predicted"))
    return Answers("predictions", tuple(cases))


def of_record(record: Record) -> tuple[Answers, ...]:
    """All answers that a journal allows: the model's, the system's, the vote's, the first neighbour's, the oracle's.

    A model's failure is a miss in its own row, and the vote's answer in the system's. In a judged run both rows are
    replaced by the judge's answers, and those that it would have given without some of its parts. Photos without an
    entry are misses of the kind not_run.
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
    """The vote of only the first `count` neighbours."""
    cases = []
    for item, entry in _pairs(record):
        result = vote(entry.nearest[:count], within=area_of(item, record.header.setup))
        cases.append(_case(item, entry, result.position if result else None, VOTED))
    return Answers(f"vote of {count}", tuple(cases))


def replay(record: Record) -> Record:
    """Read every reply of a journal again with today's parser, and let the neighbours vote again; nothing is asked.

    Returns:
        The same run as today's code would answer it. A reply that only the older parser could read has no second reply
        after it; it becomes a provider_error that says so. Judged entries stay as they are, because how well a photo
        fits a place can't be computed without the photo.
    """
    if record.header.setup.judge is not None:
        return record
    setup, items = record.header.setup, {item.id: item for item in record.header.items}
    entries = {
        id_: _replayed(entry, setup.samples, area_of(items[id_], setup)) for id_, entry in record.entries.items()
    }
    return replace(record, entries=entries)


def without_absent(answers: Answers) -> Answers:
    """Leave photos that were not available out of N."""
    return replace(answers, cases=tuple(case for case in answers.cases if case.kind not in ABSENT))


class _Recorded:
    """Repeats a model's recorded replies."""

    name = model = "journal"

    def __init__(self, replies: Sequence[Reply], failure: str) -> None:
        self._replies, self._failure = list(replies), failure

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """The next reply, or the failure in its place."""
        if not self._replies:
            raise LMMError(self._failure or "The journal has no further reply.")
        return self._replies.pop(0)


def _replayed(entry: Entry, samples: int, within: Area | None) -> Entry:
    voted = entry.vote
    # If the prompt took fewer neighbours than the vote had, the others were not stored.
    if voted is not None and len(entry.nearest) >= voted.neighbours:
        voted = vote(entry.nearest[: voted.neighbours], within=within)
    outcome = entry.outcome
    if outcome is None:
        return replace(entry, vote=voted, position=voted.position if voted else None)
    failure = outcome.message if outcome.kind is OutcomeKind.PROVIDER_ERROR else ""
    recorded = _Recorded(outcome.replies, failure)
    outcome = central_outcome(ask_all(recorded, [""], b"", samples=samples, within=within))
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
        return _case(item, entry, oracle((candidate.position for candidate in entry.candidates), item.position), BEST)
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

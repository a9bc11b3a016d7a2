"""Answers held against the truth: figures in both formulas, and every failure counted apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from img2loc.errors import DataError
from img2loc.evaluation.report.answers import JUDGED, MODEL, VOTE, Answers, of_record, without_absent
from img2loc.evaluation.report.metrics import (
    FORMULAS,
    THRESHOLDS_KM,
    Estimate,
    Figures,
    Formula,
    compare,
    distances_km,
    measure,
)
from img2loc.evaluation.run.record import Record
from img2loc.geo.sphere import FloatArray


@dataclass(frozen=True)
class Score:
    """What answers are worth. Figures are computed when first asked for.

    Args:
        name: Of the run, and what answered.
        answers: One case a photo of the ground truth: N is their number.
        seed: Of the intervals.
    """

    name: str
    answers: Answers
    seed: int = 0
    _cache: dict[Formula, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n(self) -> int:
        """How many photos the ground truth has; every accuracy is a share of this."""
        return len(self.answers.cases)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """The photographer of each photo."""
        return tuple(case.cluster for case in self.answers.cases)

    @property
    def photographers(self) -> int:
        """How many there are."""
        return len(set(self.clusters))

    @property
    def kinds(self) -> dict[str, int]:
        """How many photos ended how, the most frequent first."""
        return dict(Counter(case.kind for case in self.answers.cases).most_common())

    def distances(self, formula: Formula) -> FloatArray:
        """The error of each photo in km, infinite for a miss."""
        if formula not in self._cache:
            cases = self.answers.cases
            predicted, true = [case.predicted for case in cases], [case.item.position for case in cases]
            self._cache[formula] = distances_km(predicted, true, formula)
        return self._cache[formula]

    @cached_property
    def figures(self) -> dict[Formula, Figures]:
        """Accuracy, median and GeoScore, by either formula."""
        return {formula: measure(self.distances(formula), self.clusters, seed=self.seed) for formula in FORMULAS}

    def against(self, other: Score) -> tuple[Estimate, ...]:
        """How much better this is than another, pair by pair; see metrics.compare.

        Raises:
            DataError: The two are not of the same photos.
        """
        ours, theirs = ([case.item for case in score.answers.cases] for score in (self, other))
        if ours != theirs:
            raise DataError(f"{self.name} and {other.name} are not of the same photos and can't be compared in pairs.")
        return compare(self.distances("geodesic"), other.distances("geodesic"), self.clusters, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """The score as json.dumps takes it; an infinite median is null."""
        return {
            "name": self.name,
            "n": self.n,
            "photographers": self.photographers,
            "outcomes": self.kinds,
            "thresholds_km": THRESHOLDS_KM,
            **{formula: _finite(asdict(figures)) for formula, figures in self.figures.items()},
        }


def score_all(name: str, rows: Sequence[Answers], *, seed: int = 0) -> tuple[Score, ...]:
    """Score several rows of one run.

    Args:
        name: The run's; empty where it goes without saying.
        rows: What answered.
        seed: Of the intervals.
    """
    return tuple(Score(f"{name}: {row.method}" if name else row.method, row, seed) for row in rows)


@dataclass(frozen=True, slots=True)
class Run:
    """A run to report on.

    Args:
        name: Short, and unlike the others'.
        record: Its journal.
        scores: Of all that its journal can tell.
    """

    name: str
    record: Record
    scores: tuple[Score, ...]

    @property
    def main(self) -> Score:
        """The score that the run was made for: the judge's, else the model's, else the vote's."""
        return next(score for score in self.scores if score.answers.method in (JUDGED, MODEL, VOTE))


def open_run(name: str, record: Record, *, drop_absent: bool = False, seed: int = 0) -> Run:
    """Score a journal.

    Args:
        name: The run's.
        record: Its journal.
        drop_absent: Leave photos that could not be had out of N.
        seed: Of the intervals.

    Raises:
        DataError: Nothing is left then.
    """
    rows = [without_absent(row) if drop_absent else row for row in of_record(record)]
    if not rows[0].cases:
        raise DataError(f"The run {name} has no photo left to score.")
    return Run(name, record, score_all(name, rows, seed=seed))


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if value == float("inf") else value

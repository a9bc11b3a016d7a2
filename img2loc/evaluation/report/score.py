"""Answers compared with the true positions: the figures by both formulas, and how many photos failed how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """The figures of some answers, computed when first needed."""

    name: str  # of the run, and of what answered
    answers: Answers  # one case for each photo of the ground truth; N is their number
    seed: int = 0  # of the intervals

    @property
    def n(self) -> int:
        """How many photos the ground truth has; every accuracy is a share of this."""
        return len(self.answers.cases)

    @cached_property
    def photographers(self) -> tuple[str, ...]:
        """The photographer of each photo."""
        return tuple(case.photographer for case in self.answers.cases)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many photos have each kind of outcome, the most frequent first."""
        return dict(Counter(case.kind for case in self.answers.cases).most_common())

    @cached_property
    def distances_km(self) -> dict[Formula, FloatArray]:
        """The error of each photo, infinite for a miss."""
        cases = self.answers.cases
        predicted, true = [case.predicted for case in cases], [case.item.position for case in cases]
        return {formula: distances_km(predicted, true, formula) for formula in FORMULAS}

    @cached_property
    def figures(self) -> dict[Formula, Figures]:
        """Accuracy, median and GeoScore, by either formula."""
        distances = self.distances_km
        return {formula: measure(distances[formula], self.photographers, seed=self.seed) for formula in FORMULAS}

    def has_photos_of(self, other: Score) -> bool:
        """Whether both are about the same photos, so that they can be compared pair by pair."""
        return [case.item for case in self.answers.cases] == [case.item for case in other.answers.cases]

    def against(self, other: Score) -> tuple[Estimate, ...]:
        """How much better this is than another score of the same photos; see metrics.compare."""
        ours, theirs = self.distances_km["geodesic"], other.distances_km["geodesic"]
        return compare(ours, theirs, self.photographers, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """The score as json.dumps takes it; an infinite median is null."""
        return {
            "name": self.name,
            "n": self.n,
            "photographers": len(set(self.photographers)),
            "outcomes": self.outcomes,
            "thresholds_km": THRESHOLDS_KM,
            **{formula: _finite(asdict(figures)) for formula, figures in self.figures.items()},
        }


def score_all(name: str, rows: Sequence[Answers], *, seed: int = 0) -> tuple[Score, ...]:
    """Score several rows of one run; its name is empty if there is only one run."""
    return tuple(Score(f"{name}: {row.method}" if name else row.method, row, seed) for row in rows)


@dataclass(frozen=True, slots=True)
class Run:
    """A run to report on."""

    name: str  # unique among the runs of a report
    record: Record
    scores: tuple[Score, ...]  # of the run and of all baselines that its journal allows

    @property
    def main(self) -> Score:
        """The score that the run was made for: the judge's, else the model's, else the vote's."""
        return next(score for score in self.scores if score.answers.method in (JUDGED, MODEL, VOTE))


def open_run(name: str, record: Record, *, drop_absent: bool = False, seed: int = 0) -> Run:
    """Score a journal; with drop_absent, photos that were not available are left out of N.

    Raises:
        DataError: No photo is left.
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

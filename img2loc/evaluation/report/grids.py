"""Tables of scores, for the report and for the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from img2loc.evaluation.report.document import Grid
from img2loc.evaluation.report.metrics import THRESHOLDS_KM, Estimate
from img2loc.evaluation.report.score import Score

DISTANCES: Final = tuple(f"{km:,g} km" for km in THRESHOLDS_KM)
NBSP: Final = "\u00a0"  # keeps a figure and its unit, or an interval, on one line


def accuracy_grid(scores: Sequence[Score]) -> Grid:
    """Accuracy by the geodesic with intervals, median and GeoScore."""
    rows = []
    for score in scores:
        found = score.figures["geodesic"]
        cells = [_percent(estimate) for estimate in found.accuracy]
        points = found.geoscore
        rows.append(
            (
                score.name,
                f"{score.n:,}",
                *cells,
                _median(found.median_km),
                f"{points.value:,.0f} {_bracket(f'{points.low:,.0f}', f'{points.high:,.0f}')}",
            )
        )
    return Grid(("answers", "N", *DISTANCES, "median error", "GeoScore"), tuple(rows))


def haversine_grid(scores: Sequence[Score]) -> Grid:
    """Accuracy by the haversine formula."""
    rows = []
    for score in scores:
        found = score.figures["haversine"]
        cells = [f"{estimate.value:.2%}" for estimate in found.accuracy]
        rows.append((score.name, *cells, km_text(found.median_km.value), f"{found.geoscore.value:,.0f}"))
    return Grid(("answers", *DISTANCES, "median error", "GeoScore"), tuple(rows))


def outcomes_grid(scores: Sequence[Score]) -> Grid:
    """How many photos ended how, with their share of N."""
    rows = []
    for score in scores:
        kinds = ", ".join(
            f"{kind.replace('_', ' ')} {count:,} ({count / score.n:.1%})" for kind, count in score.kinds.items()
        )
        rows.append((score.name, f"{score.n:,}", f"{score.photographers:,}", kinds))
    return Grid(("answers", "N", "photographers", "outcomes"), tuple(rows))


def values(score: Score) -> tuple[str, ...]:
    """Accuracy by the geodesic in percent, as the paper's table has it."""
    return tuple(f"{100 * estimate.value:.2f}" for estimate in score.figures["geodesic"].accuracy)


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} {_bracket(f'{100 * estimate.low:.1f}', f'{100 * estimate.high:.1f}')}"


def signed(estimate: Estimate, scale: float, digits: int) -> str:
    """A difference with its interval, each with its sign."""
    value, low, high = (f"{scale * number:+,.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} {_bracket(low, high)}"


def _median(estimate: Estimate) -> str:
    return f"{km_text(estimate.value)} {_bracket(km_text(estimate.low), km_text(estimate.high))}"


def _bracket(low: str, high: str) -> str:
    return f"({low},{NBSP}{high})"


def km_text(km: float) -> str:
    """A distance in words; "none" for an infinite one."""
    return "none" if math.isinf(km) else f"{km:,.{2 if km < 10 else 0}f}{NBSP}km"

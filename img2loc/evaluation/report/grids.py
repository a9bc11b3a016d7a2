"""Tables of scores, for the report and for the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from img2loc.evaluation.report.document import Grid
from img2loc.evaluation.report.metrics import THRESHOLDS_KM, Estimate
from img2loc.evaluation.report.score import Score

DISTANCES: Final = tuple(f"{km:,g} km" for km in THRESHOLDS_KM)


def accuracy_grid(scores: Sequence[Score]) -> Grid:
    """Accuracy by the geodesic, median and GeoScore, with intervals."""
    rows = []
    for score in scores:
        figures = score.figures["geodesic"]
        shares = [_with_interval(share, lambda value: f"{100 * value:.1f}", unit="%") for share in figures.accuracy]
        median = _with_interval(figures.median_km, km_text)
        rows.append((score.name, f"{score.n:,}", *shares, median, _with_interval(figures.geoscore, "{:,.0f}".format)))
    return Grid(("answers", "N", *DISTANCES, "median error", "GeoScore"), tuple(rows))


def haversine_grid(scores: Sequence[Score]) -> Grid:
    """Accuracy, median and GeoScore by the haversine formula."""
    rows = []
    for score in scores:
        figures = score.figures["haversine"]
        shares = [f"{share.value:.2%}" for share in figures.accuracy]
        rows.append((score.name, *shares, km_text(figures.median_km.value), f"{figures.geoscore.value:,.0f}"))
    return Grid(("answers", *DISTANCES, "median error", "GeoScore"), tuple(rows))


def outcomes_grid(scores: Sequence[Score]) -> Grid:
    """How many photos have each kind of outcome, with their share of N."""
    rows = []
    for score in scores:
        outcomes = ", ".join(
            f"{kind.replace('_', ' ')} {count:,} ({count / score.n:.1%})" for kind, count in score.outcomes.items()
        )
        rows.append((score.name, f"{score.n:,}", f"{len(set(score.photographers)):,}", outcomes))
    return Grid(("answers", "N", "photographers", "outcomes"), tuple(rows))


def signed(estimate: Estimate, scale: float, digits: int) -> str:
    """A difference with its interval, each with its sign."""
    return _with_interval(estimate, lambda value: f"{scale * value:+,.{digits}f}")


def km_text(km: float) -> str:
    """A distance as text; "none" for an infinite one."""
    return "none" if math.isinf(km) else f"{km:,.{2 if km < 10 else 0}f} km"


def _with_interval(estimate: Estimate, text: Callable[[float], str], *, unit: str = "") -> str:
    return f"{text(estimate.value)}{unit} ({text(estimate.low)}, {text(estimate.high)})"

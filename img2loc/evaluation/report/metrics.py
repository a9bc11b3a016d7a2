"""Errors of predictions, the figures computed from them, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from img2loc.geo.sphere import FloatArray, geodesic_km, haversine_km
from img2loc.types import LatLon

Formula = Literal["geodesic", "haversine"]
FORMULAS: Final[dict[Formula, Callable[[LatLon, LatLon], float]]] = {
    "geodesic": geodesic_km,  # on the WGS-84 ellipsoid, as the paper says
    "haversine": haversine_km,  # on a sphere, as in most published code; the two differ by up to 0.6 %
}

# A photo counts at a level if its error is no more than this.
# Source: paper, section 4.1; Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784
THRESHOLDS_KM: Final = (1.0, 25.0, 200.0, 750.0, 2500.0)
LEVELS: Final = ("street", "city", "region", "country", "continent")

# GeoGuessr's score on its world map. Source: Haas et al. 2023, section 3.4, https://arxiv.org/abs/2307.05845
GEOSCORE_MAX: Final = 5000.0
GEOSCORE_SCALE_KM: Final = 1492.7

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
_CHUNK: Final = 250  # resamples at a time: bounds the memory at 25,600 photos

MISS: Final = math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % interval. A median is infinite if most photos are misses."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of some predictions by one formula of distance."""

    accuracy: tuple[Estimate, ...]  # share of all photos within each of THRESHOLDS_KM, [0, 1]
    median_km: Estimate  # of all photos, with misses infinitely far
    geoscore: Estimate  # mean over all photos, [0, 5000], with 0 for a miss


def distances_km(
    predicted: Sequence[LatLon | None], true: Sequence[LatLon], formula: Formula = "geodesic"
) -> FloatArray:
    """The errors of n predictions as (n,) km, infinite for None, which is a miss."""
    distance_km = FORMULAS[formula]
    pairs = zip(predicted, true, strict=True)
    return np.array([MISS if a is None else distance_km(a, b) for a, b in pairs], dtype=np.float64)


def geoscore(distances: FloatArray) -> FloatArray:
    """GeoGuessr's points for errors in km of any shape; an infinite error gives 0.

    Source: Haas et al. 2023, section 3.4, https://arxiv.org/abs/2307.05845
    """
    return np.asarray(GEOSCORE_MAX * np.exp(-distances / GEOSCORE_SCALE_KM))


def measure(
    distances: FloatArray, photographers: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> Figures:
    """Compute the figures with percentile intervals.

    The bootstrap draws whole photographers, because the photos of one are alike: with up to 235 photos by one
    photographer in Im2GPS3k, drawing single photos would halve the intervals.

    Args:
        distances: (n,) km; infinite for a miss. n is the size of the ground truth.
        photographers: Of each of the n photos.
        seed: The same seed gives the same intervals.
        resamples: How many times to draw.

    Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.5 and 13.3.
    """
    columns = _columns(distances)
    means, weights = _resampled(columns, photographers, seed=seed, resamples=resamples)
    *accuracy, points = _estimates(columns, means)
    order = np.argsort(distances, kind="stable")
    codes = np.unique(np.asarray(photographers), return_inverse=True)[1][order]
    medians = np.concatenate([_weighted_median(distances[order], drawn[:, codes]) for drawn in weights])
    (median,) = _weighted_median(distances[order], np.ones((1, len(distances)), dtype=np.int64))
    return Figures(tuple(accuracy), Estimate(float(median), *_interval(medians)), points)


def compare(
    a: FloatArray, b: FloatArray, photographers: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Estimate, ...]:
    """Compare two runs over the same photos, pair by pair, with intervals as in `measure`.

    Returns:
        How much a is better than b: the differences of the shares within each of THRESHOLDS_KM, then of the GeoScore.
        An interval that contains 0 means that these photos don't show a difference.
    """
    columns = _columns(a) - _columns(b)
    means, _ = _resampled(columns, photographers, seed=seed, resamples=resamples)
    return _estimates(columns, means)


def oracle(candidates: Iterable[LatLon], true: LatLon) -> LatLon | None:
    """The candidate nearest to the true position by the geodesic: a perfect choice. None without candidates."""
    spherical = [(haversine_km(candidate, true), candidate) for candidate in candidates]
    # The formulas differ by less than 1 %, so only candidates that close to the best are measured on the ellipsoid.
    bound_km = 1.02 * min((distance_km for distance_km, _ in spherical), default=0.0)
    return min(
        (candidate for distance_km, candidate in spherical if distance_km <= bound_km),
        key=lambda candidate: geodesic_km(candidate, true),
        default=None,
    )


def _columns(distances: FloatArray) -> FloatArray:
    """(n, 6): whether each photo is within each threshold, and its GeoScore."""
    within = [distances <= threshold for threshold in THRESHOLDS_KM]
    return np.stack([*within, geoscore(distances)], axis=1).astype(np.float64)


def _estimates(columns: FloatArray, means: FloatArray) -> tuple[Estimate, ...]:
    """The mean of each column, with the interval of its resampled means."""
    return tuple(
        Estimate(float(value), *_interval(drawn)) for value, drawn in zip(columns.mean(axis=0), means.T, strict=True)
    )


def _resampled(
    columns: FloatArray, photographers: Sequence[str], *, seed: int, resamples: int
) -> tuple[FloatArray, list[npt.NDArray[np.int64]]]:
    """(resamples, columns) means over drawn photographers; and how often each photographer was drawn, in chunks."""
    codes = np.unique(np.asarray(photographers), return_inverse=True)[1]
    count = int(codes.max()) + 1
    sizes = np.bincount(codes).astype(np.float64)
    sums = np.stack([np.bincount(codes, weights=column) for column in columns.T], axis=1)
    random = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    drawn = [
        random.multinomial(count, even, size=min(_CHUNK, resamples - start)) for start in range(0, resamples, _CHUNK)
    ]
    return np.concatenate([(times @ sums) / (times @ sizes)[:, None] for times in drawn]), drawn


def _interval(values: FloatArray) -> tuple[float, float]:
    """Percentiles without interpolation, which has no meaning between a number and infinity."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail), method="nearest")
    return float(low), float(high)


def _weighted_median(ordered: FloatArray, weights: npt.NDArray[np.int64]) -> FloatArray:
    """The medians of a rising list in which each value occurs as often as a row of weights says."""
    upto = weights.cumsum(axis=1)
    total = upto[:, -1:]
    low = ordered[(upto >= (total + 1) // 2).argmax(axis=1)]
    high = ordered[(upto >= total // 2 + 1).argmax(axis=1)]
    return np.asarray(np.where(low == high, low, (low + high) / 2))

"""How far off predictions are, what that is worth, and how sure one can be of it."""

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
    "haversine": haversine_km,  # on a sphere, as most code of the field does; up to 0.6 % apart
}

# Street, city, region, country and continent level; a photo counts at a distance of no more than that.
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
    """A figure with its 95 % interval.

    Args:
        value: As measured; infinite for the median where most are misses.
        low: The interval's lower end.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run is worth by one formula of distance.

    Args:
        accuracy: Share of all photos within each of THRESHOLDS_KM, [0, 1].
        median_km: Of all photos, misses being infinitely far.
        geoscore: Mean over all photos, [0, 5000], a miss being worth 0.
    """

    accuracy: tuple[Estimate, ...]
    median_km: Estimate
    geoscore: Estimate


def distances_km(
    predicted: Sequence[LatLon | None], true: Sequence[LatLon], formula: Formula = "geodesic"
) -> FloatArray:
    """Measure the errors of predictions.

    Args:
        predicted: n positions; None for a miss.
        true: n positions.
        formula: On the ellipsoid or the sphere.

    Returns:
        (n,) km; infinite for a miss.
    """
    measure = FORMULAS[formula]
    pairs = zip(predicted, true, strict=True)
    return np.array([MISS if at is None else measure(at, there) for at, there in pairs], dtype=np.float64)


def geoscore(distances: FloatArray) -> FloatArray:
    """Turn errors into GeoGuessr's points.

    Args:
        distances: Any shape, km; infinite gives 0.

    Source: Haas et al. 2023, section 3.4, https://arxiv.org/abs/2307.05845
    """
    return np.asarray(GEOSCORE_MAX * np.exp(-distances / GEOSCORE_SCALE_KM))


def measure(distances: FloatArray, clusters: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> Figures:
    """Measure a run, with intervals.

    One photographer's photos are alike, so whole photographers are drawn, not photos: with up to 235 photos of one in
    Im2GPS3k, drawing photos would halve the intervals. The intervals are percentiles.

    Args:
        distances: (n,) km; infinite for a miss. n is the size of the ground truth.
        clusters: n names, of the photographers.
        seed: For the same intervals each time.
        resamples: How many times to draw.

    Source: Efron, Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.5 and 13.3.
    """
    columns = _columns(distances)
    means, weights = _resampled(columns, clusters, seed=seed, resamples=resamples)
    values = columns.mean(axis=0)
    *accuracy, points = (
        Estimate(float(value), *_interval(drawn)) for value, drawn in zip(values, means.T, strict=True)
    )
    order = np.argsort(distances, kind="stable")
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1][order]
    medians = np.concatenate([_weighted_median(distances[order], drawn[:, codes]) for drawn in weights])
    return Figures(tuple(accuracy), Estimate(_median(distances), *_interval(medians)), points)


def compare(
    a: FloatArray, b: FloatArray, clusters: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Estimate, ...]:
    """Compare two runs over the same photos, pair by pair.

    Args:
        a: (n,) km; infinite for a miss.
        b: Likewise, of the same photos.
        clusters: n names, of the photographers.
        seed: For the same intervals each time.
        resamples: How many times to draw.

    Returns:
        How much a is better than b: the differences of the shares within each of THRESHOLDS_KM, then of the GeoScore.
        Where an interval holds 0, these photos don't tell the two apart.
    """
    columns = _columns(a) - _columns(b)
    means, _ = _resampled(columns, clusters, seed=seed, resamples=resamples)
    return tuple(
        Estimate(float(value), *_interval(drawn)) for value, drawn in zip(columns.mean(axis=0), means.T, strict=True)
    )


def oracle(candidates: Iterable[LatLon], true: LatLon) -> LatLon | None:
    """The candidate nearest to the truth: what a perfect choice among them would answer.

    Args:
        candidates: The positions to choose from.
        true: Where the photo was taken.

    Returns:
        The best one by the geodesic; None where there are none.
    """
    spherical = [(haversine_km(candidate, true), candidate) for candidate in candidates]
    if not spherical:
        return None
    # The formulas are less than 1 % apart: only what is that close to the best has to be measured on the ellipsoid.
    bound = min(distance for distance, _ in spherical) * 1.02
    return min(
        (candidate for distance, candidate in spherical if distance <= bound),
        key=lambda candidate: geodesic_km(candidate, true),
    )


def _columns(distances: FloatArray) -> FloatArray:
    """(n, 6): whether each photo is within each threshold, and its GeoScore."""
    within = [distances <= threshold for threshold in THRESHOLDS_KM]
    return np.stack([*within, geoscore(distances)], axis=1).astype(np.float64)


def _resampled(
    columns: FloatArray, clusters: Sequence[str], *, seed: int, resamples: int
) -> tuple[FloatArray, list[npt.NDArray[np.int64]]]:
    """Means of columns over drawn clusters, (resamples, columns); and how often each cluster was drawn, in chunks."""
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
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


def _median(distances: FloatArray) -> float:
    ordered = np.sort(distances)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low) if low == high else float((low + high) / 2)


def _weighted_median(ordered: FloatArray, weights: npt.NDArray[np.int64]) -> FloatArray:
    """The medians of a rising list in which each value occurs as often as a row of weights says."""
    upto = weights.cumsum(axis=1)
    total = upto[:, -1:]
    low = ordered[(upto >= (total + 1) // 2).argmax(axis=1)]
    high = ordered[(upto >= total // 2 + 1).argmax(axis=1)]
    return np.asarray(np.where(low == high, low, (low + high) / 2))

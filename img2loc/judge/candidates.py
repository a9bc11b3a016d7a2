"""Where a photo may have been taken: candidates, and the rule that scores them, without training.

Each answer of a model, and each mode of the neighbours' density, is a candidate. Each answer has a weight of 1, and
all neighbours together NEIGHBOURS_WEIGHT; what lies close together supports the same place. If the model is asked to
choose among the best, its choice has CHOICE_WEIGHT times the weight of all that. Where the gallery can tell how well
the photo fits a place, that counts as much as all support together. Support and fit are shares, and a candidate's score
is their mean: a linear opinion pool, in which no single source can rule a place out.

Source: Stone, The Opinion Pool, Annals of Mathematical Statistics 32 (1961), https://doi.org/10.1214/aoms/1177704873;
candidates from several prompts and a check by an image-to-position model are G3's, https://arxiv.org/abs/2405.14702.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from img2loc.answer.vote import modes, vote_weights
from img2loc.geo.areas import Area, holds
from img2loc.geo.sphere import FloatArray, arc_km, unit_vectors
from img2loc.types import Candidate, LatLon, Neighbour

MERGE_KM: Final = 25.0  # city level: a place closer to a better candidate is merged with it
MAX_CANDIDATES: Final = 64
# Chosen on simulated models, where 2 to 8 differ little; with less weight a single answer could never be overruled.
NEIGHBOURS_WEIGHT: Final = 4.0
# Chosen on simulated models, too. At 1/8, a model that chooses right only 38 % of the time does no harm and a better
# one helps; at 1/4, the weak model does harm.
CHOICE_WEIGHT: Final = 1 / 8
PARTS: Final = ("agreement", "density", "likelihood", "choice")  # of a candidate's score

# How well a photo fits positions: n positions to (n,) logarithms of a likelihood, up to a constant.
Fit = Callable[[Sequence[LatLon]], FloatArray]


def rank_candidates(
    answers: Sequence[LatLon],
    neighbours: Sequence[Neighbour],
    fit: Fit | None = None,
    *,
    within: Area | None = None,
) -> tuple[Candidate, ...]:
    """Gather, merge and score candidates. The order of the arguments' items doesn't matter.

    Args:
        answers: The positions that the model gave, repetitions included.
        neighbours: The nearest neighbours of the photo.
        fit: How well the photo fits positions; None where the gallery can't tell.
        within: Where all neighbours lie; answers outside don't count.

    Returns:
        The best first, none within MERGE_KM of a better one; at most MAX_CANDIDATES. Their scores sum to 1, and so does
        each part, unless it is 0 for all.
    """
    answers = [answer for answer in answers if holds(within, answer)]
    places = sorted({*answers, *modes(neighbours, within=within)}, key=lambda position: (position.lat, position.lon))
    if not places:
        return ()
    points = unit_vectors(places)
    weights = vote_weights(np.array([n.similarity for n in neighbours])) if neighbours else np.zeros(0)
    agreement = _support(points, unit_vectors(answers), np.ones(len(answers)))
    density = _support(points, unit_vectors([n.position for n in neighbours]), weights)
    log_fit = None if fit is None else np.asarray(fit(places), dtype=np.float64)
    likelihood = np.zeros(len(places)) if log_fit is None else np.exp(log_fit - log_fit.max())
    # Shares are taken after merging, so that places close together don't count twice.
    kept = _spaced(points, _pool(len(answers), agreement, density, likelihood, np.zeros(len(places))))
    parts = [_share(part[kept]) for part in (agreement, density, likelihood)]
    distances_km = arc_km(points[kept], unit_vectors(answers))
    is_here = (distances_km <= MERGE_KM) & (np.arange(len(kept))[:, None] == distances_km.argmin(axis=0))
    return rescored(
        [
            Candidate(places[index], 0.0, int(is_here[i].sum()), *(float(part[i]) for part in parts))
            for i, index in enumerate(kept)
        ]
    )


def rescored(candidates: Sequence[Candidate], *, without: Collection[str] = ()) -> tuple[Candidate, ...]:
    """Score candidates by their parts and sort them, the best first.

    Args:
        candidates: Their scores are ignored.
        without: Those of PARTS that don't count.
    """
    answers = sum(candidate.answers for candidate in candidates)
    parts = [np.array([0.0 if part in without else getattr(c, part) for c in candidates]) for part in PARTS]
    scores = _pool(answers, *parts)
    scored = [replace(candidate, score=float(score)) for candidate, score in zip(candidates, scores, strict=True)]
    return tuple(sorted(scored, key=lambda c: (-c.score, c.position.lat, c.position.lon)))


def with_choice(candidates: Sequence[Candidate], chosen: LatLon | None) -> tuple[Candidate, ...]:
    """Rescore candidates after the model chose the one at a position, or none."""
    return rescored([replace(candidate, choice=float(candidate.position == chosen)) for candidate in candidates])


def spread_km(candidates: Sequence[Candidate]) -> float:
    """The distance from the best candidate within which candidates have half of the total score; at least MERGE_KM.

    The distance is along a great circle. It is a spread, not a probability, since scores aren't probabilities.

    Args:
        candidates: The best first.
    """
    positions = [candidate.position for candidate in candidates]
    distances_km = arc_km(unit_vectors(positions[:1]), unit_vectors(positions))[0]
    order = distances_km.argsort(kind="stable")
    cumulative = np.array([candidate.score for candidate in candidates])[order].cumsum()
    half = int(np.searchsorted(cumulative, cumulative[-1] / 2))
    return max(float(distances_km[order[half]]), MERGE_KM)


def _pool(
    answers: int, agreement: FloatArray, density: FloatArray, likelihood: FloatArray, choice: FloatArray
) -> FloatArray:
    """(n,) the scores of places: the mean of the shares of support and of fit."""
    support = _share(answers * _share(agreement) + NEIGHBOURS_WEIGHT * _share(density))
    support = _share(support + CHOICE_WEIGHT * _share(choice))
    return np.asarray((support + _share(likelihood)) / 2) if likelihood.any() else support


def _support(points: FloatArray, supporters: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) what weighted points give to each of n places: a Gaussian with a standard deviation of MERGE_KM."""
    if not len(supporters):
        return np.zeros(len(points))
    return np.asarray(np.exp(-0.5 * np.square(arc_km(points, supporters) / MERGE_KM)) @ weights)


def _share(part: FloatArray) -> FloatArray:
    """Scale to a sum of 1; zeros stay zeros."""
    total = float(part.sum())
    return np.asarray(part / total) if total > 0 and math.isfinite(total) else np.zeros(len(part))


def _spaced(points: FloatArray, scores: FloatArray) -> list[int]:
    """Indices of places of which none lies within MERGE_KM of a better one, the best first."""
    order = np.argsort(-scores, kind="stable")[: 4 * MAX_CANDIDATES]
    close = arc_km(points[order], points[order]) <= MERGE_KM
    kept: list[int] = []
    for i in range(len(order)):
        if not close[i, kept].any():
            kept.append(i)
    return [int(order[i]) for i in kept[:MAX_CANDIDATES]]

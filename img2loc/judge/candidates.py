"""Where a photo may have been taken: the candidates, and the rule that chooses among them, without training.

Each answer of a model, and each mode of the neighbours' density, is a candidate. Each answer has one voice, and the
neighbours together have NEIGHBOURS_VOICES; what lies close together speaks for the same place. Asked once more, the
model may choose among the best, which counts as CHOICE_VOICES for each of those. Where the gallery can tell how well
the photo fits a place, that counts as much as all voices do. Voices and fit are shares, and a candidate's score is
their mean: a linear opinion pool, in which nobody alone can rule a place out.

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

MERGE_KM: Final = 25.0  # city level: what lies closer to a better candidate is the same one
MAX_CANDIDATES: Final = 64
# Chosen on simulated models, where 2 to 8 differ little; with fewer a single answer could never be overruled.
NEIGHBOURS_VOICES: Final = 4.0
# Of the model's choice among the best, for each voice of all others. Chosen there too: with an eighth a model that
# chooses right but 38% of the time does no harm, and one that chooses better helps; with a fourth the former does harm.
CHOICE_VOICES: Final = 1 / 8
PARTS: Final = ("agreement", "density", "likelihood", "choice")  # of a candidate's score

# How well a photo fits positions: n positions to (n,) logarithms of a likelihood, up to a constant.
Fit = Callable[[Sequence[LatLon]], FloatArray]


def candidates(
    answers: Sequence[LatLon],
    neighbours: Sequence[Neighbour],
    fit: Fit | None = None,
    *,
    within: Area | None = None,
) -> tuple[Candidate, ...]:
    """Gather, score and merge candidates.

    Args:
        answers: A model's, one for each time that it gave a position.
        neighbours: The nearest neighbours of the photo.
        fit: How well the photo fits positions; None where the gallery can't tell.
        within: Where all neighbours lie; answers elsewhere don't count.

    Returns:
        The best first, none within MERGE_KM of a better one; at most MAX_CANDIDATES. Their scores sum to 1, and so
        does each part, unless it has nothing to say: then it is 0 for all. The order of the arguments doesn't matter.
    """
    answers = [answer for answer in answers if holds(within, answer)]
    peaks = {mode for mode, _ in modes(neighbours, within=within)}
    places = sorted({*answers, *peaks}, key=lambda at: (at.lat, at.lon))
    if not places:
        return ()
    points = unit_vectors(places)
    weights = vote_weights(np.array([n.similarity for n in neighbours])) if neighbours else np.zeros(0)
    agreement = _support(points, unit_vectors(answers), np.ones(len(answers)))
    density = _support(points, unit_vectors([n.position for n in neighbours]), weights)
    logs = None if fit is None else np.asarray(fit(places), dtype=np.float64)
    likelihood = np.zeros(len(places)) if logs is None else np.exp(logs - logs.max())
    # Those that will be merged share one place's support: only the best of them counts when it is spread.
    kept = _apart(points, _pool(len(answers), agreement, density, likelihood, np.zeros(len(places))))
    parts = [_share(part[kept]) for part in (agreement, density, likelihood)]
    away_km = arc_km(points[kept], unit_vectors(answers))
    near = (away_km <= MERGE_KM) & (np.arange(len(kept))[:, None] == away_km.argmin(axis=0))
    return rescored(
        [
            Candidate(places[at], 0.0, int(near[i].sum()), *(float(part[i]) for part in parts))
            for i, at in enumerate(kept)
        ]
    )


def rescored(found: Sequence[Candidate], *, without: Collection[str] = ()) -> tuple[Candidate, ...]:
    """Score candidates by their parts and sort them.

    Args:
        found: Candidates.
        without: Parts that don't count; some of PARTS.

    Returns:
        The best first; where scores are equal, by latitude and longitude.
    """
    answers = sum(one.answers for one in found)
    parts = [np.array([0.0 if part in without else getattr(one, part) for one in found]) for part in PARTS]
    scored = [replace(one, score=float(score)) for one, score in zip(found, _pool(answers, *parts), strict=True)]
    return tuple(sorted(scored, key=lambda one: (-one.score, one.position.lat, one.position.lon)))


def with_choice(found: Sequence[Candidate], chosen: LatLon | None) -> tuple[Candidate, ...]:
    """Let a model's choice among the candidates count.

    Args:
        found: Candidates.
        chosen: The position of the one that it chose; None where it chose none, and nothing changes.

    Returns:
        The best first, as rescored has it.
    """
    return rescored([replace(one, choice=float(one.position == chosen)) for one in found])


def spread_km(found: Sequence[Candidate]) -> float:
    """How far apart the candidates lie: a spread, and no probability, since scores are none.

    Args:
        found: One or more, the best first.

    Returns:
        The great-circle distance from the best that holds half of the score; at least MERGE_KM.
    """
    positions = [candidate.position for candidate in found]
    away_km = arc_km(unit_vectors(positions[:1]), unit_vectors(positions))[0]
    order = away_km.argsort(kind="stable")
    held = np.array([one.score for one in found])[order].cumsum()
    half = int(np.searchsorted(held, held[-1] / 2))
    return max(float(away_km[order[half]]), MERGE_KM)


def _pool(
    answers: int, agreement: FloatArray, density: FloatArray, likelihood: FloatArray, choice: FloatArray
) -> FloatArray:
    """(n,) the scores of places: the mean of the share of voices and the share of fit."""
    voices = _share(answers * _share(agreement) + NEIGHBOURS_VOICES * _share(density))
    voices = _share(voices + CHOICE_VOICES * _share(choice))
    return np.asarray((voices + _share(likelihood)) / 2) if likelihood.any() else voices


def _support(points: FloatArray, witnesses: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) what weighted points give to each of n places: a Gaussian of their distance, city level wide."""
    if not len(witnesses):
        return np.zeros(len(points))
    return np.asarray(np.exp(-0.5 * np.square(arc_km(points, witnesses) / MERGE_KM)) @ weights)


def _share(part: FloatArray) -> FloatArray:
    """Spread one unit of support; none where there is none."""
    total = float(part.sum())
    return np.asarray(part / total) if total > 0 and math.isfinite(total) else np.zeros(len(part))


def _apart(points: FloatArray, scores: FloatArray) -> list[int]:
    """The places of which none lies within MERGE_KM of a better one, the best first."""
    order = np.argsort(-scores, kind="stable")[: 4 * MAX_CANDIDATES]
    close = arc_km(points[order], points[order]) <= MERGE_KM
    kept: list[int] = []
    for i in range(len(order)):
        if not close[i, kept].any():
            kept.append(i)
    return [int(order[i]) for i in kept[:MAX_CANDIDATES]]

"""How precisely a public page may answer: makes a Prediction that contains nothing more precise than allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from img2loc.answer.coarsen import coarsen_outcome, coarsen_retrieval
from img2loc.geo.coarse import CITY, COUNTRY, EXACT, REGION, Precision, coarse_places, coarse_positions, round_radius_km
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import haversine_km
from img2loc.judge.candidates import spread_km
from img2loc.types import LatLon, Place, Prediction, Retrieval

# How large a region and a country are taken to be. Source: Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784
REGION_KM, COUNTRY_KM = 200.0, 750.0


def coarsen(prediction: Prediction, level: Precision) -> Prediction:
    """Reduce a prediction to what a level allows.

    Each position, also the neighbours' and the candidates', becomes that of the city it lies in or is nearest to, or of
    the central city of its region or country. Each radius becomes a round one that covers the area's cities and the
    spread of the vote or of the candidates. It doesn't depend on where in the area the exact position lies, which may
    be outside the circle, so it has no probability. What could reveal more is removed: prompt, replies, reasons, the
    model's own name for the place, and which photos of the gallery the neighbours are.

    Args:
        prediction: Its vote's radius is kept as a spread, so that must have been computed from coarse positions.
        level: One of LEVELS; a prediction that is coarser already stays so.
    """
    if level == EXACT:
        return prediction
    if prediction.withheld == COUNTRY or (prediction.withheld == REGION and level == CITY):
        level = prediction.withheld
    positions = coarse_positions([candidate.position for candidate in prediction.candidates], level)
    candidates = tuple(
        replace(candidate, position=position)
        for candidate, position in zip(prediction.candidates, positions, strict=True)
    )
    vote = prediction.vote
    if vote is not None:
        (area,) = coarse_places([vote.position], level)
        vote = replace(vote, position=area.position, radius_km=max(area.radius_km, round_radius_km(vote.radius_km)))
    position, place, radius_km = None, None, None
    if prediction.position is not None:
        (area,) = coarse_places([prediction.position], level)
        position, place, radius_km = area.position, area.place, area.radius_km
        if candidates:
            radius_km = max(radius_km, round_radius_km(spread_km(candidates)))
        elif vote is not None and prediction.method == "vote":
            radius_km = max(radius_km, vote.radius_km)
    return replace(
        prediction,
        position=position,
        radius_km=radius_km,
        place=place,
        vote=vote,
        retrieval=coarsen_retrieval(prediction.retrieval, level),
        prompt="",
        outcome=prediction.outcome and coarsen_outcome(prediction.outcome, level),
        choice=prediction.choice and coarsen_outcome(prediction.choice, level),
        candidates=candidates,
        probability=None,
    )


def abstain(prediction: Prediction, bound_km: float | None) -> Prediction:
    """Coarsen or withhold an answer whose calibrated radius is too large.

    Args:
        prediction: The answer.
        bound_km: The largest radius for a whole answer; None for any. Above it an answer is coarsened to its region up
            to REGION_KM, to its country up to COUNTRY_KM, and else withheld.
    """
    radius_km = prediction.radius_km
    if bound_km is None or prediction.probability is None or radius_km is None or radius_km <= bound_km:
        return prediction
    if radius_km <= REGION_KM:
        return _withheld(prediction, radius_km, "region")
    if radius_km <= COUNTRY_KM:
        return _withheld(prediction, radius_km, "country")
    bare = replace(coarsen(prediction, COUNTRY), position=None, place=None, radius_km=None, vote=None)
    return replace(
        bare, method="none", candidates=(), retrieval=Retrieval((), ()), withheld="nothing", outcome=None, choice=None
    )


def _withheld(prediction: Prediction, radius_km: float, level: Literal["region", "country"]) -> Prediction:
    """Coarsen an answer to circles that contain its exact ones, so that the probability still holds."""

    def round_km(position: LatLon, radius_km: float) -> float:
        (area,) = coarse_places([position], level)
        return max(area.radius_km, round_radius_km(haversine_km(area.position, position) + radius_km))

    coarse = coarsen(prediction, level)
    vote = prediction.vote
    return replace(
        coarse,
        radius_km=round_km(prediction.position, radius_km) if prediction.position else None,
        probability=prediction.probability,
        vote=vote and coarse.vote and replace(coarse.vote, radius_km=round_km(vote.position, vote.radius_km)),
        withheld=level,
    )


def place_of(position: LatLon, level: Precision) -> Place:
    """Name a position as precisely as a level allows; a coarse position keeps its name."""
    return nearest_place(position) if level == EXACT else coarse_places([position], level)[0].place

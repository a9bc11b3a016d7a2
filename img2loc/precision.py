"""How precisely a public page may answer: a Prediction replaced, as a whole, by one that knows no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from img2loc.coarse import COUNTRY, EXACT, REGION, Precision, coarse_places, coarse_positions
from img2loc.geo import nearest_place
from img2loc.types import LatLon, Neighbour, Outcome, OutcomeKind, Place, Prediction, Retrieval

WITHHELD_ROW = -1  # of a neighbour whose row would lead to its exact position

# How large a region and a country are taken to be. Source: Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784
REGION_KM, COUNTRY_KM = 200.0, 750.0

_MESSAGES = {
    OutcomeKind.REFUSED: "The model refused to answer.",
    OutcomeKind.UNPARSEABLE: "No position could be read from the model's reply.",
    OutcomeKind.OUTSIDE: "The model placed the photo outside the area.",
}


def coarsen(prediction: Prediction, level: Precision) -> Prediction:
    """Give away no more than a level allows.

    Each position, the neighbours' and the candidates' too, becomes that of the city it lies in or is nearest to, or of
    the city in the midst of its region or country; each radius becomes a round one that holds the whole of the circle
    before and of the area. What could tell more is withheld: prompt, replies, reasons, the model's own name for the
    place, and which photos of the gallery the neighbours are.

    Args:
        prediction: What was found, from exact positions or from coarse ones.
        level: One of LEVELS.
    """
    if level == EXACT:
        return prediction
    position, place, radius_km = prediction.position, prediction.place, prediction.radius_km
    if position is not None:
        around_km = radius_km or 0.0
        if prediction.probability is None:  # a spread, which has the positions' reach in it
            around_km = max(around_km, position.reach_km)
        else:
            around_km += position.reach_km
        position, place, radius_km = _coarse_circle(position, around_km, level)
    vote = prediction.vote
    if vote is not None:
        at, _, around_km = _coarse_circle(vote.position, max(vote.radius_km, vote.position.reach_km), level)
        vote = replace(vote, position=at, radius_km=around_km)
    candidates = prediction.candidates
    places = coarse_positions([candidate.position for candidate in candidates], level)
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
        candidates=tuple(
            replace(candidate, position=position) for candidate, position in zip(candidates, places, strict=True)
        ),
    )


def _coarse_circle(position: LatLon, radius_km: float, level: Precision) -> tuple[LatLon, Place, float]:
    """The position, the name and the radius of a coarse circle that holds an exact one."""
    (place,) = coarse_places([position], level)
    return place.position, place.place, place.radius_km(position, radius_km)


def abstain(prediction: Prediction, bound_km: float | None) -> Prediction:
    """Say no more than a calibrated radius allows.

    Args:
        prediction: What was found.
        bound_km: Up to which radius an answer is given whole; None for any. Beyond it an answer is coarsened to its
            region while the radius is one of a region, to its country while it is one of a country, and else withheld.
    """
    radius_km = prediction.radius_km
    if bound_km is None or prediction.probability is None or radius_km is None or radius_km <= bound_km:
        return prediction
    if radius_km <= REGION_KM:
        return replace(coarsen(prediction, REGION), withheld="region")
    if radius_km <= COUNTRY_KM:
        return replace(coarsen(prediction, COUNTRY), withheld="country")
    bare = replace(coarsen(prediction, COUNTRY), position=None, place=None, radius_km=None, probability=None, vote=None)
    return replace(
        bare, method="none", candidates=(), retrieval=Retrieval((), ()), withheld="nothing", outcome=None, choice=None
    )


def coarsen_retrieval(retrieval: Retrieval, level: Precision) -> Retrieval:
    """Do the same for neighbours alone.

    Args:
        retrieval: The neighbours.
        level: One of LEVELS.
    """
    if level == EXACT:
        return retrieval

    def coarse(neighbours: Sequence[Neighbour]) -> tuple[Neighbour, ...]:
        positions = coarse_positions([neighbour.position for neighbour in neighbours], level)
        return tuple(
            Neighbour(WITHHELD_ROW, position, neighbour.similarity)
            for position, neighbour in zip(positions, neighbours, strict=True)
        )

    return Retrieval(coarse(retrieval.nearest), coarse(retrieval.farthest))


def coarsen_outcome(outcome: Outcome, level: Precision) -> Outcome:
    """Do the same for how asking a model ended.

    Args:
        outcome: With an exact position, or none.
        level: One of LEVELS.
    """
    if level == EXACT:
        return outcome
    return Outcome(
        outcome.kind,
        position=outcome.position and coarse_positions([outcome.position], level)[0],
        message=_MESSAGES.get(outcome.kind, outcome.message),
        replies=tuple(replace(reply, text="") for reply in outcome.replies),
    )


def place_of(position: LatLon, level: Precision) -> Place:
    """Name a position as precisely as a level allows; a coarse position keeps its name.

    Args:
        position: Anywhere on Earth.
        level: One of LEVELS.
    """
    return nearest_place(position) if level == EXACT else coarse_places([position], level)[0].place

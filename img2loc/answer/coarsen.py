"""Neighbours and models' answers made as coarse as a level of precision demands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from img2loc.geo.coarse import EXACT, Precision, coarse_positions
from img2loc.types import Neighbour, Outcome, OutcomeKind, Retrieval

WITHHELD_ROW = -1  # in place of a row that would lead to the exact position

_MESSAGES = {
    OutcomeKind.REFUSED: "The model refused to answer.",
    OutcomeKind.UNPARSEABLE: "No position could be read from the model's reply.",
    OutcomeKind.OUTSIDE: "The model placed the photo outside the area.",
}


def coarsen_retrieval(retrieval: Retrieval, level: Precision) -> Retrieval:
    """Make neighbours' positions coarse, and withhold which photos they are."""
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
    """Make an outcome's position coarse, and withhold the model's words."""
    if level == EXACT:
        return outcome
    return Outcome(
        outcome.kind,
        position=outcome.position and coarse_positions([outcome.position], level)[0],
        message=_MESSAGES.get(outcome.kind, outcome.message),
        replies=tuple(replace(reply, text="") for reply in outcome.replies),
    )

"""A radius that can be trusted: it holds the true position with a stated probability, by split conformal prediction.

Errors of answers whose truth is known are sorted, and the radius is the one that as many of them keep within as the
probability wants. That holds for any photo that is drawn like those, whatever the model, and needs no belief about how
errors are distributed. Photos are grouped by how similar their nearest neighbour is, each group with a radius of its
own, so that it is small where the gallery knows the place and wide where it doesn't.

Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, sections 4.2 and 4.5 (Mondrian groups).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from img2loc.errors import first_fault
from img2loc.types import Method

PROBABILITY: Final = 0.9
GROUP_PHOTOS: Final = 40  # at least; of fewer the radius would be mostly chance
MAX_GROUPS: Final = 5
MIN_PHOTOS: Final = math.ceil(PROBABILITY / (1 - PROBABILITY) - 1e-9)  # of fewer no radius short of everywhere follows
ANYWHERE_KM: Final = 20_004.0  # half of a meridian: no two places are farther apart


@dataclass(frozen=True, slots=True)
class Group:
    """Photos whose nearest neighbours are about equally similar.

    Args:
        from_similarity: The least similarity; the first group's stands for all below it too.
        radius_km: Within which the truth was, as often as the probability wants.
        photos: How many it was measured on.
    """

    from_similarity: float
    radius_km: float
    photos: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Args:
        data: The data set, and how its photos were held apart from the gallery.
        date: The day, as YYYY-MM-DD.
        gallery: Manifest.identity of the gallery whose neighbours were used.
        probability: With which the radius holds the true position.
        methods: By who answers, see `answerer`: the groups, similarity rising.
    """

    data: str
    date: str
    gallery: str
    probability: float
    methods: dict[str, tuple[Group, ...]]

    def __post_init__(self) -> None:
        radii = [group.radius_km for groups in self.methods.values() for group in groups]
        if not (0 < self.probability < 1 and all(0 <= radius <= ANYWHERE_KM for radius in radii)):
            raise ValueError("its probability or a radius can't be one")
        if not all(groups for groups in self.methods.values()):
            raise ValueError("it has a method without groups")
        for groups in self.methods.values():
            similarities = [group.from_similarity for group in groups]
            if not np.isfinite(similarities).all() or similarities != sorted(similarities):
                raise ValueError("the similarities of a method's groups don't rise")

    def radius_km(self, method: Method, model: str, similarity: float) -> float | None:
        """The radius of an answer; None where answers of this kind were not measured.

        Args:
            method: Who answered.
            model: The model that was asked; empty for none.
            similarity: Of the nearest neighbour.
        """
        groups = self.methods.get(answerer(method, model))
        if not groups:
            return None
        return [groups[0], *(group for group in groups[1:] if group.from_similarity <= similarity)][-1].radius_km


def answerer(method: Method, model: str) -> str:
    """Whose errors count together: a vote's, or a model's, or the judge's on a model's answers."""
    return method if method == "vote" else f"{method} {model}".strip()


def conformal_radius_km(errors_km: Sequence[float], probability: float = PROBABILITY) -> float:
    """The radius that holds the next error with at least a probability, if it is drawn like these.

    Args:
        errors_km: n errors.
        probability: The one wanted.

    Returns:
        The ceil((n + 1) probability)-th smallest; ANYWHERE_KM where n is too small for that.
    """
    rank = math.ceil((len(errors_km) + 1) * probability - 1e-9)
    return float(sorted(errors_km)[rank - 1]) if rank <= len(errors_km) else ANYWHERE_KM


def groups_of(similarities: Sequence[float], errors_km: Sequence[float]) -> tuple[Group, ...]:
    """Divide photos into groups of equal size by similarity, and measure each.

    Args:
        similarities: n, of each photo's nearest neighbour.
        errors_km: n, of its answer.

    Returns:
        One to MAX_GROUPS groups of GROUP_PHOTOS or more, but for a single one that may be smaller; none without photos.
    """
    order = np.argsort(similarities, kind="stable")
    count = min(max(len(order) // GROUP_PHOTOS, 1), MAX_GROUPS)
    return tuple(
        Group(
            float(similarities[part[0]]),
            min(conformal_radius_km([errors_km[at] for at in part]), ANYWHERE_KM),
            len(part),
        )
        for part in np.array_split(order, count)
        if len(part)
    )


def read_calibration(content: bytes) -> Calibration:
    """Read a calibration.

    Raises:
        ValueError: It is none.
    """
    try:
        return TypeAdapter(Calibration).validate_json(content)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None

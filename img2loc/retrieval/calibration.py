"""A radius that holds the true position with a stated probability, by split conformal prediction.

The errors of answers whose true positions are known are sorted; the radius is the smallest that holds the wanted share
of them. This needs no assumption about the model or about how errors are distributed, only that other photos are drawn
from the same distribution. Photos are grouped by the similarity of their nearest neighbour, and each group has a radius
of its own: small where the gallery knows the place, wide where it doesn't.

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
MIN_PHOTOS: Final = math.ceil(PROBABILITY / (1 - PROBABILITY) - 1e-9)  # with fewer the radius is ANYWHERE_KM
ANYWHERE_KM: Final = 20_004.0  # half of a meridian: no two places are farther apart


@dataclass(frozen=True, slots=True)
class Group:
    """Photos whose nearest neighbours are about equally similar."""

    from_similarity: float  # the lowest; the first group also stands for all below it
    radius_km: float  # held the true position of the wanted share of the photos
    photos: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measured radii of a gallery's answers.

    Raises:
        ValueError: A value makes no sense.
    """

    data: str  # the data set, and how its photos were kept apart from the gallery
    date: str  # YYYY-MM-DD
    gallery: str  # Manifest.identity of the gallery whose neighbours were used
    probability: float  # that the radius holds the true position
    methods: dict[str, tuple[Group, ...]]  # by `answerer`, similarity rising

    def __post_init__(self) -> None:
        radii = [group.radius_km for groups in self.methods.values() for group in groups]
        if not (0 < self.probability < 1 and all(0 <= radius <= ANYWHERE_KM for radius in radii)):
            raise ValueError("its probability or one of its radii is invalid")
        for groups in self.methods.values():
            similarities = [group.from_similarity for group in groups]
            if not groups:
                raise ValueError("it has a method without groups")
            if not np.isfinite(similarities).all() or similarities != sorted(similarities):
                raise ValueError("the similarities of a method's groups don't rise")

    def radius_km(self, method: Method, model: str, similarity: float) -> float | None:
        """The radius of an answer, by its nearest neighbour's similarity; None where such answers were not measured."""
        groups = self.methods.get(answerer(method, model))
        if not groups:
            return None
        return [groups[0], *(group for group in groups[1:] if group.from_similarity <= similarity)][-1].radius_km


def answerer(method: Method, model: str) -> str:
    """The key under which errors are measured together: the vote, a model, or the judge with a model's answers."""
    return method if method == "vote" else f"{method} {model}".strip()


def conformal_radius_km(errors_km: Sequence[float], probability: float = PROBABILITY) -> float:
    """The radius that holds the next error with at least a probability, if it is drawn like these n.

    Returns:
        The ceil((n + 1) probability)-th smallest error; ANYWHERE_KM where n is too small for that.
    """
    rank = math.ceil((len(errors_km) + 1) * probability - 1e-9)
    return float(sorted(errors_km)[rank - 1]) if rank <= len(errors_km) else ANYWHERE_KM


def groups_of(similarities: Sequence[float], errors_km: Sequence[float]) -> tuple[Group, ...]:
    """Divide photos into groups of equal size by their nearest neighbour's similarity, and measure each.

    Returns:
        Up to MAX_GROUPS groups of GROUP_PHOTOS or more; a single group may be smaller.
    """
    order = np.argsort(similarities, kind="stable")
    count = min(max(len(order) // GROUP_PHOTOS, 1), MAX_GROUPS)
    return tuple(
        Group(
            float(similarities[part[0]]),
            min(conformal_radius_km([errors_km[photo] for photo in part]), ANYWHERE_KM),
            len(part),
        )
        for part in np.array_split(order, count)
        if len(part)
    )


def read_calibration(content: bytes) -> Calibration:
    """Read a calibration from its JSON.

    Raises:
        ValueError: It is none.
    """
    try:
        return TypeAdapter(Calibration).validate_json(content)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None

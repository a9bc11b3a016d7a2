"""The values between stages: frozen, and refused when they contradict themselves."""

from __future__ import annotations

import dataclasses

import pytest

from img2loc.types import LatLon, Outcome, OutcomeKind, Place


def test_values_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LatLon(1, 2).lat = 3


@pytest.mark.parametrize("kind", OutcomeKind)
def test_only_an_answer_has_a_position(kind):
    answered = kind in {OutcomeKind.ANSWERED, OutcomeKind.REPAIRED}
    with pytest.raises(ValueError, match="outcome of kind"):
        Outcome(kind, position=None if answered else LatLon(1, 2))
    assert Outcome(kind, position=LatLon(1, 2) if answered else None).kind == kind


def test_a_place_says_how_far_it_is_only_when_it_is_far():
    assert str(Place("Paris", "France", "FR", 4.0)) == "Paris, France"
    assert str(Place("Flagstaff", "United States", "US", 105.4)) == "105 km from Flagstaff, United States"

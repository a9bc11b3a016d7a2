"""The vote: where the density peaks and how far half of it spreads."""

from __future__ import annotations

import numpy as np
import pytest

from img2loc.answer.vote import SIGMA_KM, vote, vote_weights
from img2loc.geo.sphere import haversine_km
from img2loc.types import LatLon, Neighbour


def neighbours(*found: tuple[float, float, float]) -> list[Neighbour]:
    return [Neighbour(row, LatLon(lat, lon), similarity) for row, (lat, lon, similarity) in enumerate(found)]


def test_nobody_votes_nothing():
    assert vote([]) is None


def test_one_neighbour_is_the_answer_and_its_gaussian_the_radius():
    answer = vote(neighbours((48.8584, 2.2945, 0.5)))
    assert haversine_km(answer.position, LatLon(48.8584, 2.2945)) < 0.01
    # Half of a two-dimensional Gaussian lies within sigma sqrt(2 ln 2).
    assert answer.radius_km == pytest.approx(SIGMA_KM * np.sqrt(2 * np.log(2)), rel=0.1)


def test_a_crowd_in_one_place_beats_a_single_equal():
    answer = vote(neighbours((40.0, -74.0, 0.5), (51.50, -0.12, 0.5), (51.51, -0.13, 0.5)))
    assert haversine_km(answer.position, LatLon(51.505, -0.125)) < 0.1


def test_one_clear_match_beats_a_crowd_of_vague_ones():
    answer = vote(neighbours((48.8584, 2.2945, 0.55), *[(51.5, -0.12, 0.42)] * 4))
    assert haversine_km(answer.position, LatLon(48.8584, 2.2945)) < 0.1


def test_the_mode_lies_between_neighbours_of_one_town():
    answer = vote(neighbours((0.0, 0.0, 0.5), (0.0, 0.04, 0.5)))
    assert answer.position.lon == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize(
    "around",
    [[(-17.0, 179.99), (-17.0, -179.99)], [(89.99, 0), (89.99, 120), (89.99, -120)], [(-89.99, 10), (-89.99, -170)]],
)
def test_the_antimeridian_and_the_poles_are_places_like_others(around):
    found = neighbours(*[(lat, lon, 0.5) for lat, lon in around])
    answer = vote(found)
    assert max(haversine_km(answer.position, n.position) for n in found) < 1.5
    assert answer.radius_km < 7


def test_the_answer_moves_with_the_earth():
    here = neighbours((10.0, 20.0, 0.5), (10.02, 20.0, 0.45), (12, 25, 0.4), (-40, 100, 0.3))
    there = [Neighbour(n.row, LatLon(n.position.lat, n.position.lon - 200), n.similarity) for n in here]
    assert vote(there).position.lat == pytest.approx(vote(here).position.lat, abs=1e-4)
    assert vote(there).radius_km == pytest.approx(vote(here).radius_km, rel=1e-3)


def test_disagreement_makes_a_wide_radius():
    assert vote(neighbours((0, 0, 0.5), (0, 90, 0.5), (0, -90, 0.5))).radius_km > 9000


def test_weights_fall_with_distance_as_published():
    weights = vote_weights(np.array([0.9, 0.8]))
    assert weights.sum() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx((0.4 / 0.2) ** 10)
    assert np.isfinite(vote_weights(np.array([1.0, 0.5]))).all()

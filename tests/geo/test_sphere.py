"""Distances and directions: against known values, at the antimeridian and at the poles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.geo.sphere import EARTH_RADIUS_KM, arc_km, destination, geodesic_km, haversine_km, to_latlon, unit_vectors
from img2loc.types import LatLon

positions = st.builds(LatLon, st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize(
    ("a", "b", "sphere_km", "ellipsoid_km"),
    [
        # Flinders Peak and Buninyong: the test line of Geoscience Australia, 54,972.271 m on GRS 80.
        (LatLon(-37.95103342, 144.42486789), LatLon(-37.65282114, 143.92649553), 54.93, 54.972271),
        (LatLon(0, 179.5), LatLon(0, -179.5), 111.195, 111.3195),
        (LatLon(90, 0), LatLon(-90, 0), math.pi * EARTH_RADIUS_KM, 20003.931),
        (LatLon(89, 0), LatLon(89, 180), 222.39, 223.388),
    ],
)
def test_distances_are_those_known(a, b, sphere_km, ellipsoid_km):
    assert haversine_km(a, b) == pytest.approx(sphere_km, rel=2e-4)
    assert geodesic_km(a, b) == pytest.approx(ellipsoid_km, rel=1e-5)


@settings(deadline=None)
@given(positions, positions)
def test_both_ways_to_the_great_circle_agree(a, b):
    assert float(arc_km(unit_vectors([a]), unit_vectors([b]))[0, 0]) == pytest.approx(haversine_km(a, b), abs=0.5)


@given(positions, st.floats(0, 360), st.floats(0.001, 19_000))
def test_a_destination_lies_at_its_distance(origin, bearing_deg, distance_km):
    assert haversine_km(origin, destination(origin, bearing_deg, distance_km)) == pytest.approx(distance_km, abs=1e-3)


def test_a_destination_lies_in_its_direction():
    assert destination(LatLon(0, 179.5), 90, 111.195).lon == pytest.approx(-179.5, abs=1e-3)
    assert destination(LatLon(10, 20), 0, 111.195).lat == pytest.approx(11, abs=1e-3)


@given(positions)
def test_vectors_and_positions_turn_into_each_other(position):
    back = to_latlon(unit_vectors([position])[0] * 3)
    assert haversine_km(position, back) < 1e-6


@pytest.mark.parametrize("lat, lon", [(90.01, 0), (-91, 0), (0, 180.5), (math.nan, 0), (0, math.inf)])
def test_no_position_is_made_of_nonsense(lat, lon):
    with pytest.raises(ValueError, match="degrees"):
        LatLon(lat, lon)


def test_the_antimeridian_has_one_name():
    assert LatLon(0, 180) == LatLon(0, -180)


def test_no_positions_are_no_vectors():
    assert unit_vectors([]).shape == (0, 3)
    assert arc_km(np.zeros((0, 3)), unit_vectors([LatLon(0, 0)])).shape == (0, 1)


@given(st.floats(-90, 90).map(lambda deg: round(deg, 5)), st.floats(-180, 179.9).map(lambda deg: round(deg, 5)))
def test_a_position_that_was_a_vector_reads_as_before(lat: float, lon: float):
    found = to_latlon(unit_vectors([LatLon(lat, lon)])[0])
    assert found.lat == lat and (found.lon == lon or abs(lat) == 90)

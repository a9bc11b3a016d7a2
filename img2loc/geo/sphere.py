"""Geometry on the Earth, right across the antimeridian and at the poles."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from img2loc.types import LatLon

FloatArray = npt.NDArray[np.float64]

_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_DECIMALS = re.compile(rf"\(?\s*{_NUMBER}\s*°?\s*(?:[,;]\s*|\s+){_NUMBER}\s*°?\s*\)?", re.ASCII)

# Mean radius R1 = (2a + b) / 3 of the WGS-84 ellipsoid.
# Source: Moritz, Geodetic Reference System 1980, J. Geodesy 74 (2000), https://doi.org/10.1007/s001900050278
EARTH_RADIUS_KM = 6371.0088


def unit_vectors(positions: Sequence[LatLon]) -> FloatArray:
    """Turn n positions into points on the unit sphere, (n, 3): x to (0, 0), y to (0, 90 E), z to the north pole."""
    return unit_vectors_of(np.array([(p.lat, p.lon) for p in positions], dtype=np.float64).reshape(-1, 2))


def unit_vectors_of(degrees: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Turn n positions, (n, 2) degrees, lat first, into points on the unit sphere; see unit_vectors."""
    lat, lon = np.radians(degrees.astype(np.float64)).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def decimal_position(text: str) -> LatLon | None:
    """Read 'lat, lon' in decimal degrees, in a text of bounded length; None for any other text.

    Raises:
        ValueError: A number is out of range; lat and lon are never swapped.
    """
    match = _DECIMALS.fullmatch(text.strip())
    return LatLon(float(match[1]), float(match[2])) if match else None


def to_latlon(vector: FloatArray) -> LatLon:
    """The position that a vector of any length but zero points to from the Earth's centre.

    Rounded to a tenth of a millimetre, so that a position turned into a vector and back stays the same.
    """
    x, y, z = (float(value) for value in vector)
    lon = round(math.degrees(math.atan2(y, x)), 9)
    return LatLon(round(math.degrees(math.atan2(z, math.hypot(x, y))), 9), lon if lon < 180 else -180.0)


def arc_km(a: FloatArray, b: FloatArray) -> FloatArray:
    """Great-circle distances, (n, m) in km, between points on the unit sphere, (n, 3) and (m, 3).

    By half the chord and arcsine, which keeps its digits at small distances, where an arccosine loses them.
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
    """Go from a position along a great circle, whose bearing at the start is measured clockwise from north."""
    up = unit_vectors([origin])[0]
    lon = math.radians(origin.lon)
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    north = np.cross(up, east)
    bearing, angle = math.radians(bearing_deg), distance_km / EARTH_RADIUS_KM
    heading = math.cos(bearing) * north + math.sin(bearing) * east
    return to_latlon(math.cos(angle) * up + math.sin(angle) * heading)


def circle(centre: LatLon, radius_km: float, *, step_deg: int = 5) -> list[LatLon]:
    """Points on a circle, clockwise from north, `step_deg` apart as seen from the centre; the last is the first."""
    return [destination(centre, bearing, radius_km) for bearing in range(0, 361, step_deg)]

"""Coarse positions: the city that a position lies in, or the city in the middle of its region or country.

Cities are those of over 15,000 people, from GeoNames (CC BY 4.0), each taken as a disc that grows with its population.
A coarse position tells nothing of the exact one but its area. An area's radius is that of its cities: a photo far from
any town may lie outside.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from img2loc.geo.areas import Area, Inside
from img2loc.geo.places import gazetteer
from img2loc.geo.sphere import EARTH_RADIUS_KM, FloatArray, arc_km, unit_vectors_of
from img2loc.types import LatLon, Place

Precision = Literal["exact", "city", "region", "country"]
LEVELS: tuple[Precision, ...] = get_args(Precision)
EXACT, CITY, REGION, COUNTRY = LEVELS

# A coarse radius is one of these: a finer one would say more than it knows.
RADII_KM = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1200.0, 1600.0, 2400.0, 3200.0, 5000.0, 7000.0, 10000.0, 20100.0)

CELLS_DEG = (16.0, 4.0, 1.0, 0.25)  # positions are grouped by cells of these sizes, one after another
FEW_PAIRS = 1 << 14  # so few pairs of a position and a city are compared without any more grouping
BLOCK_PAIRS = 1 << 18
COSINE_SLACK_KM = 1.0  # more than the digits that an arccosine loses

Degrees = npt.NDArray[np.floating[Any]]
Cities = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CoarsePlace:
    """A city, a region or a country.

    Args:
        position: The city that stands for it.
        place: Its name.
        radius_km: The round radius around there that holds its cities.
    """

    position: LatLon
    place: Place
    radius_km: float


def round_radius_km(radius_km: float) -> float:
    """Find the smallest of RADII_KM that is no smaller than a radius."""
    return next((radius for radius in RADII_KM if radius >= radius_km), RADII_KM[-1])


def coarse_places(positions: Sequence[LatLon], level: Precision) -> list[CoarsePlace]:
    """Find the city, region or country that each position lies in.

    Args:
        positions: Anywhere on Earth.
        level: One of LEVELS, but not EXACT.
    """
    degrees = np.array([(position.lat, position.lon) for position in positions], dtype=np.float64).reshape(-1, 2)
    return [_place_of_city(city, level) for city in nearest_cities(degrees).tolist()]


def coarse_positions(positions: Sequence[LatLon], level: Precision) -> list[LatLon]:
    """Replace each position by the one that stands for its area.

    Args:
        positions: Anywhere on Earth.
        level: One of LEVELS; EXACT leaves them as they are.
    """
    if level == EXACT:
        return list(positions)
    return [place.position for place in coarse_places(positions, level)]


@dataclass(frozen=True, slots=True)
class CoarseArea:
    """An area for a site whose answers are coarse: inside is whatever has its coarse position inside.

    Compared with exact positions, an area that is moved step by step would tell where they are.

    Args:
        area: The area as it was named.
        level: One of LEVELS, but not EXACT.
    """

    area: Area
    level: Precision

    def __str__(self) -> str:
        return str(self.area)

    def holds(self, positions: Degrees) -> Inside:
        """Tell which positions lie within.

        Args:
            positions: (n, 2) degrees, lat first.
        """
        degrees, places = _representatives(self.level)
        return self.area.holds(degrees[places[nearest_cities(positions)]])

    def holds_cities(self) -> Inside:
        """Tell of each city, by its number in nearest_cities, whether the positions nearest to it lie within."""
        degrees, places = _representatives(self.level)
        return self.area.holds(degrees)[places]


def coarse_area(area: Area | None, level: Precision) -> Area | None:
    """Take the area that a site with answers of a level filters by; None for anywhere.

    Args:
        area: As it was named.
        level: One of LEVELS.
    """
    return area if area is None or level == EXACT else CoarseArea(area, level)


def nearest_cities(positions: Degrees) -> Cities:
    """Find the city that each position lies in or is nearest to: the metropolis, where that is one of its suburbs.

    Args:
        positions: (n, 2) degrees, lat first.

    Returns:
        (n,) the cities' numbers.
    """
    known = gazetteer()
    return _groups().settled[_nearest(positions, known.vectors, known.radii_km)]


def _nearest(positions: Degrees, vectors: FloatArray, radii_km: FloatArray) -> Cities:
    """The number of the disc whose edge is nearest to each position; of several the first."""
    nearest = np.empty(len(positions), np.int32)
    every = np.arange(len(positions)), np.arange(len(vectors), dtype=np.int32)
    for rows, discs in _pruned(positions, *every, CELLS_DEG, (vectors, radii_km)):
        step = max(1, BLOCK_PAIRS // len(discs))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            edges_km = arc_km(unit_vectors_of(positions[block]), vectors[discs]) - radii_km[discs]
            nearest[block] = discs[edges_km.argmin(axis=1)]
    return nearest


def _pruned(
    positions: Degrees,
    rows: npt.NDArray[np.int64],
    discs: Cities,
    cells_deg: tuple[float, ...],
    all_discs: tuple[FloatArray, FloatArray],
) -> Iterator[tuple[npt.NDArray[np.int64], Cities]]:
    """Group positions by cells, each group with the few discs that can be nearest to any of them."""
    if not cells_deg or len(rows) * len(discs) <= FEW_PAIRS:
        yield rows, discs
        return
    cells = np.floor(np.asarray(positions[rows], dtype=np.float64) / cells_deg[0]).astype(np.int64) @ [1 << 20, 1]
    order = np.argsort(cells, kind="stable")
    for group in np.split(rows[order], np.flatnonzero(np.diff(cells[order])) + 1):
        near = _near(unit_vectors_of(positions[group]), discs, *all_discs)
        yield from _pruned(positions, group, near, cells_deg[1:], all_discs)


def _near(points: FloatArray, discs: Cities, vectors: FloatArray, radii_km: FloatArray) -> Cities:
    """The discs that can be nearest to any of some points.

    If all points lie within r of their middle, none is nearest to a disc whose edge is over 2r farther from the middle
    than the nearest edge is. Cosines, which are cheap, leave out most discs before any edge is looked at.
    """
    middle = points.sum(axis=0) / np.linalg.norm(points.sum(axis=0))
    apart_km = 2 * float(arc_km(points, middle[None]).max())
    cosines = vectors[discs] @ middle
    farthest_km = EARTH_RADIUS_KM * np.arccos(min(cosines.max(), 1.0)) + radii_km.max() + apart_km + COSINE_SLACK_KM
    discs = discs[cosines >= np.cos(min(farthest_km / EARTH_RADIUS_KM, np.pi))]
    edges_km = arc_km(middle[None], vectors[discs])[0] - radii_km[discs]
    near: Cities = discs[edges_km <= edges_km.min() + apart_km + 1e-6]
    return near


@dataclass(frozen=True, slots=True)
class _Groups:
    """How the gazetteer's cities belong together; equal numbers share an area.

    Args:
        settled: (n,) the city whose disc holds this one: the metropolis of a suburb, else the city itself.
        countries: (n,) numbers of the cities' countries.
        regions: (n,) numbers of their first-level divisions, as GeoNames has them.
    """

    settled: Cities
    countries: npt.NDArray[np.int64]
    regions: npt.NDArray[np.int64]


_grouping = threading.Lock()  # visitors who come together wait for one grouping


def _groups() -> _Groups:
    with _grouping:
        return _load_groups()


@cache
def _load_groups() -> _Groups:
    known = gazetteer()
    holder = settled = _nearest(known.degrees, known.vectors, known.radii_km)
    while (settled != holder[settled]).any():
        settled = holder[settled]
    regions = [f"{city['countrycode']}.{city['admin1code']}" for city in known.cities]
    return _Groups(
        settled=settled,
        countries=np.unique([city["countrycode"] for city in known.cities], return_inverse=True)[1],
        regions=np.unique(regions, return_inverse=True)[1],
    )


@cache
def _representatives(level: Precision) -> tuple[FloatArray, Cities]:
    """(m, 2) the positions of all areas of a level, and (cities,) the row there of the area of each settled city."""
    settled = np.unique(_groups().settled)
    places = [_place_of_city(city, level).position for city in settled.tolist()]
    degrees, rows = np.unique([(place.lat, place.lon) for place in places], axis=0, return_inverse=True)
    numbers = np.zeros(len(gazetteer().cities), np.int32)
    numbers[settled] = rows.reshape(-1)
    return degrees, numbers


def _place_of_city(city: int, level: Precision) -> CoarsePlace:
    """The city, region or country that a settled city lies in."""
    if level == CITY:
        return _place(CITY, city)
    groups = _groups()
    return _place(level, int((groups.regions if level == REGION else groups.countries)[city]))


@cache
def _place(level: Precision, number: int) -> CoarsePlace:
    """A settled city, or a region or a country that has one."""
    known, groups = gazetteer(), _groups()
    members = np.array([number])
    if level != CITY:
        members = np.flatnonzero((groups.regions if level == REGION else groups.countries) == number)
    vectors = known.vectors[members]
    away_km = arc_km(vectors.sum(axis=0)[None] / np.linalg.norm(vectors.sum(axis=0)), vectors)[0]
    # Settled, so that a coarse position is never taken for another area's.
    middle = next(city for city in members[away_km.argsort()].tolist() if groups.settled[city] == city)
    largest = max(members.tolist(), key=lambda city: int(known.cities[city]["population"]))
    code, name = known.cities[middle]["countrycode"], known.cities[largest]["name"]
    return CoarsePlace(
        LatLon(known.cities[middle]["latitude"], known.cities[middle]["longitude"]),
        Place(
            {CITY: name, REGION: f"the region of {name}", COUNTRY: ""}[level],
            known.countries.get(code, code),
            code,
            0.0,
        ),
        round_radius_km(float((arc_km(known.vectors[middle][None], vectors)[0] + known.radii_km[members]).max())),
    )

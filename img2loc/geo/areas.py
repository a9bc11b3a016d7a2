"""Known areas: where a photo is known to have been taken, as countries, a region of the world, or a circle.

Countries are Natural Earth's (1:10m, public domain), with the borders that Germany recognises, simplified by about 2 km
and widened by about 20 km wherever there is no other country's land. Regions are the United Nations' and the
continents, as Natural Earth assigns countries to them. Cities are those of over 15,000 people, from GeoNames (CC BY
4.0).
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from img2loc.errors import ConfigError
from img2loc.geo.places import city_named
from img2loc.geo.sphere import EARTH_RADIUS_KM, arc_km, circle, decimal_position, unit_vectors, unit_vectors_of
from img2loc.types import LatLon

CITY_KM: Final = 25.0  # around a city that is named without a radius
MAX_RADIUS_KM: Final = 20_000.0
MAX_PARTS, MAX_CHARS = 30, 500
OUTLINE_TOLERANCE_DEG: Final = 0.1  # of the outlines that maps draw
BLOCK_ROWS: Final = 1 << 18
NO_REGION: Final = "Seven seas (open ocean)"

_RADIUS = r"(?P<radius>[0-9]{1,5}(?:\.[0-9]{1,3})?)\s*km"
_CIRCLE = re.compile(
    rf"(?P<centre>.+?)[\s,]+(?:within\s+)?{_RADIUS}|{_RADIUS.replace('radius', 'first')}\s+around\s+(?P<around>.+)",
    re.I,
)
_ADVICE = "Write a country or a region of the world, or a circle such as 'Paris, 50 km' or '48.86, 2.35, 50 km'."

Degrees = npt.NDArray[np.floating[Any]]  # (n, 2) positions, lat first
Inside = npt.NDArray[np.bool_]  # (n,) whether each of n positions lies in an area
Outline = npt.NDArray[np.float64]  # (n, 2) corners in degrees, lat first, with a GAP after each ring
GAP: Final = (math.nan, math.nan)


class Area(Protocol):
    """Anything that tells which positions lie in it; str() gives its name."""

    def __hash__(self) -> int:
        """Results are cached by it, so that an area must not change."""

    def holds(self, positions: Degrees) -> Inside:
        """Which of n positions lie in it."""


@dataclass(frozen=True, slots=True)
class Circle:
    """All positions within a distance of a place."""

    centre: LatLon
    radius_km: float  # on a great circle
    around: str = ""  # the centre's name; empty for a mere position

    def __str__(self) -> str:
        return f"{self.radius_km:g} km around {self.around or self.centre}"

    def holds(self, positions: Degrees) -> Inside:
        """Which of n positions lie in it."""
        inside = np.zeros(len(positions), bool)
        reach_deg = math.degrees(self.radius_km / EARTH_RADIUS_KM) * (1 + 1e-6) + 1e-6
        near = np.flatnonzero(np.abs(positions[:, 0] - self.centre.lat) <= reach_deg)
        centre = unit_vectors([self.centre])
        for start in range(0, len(near), BLOCK_ROWS):
            rows = near[start : start + BLOCK_ROWS]
            inside[rows] = arc_km(unit_vectors_of(positions[rows]), centre)[:, 0] <= self.radius_km
        return inside

    def outline(self) -> Outline:
        """Its edge, for maps."""
        return np.array([*((point.lat, point.lon) for point in self.framed()), GAP])

    def framed(self) -> list[LatLon]:
        """The positions that a map of it must show."""
        return circle(self.centre, self.radius_km)


@dataclass(frozen=True, slots=True)
class Countries:
    """One or several countries."""

    names: tuple[str, ...]  # of countries or of regions of the world
    codes: tuple[str, ...]  # ISO 3166-1 alpha-2 of all their countries, sorted

    def __str__(self) -> str:
        return "; ".join(self.names)

    def holds(self, positions: Degrees) -> Inside:
        """Which of n positions lie in them."""
        import shapely  # noqa: PLC0415

        inside = np.zeros(len(positions), bool)
        lats, lons = positions[:, 0], positions[:, 1]
        for code in self.codes:
            outline = _countries()[code].outline
            west, south, east, north = outline.bounds
            in_bounds = (lats >= south) & (lats <= north) & (lons >= west) & (lons <= east)
            near = np.flatnonzero(in_bounds & ~inside)
            inside[near] = shapely.intersects_xy(outline, lons[near].astype(np.float64), lats[near].astype(np.float64))
        return inside

    def outline(self) -> Outline:
        """Their outlines, for maps."""
        return np.concatenate([_simplified(code)[0] for code in self.codes])

    def framed(self) -> list[LatLon]:
        """The positions that a map of them must show: the largest part of each."""
        return [corner for code in self.codes for corner in _simplified(code)[1]]


NamedArea = Circle | Countries  # areas that people can write and maps can draw


def holds(area: Area | None, position: LatLon) -> bool:
    """Whether a position lies in an area; None is anywhere."""
    return area is None or bool(area.holds(np.array([(position.lat, position.lon)]))[0])


@lru_cache(maxsize=256)
def read_area(text: str) -> NamedArea | None:
    """Read a known area; None for an empty text.

    Args:
        text: Countries (by name in six languages, or ISO code) or regions of the world, separated by semicolons; or
            "latitude, longitude, 50 km"; or "Paris, 50 km", "50 km around Paris, France".

    Raises:
        ConfigError: There is no such place, or the circle is invalid.
    """
    text = " ".join(text.split())
    if not text:
        return None
    if len(text) > MAX_CHARS:
        raise ConfigError(f"The area has {len(text)} characters, and {MAX_CHARS} are allowed. {_ADVICE}")
    if match := _CIRCLE.fullmatch(text):
        return _circle(match["centre"] or match["around"], float(match["radius"] or match["first"]))
    names = [part.strip() for part in text.split(";") if part.strip()]
    if not 1 <= len(names) <= MAX_PARTS:
        raise ConfigError(f"Name 1 to {MAX_PARTS} countries or regions, separated by semicolons.")
    known = _named_areas()
    if len(names) == 1 and _key(names[0]) not in known:
        return _circle(names[0], CITY_KM)
    codes_by_title: dict[str, tuple[str, ...]] = {}
    for name in names:
        if _key(name) not in known:
            raise ConfigError(_unknown(name, "country or world region"))
        title, codes = known[_key(name)]
        codes_by_title[title] = codes
    return Countries(
        tuple(codes_by_title), tuple(sorted({code for codes in codes_by_title.values() for code in codes}))
    )


def country_of(position: LatLon) -> Countries | None:
    """The country of a position, the smaller one where two outlines overlap; None at sea."""
    countries = [Countries((country.name,), (code,)) for code, country in _countries().items()]
    candidates = [country for country in countries if holds(country, position)]
    return min(candidates, key=lambda country: float(_countries()[country.codes[0]].outline.area), default=None)


def _circle(centre: str, radius_km: float) -> Circle:
    if not 1 <= radius_km <= MAX_RADIUS_KM:
        raise ConfigError(f"The circle's radius must be from 1 to {MAX_RADIUS_KM:,.0f} km, not {radius_km:g} km.")
    try:
        position = decimal_position(centre)
    except ValueError as error:
        raise ConfigError(f"The circle's centre is invalid: {error}.") from None
    if position is not None:
        return Circle(position, radius_km)
    if (city := city_named(centre)) is None:
        raise ConfigError(_unknown(centre, "country, world region or city"))
    return Circle(city[1], radius_km, city[0])


def _unknown(name: str, kind: str) -> str:
    titles = {key: title for key, (title, _) in _named_areas().items()}
    close = difflib.get_close_matches(_key(name), titles, n=1, cutoff=0.75)
    hint = f" Did you mean {titles[close[0]]}?" if close else ""
    return f"We don't know {name[:60]!r} as a {kind}.{hint} {_ADVICE}"


@dataclass(frozen=True, slots=True)
class _Country:
    name: str
    names: tuple[str, ...]
    regions: tuple[str, ...]
    outline: Any  # shapely's, prepared


@cache
def _countries() -> dict[str, _Country]:
    """Every country by its code. `python -m index_builder.countries` made the file."""
    import pyarrow.parquet as pq  # noqa: PLC0415
    import shapely  # noqa: PLC0415

    with resources.as_file(resources.files("img2loc") / "data" / "countries.parquet") as path:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    countries = {}
    for row in rows:
        outline = shapely.from_wkb(row["outline"])
        shapely.prepare(outline)
        regions = tuple(dict.fromkeys(name for name in (row["continent"], row["subregion"]) if name != NO_REGION))
        countries[row["code"]] = _Country(row["names"][0], tuple(row["names"]), regions, outline)
    return countries


@cache
def _simplified(code: str) -> tuple[Outline, list[LatLon]]:
    """A country's simplified outline, and the corners of its largest part; cached, since simplifying takes long."""
    import shapely  # noqa: PLC0415

    parts = shapely.get_parts(shapely.simplify(_countries()[code].outline, OUTLINE_TOLERANCE_DEG))
    rings = [np.array(part.exterior.coords)[:, ::-1] for part in sorted(parts, key=lambda part: -part.area)]
    outline = np.concatenate([row for ring in rings for row in (ring, [GAP])])
    return outline, [LatLon(lat, lon) for lat, lon in rings[0].tolist()]


@cache
def _named_areas() -> dict[str, tuple[str, tuple[str, ...]]]:
    """By the key of each of its names: a country's or region's title and its countries' codes. Countries go first."""
    regions: dict[str, list[str]] = {}
    areas: dict[str, tuple[str, tuple[str, ...]]] = {}
    for code, country in _countries().items():
        for name in (*country.names, code):
            areas.setdefault(_key(name), (country.name, (code,)))
        for name in country.regions:
            regions.setdefault(name, []).append(code)
    for name, codes in regions.items():
        areas.setdefault(_key(name), (name, tuple(codes)))
    return areas


def _key(name: str) -> str:
    """A name without accents, case and punctuation."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[\W_]+", " ", plain.casefold()).strip().removeprefix("the ")

"""Tables of positions as data sets, programs and spreadsheets write them, read as a whole and checked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from img2loc.errors import DataError
from img2loc.geo.cells import is_beyond_a_pole, is_like_number, read_angle, read_position
from img2loc.geo.columns import FLAGS, Columns, Role, named, recognise
from img2loc.geo.places import nearest_place
from img2loc.geo.table_files import read_lines
from img2loc.types import LatLon

# Headers look swapped if the photos lie this much nearer to a town the other way round.
SWAPPED_RATIO: Final = 5
SWAPPED_FROM_KM: Final = 100
SWAPPED_SAMPLE: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table of positions."""

    line: int  # from 1
    id: str
    author: str  # empty where the table has none
    position: LatLon | str  # or, in words, why that can't be read
    lat: str  # the cells as they are
    lon: str


@dataclass(frozen=True, slots=True)
class Table:
    """A file of positions, read."""

    path: Path
    columns: Columns
    rows: tuple[Row, ...]
    text_lines: tuple[int, ...]  # that aren't rows: another number of cells, or text instead of numbers
    beyond_180: int = 0  # how many longitudes, counted eastwards to 360, were read as western ones


def read_table(path: Path, role: Role, columns: Columns | None = None) -> Table:
    """Read a table of positions.

    Args:
        path: See table_files.read_lines.
        role: Which columns to take where a file holds both true and predicted positions.
        columns: The columns' names where they are known.

    Raises:
        DataError: The file can't be read, has no header with the columns that are needed, or has latitude and
            longitude swapped by all appearances.
    """
    lines = read_lines(path)
    _, header = next(lines)
    names = recognise(str(path), header, role, columns)
    rows: list[Row] = []
    text_lines: list[int] = []
    references: list[tuple[str, str]] = []  # each row's hemispheres, where they have columns of their own
    swapped: list[int] = []
    longitudes = Longitudes()
    for number, cells in lines:
        row = dict(zip(header, cells, strict=False))
        lat, lon = row.get(names.lat, "-"), row.get(names.lon, "-")
        if len(cells) != len(header) or not (is_like_number(lat) or is_like_number(lon)):
            text_lines.append(number)
            continue
        if is_beyond_a_pole(lat):
            swapped.append(number)
        longitudes.add(lon)
        references.append((row.get(names.lat_ref, ""), row.get(names.lon_ref, "")))
        position = read_position(lat, lon, references=references[-1])
        rows.append(Row(number, row[names.id], row.get(names.author, ""), position, lat, lon))
    if not rows:
        raise DataError(
            f"{path} has no row with a position. Write decimal degrees with a point, and in each row as many cells as "
            "in the header."
        )
    if swapped and not longitudes.are_far and not (columns and columns.lat and columns.lon):
        raise DataError(
            f"{path} has latitudes beyond 90 degrees in {len(swapped):,} of {len(rows):,} rows and no such longitude "
            f"(lines {named(swapped)}): the headers look swapped. {swapped_hint(names, FLAGS[role])}"
        )
    if longitudes.run_to_360:
        rows = [
            replace(row, position=read_position(row.lat, longitudes.western(row.lon), references=each))
            for row, each in zip(rows, references, strict=True)
        ]
    return Table(path, names, tuple(rows), tuple(text_lines), longitudes.beyond_180 if longitudes.run_to_360 else 0)


class Longitudes:
    """What the longitudes of a table are like: whether they are counted to the west, or eastwards to 360."""

    def __init__(self) -> None:
        self.are_far = False  # whether one lies between 90 and 180 degrees, so that it is no latitude
        self.beyond_180 = 0
        self._has_western = False

    def add(self, lon: str) -> None:
        """Note a row's longitude."""
        angle = read_angle(lon, "lon")
        if angle is not None:
            self.are_far |= 90 < abs(angle) <= 180
            self.beyond_180 += 180 < angle <= 360
            self._has_western |= angle < 0

    @property
    def run_to_360(self) -> bool:
        """Whether those beyond 180 degrees are meant so, since none lies to the west."""
        return self.beyond_180 > 0 and not self._has_western

    @staticmethod
    def western(lon: str) -> str:
        """A longitude that is counted eastwards to 360, counted from -180 to 180."""
        angle = read_angle(lon, "lon")
        return f"{angle - 360:.10f}" if angle is not None and 180 < angle <= 360 else lon


def swapped_hint(columns: Columns, flag: str) -> str:
    """What to do where latitude and longitude look swapped."""
    return (
        f"If they are, use {flag} lat={columns.lon},lon={columns.lat}; if not, use "
        f"{flag} lat={columns.lat},lon={columns.lon}."
    )


def look_swapped(before_km: Sequence[float], after_km: Sequence[float]) -> tuple[float, float] | None:
    """The median distances as the headers say, and with latitude and longitude swapped, where that fits far better."""
    before, after = statistics.median(before_km), statistics.median(after_km)
    return (before, after) if before > SWAPPED_FROM_KM and before > SWAPPED_RATIO * after else None


def refuse_swapped(table: str, columns: Columns, flag: str, positions: Sequence[LatLon]) -> None:
    """Photos are taken near towns. If they are so only the other way round, the headers are swapped.

    Raises:
        DataError: They are.
    """
    if not positions or any(abs(position.lon) > 90 for position in positions):
        return
    sample = positions[:: max(1, len(positions) // SWAPPED_SAMPLE)][:SWAPPED_SAMPLE]
    towns = [nearest_place(position).distance_km for position in sample]
    if km := look_swapped(towns, [nearest_place(swapped(position)).distance_km for position in sample]):
        raise DataError(
            f"{table}: half of its photos are at least {km[0]:,.0f} km from any town, but {km[1]:,.0f} km with "
            f"{columns.lat} and {columns.lon} swapped. {swapped_hint(columns, flag)}"
        )


def swapped(position: LatLon) -> LatLon:
    """The position with latitude and longitude in each other's place."""
    return LatLon(position.lon, position.lat)

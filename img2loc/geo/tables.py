"""Positions in CSV files of any origin: columns found by their names, and each bad line kept with its reason."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from img2loc.errors import DataError
from img2loc.system.names import printable_name
from img2loc.types import LatLon

Role = Literal["truth", "predictions"]

# Names that files in the field give their columns, in small letters and digits only; the first that matches counts.
_IDS: Final = tuple("imgid id photoid imageid photo image img file filename imagepath path name".split())
_AUTHORS: Final = ("author", "authorid", "photographer", "user", "userid", "owner", "ownerid", "nsid")
_LATS: Final[dict[Role, tuple[tuple[str, ...], ...]]] = {
    "truth": (("gtlat", "gtlatitude", "truelat", "truelatitude"), ("lat", "latitude", "latdeg")),
    "predictions": (
        ("predlat", "predictedlat", "predlatitude", "predictedlatitude", "latpred", "latitudepred"),
        ("lat", "latitude", "latdeg"),
    ),
}
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NO_NUMBER: Final = ("nan", "none", "null", "na", "n/a", "inf", "-inf", "")
COLUMNS_FLAG: Final[dict[Role, str]] = {"truth": "--truth-columns", "predictions": "--columns"}
MAX_NAMED: Final = 8  # of a list of ids or lines in a message


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a file's columns; empty where they are to be recognised."""

    id: str = ""
    author: str = ""
    lat: str = ""
    lon: str = ""

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read what a person wrote: "id=NAME,lat=NAME,lon=NAME,author=NAME", any of them.

        Raises:
            DataError: A part is no such pair.
        """
        values: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            key, _, name = part.partition("=")
            if key.strip() not in (field.name for field in fields(cls)) or not name.strip():
                raise DataError(f"{part!r} isn't of the form id=NAME, author=NAME, lat=NAME or lon=NAME.")
            values[key.strip()] = name.strip()
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table that has an id.

    Args:
        line: Its number in the file, from 1.
        id: The photo's.
        author: The photographer's; empty where the table has none.
        position: Where; or, in words, why that can't be read.
    """

    line: int
    id: str
    author: str
    position: LatLon | str


@dataclass(frozen=True, slots=True)
class Table:
    """A file of positions, read.

    Args:
        path: The file.
        columns: Its columns, by role.
        rows: The lines that have an id, with a position or the reason why not.
        text_lines: Numbers of lines that are no rows at all: another count of cells, or no number where two belong.
    """

    path: Path
    columns: Columns
    rows: tuple[Row, ...]
    text_lines: tuple[int, ...]


def read_table(path: Path, role: Role, columns: Columns | None = None) -> Table:
    """Read a table of positions.

    Args:
        path: A CSV file with a header; commas, semicolons or tabs.
        role: Which columns to prefer where a file holds both true and predicted positions.
        columns: The columns' names where they are known.

    Raises:
        DataError: The file can't be read, has no header with the columns that are needed, or has latitude and
            longitude swapped by all appearances.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} isn't UTF-8 text; save the CSV file as UTF-8.") from error
    if not text.strip():
        raise DataError(f"{path} is empty.")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    header = [name.strip() for name in next(lines, [])]
    found = _recognise(path, header, role, columns or Columns())
    index = {item.name: header.index(name) for item in fields(found) if (name := getattr(found, item.name))}
    rows: list[Row] = []
    text_lines: list[int] = []
    swapped: list[int] = []
    beyond = 0
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            lat, lon = (cells[index[key]].strip() if index[key] < len(cells) else "-" for key in ("lat", "lon"))
            if len(cells) != len(header) or not (_like_number(lat) or _like_number(lon)):
                text_lines.append(lines.line_num)
                continue
            swapped += [lines.line_num] if _beyond_a_pole(lat) else []
            beyond += _beyond_a_pole(lon)
            author = cells[index["author"]].strip() if "author" in index else ""
            rows.append(Row(lines.line_num, cells[index["id"]].strip(), author, _position(lat, lon)))
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}.") from error
    if not rows:
        raise DataError(f"{path} has no row with a position. Use a decimal point, not a comma.")
    if swapped and not beyond and not (columns and columns.lat and columns.lon):
        raise DataError(
            f"{path} has latitudes beyond 90 degrees in {len(swapped):,} of {len(rows):,} rows and no such longitude "
            f"(lines {named(swapped)}): the headers look swapped. {swapped_hint(found, role)}"
        )
    return Table(path, found, tuple(rows), tuple(text_lines))


def swapped_hint(columns: Columns, role: Role) -> str:
    """What to say where latitude and longitude look swapped."""
    return (
        f"If they are, use {COLUMNS_FLAG[role]} lat={columns.lon},lon={columns.lat}; if not, use "
        f"{COLUMNS_FLAG[role]} lat={columns.lat},lon={columns.lon}."
    )


def named(items: Sequence[object]) -> str:
    """Some of a list, and how many more."""
    more = f" and {len(items) - MAX_NAMED:,} more" if len(items) > MAX_NAMED else ""
    return ", ".join(printable_name(str(item)) for item in items[:MAX_NAMED]) + more


def _recognise(path: Path, header: Sequence[str], role: Role, given: Columns) -> Columns:
    lats = _LATS[role]
    lons = [[*(name.replace("latitude", "longitude").replace("lat", "lon") for name in names)] for names in lats]
    lons = [[*names, *(name.replace("lon", other) for name in names for other in ("lng", "long"))] for names in lons]
    wanted = {"id": (_IDS,), "author": (_AUTHORS,), "lat": lats, "lon": lons}
    found: dict[str, str] = {}
    for key, tiers in wanted.items():
        name = getattr(given, key)
        if name and header.count(name) != 1:
            raise DataError(f"{path} has {header.count(name)} columns {name!r}; it has: {named(header)}.")
        if not name:
            name = _one_of(path, header, key, tiers, role)
        if not name and key != "author":
            raise DataError(
                f"{path} has no column that looks like the {key}; it has: {named(header)}. "
                f"Name it with {COLUMNS_FLAG[role]} {key}=NAME."
            )
        found[key] = name
    return Columns(**found)


def _one_of(path: Path, header: Sequence[str], key: str, tiers: Sequence[Sequence[str]], role: Role) -> str:
    """The column of the first tier that any matches; for the id, names are in order of preference."""
    plain = {name: re.sub("[^a-z0-9]", "", name.lower()) for name in header}
    for tier in tiers:
        matches = sorted((name for name in header if plain[name] in tier), key=lambda name: tier.index(plain[name]))
        if len(matches) > 1 and key != "id":
            raise DataError(
                f"{path} has several columns for the {key}: {named(matches)}. "
                f"Choose one with {COLUMNS_FLAG[role]} {key}=NAME."
            )
        if matches:
            return matches[0]
    return ""


def _like_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) or text.lower() in _NO_NUMBER


def _beyond_a_pole(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and 90 < abs(float(text)) <= 180


def _position(lat: str, lon: str) -> LatLon | str:
    if not (_NUMBER.fullmatch(lat) and _NUMBER.fullmatch(lon)):
        return f"{lat or 'nothing'}, {lon or 'nothing'} is no position"
    try:
        return LatLon(float(lat), float(lon))
    except ValueError as error:
        return str(error)

"""Tables as data sets publish them: CSV or Parquet, read line by line, with columns recognised by their usual names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, Literal

from img2loc.errors import DataError
from img2loc.system.names import printable_name
from img2loc.types import LatLon

Role = Literal["truth", "predictions"]
# For each column, patterns of its usual names in small letters and digits only. The first pattern that a name in the
# header matches counts; where two names match it, it isn't clear which is meant, and the table is refused.
Names = Mapping[str, Sequence[str]]

LATITUDE: Final = "lat(itude|deg)?"
LONGITUDE: Final = "(lon|lng|long)(deg)?|longitude"
_LON = "(lon|lng|long|longitude)"
_PHOTO: Final[Names] = {
    "id": "imgid id photoid imageid photo image img file filename imagepath path name".split(),
    "author": ["(author|user|owner)(id)?|photographer|nsid"],
}
_NAMES: Final[dict[Role, Names]] = {
    "truth": {**_PHOTO, "lat": ("(gt|true)lat(itude)?", LATITUDE), "lon": (f"(gt|true){_LON}", LONGITUDE)},
    "predictions": {
        **_PHOTO,
        "lat": ("pred(icted)?lat(itude)?|lat(itude)?pred", LATITUDE),
        "lon": (f"pred(icted)?{_LON}|{_LON}pred", LONGITUDE),
    },
}
_FLAGS: Final[dict[Role, str]] = {"truth": "--truth-columns", "predictions": "--columns"}
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NO_NUMBER: Final = ("nan", "none", "null", "na", "n/a", "inf", "-inf", "")
_SETTABLE: Final = ("id", "author", "lat", "lon")
PARQUET_ROWS: Final = 4096
MAX_NAMED: Final = 8  # of a list of ids or lines in a message


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a table's columns; empty where it has none, or where they are to be recognised."""

    id: str = ""
    author: str = ""
    lat: str = ""
    lon: str = ""
    file: str = ""
    url: str = ""
    licence: str = ""

    @classmethod
    def parse(cls, text: str) -> Columns:
        """Read what a person wrote: "id=NAME,lat=NAME,lon=NAME,author=NAME", any of them.

        Raises:
            DataError: A part isn't such a pair.
        """
        values: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            key, _, name = part.partition("=")
            if key.strip() not in _SETTABLE or not name.strip():
                raise DataError(f"{part!r} isn't of the form id=NAME, author=NAME, lat=NAME or lon=NAME.")
            values[key.strip()] = name.strip()
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table of positions."""

    line: int  # from 1
    id: str
    author: str  # empty where the table has none
    position: LatLon | str  # or, in words, why that can't be read


@dataclass(frozen=True, slots=True)
class Table:
    """A file of positions, read."""

    path: Path
    columns: Columns
    rows: tuple[Row, ...]
    text_lines: tuple[int, ...]  # that aren't rows: another number of cells, or text instead of numbers


def read_table(path: Path, role: Role, columns: Columns | None = None) -> Table:
    """Read a table of positions.

    Args:
        path: See read_lines.
        role: Which columns to prefer where a file holds both true and predicted positions.
        columns: The columns' names where they are known.

    Raises:
        DataError: The file can't be read, has no header with the columns that are needed, or has latitude and
            longitude swapped by all appearances.
    """
    lines = read_lines(path)
    _, header = next(lines)
    names = recognise(str(path), header, _NAMES[role], needed=("id", "lat", "lon"), flag=_FLAGS[role], given=columns)
    rows: list[Row] = []
    text_lines: list[int] = []
    swapped: list[int] = []
    has_far_longitude = False
    for number, cells in lines:
        row = dict(zip(header, cells, strict=False))
        lat, lon = row.get(names.lat, "-"), row.get(names.lon, "-")
        if len(cells) != len(header) or not (_like_number(lat) or _like_number(lon)):
            text_lines.append(number)
            continue
        if is_beyond_a_pole(lat):
            swapped.append(number)
        has_far_longitude |= is_beyond_a_pole(lon)
        rows.append(Row(number, row[names.id], row.get(names.author, ""), read_position(lat, lon)))
    if not rows:
        raise DataError(f"{path} has no row with a position. Use a decimal point, not a comma.")
    if swapped and not has_far_longitude and not (columns and columns.lat and columns.lon):
        raise DataError(
            f"{path} has latitudes beyond 90 degrees in {len(swapped):,} of {len(rows):,} rows and no such longitude "
            f"(lines {named(swapped)}): the headers look swapped. {swapped_hint(names, role)}"
        )
    return Table(path, names, tuple(rows), tuple(text_lines))


def swapped_hint(columns: Columns, role: Role) -> str:
    """What to do where latitude and longitude look swapped."""
    return (
        f"If they are, use {_FLAGS[role]} lat={columns.lon},lon={columns.lat}; if not, use "
        f"{_FLAGS[role]} lat={columns.lat},lon={columns.lon}."
    )


def named(items: Sequence[object]) -> str:
    """Some of a list, and how many more."""
    more = f" and {len(items) - MAX_NAMED:,} more" if len(items) > MAX_NAMED else ""
    return ", ".join(printable_name(str(item)) for item in items[:MAX_NAMED]) + more


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read a table line by line, so that it may be longer than memory.

    Args:
        path: A Parquet file if its name ends in .parquet; else a CSV file with commas, semicolons or tabs.

    Yields:
        The line's number, from 1, and its cells; the header first. Blank lines are left out.

    Raises:
        DataError: It can't be read, or has no header.
    """
    try:
        lines = _parquet_lines(path) if path.suffix.lower() == ".parquet" else _csv_lines(path)
        for number, cells in lines:
            yield number, [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} can't be read: it isn't UTF-8 text. Save the CSV file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        if not first.strip():
            raise DataError(f"{path} is empty, or begins with an empty line instead of a header.")
        file.seek(0)
        lines = csv.reader(file, delimiter=max(",;\t", key=first.count))
        try:
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    yield lines.line_num, cells
        except csv.Error as error:
            raise DataError(f"{path}, line {lines.line_num}, can't be read: {error}.") from error


def _parquet_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            # Pictures and nested values in a data set's own Parquet are of no use here, and large.
            names = [
                f.name for f in file.schema_arrow if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))
            ]
            yield 1, names
            batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=names)
            for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 2):
                yield number, ["" if value is None else str(value) for value in row.values()]
    except pa.ArrowException as error:
        raise DataError(f"{path} can't be read: {error}.") from error


def recognise(
    table: str,
    header: Sequence[str],
    names: Names,
    *,
    needed: Sequence[str],
    flag: str = "",
    given: Columns | None = None,
) -> Columns:
    """Recognise a table's columns by their names.

    Args:
        table: What it is called in messages.
        header: Its columns' names.
        names: The columns to look for.
        needed: Those that it has to have.
        flag: The flag that names columns on the command line; empty where there is none.
        given: Columns that were named there.

    Raises:
        DataError: A needed column is missing, or it isn't clear which it is.
    """
    columns: dict[str, str] = {}
    for key, patterns in names.items():
        advice = f"with {flag} {key}=NAME" if flag else f"{key!r} in its header"
        name: str = getattr(given or Columns(), key)
        if name and header.count(name) != 1:
            raise DataError(f"{table} has {header.count(name)} columns {name!r}; it has: {named(header)}.")
        if not name:
            matches = next(filter(None, (matching(pattern, header) for pattern in patterns)), [])
            if len(matches) > 1:
                raise DataError(f"{table} has several columns for the {key}: {named(matches)}. Name only one {advice}.")
            name = matches[0] if matches else ""
        if not name and key in needed:
            raise DataError(
                f"{table} has no column that looks like the {key}; it has: {named(header)}. Name it {advice}."
            )
        columns[key] = name
    return Columns(**columns)


def matching(pattern: str, header: Iterable[str]) -> list[str]:
    """The names of a header that one of the patterns of Names matches."""
    return [name for name in header if re.fullmatch(pattern, re.sub("[^a-z0-9]", "", name.lower()))]


def read_position(lat: str, lon: str) -> LatLon | str:
    """The position that two cells hold, or why they hold none."""
    if not (is_number(lat) and is_number(lon)):
        return f"{lat or 'nothing'}, {lon or 'nothing'} isn't a position"
    try:
        return LatLon(float(lat), float(lon))
    except ValueError as error:
        return str(error)


def is_number(text: str) -> bool:
    """Whether a cell is a decimal number, with a point and without separators."""
    return bool(_NUMBER.fullmatch(text))


def is_beyond_a_pole(text: str) -> bool:
    """Whether a cell is a number that no latitude has, and a longitude may have."""
    return is_number(text) and 90 < abs(float(text)) <= 180


def _like_number(text: str) -> bool:
    return is_number(text) or text.lower() in _NO_NUMBER

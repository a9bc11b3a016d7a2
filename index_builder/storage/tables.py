"""Tables of positions as data sets publish them: CSV or Parquet, under any of the usual column names.

MP-16's own files (`IMG_ID,AUTHOR,LAT,LON,...`, mp16_places365.csv of github.com/TIBHannover/GeoEstimation) and OSV-5M's
(`id,latitude,longitude,...`) are such tables.
"""

from __future__ import annotations

import csv
import math
import re
import string
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from img2loc.errors import ConfigError
from img2loc.types import LatLon, PhotoRecord

# A column may go by any of its names; the first that is there counts.
COLUMNS = {
    "file": ("file", "filename", "path", "img_id", "id"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "id": ("id", "photo_id", "img_id"),
    "author": ("author", "attribution", "user", "creator_username"),
    "url": ("url", "photo_url"),
    "licence": ("licence", "license"),
}
NOT_NUMERIC, OUT_OF_RANGE, ZERO = (
    "no numeric position",
    "position out of range",
    "position (0, 0), which means unknown",
)
# Rows after which a table's columns are judged for the first time, and the share of bad rows that damns them. A sound
# table has a slip here and there; with lat and lon swapped, a third of a world's rows are out of range.
JUDGED_ROWS = 1000
DAMNING_SHARE = 0.05
DAMNING_ROWS = 2
PARQUET_ROWS = 4096
# Flickr's photo number, in im2gps3k's <number>_<secret>_<server>_<author>.jpg and MP-16's ab/cd/<number>.jpg.
_FLICKR_NUMBER = re.compile(r"^(\d{5,})_[0-9a-f]{6,}_|(?:^|[_/])(\d{5,})$")

Row = Mapping[str, str]


def photo_number(name: str) -> str:
    """What stays of a photo's id or file name across data sets: Flickr's number, else the name without its suffix."""
    stem = re.sub(r"\.\w{3,4}$", "", name)
    found = _FLICKR_NUMBER.search(stem)
    return (found[1] or found[2]) if found else stem


class Columns:
    """Which of a table's columns holds which value.

    Args:
        table: What the table is called in messages.
        header: Its columns' names.
        needed: Values that it has to have.

    Raises:
        ConfigError: A needed one is missing.
    """

    def __init__(self, table: str, header: Sequence[str], *, needed: Sequence[str]) -> None:
        self._table = table
        lowered = {name.strip().lower(): name for name in reversed(header) if name}
        self._names = {
            value: next(lowered[name] for name in names if name in lowered)
            for value, names in COLUMNS.items()
            if any(name in lowered for name in names)
        }
        for value in needed:
            if value not in self._names:
                raise ConfigError(
                    f"{table} has no column for {value} (one of {', '.join(COLUMNS[value])}); "
                    f"its header is: {', '.join(header) or 'empty'}."
                )
        self._rows = self._words = self._lats_out = 0
        self._example = ""

    def value(self, row: Row, name: str) -> str:
        """A row's value, "" where it has none."""
        return (row.get(self._names.get(name, "")) or "").strip()

    def position(self, row: Row) -> LatLon | str:
        """A row's position, or the reason for dropping it.

        Raises:
            ConfigError: So many rows are bad that the columns themselves must be wrong.
        """
        found = self._position(row)
        self._rows += 1
        if self._rows == JUDGED_ROWS:
            self.judge()
        return found

    def _position(self, row: Row) -> LatLon | str:
        try:
            lat, lon = float(self.value(row, "lat")), float(self.value(row, "lon"))
        except ValueError:
            self._words += 1
            self._example = f"{self.value(row, 'lat')!r}, {self.value(row, 'lon')!r}"
            return NOT_NUMERIC
        try:
            position = LatLon(lat, lon)
        except ValueError:
            self._lats_out += math.isfinite(lat) and 90 < abs(lat) <= 180 and abs(lon) <= 90
            return OUT_OF_RANGE
        return ZERO if (position.lat, position.lon) == (0, 0) else position

    def judge(self) -> None:
        """Judge the columns by the rows so far; to be called at the table's end, too.

        Raises:
            ConfigError: The latitudes are longitudes, or most values are no numbers.
        """
        names = f"{self._names.get('lat')!r} and {self._names.get('lon')!r}"
        if self._lats_out >= max(DAMNING_ROWS, DAMNING_SHARE * self._rows):
            raise ConfigError(
                f"The columns {names} of {self._table} look swapped: in {self._lats_out:,} of {self._rows:,} rows the "
                "latitude lies beyond 90 degrees and the longitude does not. Correct its header."
            )
        if self._words >= max(DAMNING_ROWS, self._rows / 2):
            raise ConfigError(
                f"The columns {names} of {self._table} hold no numbers in {self._words:,} of {self._rows:,} rows, "
                f"for example {self._example}; use decimal degrees."
            )

    def record(self, row: Row, name: str, url: str) -> PhotoRecord:
        """Where a row's photo comes from.

        Args:
            row: The row.
            name: The photo's file name, its id where the table has none.
            url: Pattern of its address, as "https://example.org/$column/$photo_number"; "" for the url column.
        """
        photo_id = self.value(row, "id") or name
        address = self.value(row, "url")
        if url:
            values = {**row, "photo_number": photo_number(photo_id)}
            quoted = {key: urllib.parse.quote(text or "", safe="/#") for key, text in values.items() if key}
            address = string.Template(url).safe_substitute(quoted)
        return PhotoRecord(photo_id, self.value(row, "author"), address, self.value(row, "licence"))


def read_table(path: Path, *, needed: Sequence[str]) -> Iterator[tuple[Columns, Row]]:
    """Read a CSV or Parquet file row by row.

    Args:
        path: The file; one whose name ends in .parquet is Parquet.
        needed: Values that it has to have.

    Raises:
        ConfigError: It can't be read, lacks a column, or its columns make no sense.
    """
    try:
        with ExitStack() as files:
            header, rows = _parquet(path, files) if path.suffix.lower() == ".parquet" else _csv(path, files)
            columns = Columns(str(path), header, needed=needed)
            for row in rows:
                yield columns, row
            columns.judge()
    except UnicodeDecodeError as error:
        raise ConfigError(f"The table {path} can't be read: it isn't UTF-8 text. Save it as UTF-8.") from error
    except (OSError, csv.Error, pa.ArrowException) as error:
        raise ConfigError(f"The table {path} can't be read: {error}.") from error


def _csv(path: Path, files: ExitStack) -> tuple[Sequence[str], Iterator[Row]]:
    rows = csv.DictReader(files.enter_context(path.open(newline="", encoding="utf-8-sig")))
    return rows.fieldnames or (), iter(rows)


def _parquet(path: Path, files: ExitStack) -> tuple[Sequence[str], Iterator[Row]]:
    file = files.enter_context(pq.ParquetFile(path))
    # Pictures and nested values in a data set's own Parquet are of no use here, and large.
    names = [f.name for f in file.schema_arrow if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))]
    batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=names)
    rows = (row for batch in batches for row in batch.to_pylist())
    return names, ({key: "" if value is None else str(value) for key, value in row.items()} for row in rows)

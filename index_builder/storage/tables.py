"""What the builder makes of a table's rows: positions, where photos come from, and whether the columns make sense.

MP-16's own files (`IMG_ID,AUTHOR,LAT,LON,...`, mp16_places365.csv of github.com/TIBHannover/GeoEstimation) and OSV-5M's
(`id,latitude,longitude,...`) are such tables.
"""

from __future__ import annotations

import re
import string
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from img2loc.errors import DataError
from img2loc.geo.tables import (
    LATITUDE,
    LONGITUDE,
    is_beyond_a_pole,
    is_number,
    read_lines,
    read_position,
    recognise,
)
from img2loc.types import LatLon, PhotoRecord

NAMES = {
    "file": ("file", "filename", "path", "imgid", "id"),
    "lat": (LATITUDE,),
    "lon": (LONGITUDE,),
    "id": ("id", "photoid", "imgid"),
    "author": ("author", "attribution", "user", "creatorusername"),
    "url": ("url", "photourl"),
    "licence": ("licence", "license"),
}
NOT_NUMERIC, OUT_OF_RANGE = "no numeric position", "position out of range"
ZERO = "position (0, 0), which means unknown"
# Rows after which a table's columns are judged for the first time, and the share of bad rows that damns them. A sound
# table has a slip here and there; with lat and lon swapped, a third of a world's rows are out of range.
JUDGED_ROWS = 1000
DAMNING_SHARE = 0.05
DAMNING_ROWS = 2
# Flickr's photo number, in im2gps3k's <number>_<secret>_<server>_<author>.jpg and MP-16's ab/cd/<number>.jpg.
_FLICKR_NUMBER = re.compile(r"^(\d{5,})_[0-9a-f]{6,}_|(?:^|[_/])(\d{5,})$")

Row = Mapping[str, str]  # a row's cells by the names of their columns


def photo_number(name: str) -> str:
    """What stays of a photo's id or file name across data sets: Flickr's number, else the name without its suffix."""
    stem = re.sub(r"\.\w{3,4}$", "", name)
    match = _FLICKR_NUMBER.search(stem)
    return (match[1] or match[2]) if match else stem


class PhotoColumns:
    """Reads the rows of a table of photos.

    Args:
        table: What it is called in messages.
        header: Its columns' names.
        needed: Those of NAMES that it has to have.

    Raises:
        DataError: A needed one is missing.
    """

    def __init__(self, table: str, header: Sequence[str], *, needed: Sequence[str]) -> None:
        self._table = table
        self.names = recognise(table, header, NAMES, needed=needed)
        self._rows = self._not_numeric = self._swapped = 0
        self._example = ""

    def value(self, row: Row, column: str) -> str:
        """A row's value in one of NAMES, "" where it has none."""
        name: str = getattr(self.names, column)
        return row.get(name, "").strip() if name else ""

    def position(self, row: Row) -> LatLon | str:
        """A row's position, or the reason for dropping it.

        Raises:
            DataError: So many rows are bad that the columns themselves must be wrong.
        """
        lat, lon = self.value(row, "lat"), self.value(row, "lon")
        position = read_position(lat, lon)
        if isinstance(position, LatLon):
            position = ZERO if (position.lat, position.lon) == (0, 0) else position
        elif is_number(lat) and is_number(lon):
            position = OUT_OF_RANGE
            self._swapped += is_beyond_a_pole(lat) and abs(float(lon)) <= 90
        else:
            position = NOT_NUMERIC
            self._not_numeric += 1
            self._example = f"{lat!r}, {lon!r}"
        self._rows += 1
        if self._rows == JUDGED_ROWS:
            self.judge()
        return position

    def judge(self) -> None:
        """Judge the columns by the rows so far; to be called at the table's end, too.

        Raises:
            DataError: The latitudes are longitudes, or most values aren't numbers.
        """
        columns = f"The columns {self.names.lat!r} and {self.names.lon!r} of {self._table}"
        if self._swapped >= max(DAMNING_ROWS, DAMNING_SHARE * self._rows):
            raise DataError(
                f"{columns} look swapped: in {self._swapped:,} of {self._rows:,} rows the latitude lies beyond 90 "
                "degrees and the longitude does not. Correct its header."
            )
        if self._not_numeric >= max(DAMNING_ROWS, self._rows / 2):
            raise DataError(
                f"{columns} hold no numbers in {self._not_numeric:,} of {self._rows:,} rows, for example "
                f"{self._example}. Use decimal degrees, and as many cells in each row as in the header."
            )

    def record(self, row: Row, name: str, url: str) -> PhotoRecord:
        """Where a row's photo comes from.

        Args:
            row: The row.
            name: Its id where the table has none.
            url: Pattern of its address, as "https://example.org/$column/$photo_number"; "" for the url column.
        """
        photo_id = self.value(row, "id") or name
        address = self.value(row, "url")
        if url:
            values = {**row, "photo_number": photo_number(photo_id)}
            quoted = {key: urllib.parse.quote(text, safe="/#") for key, text in values.items()}
            address = string.Template(url).safe_substitute(quoted)
        return PhotoRecord(photo_id, self.value(row, "author"), address, self.value(row, "licence"))


def read_table(path: Path, *, needed: Sequence[str]) -> Iterator[tuple[PhotoColumns, Row]]:
    """Read a CSV or Parquet file row by row.

    Raises:
        DataError: It can't be read, lacks a needed column, or its columns make no sense.
    """
    lines = read_lines(path)
    _, header = next(lines)
    columns = PhotoColumns(str(path), header, needed=needed)
    for _, cells in lines:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        if len(cells) != len(header):  # some stand under the wrong name, so that the position can't be trusted
            row |= {columns.names.lat: "", columns.names.lon: ""}
        yield columns, row
    columns.judge()

"""What the builder makes of a table's rows: positions, where photos come from, and whether the columns make sense.

MP-16's own files (`IMG_ID,AUTHOR,LAT,LON,...`, mp16_places365.csv of github.com/TIBHannover/GeoEstimation) and OSV-5M's
(`id,latitude,longitude,...`) are such tables.
"""

from __future__ import annotations

import re
import string
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from img2loc.errors import DataError
from img2loc.geo.cells import is_beyond_a_pole, read_angle, read_position
from img2loc.geo.columns import Columns, Role, recognise
from img2loc.geo.table_files import read_lines
from img2loc.geo.tables import Longitudes, refuse_swapped, swapped_hint
from img2loc.types import LatLon, PhotoRecord

NOT_NUMERIC, OUT_OF_RANGE = "no numeric position", "position out of range"
ZERO = "position (0, 0), which means unknown"
# Rows after which a table's columns are judged for the first time, and the share of bad rows that damns them. A sound
# table has a slip here and there; with lat and lon swapped, a third of a world's rows are out of range.
JUDGED_ROWS = 1000
DAMNING_SHARE = 0.05
DAMNING_ROWS = 2
MAX_SAMPLE = 200  # positions that are kept to judge whether latitude and longitude are swapped
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
        role: What it is.
        given: Columns that were named on the command line.

    Raises:
        DataError: A needed one is missing.
    """

    def __init__(self, table: str, header: Sequence[str], role: Role, given: Columns | None = None) -> None:
        self._table, self._given = table, given or Columns()
        self.names = recognise(table, header, role, given)
        self._rows = self._not_numeric = self._swapped = 0
        self._stride = 1  # between the rows that the sample takes
        self._longitudes = Longitudes()
        self._are_all_seen = False
        self._sample: list[LatLon] = []
        self._example = ""

    def value(self, row: Row, column: str) -> str:
        """A row's value in a column by its name in Columns, "" where it has none."""
        name: str = getattr(self.names, column)
        return row.get(name, "").strip() if name else ""

    def survey(self, row: Row) -> None:
        """Note what a row is like, for judge.

        Raises:
            DataError: So many rows are bad that the columns themselves must be wrong.
        """
        lat, lon = self.value(row, "lat"), self.value(row, "lon")
        angles = read_angle(lat, "lat"), read_angle(lon, "lon")
        self._longitudes.add(lon)
        position = self.position(row)
        if isinstance(position, LatLon):
            self._keep(position)
        elif position is NOT_NUMERIC:
            self._not_numeric += 1
            self._example = f"{lat!r}, {lon!r}"
        self._swapped += is_beyond_a_pole(lat) and angles[1] is not None and abs(angles[1]) <= 90
        self._rows += 1
        if self._rows == JUDGED_ROWS:
            self.judge()

    def _keep(self, position: LatLon) -> None:
        """Keep a position for the sample, so that it is spread over the rows whatever their number."""
        if self._rows % self._stride == 0:
            self._sample.append(position)
        if len(self._sample) > MAX_SAMPLE:
            self._sample, self._stride = self._sample[::2], 2 * self._stride

    def position(self, row: Row) -> LatLon | str:
        """A row's position, or the reason for dropping it."""
        lat, lon = self.value(row, "lat"), self.value(row, "lon")
        if self._are_all_seen and self._longitudes.run_to_360:
            lon = Longitudes.western(lon)
        references = self.value(row, "lat_ref"), self.value(row, "lon_ref")
        position = read_position(lat, lon, references=references)
        if isinstance(position, LatLon):
            return ZERO if (position.lat, position.lon) == (0, 0) else position
        are_numbers = read_angle(lat, "lat") is not None and read_angle(lon, "lon") is not None
        return OUT_OF_RANGE if are_numbers else NOT_NUMERIC

    def judge(self) -> None:
        """Judge the columns by the rows so far; to be called at the table's end, too.

        Raises:
            DataError: The latitudes are longitudes, or most values aren't numbers.
        """
        columns = f"The columns {self.names.lat!r} and {self.names.lon!r} of {self._table}"
        if self._not_numeric >= max(DAMNING_ROWS, self._rows / 2):
            raise DataError(
                f"{columns} hold no numbers in {self._not_numeric:,} of {self._rows:,} rows, for example "
                f"{self._example}. Use decimal degrees, and as many cells in each row as in the header."
            )
        if self._given.lat and self._given.lon:
            return
        if self._swapped >= max(DAMNING_ROWS, DAMNING_SHARE * self._rows):
            raise DataError(
                f"{columns} look swapped: in {self._swapped:,} of {self._rows:,} rows the latitude lies beyond 90 "
                f"degrees and the longitude does not. {swapped_hint(self.names, '--columns')}"
            )
        refuse_swapped(self._table, self.names, "--columns", [] if self._longitudes.are_far else self._sample)

    def survey_all(self, rows: Iterable[Row]) -> None:
        """Judge the columns by all rows, before any is used. Then longitudes may run to 360.

        Raises:
            DataError: See judge.
        """
        for row in rows:
            self.survey(row)
        self.judge()
        self._are_all_seen = True

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


def read_table(
    path: Path, role: Role = "source", *, given: Columns | None = None
) -> Iterator[tuple[PhotoColumns, Row]]:
    """Read a table's file row by row; its positions twice, so that the columns are judged before a row is used.

    Raises:
        DataError: It can't be read, lacks a needed column, or its columns make no sense.
    """
    columns = PhotoColumns(str(path), next(read_lines(path))[1], role, given)
    if role == "source":
        columns.survey_all(_rows(path, columns))
    for row in _rows(path, columns):
        yield columns, row


def _rows(path: Path, columns: PhotoColumns) -> Iterator[Row]:
    lines = read_lines(path)
    _, header = next(lines)
    for _, cells in lines:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        if len(cells) != len(header):  # some stand under the wrong name, so that the position can't be trusted
            row |= {columns.names.lat: "", columns.names.lon: ""}
        yield row

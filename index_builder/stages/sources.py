"""Sources of a listing: a folder of pictures, a table of positions, tar shards. Each offers photos in a fixed order."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from img2loc.errors import ConfigError, DataError
from img2loc.geo.columns import Columns
from img2loc.photo.matching import SUFFIXES, Lost, NameIndex, PhotoFiles, is_clutter
from img2loc.system.names import escape_controls, is_text, printable_name
from img2loc.system.temporary_database import open_temporary_database
from img2loc.types import LatLon, PhotoRecord
from index_builder.storage.pieces import Piece
from index_builder.storage.tables import PhotoColumns, read_table
from index_builder.storage.tars import tar_samples

NO_FILE, OUTSIDE = "no such file", "file outside the folder"
NOT_TEXT = "name that is not UTF-8: rename the file or its folder"
NOT_IN_TABLE, SEVERAL_ROWS = "not in the table of positions", "several rows of the table fit its name"
SEVERAL = "several files fit its name: give --photos the folder in which the table's names begin"
ELSEWHERE = "file that an earlier row puts at another position"
_LOST: Final[dict[Lost, str]] = {"missing": NO_FILE, "several": SEVERAL, "outside": OUTSIDE}


@dataclass(slots=True)
class Counts:
    """What became of a listing's rows."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    example: str = ""  # the first name that can't be stored

    def drop(self, reason: str, rows: int = 1) -> None:
        """Count photos as read and dropped."""
        self.read += rows
        self.dropped[reason] += rows

    def drop_name(self, path: Path) -> None:
        """Count a file as dropped whose name can't be stored."""
        self.dropped[NOT_TEXT] += 1
        self.example = self.example or escape_controls(path)

    def move(self, rows: int, reason: str) -> None:
        """Count rows that were kept as dropped after all."""
        if rows:
            self.kept -= rows
            self.dropped[reason] += rows

    def __str__(self) -> str:
        reasons = "".join(
            f"\n  {count:>9,}  {reason}{f' ({self.example})' if reason == NOT_TEXT else ''}"
            for reason, count in self.dropped.most_common()
        )
        return f"{self.read:,} in, {self.kept:,} kept, {self.dropped.total():,} dropped{reasons}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo that a source offers."""

    piece: Piece
    position: LatLon | None  # None to take it from its metadata
    record: PhotoRecord
    data: bytes | None = field(default=None, repr=False)  # its bytes, where the source had to read them anyway


def list_folder(folder: Path, counts: Counts) -> Iterator[Candidate]:
    """Offer the pictures in a folder and below it, in the order of their names; positions are in their metadata.

    Raises:
        ConfigError: There is no such folder.
    """
    root = _resolve_folder(folder)
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES or is_clutter(name):
                continue
            counts.read += 1
            if not is_text(path):
                counts.drop_name(path)
            elif not os.path.isfile(path):  # a pipe would be waited for without end
                counts.dropped[NO_FILE] += 1
            else:
                yield Candidate(Piece(str(path)), None, PhotoRecord(path.relative_to(root).as_posix()))


def list_table(
    table: Path, folder: Path, counts: Counts, *, url: str = "", given: Columns | None = None
) -> Iterator[Candidate]:
    """Offer the photos that a table names, in its order.

    Args:
        table: A CSV, JSON or Parquet file: file, lat and lon in degrees, and where known id, author, url, licence.
        folder: Where the files are; see PhotoFiles.find.
        counts: What is read and dropped is added here.
        url: See PhotoColumns.record.
        given: Columns that were named on the command line.

    Raises:
        ConfigError: There is no such folder.
        DataError: The table can't be read, lacks a column, or its columns make no sense; or two names mean one file.
    """
    root = _resolve_folder(folder)
    with PhotoFiles(root) as files, closing(open_temporary_database("file TEXT PRIMARY KEY, name, lat, lon")) as used:
        for columns, row in read_table(table, given=given):
            counts.read += 1
            position = columns.position(row)
            if isinstance(position, str):
                counts.dropped[position] += 1
                continue
            name = columns.value(row, "file")
            file = files.find(name)
            if not isinstance(file, Path):
                counts.dropped[_LOST[file]] += 1
                continue
            if not is_text(file):
                counts.drop_name(file)
                continue
            values = (str(file), name, position.lat, position.lon)
            if used.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?)", values).rowcount == 0:
                query = "SELECT name, lat, lon FROM rows WHERE file = ?"
                other, *degrees = used.execute(query, values[:1]).fetchone()
                if degrees != [position.lat, position.lon]:
                    if other != name:
                        raise DataError(
                            f"{table}: the names {printable_name(other)} and {printable_name(name)} both mean {file} "
                            "and lie at different positions. Give --photos the folder in which the table's names begin."
                        )
                    counts.dropped[ELSEWHERE] += 1
                    continue
            yield Candidate(Piece(str(file)), position, columns.record(row, name, url))


def list_tars(
    tars: Sequence[str], counts: Counts, *, table: Path | None = None, url: str = "", given: Columns | None = None
) -> Iterator[Candidate]:
    """Offer the photos of tar shards (WebDataset's layout, or just pictures), shard by shard, in their order.

    A photo's position comes from the JSON beside it, else from the table, else from its EXIF or XMP.

    Args:
        tars: Files here, or under hf:// on the Hub, where they are streamed.
        counts: What is read and dropped is added here.
        table: Positions by file name, for tars that hold pictures alone.
        url: See PhotoColumns.record.
        given: Columns that were named on the command line.

    Raises:
        ConfigError: A tar can't be read at all.
        DataError: The table can't be read, or the columns of a tar's JSON make no sense.
    """
    with closing(NameIndex()) as index:
        of_table = _store_rows(table, index, given) if table else None
        for tar in tars:
            if not is_text(tar):
                raise ConfigError(f"The name of {printable_name(tar)} is not UTF-8; rename the tar file or its folder.")
            of_json: PhotoColumns | None = None
            for sample in tar_samples(tar, counts.drop, given):
                counts.read += 1
                if sample.row:
                    of_json = of_json or PhotoColumns(tar, list(sample.row), "json", given)
                    columns, row = of_json, sample.row
                    columns.survey(row)
                elif of_table is not None:
                    rows = index.find(sample.name)
                    if len(rows) != 1:
                        counts.dropped[SEVERAL_ROWS if rows else NOT_IN_TABLE] += 1
                        continue
                    columns, row = of_table, json.loads(rows[0])
                else:
                    yield Candidate(sample.piece, None, PhotoRecord(sample.name), sample.data)
                    continue
                position = columns.position(row)
                if isinstance(position, str):
                    counts.dropped[position] += 1
                else:
                    name = columns.value(row, "file") or sample.name
                    yield Candidate(sample.piece, position, columns.record(row, name, url), sample.data)
            if of_json is not None:
                of_json.judge()


def _store_rows(table: Path, index: NameIndex, given: Columns | None) -> PhotoColumns | None:
    """Store a table's rows by the names of their files; its columns, None where it has no row."""
    columns: PhotoColumns | None = None

    def rows() -> Iterator[tuple[str, str]]:
        nonlocal columns
        for columns, row in read_table(table, given=given):
            yield columns.value(row, "file"), json.dumps(row)

    index.add(rows())
    return columns


def _resolve_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {printable_name(folder)}; --photos names the folder with the pictures.")
    return folder.resolve()

"""Sources of a listing: a folder of pictures, a table of positions, tar shards. Each offers photos in a fixed order."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from img2loc.errors import ConfigError
from img2loc.geo.tables import LATITUDE, matching
from img2loc.system.names import escape_controls, is_text, printable_name
from img2loc.types import LatLon, PhotoRecord
from index_builder.storage.pieces import HUB_PREFIX, Piece, open_stream
from index_builder.storage.tables import PhotoColumns, Row, read_table

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".gif"}
NO_FILE, CUT_SHORT, NOT_IN_TABLE = "no such file", "tar cut short (its last photo)", "not in the table of positions"
OUTSIDE, NOT_TEXT = "file outside the folder", "name that is not UTF-8: rename the file or its folder"


@dataclass(slots=True)
class Counts:
    """What became of a listing's rows."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    example: str = ""  # the first name that can't be stored

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
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES:
                continue
            counts.read += 1
            if not is_text(path):
                counts.drop_name(path)
            elif not os.path.isfile(path):  # a pipe would be waited for without end
                counts.dropped[NO_FILE] += 1
            else:
                yield Candidate(Piece(str(path)), None, PhotoRecord(path.relative_to(root).as_posix()))


def list_table(table: Path, folder: Path, counts: Counts, *, url: str = "") -> Iterator[Candidate]:
    """Offer the photos that a table names, in its order.

    Args:
        table: A CSV or Parquet file: file, lat and lon in degrees, and where known id, author, url, licence.
        folder: Where the files are.
        counts: What is read and dropped is added here.
        url: See PhotoColumns.record.

    Raises:
        ConfigError: There is no such folder.
        DataError: The table can't be read, lacks a column, or its columns make no sense.
    """
    root = _resolve_folder(folder)
    for columns, row in read_table(table, needed=("file", "lat", "lon")):
        counts.read += 1
        position = columns.position(row)
        name = columns.value(row, "file")
        path = root / name
        is_outside = not Path(os.path.normpath(path)).is_relative_to(root)
        if name and not (is_outside or path.suffix):
            path = path.with_suffix(".jpg")  # OSV-5M's table names photos by their number alone
        if isinstance(position, str):
            counts.dropped[position] += 1
        elif is_outside:  # a table from elsewhere names this machine's files
            counts.dropped[OUTSIDE] += 1
        elif not name or not os.path.isfile(path):  # Path.is_file raises where a name is too long
            counts.dropped[NO_FILE] += 1
        elif not is_text(path):
            counts.drop_name(path)
        else:
            yield Candidate(Piece(str(path)), position, columns.record(row, name, url))


def list_tars(tars: Sequence[str], counts: Counts, *, table: Path | None = None, url: str = "") -> Iterator[Candidate]:
    """Offer the photos of tar shards (WebDataset's layout, or just pictures), shard by shard, in their order.

    A photo's position comes from the JSON beside it, else from the table, else from its EXIF or XMP.

    Args:
        tars: Files here, or under hf:// on the Hub, where they are streamed.
        counts: What is read and dropped is added here.
        table: Positions by file name, for tars that hold pictures alone.
        url: See PhotoColumns.record.

    Raises:
        ConfigError: A tar can't be read at all.
        DataError: The table can't be read, or the columns of a tar's JSON make no sense.
    """
    with closing(open_temporary_database("name TEXT PRIMARY KEY, row TEXT")) as positions:
        if table is not None:
            _store_positions(table, positions)
        for tar in tars:
            if not is_text(tar):
                raise ConfigError(f"The name of {printable_name(tar)} is not UTF-8; rename the tar file or its folder.")
            columns: PhotoColumns | None = None
            for sample in _samples(tar, counts):
                counts.read += 1
                row = sample.row or _find_position(sample.name, positions)
                if row is None and table is not None:
                    counts.dropped[NOT_IN_TABLE] += 1
                elif row is None:
                    yield Candidate(sample.piece, None, PhotoRecord(sample.name), sample.data)
                else:
                    columns = columns or PhotoColumns(tar, list(row), needed=("lat", "lon"))
                    position = columns.position(row)
                    if isinstance(position, str):
                        counts.dropped[position] += 1
                    else:
                        name = columns.value(row, "file") or sample.name
                        yield Candidate(sample.piece, position, columns.record(row, name, url), sample.data)
            if columns is not None:
                columns.judge()


@dataclass(slots=True)
class _Sample:
    """The members of a tar that share a key: a picture, and the values of its JSON."""

    name: str
    piece: Piece
    data: bytes | None
    row: Row | None = None


def _samples(tar: str, counts: Counts) -> Iterator[_Sample]:
    """The pictures of one tar, each with the JSON of the same key, which may stand before or behind it."""
    try:
        stream = open_stream(tar)
    except OSError as error:
        raise ConfigError(f"The tar {tar} can't be read: {error}.") from error
    key = ""
    sample: _Sample | None = None
    row: Row | None = None
    with stream:
        for member, data in _members(tar, stream, counts):
            suffix = PurePosixPath(member.name).suffix
            stem = member.name.removesuffix(suffix)
            if stem != key:
                if sample is not None:
                    yield sample
                key, sample, row = stem, None, None
            if suffix.lower() == ".json":
                row = _json_row(data)
            elif suffix.lower() in SUFFIXES and sample is None:
                name = printable_name(member.name.removeprefix("./"))
                sample = _Sample(name, Piece(tar, member.offset_data, member.size), data)
            if sample is not None:
                sample.row = row
        if sample is not None:
            yield sample


def _members(tar: str, stream: IO[bytes], counts: Counts) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """A tar's files; with the bytes of JSON, and on the Hub those of pictures, since they pass by anyway."""
    remote = tar.startswith(HUB_PREFIX)
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        archive = tarfile.open(fileobj=stream, mode="r:")
    except tarfile.ReadError as error:
        raise ConfigError(f"{tar} isn't a tar file ({error}).") from error
    with archive:
        try:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every member's header
                if not member.isfile():
                    continue
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError("unexpected end of data")
                file = archive.extractfile(member) if remote or member.name.endswith(".json") else None
                yield member, file.read() if file else None
            # tarfile takes a torn header for the end, which a whole tar marks with a block of zeros.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark")
        except tarfile.ReadError:
            counts.read += 1
            counts.dropped[CUT_SHORT] += 1


def _json_row(data: bytes | None) -> Row | None:
    """The values of a picture's JSON; None where it is none, or holds no latitude."""
    try:
        values = json.loads(data or b"")
    except ValueError:
        return None
    if not isinstance(values, dict) or not matching(LATITUDE, values):
        return None
    return {printable_name(key): "" if value is None else printable_name(str(value)) for key, value in values.items()}


def open_temporary_database(columns: str) -> sqlite3.Connection:
    """An SQLite database with one table, `rows`, on disk since it may not fit in memory.

    Its file has no name, so that nothing of it is left when the process is killed.
    """
    database = sqlite3.connect("", check_same_thread=False)  # another thread may close a generator that uses it
    for setting in ("journal_mode", "synchronous"):
        database.execute(f"PRAGMA {setting} = OFF")
    database.execute(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
    return database


def _store_positions(table: Path, database: sqlite3.Connection) -> None:
    """Store a table's rows by the names of their files."""
    rows = (
        (PurePosixPath(columns.value(row, "file")).name, json.dumps(row))
        for columns, row in read_table(table, needed=("file", "lat", "lon"))
    )
    database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?)", rows)


def _find_position(name: str, database: sqlite3.Connection) -> Row | None:
    match = database.execute("SELECT row FROM rows WHERE name = ?", (PurePosixPath(name).name,)).fetchone()
    row: Row | None = None if match is None else json.loads(match[0])
    return row


def _resolve_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {printable_name(folder)}; --photos names the folder with the pictures.")
    return folder.resolve()

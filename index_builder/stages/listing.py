"""The listing stage: which photos go into a gallery, checked, each content once, in one Parquet file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from img2loc.errors import ConfigError, PhotoError
from img2loc.photo.decode import exif_position
from img2loc.photo.xmp import read_xmp
from img2loc.retrieval.checksums import file_sha256
from img2loc.system.durable import write_whole
from img2loc.system.temporary_database import open_temporary_database
from img2loc.types import LatLon, PhotoRecord
from index_builder.stages.sources import NO_FILE, Candidate, Counts
from index_builder.storage.pieces import Piece, read_pieces
from index_builder.storage.prefetch import ordered_map
from index_builder.storage.tables import photo_number, read_table

ROWS_PER_GROUP = 4096
READERS = 8  # threads that read and hash; waiting for a disk or a network, not for a CPU
UNREADABLE, NO_POSITION, AGAIN = "unreadable picture", "no position in EXIF or XMP", "the same picture again"
EXCLUDED_PHOTO, EXCLUDED_AUTHOR = "photo of an excluded set", "photographer of an excluded set"
DIGEST_BYTES = 16  # of a photo's sha256: at a billion photos two share it by chance once in 10^20 builds

RECORD_COLUMNS = tuple(PhotoRecord.__dataclass_fields__)
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("content", pa.binary(DIGEST_BYTES)),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        *((name, pa.string()) for name in RECORD_COLUMNS),
    ]
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A photo of a listing."""

    piece: Piece
    content: bytes  # the beginning of its bytes' sha256
    position: LatLon
    record: PhotoRecord

    def as_row(self) -> dict[str, Any]:
        """The photo as a row of SCHEMA."""
        piece, position = self.piece, self.position
        values = (piece.file, piece.offset, piece.length, self.content, position.lat, position.lon)
        record = {name: getattr(self.record, name) for name in RECORD_COLUMNS}
        return dict(zip(SCHEMA.names, values, strict=False)) | record

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Listed:
        """The photo of a row."""
        record = PhotoRecord(*(row[name] for name in RECORD_COLUMNS))
        piece = Piece(row["file"], row["offset"], row["length"])
        return cls(piece, row["content"], LatLon(row["lat"], row["lon"]), record)


@dataclass(frozen=True, slots=True)
class Excluded:
    """Photos and photographers that must not be in a gallery, since it will be tested on them."""

    photo_numbers: frozenset[str]
    authors: frozenset[str]

    @classmethod
    def read(cls, tables: Iterable[Path]) -> Excluded:
        """Read test sets' tables: a column of photo ids, and of authors where there is one.

        Raises:
            DataError: A table can't be read, or has no column of ids.
        """
        photos: set[str] = set()
        authors: set[str] = set()
        for table in tables:
            for columns, row in read_table(table, "excluded"):
                photos.add(photo_number(columns.value(row, "id")))
                authors.add(columns.value(row, "author"))
        return cls(frozenset(photos - {""}), frozenset(authors - {""}))

    def reason(self, record: PhotoRecord) -> str:
        """Why a photo is excluded; "" where it is not."""
        if photo_number(record.id) in self.photo_numbers:
            return EXCLUDED_PHOTO
        return EXCLUDED_AUTHOR if record.author in self.authors else ""

    def filter(self, candidates: Iterable[Candidate], counts: Counts) -> Iterator[Candidate]:
        """The candidates that are not excluded; the others are counted as dropped."""
        for candidate in candidates:
            if reason := self.reason(candidate.record):
                counts.dropped[reason] += 1
            else:
                yield candidate


def write_listing(candidates: Iterable[Candidate], counts: Counts, path: Path) -> None:
    """Check candidates, write those that may go into a gallery to a Parquet file, and count them.

    Memory stays the same whatever the length: rows leave in groups, and the contents seen so far lie on disk.

    Raises:
        ConfigError: No photo can be used, or the path is a folder's or a file's that isn't a listing.
        OSError: The listing can't be written.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; --out names the listing's file.")
    if path.exists() and not _is_listing(path):
        raise ConfigError(f"{path} exists and isn't a listing. Give another --out, or move that file away.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        write_whole(path) as file,
        pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer,
        tqdm(unit="photo", desc="listing") as progress,
    ):
        photos = _checked(candidates, counts, progress)
        while group := list(islice(photos, ROWS_PER_GROUP)):
            counts.kept += len(group)
            writer.write_table(pa.Table.from_pylist([photo.as_row() for photo in group], SCHEMA))
        if not counts.kept:
            raise ConfigError(f"No photo can be used: {';'.join(str(counts).splitlines())}.")


def _is_listing(path: Path) -> bool:
    try:
        return bool(pq.read_schema(path).equals(SCHEMA))
    except (OSError, pa.ArrowException):
        return False


def _checked(candidates: Iterable[Candidate], counts: Counts, progress: tqdm) -> Iterator[Listed]:
    """The candidates that pass, each content once."""
    with Seen() as seen, ThreadPoolExecutor(READERS) as pool:
        for result in ordered_map(pool, _inspect, candidates, ahead=4 * READERS):
            progress.update()
            if isinstance(result, str):
                counts.dropped[result] += 1
            elif seen.add(result.content):
                yield result
            else:
                counts.dropped[AGAIN] += 1


def _inspect(candidate: Candidate) -> Listed | str:
    """A candidate with its content's hash and its position, or the reason for dropping it."""
    data = candidate.data
    if data is None:
        (content,) = read_pieces([candidate.piece])
        if isinstance(content, OSError):
            return NO_FILE if isinstance(content, FileNotFoundError) else UNREADABLE
        data = content
    position = candidate.position
    if position is None:
        try:
            position = exif_position(data) or read_xmp(data)
        except PhotoError:
            return UNREADABLE
    return Listed(candidate.piece, digest(data), position, candidate.record) if position else NO_POSITION


def digest(data: bytes) -> bytes:
    """Tells one photo's content from another's."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


class Seen:
    """A set of contents on disk."""

    def __init__(self) -> None:
        self._database = open_temporary_database("content BLOB PRIMARY KEY")

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *exception: object) -> None:
        self._database.close()

    def add(self, content: bytes) -> bool:
        """Add a content; whether it is new."""
        return self._database.execute("INSERT OR IGNORE INTO rows VALUES (?)", (content,)).rowcount == 1


class Listing:
    """A written listing, read a group of rows at a time.

    Raises:
        ConfigError: It isn't a listing, or can't be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"The listing {path} can't be read: {error}; run the listing stage.") from error
        if self._file.schema_arrow != SCHEMA:
            raise ConfigError(f"{path} isn't a listing; run the listing stage with it as --positions.")
        self.path = path
        self.count: int = self._file.metadata.num_rows
        self._group = -1
        self._rows: list[Listed] = []

    def sha256(self) -> str:
        """The sha256 of the file."""
        return file_sha256(self.path)

    def rows(self, rows: Iterable[int]) -> list[Listed]:
        """Some rows, in order; quick where they follow each other."""
        return [self._row(row) for row in rows]

    def _row(self, row: int) -> Listed:
        group, offset = divmod(row, ROWS_PER_GROUP)
        if group != self._group:
            table = self._file.read_row_group(group, use_threads=False)
            self._group, self._rows = group, [Listed.from_row(values) for values in table.to_pylist()]
        return self._rows[offset]

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all rows, a group at a time."""
        for group in range(self._file.num_row_groups):
            yield self._file.read_row_group(group, columns=list(names), use_threads=False)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

"""Listings: which photos go into a gallery, where each was taken and where it comes from."""

from __future__ import annotations

import csv
import string
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2loc.errors import ConfigError
from img2loc.types import LatLon, PhotoRecord

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".gif"}
# A column of a CSV may go by any of its names; the first that is there counts.
COLUMNS = {
    "file": ("file", "filename", "path", "img_id"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "id": ("id", "photo_id", "img_id"),
    "author": ("author", "attribution", "user"),
    "url": ("url",),
    "licence": ("licence", "license"),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A photo of a listing.

    Args:
        path: The picture's file.
        position: Where it was taken; None to take it from the file's EXIF.
        record: Where it comes from.
    """

    path: Path
    position: LatLon | None
    record: PhotoRecord


@dataclass(slots=True)
class Counts:
    """What became of a listing's rows."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        reasons = "".join(f"\n  {count:>9,}  {reason}" for reason, count in self.dropped.most_common())
        return f"{self.read:,} in, {self.kept:,} kept, {self.dropped.total():,} dropped{reasons}"


def list_folder(folder: Path, counts: Counts) -> Iterator[Listed]:
    """List a folder's pictures, whose positions stand in their EXIF, in the order of their names.

    Args:
        folder: Searched with all that lies below it.
        counts: Grows by what is read.
    """
    _check_folder(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            counts.read += 1
            yield Listed(path, None, PhotoRecord(str(path.relative_to(folder))))


def list_csv(positions: Path, folder: Path, counts: Counts, *, url: str = "") -> Iterator[Listed]:
    """List the photos that a CSV names, in its order.

    Args:
        positions: A CSV with a header: file, lat and lon in degrees, and where known id, author, url, licence.
        folder: Where the files are.
        counts: Grows by what is read and what is dropped.
        url: Makes each photo's address from its row, as "https://example.org/$column/$other".

    Raises:
        ConfigError: The CSV can't be read or lacks a column.
    """
    _check_folder(folder)
    try:
        with positions.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = _columns(positions, rows.fieldnames or ())
            for row in rows:
                counts.read += 1
                listed = _listed(row, columns, folder, url)
                if isinstance(listed, str):
                    counts.dropped[listed] += 1
                else:
                    yield listed
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"The positions in {positions} can't be read: {error}.") from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}; --photos names the folder that holds the pictures.")


def _columns(positions: Path, header: Sequence[str]) -> dict[str, str]:
    """Which of the header's columns holds which value."""
    lowered = {name.strip().lower(): name for name in header if name}
    found = {
        value: next(lowered[name] for name in names if name in lowered)
        for value, names in COLUMNS.items()
        if any(name in lowered for name in names)
    }
    for needed in ("file", "lat", "lon"):
        if needed not in found:
            raise ConfigError(
                f"{positions} has no column for {needed} (one of {', '.join(COLUMNS[needed])}); "
                f"its header is: {', '.join(header) or 'empty'}."
            )
    return found


def _listed(row: dict[str, str], columns: dict[str, str], folder: Path, url: str) -> Listed | str:
    """One row as a photo, or the reason for dropping it."""

    def value(name: str) -> str:
        return (row.get(columns.get(name, "")) or "").strip()

    try:
        position = LatLon(float(value("lat")), float(value("lon")))
    except ValueError:
        return "no valid position"
    if (position.lat, position.lon) == (0, 0):
        return "position (0, 0), which means unknown"
    path = folder / value("file")
    if not value("file") or not path.is_file():
        return "no such file"
    quoted = {key: urllib.parse.quote(text or "", safe="/#") for key, text in row.items() if key}
    address = string.Template(url).safe_substitute(quoted) if url else value("url")
    return Listed(path, position, PhotoRecord(value("id") or value("file"), value("author"), address, value("licence")))

"""The photos of a listing in a folder: present, missing, or a placeholder."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from img2loc.errors import DataError
from img2loc.evaluation.data.datasets import Item
from img2loc.geo.sphere import haversine_km
from img2loc.photo.matching import PhotoFiles

# Flickr answers a request for a deleted photo with a PNG of 2,051 bytes that says "This photo is no longer available".
# Source: this MD5, with that size, is in many public downloaders' lists of bad pictures.
UNAVAILABLE_MD5: Final = "880a7a58e05d3e83797f27573bb6d35c"
# The same file can't show two places, but a photographer may upload it twice for one place.
SAME_PLACE_KM: Final = 25.0


@dataclass(frozen=True, slots=True)
class Folder:
    """A listing's photos on disk."""

    paths: dict[str, Path]  # by id
    missing: tuple[str, ...]  # ids
    ambiguous: tuple[str, ...]  # ids that several files fit, or that mean one file; they count as missing
    unavailable: tuple[str, ...]  # ids whose file is a known "no longer available" picture
    # Ids whose file equals that of a photo by another author or from another place: an unknown placeholder, or a
    # mistake in the listing. They are reported, and used as they are.
    repeated: tuple[str, ...]


def find_photos(folder: Path, items: Sequence[Item], *, unavailable_md5: Iterable[str] = ()) -> Folder:
    """Find a listing's photos.

    A photo is the file at the id's path, else the only one that the id means; see PhotoFiles.find.

    Args:
        folder: The folder to search.
        items: The listing.
        unavailable_md5: MD5 of further placeholder pictures.

    Raises:
        DataError: The folder doesn't exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} isn't a folder; --photos names the folder with the listing's photos.")
    paths: dict[str, Path] = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    with PhotoFiles(folder) as files:
        for item in items:
            found = files.find(item.id)
            if isinstance(found, Path):
                paths[item.id] = found
            else:
                (ambiguous if found == "several" else missing).append(item.id)
    twice = {path for path, count in Counter(paths.values()).items() if count > 1}
    ambiguous += [id_ for id_, path in paths.items() if path in twice]
    paths = {id_: path for id_, path in paths.items() if path not in twice}
    unavailable, repeated = _placeholders(paths, items, {UNAVAILABLE_MD5, *(md5.lower() for md5 in unavailable_md5)})
    return Folder(paths, tuple(missing), tuple(ambiguous), unavailable, repeated)


def _placeholders(
    paths: dict[str, Path], items: Sequence[Item], known: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    same: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.id in paths:
            with suppress(OSError), paths[item.id].open("rb") as file:  # the run reports what can't be read
                same[hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()].append(item)
    unavailable = tuple(item.id for md5, group in same.items() if md5 in known for item in group)
    repeated = tuple(
        item.id
        for md5, group in same.items()
        if md5 not in known and any(_contradict(group[0], other) for other in group[1:])
        for item in group
    )
    return unavailable, repeated


def _contradict(a: Item, b: Item) -> bool:
    return (a.author != b.author) or haversine_km(a.position, b.position) > SAME_PLACE_KM

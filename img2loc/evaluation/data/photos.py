"""The photos of a listing in a folder: present, missing, or a placeholder."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from img2loc.errors import DataError
from img2loc.evaluation.data.datasets import Item
from img2loc.geo.sphere import haversine_km

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
    ambiguous: tuple[str, ...]  # ids that several files have as their name; they count as missing
    unavailable: tuple[str, ...]  # ids whose file is a known "no longer available" picture
    # Ids whose file equals that of a photo by another author or from another place: an unknown placeholder, or a
    # mistake in the listing. They are reported, and used as they are.
    repeated: tuple[str, ...]


def find_photos(folder: Path, items: Sequence[Item], *, unavailable_md5: Iterable[str] = ()) -> Folder:
    """Find a listing's photos.

    A photo is the file at the id's path; else the only file of that name in a subfolder; else, for an id without
    extension, the only file of that name with any extension.

    Args:
        folder: The folder to search.
        items: The listing.
        unavailable_md5: MD5 of further placeholder pictures.

    Raises:
        DataError: The folder doesn't exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} isn't a folder; --photos names the folder with the listing's photos.")
    by_path: dict[str, Path] = {}
    by_name: dict[str, list[Path]] = defaultdict(list)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        by_path[path.relative_to(folder).as_posix()] = path
        by_name[path.name].append(path)
        by_stem[path.stem].append(path)
    paths: dict[str, Path] = {}
    missing: list[str] = []
    ambiguous: list[str] = []
    for item in items:
        name = PurePosixPath(item.id).name
        files = [by_path[item.id]] if item.id in by_path else by_name.get(name) or by_stem.get(name, [])
        if len(files) == 1:
            paths[item.id] = files[0]
        else:
            (ambiguous if files else missing).append(item.id)
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

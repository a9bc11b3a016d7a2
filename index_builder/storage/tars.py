"""The photos of a tar, each with the values of the JSON that goes with it."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from img2loc.errors import ConfigError
from img2loc.geo.columns import Columns, find_axis
from img2loc.photo.matching import SUFFIXES, is_clutter
from img2loc.system.names import printable_name
from index_builder.storage.pieces import HUB_PREFIX, Piece, open_stream

CUT_SHORT, BESIDE = "tar cut short (its last photo)", "picture beside a photo, such as a mask"
Row = Mapping[str, str]
Drop = Callable[[str, int], None]  # counts photos as dropped: the reason, and how many
# Words between a sample's key and its suffix, as in 000.seg.png, that say that a picture is no photo.
_NO_PHOTO = ("seg", "segm", "segmentation", "semantic", "mask", "masks", "depth", "label", "labels", "annotation")
_LOSSLESS = (".png", ".gif", ".tif", ".tiff")  # masks are; where two pictures have one name, the other is the photo
_COMPRESSED, _ZIP = "compressed", "a zip file"
_PACKED = {
    b"\x1f\x8b": _COMPRESSED,
    b"BZh": _COMPRESSED,
    b"\xfd7zXZ": _COMPRESSED,
    b"\x28\xb5\x2f\xfd": _COMPRESSED,
    b"PK": _ZIP,
}
_UNPACK = {
    _COMPRESSED: "Decompress it, for example by gunzip, and give --photos the .tar that comes out.",
    _ZIP: "Unpack it, and give --photos the folder.",
}
MAX_MEMBERS = 32  # of a sample; more files whose names are alike up to the first point aren't one


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo of a tar, and the values of its JSON where it has one with a position."""

    name: str
    piece: Piece
    data: bytes | None  # its bytes, where they passed by anyway
    row: Row | None = None


def tar_samples(tar: str, drop: Drop, given: Columns | None = None) -> Iterator[Sample]:
    """The photos of one tar, each with its JSON, which may stand before or behind it.

    Members that follow each other and have one name up to the first point belong together, as WebDataset has it. The
    JSON of a photo is the one that has its name but for the suffix, else the only one of the sample.

    Raises:
        ConfigError: It can't be read.
    """
    try:
        stream = open_stream(tar)
    except OSError as error:
        raise ConfigError(f"The tar {tar} can't be read: {error}.") from error
    group: list[Sample] = []
    rows: dict[str, Row] = {}
    last = ""
    with stream:
        for member, data in _members(tar, stream, drop):
            name = printable_name(member.name.removeprefix("./"))
            suffix = PurePosixPath(name).suffix.lower()
            if is_clutter(name) or suffix not in (".json", *SUFFIXES):
                continue
            is_other = _key(name) != _key(last) or (
                len(group) + len(rows) >= MAX_MEMBERS and _stem(name) != _stem(last)
            )
            if last and is_other:
                yield from _photos(group, rows, drop)
                group, rows = [], {}
            last = name
            if suffix != ".json":
                group.append(Sample(name, Piece(tar, member.offset_data, member.size), data))
            elif row := _json_row(data, given):
                rows[_stem(name)] = row
        yield from _photos(group, rows, drop)


def _photos(pictures: Sequence[Sample], rows: Mapping[str, Row], drop: Drop) -> Iterator[Sample]:
    """The photos among pictures that belong together, with their rows; the others are counted as dropped."""
    chosen: dict[str, Sample] = {}
    for picture in sorted(pictures, key=lambda each: each.name.lower().endswith(_LOSSLESS)):
        chosen.setdefault(_stem(picture.name), picture)
    if len(chosen) > 1:
        unmarked = {stem: picture for stem, picture in chosen.items() if not _is_marked(stem)}
        # The photo with the JSON's own name goes before others of its sample.
        chosen = {stem: each for stem, each in unmarked.items() if stem in rows} or unmarked or chosen
    beside = len(pictures) - len(chosen)
    if beside:
        drop(BESIDE, beside)
    common = next(iter(rows.values())) if len(rows) == 1 else None
    for picture in sorted(chosen.values(), key=pictures.index):
        row = rows.get(_stem(picture.name), common)
        yield Sample(picture.name, picture.piece, picture.data, row)


def _is_marked(stem: str) -> bool:
    return any(word in _NO_PHOTO for word in PurePosixPath(stem).name.lower().split(".")[1:])


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def _key(name: str) -> str:
    """A member's path up to the first point of its file name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _members(tar: str, stream: IO[bytes], drop: Drop) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """A tar's files; with the bytes of JSON, and on the Hub those of pictures, since they pass by anyway."""
    remote = tar.startswith(HUB_PREFIX)
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        archive = tarfile.open(fileobj=stream, mode="r:")
    except tarfile.ReadError as error:
        stream.seek(0)
        head = stream.read(6)
        if kind := next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), ""):
            raise ConfigError(f"{tar} isn't a plain tar file but {kind}. {_UNPACK[kind]}") from error
        raise ConfigError(f"{tar} isn't a tar file ({error}).") from error
    with archive:
        try:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every member's header
                if not member.isfile():
                    continue
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError("unexpected end of data")
                file = archive.extractfile(member) if remote or member.name.lower().endswith(".json") else None
                yield member, file.read() if file else None
            # tarfile takes a torn header for the end, which a whole tar marks with a block of zeros.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end mark")
        except tarfile.ReadError:
            drop(CUT_SHORT, 1)


def _json_row(data: bytes | None, given: Columns | None) -> Row | None:
    """The values of a picture's JSON; None where it is none, or holds no latitude."""
    try:
        values = json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    row = {printable_name(key): "" if value is None else printable_name(str(value)) for key, value in values.items()}
    return row if (given and given.lat in row) or find_axis(list(row), "lat", "json") else None

"""The orientation and the position in a block of EXIF, which may be hostile.

Pillow's reader copies every value that a directory claims to have: one of a megabyte can claim gigabytes. This one
reads six tags and takes time linear in the block's length.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from img2loc.photo.gps import MAX_CHARS, Letters, join_degrees, position_at, read_angle
from img2loc.types import LatLon

_ORIENTATION, _GPS = 0x0112, 0x8825
_LAT, _LON = 2, 4  # each follows its hemisphere
_TEXT = 2
# A field's type to its values' format in struct. Source: TIFF 6.0, section 2; 13, a directory's place: its supplement 1
_PACKED = {1: "B", 2: "B", 3: "H", 4: "L", 5: "LL", 6: "b", 7: "B", 8: "h", 9: "l", 10: "ll", 11: "f", 12: "d", 13: "L"}

_Fields = dict[int, tuple[int, int, bytes]]


@dataclass(frozen=True, slots=True)
class Exif:
    """What a file's EXIF says."""

    orientation: int = 1  # how the picture must be turned, 1 (not at all) to 8
    position: LatLon | None = None  # where it was taken; None where EXIF has none, or it makes no sense


def read_exif(block: bytes) -> Exif:
    """Read what can be read of a block of EXIF or a TIFF file, with or without "Exif" in front; never raises."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return Exif()
    try:
        fields = _directory(block, order, *struct.unpack_from(f"{order}L", block, 4))
        orientation = (_values(block, order, fields, _ORIENTATION) or (1,))[0]
    except struct.error:
        return Exif()
    return Exif(int(orientation) if orientation in range(1, 9) else 1, _position(block, order, fields))


def _directory(block: bytes, order: str, offset: int) -> _Fields:
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    raw = block[offset + 2 : offset + 2 + 12 * count]
    entries = struct.iter_unpack(f"{order}HHL4s", raw[: len(raw) // 12 * 12])
    return {tag: (kind, number, value) for tag, kind, number, value in entries}


def _values(block: bytes, order: str, fields: _Fields, tag: int) -> tuple[float, ...]:
    """A field's numbers, or the codes of its letters; empty where there are none."""
    kind, number, value = fields.get(tag, (0, 0, b""))
    packed = _PACKED.get(kind)
    if packed is None or not 0 < number <= MAX_CHARS:
        return ()
    form = order + packed * number
    if struct.calcsize(form) <= 4:
        values = struct.unpack_from(form, value)
    else:
        values = struct.unpack_from(form, block, *struct.unpack(f"{order}L", value))
    return tuple(map(_ratio, values[::2], values[1::2])) if len(packed) == 2 else values


def _ratio(numerator: int, denominator: int) -> float:
    """The quotient; 0/0, as cameras write what they don't know, is NaN."""
    return numerator / denominator if denominator else math.inf if numerator else math.nan


def _position(block: bytes, order: str, fields: _Fields) -> LatLon | None:
    try:
        gps = _directory(block, order, *map(int, _values(block, order, fields, _GPS)))
        return position_at(_degrees(block, order, gps, _LAT, "NS"), _degrees(block, order, gps, _LON, "EW"))
    except (struct.error, ValueError, TypeError, ArithmeticError):
        return None


def _degrees(block: bytes, order: str, gps: _Fields, tag: int, letters: Letters) -> float:
    values = _values(block, order, gps, tag)
    hemisphere = _text(_values(block, order, gps, tag - 1))
    if gps.get(tag, (0,))[0] == _TEXT:
        return read_angle(_text(values), hemisphere, letters)
    return join_degrees(values, hemisphere, letters)


def _text(codes: tuple[float, ...]) -> str:
    return bytes(int(code) for code in codes if code).decode(errors="replace")

"""The position in a file's XMP, which may be hostile."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree

from img2loc.photo.gps import Letters, position_at, read_angle
from img2loc.types import LatLon

MAX_BYTES: Final = 1_000_000
_EXIF: Final = "{http://ns.adobe.com/exif/1.0/}"
_ROOTS: Final = (b"x:xmpmeta", b"x:xapmeta", b"rdf:RDF")


def read_xmp(source: bytes) -> LatLon | None:
    """Read the position from a picture file's first XMP; None where there is none, or it makes no sense."""
    packet = _packet(source)
    values: dict[str, str] = {}
    try:
        # The packet begins with its root, and only what stands before a root can declare entities.
        for element in ElementTree.fromstring(packet).iter() if packet else ():
            for name, value in (*element.items(), (element.tag, element.text or "")):
                if name.startswith(f"{_EXIF}GPSL"):
                    values.setdefault(name.removeprefix(_EXIF), value.strip())
    except (ElementTree.ParseError, ValueError):
        return None
    return position_at(_degrees(values, "GPSLatitude", "NS"), _degrees(values, "GPSLongitude", "EW"))


def _packet(source: bytes) -> bytes:
    """The XML from its root on, found by how it begins, in whichever part of the file it is."""
    for root in _ROOTS:
        start = source.find(b"<" + root)
        if start >= 0:
            end = source.find(b"</" + root, start, start + MAX_BYTES)
            return source[start:end] + b"</" + root + b">" if end >= 0 else b""
    return b""


def _degrees(values: dict[str, str], name: str, letters: Letters) -> float:
    text, hemisphere = values.get(name, ""), values.get(f"{name}Ref", "")
    if not hemisphere and re.fullmatch(r"[-+]?\d{1,3}(\.\d{1,20})?", text):
        with suppress(ValueError):
            return float(text)  # decimal degrees, whose sign says the hemisphere
    return read_angle(text, hemisphere, letters)

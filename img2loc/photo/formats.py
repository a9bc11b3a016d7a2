"""What of a picture file its decoder needs; whatever merely describes the picture is cut off before any decoder runs.

Pillow reads descriptions in Python and without a bound: EXIF of one megabyte can claim gigabytes of values, comments in
a hundred thousand pieces are joined one by one, and a directory may name the same data again and again.
"""

from __future__ import annotations

import re
import struct

from img2loc.errors import PhotoError
from img2loc.photo.exif import Exif, read_exif

NO_PHOTO = "This isn't a JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF picture; choose a photo."
MAX_PARTS = 100_000  # segments, chunks or blocks; a file of the largest size taken, in pieces of 8 kB, has 4,000
# One scan of a JPEG may be ten bytes long and makes the decoder go through the whole picture once more; a progressive
# file has about ten of them.
MAX_SCANS = 500
MAX_SCANNED_PIXELS = 2_000_000_000
MAX_TIFF_VALUES = 400_000  # of one field; a picture of the largest size taken has 312,500 tiles of 16 x 16
MAX_TILE_PIXELS = 16_000_000

# A JPEG's next marker, past the escaped bytes and the restarts of its compressed data.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_TEM, _SOI, _EOI, _SOS = 0x01, 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DESCRIPTIONS = frozenset(range(0xE0, 0xF0)) | {0xFE}
_ABOUT_COLOUR = (b"JFIF\0", b"Adobe")  # the only ones among them that a decoder needs
_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_GIF_BLOCK, _GIF_CONTROL = re.compile(rb"[!,;]"), 0xF9
_TIFF_HEADERS = (b"II*\0", b"MM\0*")
# Source: TIFF 6.0, and its supplements on JPEG
_TIFF_NEEDED = frozenset(
    (
        *(*range(256, 260), 262, 266, 273, *range(277, 280), 284, 317, 320, *range(322, 326)),
        *(332, 338, 339, 347, *range(529, 533)),
    )
)
# None, LZW, JPEG, Deflate, PackBits: those of photos. Of damaged fax pages libtiff complains to the log line by line.
_TIFF_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)
_TIFF_COMPRESSION, _TIFF_TILE, _TIFF_SHORT = 259, (322, 323), 3


def cut(source: bytes) -> tuple[bytes, Exif]:
    """Split a file into what its decoder needs and what it says of itself.

    Args:
        source: A file's bytes.

    Returns:
        The file for the decoder, without comments, profiles and previews; and its EXIF. WebP's is left to the decoder,
        and so is how AVIF and HEIC are turned.

    Raises:
        PhotoError: It is none of the formats, or decoding it would take time or memory out of all proportion.
        IndexError, struct.error: It is cut short.
    """
    if source.startswith(b"\xff\xd8\xff"):
        return _jpeg(source)
    if source.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(source)
    if source.startswith(b"GIF8"):
        return _gif(source)
    if source.startswith(_TIFF_HEADERS):
        return _tiff(source)
    if source[4:8] == b"ftyp":
        return _isobmff(source)
    if source.startswith(b"RIFF") and source[8:12] == b"WEBP":
        return source, Exif()
    raise PhotoError(NO_PHOTO)  # such as a BigTIFF, which Pillow would read, descriptions and all


def _jpeg(source: bytes) -> tuple[bytes, Exif]:
    parts, exif = [b"\xff\xd8"], b""
    at, pixels, scans, count = 2, 0, 0, 0
    while found := _MARKER.search(source, at):
        count += 1
        _check_count(count)
        marker, body = found[1][0], found.end()
        if scans:
            parts.append(source[at : found.start()])  # compressed data; before the first scan it is rubbish
        if marker == _EOI and scans:
            parts.append(found[0])
            return b"".join(parts), read_exif(exif)
        if marker in (_TEM, _SOI, _EOI):
            at = body
            continue
        at = body + max(2, *struct.unpack_from(">H", source, body))
        segment = source[body + 2 : at]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", segment, 1)
            pixels = height * width
        scans += marker == _SOS
        if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
            raise PhotoError("The JPEG has far too many scans; save it again with an image editor.")
        if marker not in _DESCRIPTIONS or segment.startswith(_ABOUT_COLOUR):
            parts.append(source[found.start() : at])
        elif not exif and segment.startswith(b"Exif\0\0"):
            exif = segment
    if not scans:
        raise IndexError("the file ends before its first scan")
    return b"".join(parts) + source[at:], read_exif(exif)


def _png(source: bytes) -> tuple[bytes, Exif]:
    parts, exif = [source[:8]], b""
    at, kind, count = 8, b"", 0
    while kind != b"IEND" and at + 8 <= len(source):
        length, kind = struct.unpack_from(">L4s", source, at)
        end = at + 12 + length
        if kind in _PNG_NEEDED:
            parts.append(source[at:end])
        elif kind == b"eXIf":
            exif = source[at + 8 : end - 4]
        at, count = end, count + 1
        _check_count(count)
    return b"".join(parts), read_exif(exif)


def _gif(source: bytes) -> tuple[bytes, Exif]:
    at = 13 + (3 << (source[10] & 7) + 1 if source[10] & 0x80 else 0)  # past the palette, where there is one
    head, control, count = source[:at], b"", 0
    while (found := _GIF_BLOCK.search(source, at)) and found[0] == b"!":
        at = found.end() + 1
        while size := source[at]:
            at, count = at + 1 + size, count + 1
            _check_count(count)
        at, count = at + 1, count + 1
        _check_count(count)
        if source[found.end()] == _GIF_CONTROL:
            control = source[found.start() : at]
    return head + control + source[found.start() if found else at :], Exif()


def _tiff(source: bytes) -> tuple[bytes, Exif]:
    """Give the file a new directory, of its first picture only and of no other fields than a decoder needs."""
    order = "<" if source.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}L", source, 4)
    (count,) = struct.unpack_from(f"{order}H", source, at)
    fields: dict[int, bytes] = {}
    tile_pixels = 1
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number, raw = struct.unpack_from(f"{order}HHL4s", source, start)
        if tag not in _TIFF_NEEDED or tag in fields:
            continue
        fields[tag] = source[start : start + 12]
        (value,) = struct.unpack_from(f"{order}H" if kind == _TIFF_SHORT else f"{order}L", raw)
        tile_pixels *= value if tag in _TIFF_TILE else 1
        is_odd = tag == _TIFF_COMPRESSION and value not in _TIFF_COMPRESSIONS
        if is_odd or number > MAX_TIFF_VALUES or tile_pixels > MAX_TILE_PIXELS:
            raise PhotoError("This TIFF's layout or compression isn't supported; save it again with an image editor.")
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(fields.values()) + bytes(4)
    body = source + bytes(len(source) % 2)
    return body[:4] + struct.pack(f"{order}L", len(body)) + body[8:] + directory, read_exif(source)


def _isobmff(source: bytes) -> tuple[bytes, Exif]:
    """Hide from the decoder of an AVIF or HEIC file what is not its picture.

    Names of one length are put in place of others, so that nothing moves. The EXIF is found by how it begins.
    """
    parts: list[bytes] = []
    at = 0
    while at + 8 <= len(source):
        _check_count(len(parts))
        size, kind = struct.unpack_from(">L4s", source, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", source, at + 8)
        end = at + max(8, size) if size else len(source)
        box = source[at:end]
        if kind in (b"meta", b"moov"):
            box = box.replace(b"cdsc", b"none").replace(b"Exif", b"none")
        parts.append(box)
        at = end
    starts = [start for header in _TIFF_HEADERS if (start := source.find(header)) >= 0]
    position = read_exif(source[min(starts) :]).position if starts else None
    return b"".join(parts) + source[at:], Exif(position=position)


def _check_count(parts: int) -> None:
    if parts > MAX_PARTS:
        raise PhotoError(f"The file has more than {MAX_PARTS:,} parts; save it again with an image editor.")

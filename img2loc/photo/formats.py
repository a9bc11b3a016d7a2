"""Strips metadata from a picture file before any decoder runs.

Pillow reads metadata in Python and without a bound: EXIF of one megabyte can claim gigabytes of values, comments in a
hundred thousand pieces are joined one by one, and a directory may name the same data again and again.
"""

from __future__ import annotations

import re
import struct

from img2loc.errors import PhotoError
from img2loc.photo.exif import Exif, read_exif

NO_PHOTO = "This isn't a JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF picture; choose a photo."
MAX_PARTS = 100_000  # segments, chunks or blocks; the largest allowed file in pieces of 8 kB has 4,000
# A scan of a JPEG may have ten bytes and makes the decoder go through the whole picture; a progressive file has about
# ten scans.
MAX_SCANS = 500
MAX_SCANNED_PIXELS = 2_000_000_000
MAX_TIFF_VALUES = 400_000  # of one field; the largest allowed picture has 312,500 tiles of 16 x 16
MAX_TILE_PIXELS = 16_000_000
# Of a WebP: the largest allowed file, and so much that a decoder of made-up bytes doesn't reach their end.
MAX_MISSING_BYTES, LEAST_MISSING_BYTES = 30_000_000, 500

# A JPEG's next marker, past the escaped bytes and the restarts of its compressed data.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_TEM, _SOI, _EOI, _SOS = 0x01, 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_METADATA = frozenset(range(0xE0, 0xF0)) | {0xFE}
_COLOUR_CODING = (b"JFIF\0", b"Adobe")  # the only metadata that a decoder needs
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
# None, LZW, JPEG, Deflate, PackBits: those of photos. libtiff logs a line for each damaged line of a fax page.
_TIFF_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)
_TIFF_COMPRESSION, _TIFF_TILE, _TIFF_SHORT = 259, (322, 323), 3

# What a server or a script may put before a file: blanks, a byte order mark, a few bytes of its own. Not more: icons
# have a whole PNG at byte 16 or 22.
_START = re.compile(
    rb"[\0\t\n\r \xef\xbb\xbf]{0,1000}?.{0,15}?"
    rb"(?=\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8|II\*\0|MM\0\*|RIFF....WEBP|....ftyp)",
    re.DOTALL,
)
SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"  # with which a JPEG's scans begin, and the file ends
_FILLER = b"\x55"  # bits that a decoder takes for pixels, other than those of zeros
_SCAN = re.compile(rb"\xff\xda\0[\x08\x0a\x0c\x0e]([\x01-\x04])")  # its head, to the number of its components


def strip(source: bytes) -> tuple[bytes, Exif]:
    """Split a file into what its decoder needs, without comments, profiles and previews, and its EXIF.

    WebP's EXIF and the orientation of AVIF and HEIC are left to the decoder.

    Raises:
        PhotoError: It has none of the formats, or decoding it would take far too much time or memory.
        IndexError, struct.error: It is cut short before its picture.
    """
    if match := _START.match(source):
        source = source[match.end() :]
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
    raise PhotoError(NO_PHOTO)  # also for a BigTIFF, all of whose metadata Pillow would read


def completed(content: bytes) -> tuple[bytes, ...]:
    """A stripped file; or, if a JPEG or WebP lacks its end, two files that end it differently.

    Their pictures are the same where all of the picture is there, and differ from the row on where it was cut short.
    """
    if content.startswith(b"\xff\xd8") and not content.endswith(_JPEG_END):
        return content + _JPEG_END, content + _FILLER * 64 + _JPEG_END
    if content.startswith(b"RIFF"):
        size = int.from_bytes(content[4:8], "little") + 8
        # A picture, unlike metadata, ends in zeros only where a download that stopped left them.
        is_bare = content[12:16] in (b"VP8 ", b"VP8L")
        there = content.rstrip(b"\0") if is_bare and content.endswith(bytes(64)) else content
        missing = size - len(there)
        if missing == 1:  # the byte that makes the length even, which some programs leave out
            return (there + b"\0",)
        if 1 < missing <= MAX_MISSING_BYTES:
            there = there[: max(0, size - LEAST_MISSING_BYTES)]  # a decoder refuses a picture that lacks less
            missing = size - len(there)
            return there + bytes(missing), there + (_FILLER * (missing // 2)).ljust(missing, b"\0")
    return (content,)


def lacks_scans(jpeg: bytes, components: int) -> bool:
    """Whether a stripped JPEG was cut short between the scans that its picture consists of."""
    bits_left: dict[tuple[int, int], int] = {}  # by component and coefficient
    for head in _SCAN.finditer(jpeg):
        at, end = head.end(), head.end() + 2 * head[1][0]
        first, last, bits = jpeg[end : end + 3].ljust(3, b"\0")
        bits_left |= {
            (part, number): bits & 15 for part in jpeg[at:end:2] for number in range(first, min(last, 63) + 1)
        }
    return len(bits_left) < 64 * components or any(bits_left.values())


def _jpeg(source: bytes) -> tuple[bytes, Exif]:
    parts, exif = [b"\xff\xd8"], b""
    offset, pixels, scans, count = 2, 0, 0, 0
    while match := _MARKER.search(source, offset):
        count += 1
        _check_count(count)
        marker, body = match[1][0], match.end()
        if scans:
            parts.append(source[offset : match.start()])  # compressed data; anything before the first scan is dropped
        if marker == _EOI and scans:
            parts.append(match[0])
            return b"".join(parts), read_exif(exif)
        if marker in (_TEM, _SOI, _EOI):
            offset = body
            continue
        offset = body + max(2, int.from_bytes(source[body : body + 2]))
        if offset > len(source) and scans:
            break  # cut short between two scans
        segment = source[body + 2 : offset]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", segment, 1)
            pixels = height * width
        scans += marker == _SOS
        if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
            raise PhotoError("The JPEG has far too many scans; save it again with an image editor.")
        if marker not in _METADATA or segment.startswith(_COLOUR_CODING):
            parts.append(source[match.start() : offset])
        elif not exif and segment.startswith(b"Exif\0\0"):
            exif = segment
    if not scans:
        raise IndexError("the file ends before its first scan")
    # A download that stopped may leave zeros for the rest. One stays: the last byte may be an escaped 255.
    return b"".join(parts) + source[offset:].rstrip(b"\0") + b"\0", read_exif(exif)


def _png(source: bytes) -> tuple[bytes, Exif]:
    parts, exif = [source[:8]], b""
    offset, kind, count = 8, b"", 0
    while kind != b"IEND" and offset + 8 <= len(source):
        length, kind = struct.unpack_from(">L4s", source, offset)
        end = offset + 12 + length
        if kind in _PNG_NEEDED:
            parts.append(source[offset:end])
        elif kind == b"eXIf":
            exif = source[offset + 8 : end - 4]
        offset, count = end, count + 1
        _check_count(count)
    return b"".join(parts), read_exif(exif)


def _gif(source: bytes) -> tuple[bytes, Exif]:
    offset = 13 + (3 << (source[10] & 7) + 1 if source[10] & 0x80 else 0)  # past the palette, where there is one
    head, control, count = source[:offset], b"", 0
    while (match := _GIF_BLOCK.search(source, offset)) and match[0] == b"!":
        offset = match.end() + 1
        while size := source[offset]:
            offset, count = offset + 1 + size, count + 1
            _check_count(count)
        offset, count = offset + 1, count + 1
        _check_count(count)
        if source[match.end()] == _GIF_CONTROL:
            control = source[match.start() : offset]
    return head + control + source[match.start() if match else offset :], Exif()


def _tiff(source: bytes) -> tuple[bytes, Exif]:
    """Append a new directory: the first picture's, with only the fields that a decoder needs."""
    order = "<" if source.startswith(b"II") else ">"
    (offset,) = struct.unpack_from(f"{order}L", source, 4)
    (count,) = struct.unpack_from(f"{order}H", source, offset)
    fields: dict[int, bytes] = {}
    tile_pixels = 1
    for start in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, number, raw = struct.unpack_from(f"{order}HHL4s", source, start)
        if tag not in _TIFF_NEEDED or tag in fields:
            continue
        fields[tag] = source[start : start + 12]
        (value,) = struct.unpack_from(f"{order}H" if kind == _TIFF_SHORT else f"{order}L", raw)
        tile_pixels *= value if tag in _TIFF_TILE else 1
        is_unusual = tag == _TIFF_COMPRESSION and value not in _TIFF_COMPRESSIONS
        if is_unusual or number > MAX_TIFF_VALUES or tile_pixels > MAX_TILE_PIXELS:
            raise PhotoError("This TIFF's layout or compression isn't supported; save it again with an image editor.")
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(fields.values()) + bytes(4)
    body = source + bytes(len(source) % 2)
    return body[:4] + struct.pack(f"{order}L", len(body)) + body[8:] + directory, read_exif(source)


def _isobmff(source: bytes) -> tuple[bytes, Exif]:
    """Hide the metadata of an AVIF or HEIC file from its decoder, and find the EXIF by how it begins.

    Names are replaced by others of the same length, so that nothing moves.
    """
    parts: list[bytes] = []
    offset = 0
    while offset + 8 <= len(source):
        _check_count(len(parts))
        size, kind = struct.unpack_from(">L4s", source, offset)
        if size == 1:
            (size,) = struct.unpack_from(">Q", source, offset + 8)
        end = offset + max(8, size) if size else len(source)
        box = source[offset:end]
        if kind in (b"meta", b"moov"):
            box = box.replace(b"cdsc", b"none").replace(b"Exif", b"none")
        parts.append(box)
        offset = end
    starts = [start for header in _TIFF_HEADERS if (start := source.find(header)) >= 0]
    position = read_exif(source[min(starts) :]).position if starts else None
    return b"".join(parts) + source[offset:], Exif(position=position)


def _check_count(parts: int) -> None:
    if parts > MAX_PARTS:
        raise PhotoError(f"The file has more than {MAX_PARTS:,} parts; save it again with an image editor.")

"""Small real pictures in every format, and the bytes that files are put together from by hand."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pillow_heif
from PIL import Image, TiffImagePlugin

from tests.paths import SHARED

PHOTOS = SHARED / "photos"
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIC", "TIFF", "GIF")
SERIAL = b"serial number 4711"  # stands in descriptions; must stand in nothing that we give away
SMALL, LARGER = (96, 72), (400, 300)


@cache
def photos() -> tuple[Image.Image, ...]:
    """Three real photos."""
    opened = [Image.open(path).convert("RGB") for path in smallest(3)]
    return tuple(Image.frombytes("RGB", image.size, image.tobytes()) for image in opened)


@cache
def picture(number: int = 0, size: tuple[int, int] = SMALL, mode: str = "RGB") -> Image.Image:
    """A real photo of a size and mode."""
    image = photos()[number % len(photos())].resize(size)
    if mode == "P":
        return image.quantize(32)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    """Encode a picture; `exif` and `icc_profile` are raw bytes."""
    buffer = io.BytesIO()
    if format_name == "HEIC":
        heif = pillow_heif.from_pillow(image)
        heif.info.update({name: options.pop(name) for name in ("exif", "icc_profile") if name in options})
        for frame in options.pop("append_images", ()):
            heif.add_from_pillow(frame)
        heif.save(buffer, **{"quality": 50} | options)
    else:
        image.save(buffer, format_name, **({"speed": 10} if format_name == "AVIF" else {}) | options)
    return buffer.getvalue()


def quarters(orientation: int) -> Image.Image:
    """Red top left, green top right, blue below; lying as a camera stores it that writes such an orientation."""
    image = Image.new("RGB", (64, 48), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 24))
    image.paste((0, 255, 0), (32, 0, 64, 24))
    turn = Image.Transpose
    back = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM]
    back += [turn.TRANSPOSE, turn.ROTATE_90, turn.TRANSVERSE, turn.ROTATE_270]
    method = back[orientation - 1]
    return image if method is None else image.transpose(method)


def exif(orientation: int = 1, filler: int = 0) -> bytes:
    """A camera's EXIF, with a position."""
    block = Image.Exif()
    block[0x0112], block[0x010F], block[0xC000] = orientation, SERIAL.decode(), bytes(filler)
    block.get_ifd(0x8825).update({1: "S", 2: (33.0, 57.0, 45.0), 3: "E", 4: (18.0, 24.0, 34.0)})
    return block.tobytes()


def with_exif(format_name: str, block: bytes) -> bytes:
    """Put EXIF into a small picture, unread: an encoder given what is made to hurt would be the first to be hurt."""
    match format_name:
        case "JPEG":
            pieces = [block.removeprefix(b"Exif\0\0")[at : at + 65_000] for at in range(0, len(block), 65_000)]
            return with_segments([(0xE1, b"Exif\0\0" + piece) for piece in pieces])
        case "PNG":
            return with_chunks([(b"eXIf", block)])
        case "WEBP" | "AVIF" | "HEIC":
            source = encoded(picture(), format_name, exif=exif(1, len(block)))
            at = max(source.find(b"II*\0"), source.find(b"MM\0*"))
            return source[:at] + block + source[at + len(block) :]
        case "TIFF":
            return block
        case _:
            return with_blocks([(0xFF, block)])


def with_icc(format_name: str, profile: bytes) -> bytes:
    """Put a colour profile into a small picture."""
    match format_name:
        case "JPEG":
            pieces = [profile[at : at + 65_000] for at in range(0, len(profile) or 1, 65_000)][:255]
            head = b"ICC_PROFILE\0"
            return with_segments([(0xE2, head + bytes((n, len(pieces))) + p) for n, p in enumerate(pieces, start=1)])
        case "PNG":
            return with_chunks([(b"iCCP", b"icc\0\0" + zlib.compress(profile, 1))])
        case "GIF":
            return with_blocks([(0xFF, b"ICCRGBG1012" + profile)])
        case _:
            return encoded(picture(), format_name, icc_profile=profile)


def with_segments(segments: Iterable[tuple[int, bytes]], source: bytes = b"") -> bytes:
    """Put segments (a marker's second byte, and their bytes) at the head of a JPEG."""
    source = source or sources("JPEG")[0]
    made = (struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return source[:2] + b"".join(made) + source[2:]


def with_chunks(chunks: Iterable[tuple[bytes, bytes]], source: bytes = b"") -> bytes:
    """Put chunks between the header and the pixels of a PNG."""
    source = source or sources("PNG")[0]
    return source[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + source[33:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def with_blocks(blocks: Iterable[tuple[int, bytes]], size: int = 255) -> bytes:
    """Put extensions (a label and their bytes, cut into pieces) before the picture of a GIF."""
    source = sources("GIF")[0]
    at = 13 + (3 << (source[10] & 7) + 1)
    made = []
    for label, body in blocks:
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        made.append(bytes((0x21, label)) + b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0")
    return source[:at] + b"".join(made) + source[at:]


def directory(fields: Sequence[tuple[int, int, int, int]], at: int = 8, order: str = "<", after: int = 0) -> bytes:
    """A directory of a TIFF or of EXIF: tag, type, count and value or offset of each field."""
    packed = b"".join(struct.pack(f"{order}HHLL", *field) for field in fields)
    head = struct.pack(f"{order}2sHL", b"II" if order == "<" else b"MM", 42, at).ljust(at, b"\0") if at == 8 else b""
    return head + struct.pack(f"{order}H", len(fields)) + packed + struct.pack(f"{order}L", after)


def tiff(
    fields_too: Sequence[tuple[int, int, int, int]] = (), tail: bytes = b"", *, tile: int = 0, after: int = 0
) -> bytes:
    """A grey TIFF of 64 x 64, in one strip or a tile, with more fields, or others."""
    pixels = bytes(range(64)) * 64
    fields = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    if tile:
        fields |= {322: (4, 1, tile), 323: (4, 1, tile), 324: (4, 1, 8), 325: (4, 1, len(pixels))}
    else:
        fields |= {273: (4, 1, 8), 278: (4, 1, 64), 279: (4, 1, len(pixels))}
    fields |= {tag: (kind, count, value) for tag, kind, count, value in fields_too}
    at = 8 + len(pixels)
    listed = directory([(tag, *fields[tag]) for tag in sorted(fields)], at=at, after=after)
    return struct.pack("<2sHL", b"II", 42, at) + pixels + listed + tail


def resized(format_name: str, width: int, height: int) -> bytes:
    """A small picture whose header claims another size."""
    source = sources(format_name)[0]
    match format_name:
        case "JPEG":
            at = source.index(b"\xff\xc0") + 5
            return source[:at] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + source[at + 4 :]
        case "PNG":
            return source[:8] + chunk(b"IHDR", struct.pack(">LL", width, height) + source[24:29]) + source[33:]
        case "GIF":
            size = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
            at = source.index(b",", 13 + (3 << (source[10] & 7) + 1)) + 5
            return source[:6] + size + source[10:at] + size + source[at + 4 :]
        case "WEBP":
            canvas = struct.pack("<LL", (width - 1) % 2**24, (height - 1) % 2**24)
            return source[:12] + b"VP8X\x0a\0\0\0\0\0\0\0" + canvas[:3] + canvas[4:7] + source[12:]
        case "TIFF":
            return tiff([(256, 4, 1, width), (257, 4, 1, height)])
        case _:
            return re.sub(b"ispe....(.{8})", b"ispe\0\0\0\0" + _literal(struct.pack(">LL", width, height)), source)


def _literal(raw: bytes) -> bytes:
    return raw.replace(b"\\", rb"\\")


@cache
def sources(format_name: str) -> tuple[bytes, ...]:
    """Small pictures of a format, in its modes and with its options: what mutations begin with."""
    extra = {"exif": exif(6), "icc_profile": b"\0\0\2\0lcms" + bytes(300) + SERIAL}
    frames = [picture(1), picture(2)]
    moving = {"save_all": True, "append_images": frames}
    made: list[tuple[str, dict[str, object]]]
    match format_name:
        case "JPEG":
            made = [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {"quality": 60}), ("RGB", extra)]
            made += [("RGB", {"restart_marker_blocks": 2, "subsampling": 0, "comment": SERIAL})]
        case "PNG":
            made = [(mode, {}) for mode in ("RGB", "RGBA", "P", "LA", "L", "1", "I;16")]
            made += [("RGB", extra), ("P", {"transparency": bytes(range(32))}), ("RGB", moving)]
        case "WEBP":
            made = [("RGB", {}), ("RGBA", {}), ("RGB", {"lossless": True}), ("RGB", extra | {"xmp": SERIAL})]
            made += [("RGB", moving)]
        case "AVIF":
            made = [("RGB", {}), ("RGBA", {}), ("RGB", extra), ("RGB", {"subsampling": "4:0:0"}), ("RGB", moving)]
        case "HEIC":
            made = [("RGB", {}), ("RGBA", {}), ("RGB", extra), ("L", {}), ("RGB", {"append_images": frames})]
        case "TIFF":
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[0x0112], tags[0x010F], tags[0x8825] = 6, SERIAL.decode(), {1: "S", 2: (33.0, 57.0, 45.0)}
            made = [(mode, {}) for mode in ("RGB", "RGBA", "CMYK", "L", "P", "1", "I;16", "F", "LAB")]
            made += [("RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")]
            made += [("RGB", {"tiffinfo": tags}), ("RGB", moving)]
        case _:
            made = [("P", {}), ("L", {}), ("P", {"transparency": 3}), ("P", {"interlace": False}), ("RGB", moving)]
    found = [
        encoded(picture(number, SMALL, mode), format_name, **options) for number, (mode, options) in enumerate(made)
    ]
    if format_name == "TIFF":
        found += [tiff(), tiff(tile=64)]
    if format_name == "JPEG":
        found += [path.read_bytes() for path in smallest(4)]
    return tuple(found)


def smallest(count: int) -> list[Path]:
    """The files of the smallest real photos."""
    return sorted(PHOTOS.glob("*.jpg"), key=lambda path: (path.stat().st_size, path.name))[:count]

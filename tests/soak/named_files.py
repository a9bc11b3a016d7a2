"""Picture files that were thought of: each hurts in a way of its own, or must not be taken for one that does."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image

from tests.soak.picture_files import (
    FORMATS,
    LARGER,
    chunk,
    directory,
    encoded,
    exif,
    photos,
    picture,
    quarters,
    resized,
    sources,
    tiff,
    with_blocks,
    with_chunks,
    with_exif,
    with_icc,
    with_segments,
)

# What must become of a file: a photo, or an upright one of `quarters`; a refusal; or either of the two.
Must = Literal["open", "upright", "refuse", "either"]
TURNED = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")
BOMB_PX = 8944  # a side; squared it is just within the bound of pixels
FRAMES = 10_000
HTML = b"<!doctype html><script>alert(1)</script><img src=x onerror=alert(2)>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="http://example.org/"/></svg>'


@dataclass(frozen=True, slots=True)
class Case:
    """One file.

    Args:
        format: The format that it is of, or pretends to be of.
        kind: How it hurts.
        name: More precisely.
        must: What must become of it.
        make: Makes its bytes, the same each time.
    """

    format: str
    kind: str
    name: str
    must: Must
    make: Callable[[], bytes]


@cache
def named_cases() -> tuple[Case, ...]:
    """All of them."""
    return (
        *_whole(),
        *_sizes(),
        *_bombs(),
        *_descriptions(),
        *_pieces(),
        *_moving(),
        *_strangers(),
        *_others(),
        *_cuts(),
    )


def _whole() -> Iterator[Case]:
    """Good files: what is safe must also still open."""
    for name in FORMATS:
        for number, source in enumerate(sources(name)):
            yield Case(name, "whole", f"source {number}", "open", lambda source=source: source)
    for name in TURNED:
        for n in range(1, 9):
            options = {"exif": exif(n)} if name != "TIFF" else {"tiffinfo": {0x0112: n}}
            yield Case(name, "turned", f"{n}", "upright", lambda o=options, n=n, f=name: encoded(quarters(n), f, **o))


def _sizes() -> Iterator[Case]:
    sizes = [(1, 65535), (65535, 1), (0, 0), (65535, 65535), (2**31 - 1, 2**31 - 1), (15, 400), (16, 321), (9000, 9000)]
    for name in FORMATS:
        for size in sizes:
            must: Must = (
                "either" if name in ("WEBP", "AVIF", "HEIC") else "refuse"
            )  # which have the true size elsewhere
            yield Case(name, "size", "claims {} x {}".format(*size), must, lambda n=name, s=size: resized(n, *s))
        for size in ((1, 16383), (16383, 1), (321, 16)):
            if name != "HEIC":
                yield Case(
                    name,
                    "size",
                    "is {} x {}".format(*size),
                    "refuse",
                    lambda n=name, s=size: encoded(Image.new("L", s), n),
                )
    yield Case("PNG", "size", "is 1 x 65535", "refuse", lambda: encoded(Image.new("1", (1, 65535)), "PNG"))
    yield Case("TIFF", "size", "is 65535 x 1", "refuse", lambda: encoded(Image.new("1", (65535, 1)), "TIFF"))
    yield Case("GIF", "size", "is 1 x 65535", "refuse", lambda: encoded(Image.new("P", (1, 65535)), "GIF"))


def _bombs() -> Iterator[Case]:
    """The largest pictures taken, in a few bytes; and what costs more than it says."""

    def large(name: str, mode: str, **options: object) -> Case:
        side = 4096 if name == "HEIC" else BOMB_PX  # whose encoder takes long
        words = f"{side} x {side} {mode} {' '.join(map(str, options.values()))}"
        return Case(name, "bomb", words, "open", lambda: encoded(Image.new(mode, (side, side)), name, **options))

    yield large("JPEG", "RGB")
    yield large("JPEG", "RGB", progressive=True)
    yield large("JPEG", "CMYK", progressive=True)
    yield from (large("PNG", mode, compress_level=1) for mode in ("RGBA", "RGB", "P", "I;16", "1"))
    yield large("WEBP", "RGBA", lossless=True, method=0)
    yield large("WEBP", "RGB", method=0)
    yield large("AVIF", "RGB", quality=30)
    yield large("HEIC", "RGB")
    yield from (large("TIFF", mode, compression="tiff_adobe_deflate") for mode in ("RGBA", "F", "I;16", "CMYK"))
    yield large("GIF", "P", transparency=0)
    for name, options in (("JPEG", {"progressive": True}), ("WEBP", {"method": 0})):
        yield Case(name, "bomb", f"{BOMB_PX} x {BOMB_PX}, cut short", "either", lambda n=name, o=options: _half(n, o))
    yield Case("JPEG", "bomb", "200 scans of 64 megapixels", "refuse", lambda: _scans(8000, 200))
    yield Case("JPEG", "bomb", "20 scans of 64 megapixels", "open", lambda: _scans(8000, 14))
    yield Case("JPEG", "bomb", "490 scans", "open", lambda: _scans(96, 480))
    yield Case("JPEG", "bomb", "100,000 scans", "refuse", lambda: _scans(96, 100_000))
    yield Case("PNG", "bomb", "a gigabyte beyond the last row", "open", _endless_png)
    yield Case("TIFF", "bomb", "a tile of 30,000 x 30,000", "refuse", lambda: tiff(tile=30_000))
    yield Case("TIFF", "bomb", "3 million strips", "refuse", lambda: tiff([(273, 4, 3_000_000, 8)], bytes(12_000_000)))
    yield Case("TIFF", "bomb", "30,000 lines of a damaged fax", "refuse", _damaged_fax)
    yield Case("HEIC", "bomb", "grey of more bits than there are", "refuse", deep_grey_heic)
    yield Case("GIF", "bomb", "a frame beyond the screen", "refuse", _outgrown_gif)
    yield Case("TIFF", "bomb", "25,000 fields of 1 MB in a BigTIFF", "refuse", lambda: big_tiff(25_000))
    for header in (b"II+\0", b"MM\0+", b"II\0*", b"MM*\0"):  # Pillow takes the last two, too
        other = f"a TIFF that begins with {header!r}"
        yield Case("TIFF", "bomb", other, "refuse", lambda h=header: h + tiff()[4:])


def _half(name: str, options: dict[str, object]) -> bytes:
    whole = encoded(Image.radial_gradient("L").convert("RGB").resize((BOMB_PX, BOMB_PX)), name, **options)
    return whole[: len(whole) // 2]


def _scans(side: int, more: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    source = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    return source[:-2] + source[source.rindex(b"\xff\xda") : -2] * more + b"\xff\xd9"


def _endless_png() -> bytes:
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(10_000_000)) for _ in range(100)) + packer.flush()
    return sources("PNG")[0][:33] + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _damaged_fax() -> bytes:
    """Of which a decoder may complain line by line."""
    source = encoded(Image.effect_noise((2500, 30_000), 100).convert("1"), "TIFF", compression="group4")
    return source[:1000] + random.Random(0).randbytes(len(source) // 2) + source[1000 + len(source) // 2 :]


def deep_grey_heic() -> bytes:
    """A grey picture that claims 15 bits and has 8: pi_heif writes the others past the end of its memory."""
    source = bytearray(sources("HEIC")[3])
    source[source.index(b"hvcC") + 4 + 17] = 0xFF
    return bytes(source)


def big_tiff(more: int) -> bytes:
    """A TIFF of 64-bit numbers with more fields, each of the same megabyte."""
    pixels = bytes(1_000_000)
    fields = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 16, 1, 16)]
    fields += [(277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 64 * 64)]
    fields += [(40_000 + number, 7, len(pixels), 16) for number in range(more)]
    listed = b"".join(struct.pack("<HHQQ", *field) for field in fields)
    head = struct.pack("<4sHHQ", b"II+\0", 8, 0, 16 + len(pixels))
    return head + pixels + struct.pack("<Q", len(fields)) + listed + bytes(8)


def _outgrown_gif() -> bytes:
    source = bytearray(sources("GIF")[0])
    at = source.index(b",", 13 + (3 << (source[10] & 7) + 1)) + 1
    source[at : at + 8] = struct.pack("<HHHH", 60_000, 60_000, 5_000, 5_000)
    return bytes(source)


def tag_bomb(count: int, size: int) -> bytes:
    """EXIF in which each of many fields claims the same bytes as its own."""
    return directory([(40_000 + number, 7, size, 8) for number in range(count)]).ljust(size + 16, b"x")


def _descriptions() -> Iterator[Case]:
    """EXIF, profiles, comments and previews that are huge, malformed, or in very many pieces."""
    blocks = {
        "2,000 tags of 1 MB in 1 MB": tag_bomb(2000, 1_000_000),
        "5,000 tags of 60 kB in 64 kB": tag_bomb(5000, 60_000),
        "4 MB": directory([(0x927C, 7, 3_000_000, 100)]).ljust(4_000_000, b"x"),
        "a directory in itself": directory([(0x8825, 4, 1, 8), (0x8769, 4, 1, 8), (0x0112, 3, 1, 1)], after=8),
        "a position of 4 billion parts": directory([(0x8825, 4, 1, 26)]) + directory([(2, 5, 2**32 - 1, 8)], at=0),
        "a position at the end": directory([(0x8825, 4, 1, 2**32 - 1)]),
        "the header only": b"MM\0*\0\0\0\x08",
        "65,535 tags, none there": b"II*\0\x08\0\0\0\xff\xff",
        "rubbish": b"II*\0" + random.Random(1).randbytes(5000),
        "nothing": b"",
        "headers of headers": b"Exif\0\0" * 10_000,
    }
    for name in FORMATS:
        for words, block in blocks.items():
            must: Must = "either" if name == "TIFF" else "open"  # where the block is the whole file
            yield Case(name, "exif", words, must, lambda n=name, b=block: with_exif(n, b))
        for words, profile in {
            "3 MB": random.Random(2).randbytes(3_000_000),
            "zeros": bytes(1_000_000),
            "empty": b"",
            "short": b"\xff\xff\xff\xff",
        }.items():
            yield Case(name, "icc", words, "open", lambda n=name, p=profile: with_icc(n, p))


def _pieces() -> Iterator[Case]:
    def pieces(name: str, words: str, must: Must, make: Callable[[], bytes]) -> Case:
        return Case(name, "pieces", words, must, make)

    small_exif = b"Exif\0\0" + bytes(90)
    profile = b"icc\0\0" + zlib.compress(bytes(1_000_000))
    yield pieces("JPEG", "2,000,000 comments", "refuse", lambda: with_segments([(0xFE, b"")] * 2_000_000))
    yield pieces("JPEG", "250,000 pieces of EXIF", "refuse", lambda: with_segments([(0xE1, small_exif)] * 250_000))
    yield pieces("JPEG", "90,000 comments", "open", lambda: with_segments([(0xFE, b"")] * 90_000))
    yield pieces("JPEG", "90,000 pieces of EXIF", "open", lambda: with_segments([(0xE1, small_exif)] * 90_000))
    yield pieces("JPEG", "400 tables", "open", lambda: with_segments([(0xDB, b"\0" + b"\1" * 64)] * 400))
    yield pieces("JPEG", "200,000 tables", "refuse", lambda: with_segments([(0xDB, b"")] * 200_000))
    yield pieces("PNG", "90,000 chunks", "open", lambda: with_chunks([(b"abCd", b"")] * 90_000))
    yield pieces("PNG", "2,000,000 chunks", "refuse", lambda: with_chunks([(b"abCd", b"")] * 2_000_000))
    yield pieces("PNG", "20,000 profiles", "open", lambda: with_chunks([(b"iCCP", profile)] * 20_000))
    yield pieces("PNG", "20,000 texts", "open", lambda: with_chunks([(b"zTXt", b"a\0\0" + profile[5:])] * 20_000))
    yield pieces("GIF", "a comment of 20 MB", "open", lambda: with_blocks([(0xFE, bytes(20_000_000))]))
    yield pieces("GIF", "a comment in a million", "refuse", lambda: with_blocks([(0xFE, bytes(1_000_000))], size=1))
    yield pieces("GIF", "90,000 comments", "open", lambda: with_blocks([(0xFE, b"")] * 90_000))
    for name in ("AVIF", "HEIC"):
        boxes = struct.pack(">L4s", 8, b"free")
        yield pieces(name, "90,000 boxes", "open", lambda n=name, b=boxes: sources(n)[0] + b * 90_000)
        yield pieces(name, "2,000,000 boxes", "refuse", lambda n=name, b=boxes: sources(n)[0] + b * 2_000_000)
    yield pieces("HEIC", "900 names for 1 MB of EXIF", "open", _heic_of_many_names)
    yield pieces("TIFF", "60,000 fields of 1 MB", "open", _tiff_of_many_fields)
    yield pieces(
        "TIFF", "a resolution of 500,000 numbers", "open", lambda: tiff([(282, 5, 500_000, 8)], bytes(4_000_000))
    )
    yield pieces("WEBP", "300,000 chunks", "either", lambda: _webp_of([b"abcd\0\0\0\0"] * 300_000))


def _tiff_of_many_fields() -> bytes:
    taken = {256, 257, 258, 259, 262, 266, *range(270, 300), 317, *range(320, 350), *range(512, 540)}
    fields = [(tag, 7, 1_000_000, 8) for tag in range(2, 65_000) if tag not in taken]
    return tiff(fields, bytes(1_000_000))


def _webp_of(chunks: list[bytes]) -> bytes:
    source = sources("WEBP")[0]
    body = b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<L", 95)[:3] + struct.pack("<L", 71)[:3] + b"".join(chunks)
    body += source[12:]
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _heic_of_many_names() -> bytes:
    """Nine hundred items that are all the same megabyte of EXIF, each tied to the picture."""
    block = exif().ljust(1_000_000, b"x")
    source = encoded(picture(), "HEIC", exif=block)
    kinds = (b"hdlr", b"iloc", b"iinf", b"pitm", b"iprp", b"iref")
    at = source.index(b"meta") - 4
    (size,) = struct.unpack_from(">L", source, at)
    meta = source[at : at + size]
    boxes = {}
    for kind in kinds:
        start = meta.index(kind) - 4
        boxes[kind] = meta[start + 8 : start + struct.unpack_from(">L", meta, start)[0]]
    names = range(3, 903)

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L4s", len(body) + 8, kind) + body

    def rebuilt(moved: int) -> bytes:
        rows = [boxes[b"iloc"][start : start + 18] for start in (8, 26)]
        rows += [struct.pack(">H", name) + rows[1][2:] for name in names]
        places = b"".join(r[:10] + struct.pack(">L", struct.unpack_from(">L", r, 10)[0] + moved) + r[14:] for r in rows)
        items = [box(b"infe", b"\2\0\0\1" + struct.pack(">HH", name, 0) + b"Exif\0") for name in names]
        ties = [box(b"cdsc", struct.pack(">HHH", name, 1, 1)) for name in names]
        new = boxes | {
            b"iloc": boxes[b"iloc"][:6] + struct.pack(">H", len(rows)) + places,
            b"iinf": boxes[b"iinf"][:4] + struct.pack(">H", len(rows)) + boxes[b"iinf"][6:] + b"".join(items),
            b"iref": boxes[b"iref"] + b"".join(ties),
        }
        return box(b"meta", meta[8:12] + b"".join(box(kind, new[kind]) for kind in kinds))

    return source[:at] + rebuilt(len(rebuilt(0)) - size) + source[at + size :]


def _moving() -> Iterator[Case]:
    """Ten thousand frames or pages, of which only the first is of use."""
    yield Case("GIF", "frames", f"{FRAMES:,}", "open", _moving_gif)
    yield Case("PNG", "frames", f"{FRAMES:,}", "open", _moving_png)
    yield Case("WEBP", "frames", f"{FRAMES:,}", "open", _moving_webp)
    yield Case("TIFF", "frames", f"{FRAMES:,} pages", "open", _long_tiff)
    yield Case("TIFF", "frames", "a page that follows itself", "open", lambda: tiff(after=8 + 64 * 64))
    frames = [picture(number) for number in range(3)]
    for name in ("AVIF", "HEIC"):
        options = {"append_images": frames * 15} | ({"save_all": True} if name == "AVIF" else {})
        yield Case(name, "frames", "many", "open", lambda n=name, o=options: encoded(picture(), n, **o))


def _moving_gif() -> bytes:
    source = encoded(picture(0, (32, 24), "P"), "GIF")
    at = 13 + (3 << (source[10] & 7) + 1)
    return source[:at] + source[at:-1] * FRAMES + b";"


def _moving_png() -> bytes:
    source = sources("PNG")[0]
    data = source[source.index(b"IDAT") + 4 : -16]
    made = [chunk(b"acTL", struct.pack(">LL", FRAMES, 0))]
    for number in range(FRAMES):
        control = struct.pack(">LLLLLHHBB", 2 * number, 96, 72, 0, 0, 1, 10, 0, 0)
        made += [chunk(b"fcTL", control), chunk(b"fdAT", struct.pack(">L", 2 * number + 1) + data[:50])]
    return source[:33] + made[0] + source[33:-12] + b"".join(made[1:]) + source[-12:]


def _moving_webp() -> bytes:
    source = sources("WEBP")[4]
    start = source.index(b"ANMF")
    end = start + 8 + struct.unpack_from("<L", source, start + 4)[0]
    body = source[8:start] + source[start:end] * (FRAMES // 10) * 10
    return b"RIFF" + struct.pack("<L", len(body)) + body


def _long_tiff() -> bytes:
    first = tiff(after=1)
    page = len(first) - (8 + 64 * 64)
    body = first[8 + 64 * 64 : -4]
    starts = [8 + 64 * 64 + page * number for number in range(FRAMES)]
    return (
        first[: 8 + 64 * 64]
        + b"".join(body + struct.pack("<L", start + page) for start in starts[:-1])
        + body
        + bytes(4)
    )


def _strangers() -> Iterator[Case]:
    """What is no picture, whatever its name; and what is a picture and something else besides."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.html", HTML)
    strangers = {
        "nothing": b"",
        "a byte": b"\xff",
        "zeros": bytes(100_000),
        "HTML": HTML,
        "SVG": SVG,
        "SVG after a mark": b"\xef\xbb\xbf<?xml version='1.0'?>" + SVG,
        "text": b"48.8584, 2.2945\n" * 1000,
        "a zip": packed.getvalue(),
        "a PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "a program": b"\x7fELF\x02\x01\x01" + bytes(200),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
        "a film": struct.pack(">L4s4sL", 24, b"ftyp", b"isom", 0) + b"isommp42" + bytes(100),
        "a pickle": b"cposix\nsystem\n(S'exit 1'\ntR.",
    }
    for words, data in strangers.items():
        yield Case("none", "stranger", words, "refuse", lambda d=data: d)
    for name in FORMATS:
        source = sources(name)[0]
        for size in (1, 2, 4, 8, 12, 16, 32):
            yield Case(name, "stranger", f"its first {size} bytes", "refuse", lambda s=source, n=size: s[:n])
        yield Case(name, "polyglot", "after HTML", "refuse", lambda s=source: HTML + s)
        for words, tail in {
            "HTML": HTML,
            "a zip": packed.getvalue(),
            "20 MB": bytes(20_000_000),
            "itself": source,
        }.items():
            yield Case(name, "polyglot", f"before {words}", "open", lambda s=source, t=tail: s + t)
        for other in FORMATS:
            if other != name:
                head = sources(other)[0]
                yield Case(name, "polyglot", f"after {other}'s head", "either", lambda s=source, h=head: h[:40] + s)
                yield Case(name, "polyglot", f"named as {other}", "either", lambda s=source, h=head: h[:12] + s[12:])
    script = b"GIF89a/*" + sources("GIF")[0][8:] + b"*/=alert(1)"
    yield Case("GIF", "polyglot", "a script", "either", lambda: script)
    yield Case("JPEG", "polyglot", "a script in a comment", "open", lambda: with_segments([(0xFE, b"*/=alert(1)/*")]))


def _others() -> Iterator[Case]:
    """Formats that are not taken, rarer kinds of those that are, and JPEG frames that lie."""
    noise = Image.effect_noise((120, 80), 60).convert("RGB")
    for name in (
        *("BMP", "DIB", "JPEG2000", "ICO", "ICNS", "PPM", "TGA", "PCX", "SGI", "DDS", "IM", "QOI", "EPS", "PDF"),
    ):
        yield Case("none", "format", name, "refuse", lambda n=name: encoded(noise, n))
    heads = {
        "JPEG XL": b"\xff\x0a",
        "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n",
        "Photoshop": b"8BPS\0\1",
        "RAF": b"FUJIFILMCCD-RAW ",
        "RW2": b"IIU\0\x18\0\0\0",
        "ORF": b"IIRO\x08\0\0\0",
        "CR3": struct.pack(">L", 24) + b"ftypcrx \0\0\0\1crx isom",
        "an AVIF of frames without any": struct.pack(">L", 24) + b"ftypavis\0\0\0\0mif1avis",
        "a sound": b"RIFF" + struct.pack("<L", 100) + b"WAVE",
    }
    for words, head in heads.items():
        yield Case("none", "format", words, "refuse", lambda h=head: h + bytes(200))
    for packing in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg"):
        yield Case("TIFF", "format", packing, "open", lambda c=packing: encoded(noise, "TIFF", compression=c))
    for packing in ("lzma", "zstd"):
        yield Case("TIFF", "format", packing, "refuse", lambda c=packing: encoded(noise, "TIFF", compression=c))
    for options in ({"subsampling": 0}, {"keep_rgb": True}, {"restart_marker_blocks": 1}, {"quality": 1}):
        yield Case("JPEG", "format", f"{options}", "open", lambda o=options: encoded(noise, "JPEG", **o))
    yield Case("JPEG", "format", "several in one", "open", lambda: encoded(noise, "MPO", append_images=[noise] * 20))
    yield Case("JPEG", "format", "no pictures, only tables", "refuse", lambda: encoded(noise, "JPEG", streamtype=1))
    whole = encoded(noise, "JPEG")
    frame = whole.index(b"\xff\xc0")

    def lying(words: str, at: int, value: bytes) -> Case:
        return Case("JPEG", "format", words, "either", lambda: whole[: frame + at] + value + whole[frame + at + 1 :])

    for kind in range(0xC1, 0xCC):
        yield lying(f"a frame of kind {kind:#x}", 1, bytes([kind]))
    for number in (0, 1, 12, 16, 255):
        yield lying(f"{number} bits", 4, bytes([number]))
        yield lying(f"{number} parts", 9, bytes([number]))
        yield lying(f"parts sampled {number}", 11, bytes([number]))


def _cuts() -> Iterator[Case]:
    """A file of each format, cut short after every kilobyte."""
    for name in FORMATS:
        whole = encoded(photos()[2].resize(LARGER), name)
        for kilobytes in range(1, len(whole) // 1024 + 1):
            yield Case(name, "cut", f"after {kilobytes} kB", "either", lambda w=whole, k=kilobytes: w[: k * 1024])

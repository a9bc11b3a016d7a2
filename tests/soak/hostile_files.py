"""Picture files made to hurt: those that were thought of, then any number that a seed makes up.

case(seed=0, index=0)  # the same bytes each time
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from tests.soak.named_files import Case, named_cases
from tests.soak.picture_files import FORMATS, directory, resized, sources, with_exif, with_icc

EXTREMES = (0, 1, 2, 15, 16, 255, 401, 16383, 16384, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
HEAD = 400  # bytes in which most of a file's numbers stand

Made = Callable[[random.Random, str], bytes]


def case(seed: int, index: int) -> Case:
    """The file of a number: first the named ones, then those of the seed."""
    named = named_cases()
    if index < len(named):
        return named[index]
    rng = random.Random(f"{seed}:{index}")
    (kind,) = rng.choices(list(MADE_UP), [weight for weight, _ in MADE_UP.values()])
    format_name = rng.choice(FORMATS)
    state = rng.getstate()

    def make() -> bytes:
        rng.setstate(state)
        data = MADE_UP[kind][1](rng, format_name)
        return _with_sums(data) if format_name == "PNG" and rng.random() < 0.7 else data

    return Case(format_name, kind, f"seed {seed}, number {index}", "either", make)


def _with_sums(png: bytes) -> bytes:
    """Put a PNG's check sums right, without which no decoder looks at a chunk."""
    data = bytearray(png)
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def _source(rng: random.Random, format_name: str) -> bytearray:
    return bytearray(rng.choice(sources(format_name)))


def _bytes_changed(rng: random.Random, format_name: str) -> bytes:
    data = _source(rng, format_name)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _bits_changed(rng: random.Random, format_name: str) -> bytes:
    data = _source(rng, format_name)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _numbers_changed(rng: random.Random, format_name: str) -> bytes:
    """Extreme numbers in the head, where sizes and offsets stand."""
    data = _source(rng, format_name)
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = rng.choice((1, 2, 4))
        at = rng.randrange(min(HEAD, len(data) - size))
        value = rng.choice(EXTREMES) + rng.choice((0, 0, 0, -1, 1))
        data[at : at + size] = (value % 256**size).to_bytes(size, rng.choice(("little", "big")))
    return bytes(data)


def _spliced(rng: random.Random, format_name: str) -> bytes:
    """Parts taken out, put in again elsewhere, or taken from another file."""
    data = _source(rng, format_name)
    for _ in range(rng.choice((1, 1, 2, 3))):
        donor = data if rng.random() < 0.6 else _source(rng, rng.choice(FORMATS))
        start = rng.randrange(len(donor))
        piece = donor[start : start + rng.choice((1, 4, 12, 60, 500, 4000))] * rng.choice((1, 1, 1, 3, 40))
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.choice((0, 0, len(piece), rng.randrange(200)))] = piece
    return bytes(data)


def _shortened(rng: random.Random, format_name: str) -> bytes:
    data = _source(rng, format_name)
    return bytes(data[: rng.randrange(len(data))]) + rng.choice((b"", b"", bytes(2000), rng.randbytes(200)))


def _resized(rng: random.Random, format_name: str) -> bytes:
    return resized(format_name, rng.choice(EXTREMES), rng.choice((*EXTREMES, rng.randrange(1, 20_000))))


def _described(rng: random.Random, format_name: str) -> bytes:
    """EXIF of any fields that point anywhere."""
    order = rng.choice("<>")
    tags = (0x0112, 0x8825, 0x8769, 1, 2, 3, 4, 0x010F, 0x011A, 0x9286, 0x927C, 0xA005, 282, 34675, 700, 0x4747)
    counts = (0, 1, 1, 2, 3, 3, 100, 60_000, *EXTREMES)
    fields = [
        (rng.choice(tags), rng.randrange(14), rng.choice(counts), rng.choice((8, rng.randrange(400), *EXTREMES)))
        for _ in range(rng.randrange(40))
    ]
    block = directory(fields, order=order, after=rng.choice((0, 8, 2**32 - 1))) + rng.randbytes(rng.randrange(300))
    return with_exif(format_name, rng.choice((b"", b"Exif\0\0")) + block)


def _coloured(rng: random.Random, format_name: str) -> bytes:
    header = struct.pack(">L4sL4s4s4s", rng.choice(EXTREMES), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    return with_icc(format_name, header + rng.randbytes(rng.randrange(500)) * rng.choice((1, 1, 50)))


def _rubbish(rng: random.Random, format_name: str) -> bytes:
    return rng.choice(sources(format_name))[: rng.choice((0, 2, 3, 4, 8, 12, 16, 40))] + rng.randbytes(
        rng.randrange(3000)
    )


# How often each kind is made up, and by what.
MADE_UP: dict[str, tuple[int, Made]] = {
    "bytes": (30, _bytes_changed),
    "bits": (15, _bits_changed),
    "numbers": (25, _numbers_changed),
    "spliced": (12, _spliced),
    "shortened": (8, _shortened),
    "size": (2, _resized),
    "exif": (5, _described),
    "icc": (1, _coloured),
    "rubbish": (2, _rubbish),
}

"""Our reader of EXIF beside Pillow's, and on blocks that were made to hurt."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from img2loc.geo.sphere import haversine_km
from img2loc.photo.exif import Exif, read_exif
from img2loc.types import LatLon

ORIENTATION, GPS = 0x0112, 0x8825
CAPE_TOWN = LatLon(-33.9625, 18.409444)


def block(orientation: object = 1, gps: dict[int, object] | None = None) -> bytes:
    """EXIF as Pillow writes it."""
    written = Image.Exif()
    written[ORIENTATION] = orientation
    written.get_ifd(GPS).update(gps or {})
    return written.tobytes()


def directory(order: str, *fields: tuple[int, int, int, bytes], at: int = 8) -> bytes:
    """EXIF by hand: tag, type, count and four bytes of each field, then nothing."""
    packed = b"".join(struct.pack(f"{order}HHL", *field[:3]) + field[3] for field in fields)
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, at, len(fields)) + packed + bytes(4)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_a_cameras_exif_is_read(prefix):
    raw = block(6, {1: "S", 2: (33.0, 57.0, 45.0), 3: "E", 4: (18.0, 24.0, 34.0)}).removeprefix(b"Exif\0\0")
    found = read_exif(prefix + raw)
    assert found.orientation == 6 and haversine_km(found.position, CAPE_TOWN) < 0.1


@settings(max_examples=100, deadline=None)
@given(
    orientation=st.integers(0, 9),
    lat=st.tuples(st.integers(0, 90), st.integers(0, 60), st.fractions(0, 60, max_denominator=10_000)),
    lon=st.tuples(st.integers(0, 181), st.integers(0, 60), st.fractions(0, 60, max_denominator=10_000)),
    refs=st.tuples(st.sampled_from("NSnsx"), st.sampled_from("EWew")),
)
def test_it_reads_what_pillow_reads(orientation, lat, lon, refs):
    def rationals(values):
        return tuple(
            TiffImagePlugin.IFDRational(Fraction(value).numerator, Fraction(value).denominator) for value in values
        )

    raw = block(orientation, {1: refs[0], 2: rationals(lat), 3: refs[1], 4: rationals(lon)})
    read = Image.Exif()
    read.load(raw)
    degrees = [sum(float(part) / 60**n for n, part in enumerate(read.get_ifd(GPS)[tag])) for tag in (2, 4)]
    signs = [-1 if read.get_ifd(GPS)[tag].upper() in ("S", "W") else 1 for tag in (1, 3)]
    try:
        expected = LatLon(degrees[0] * signs[0], degrees[1] * signs[1]) if any(degrees) else None
    except ValueError:
        expected = None
    if refs[0] == "x" or lat[1] == 60 or lon[1] == 60:
        expected = None
    found = read_exif(raw)
    assert found.orientation == (orientation if 1 <= orientation <= 8 else 1)
    assert (found.position is None) == (expected is None)
    assert expected is None or haversine_km(found.position, expected) < 1e-6


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order):
    assert read_exif(directory(order, (ORIENTATION, 3, 1, struct.pack(f"{order}HH", 8, 0)))).orientation == 8


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"II",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0" * 1000,
        directory("<", (ORIENTATION, 3, 1, b"\x09\0\0\0")),
        directory("<", (ORIENTATION, 2, 1, b"x\0\0\0")),
        directory("<", (ORIENTATION, 99, 1, b"\6\0\0\0")),
        directory("<", (ORIENTATION, 3, 2**32 - 1, b"\6\0\0\0")),
        directory("<", (ORIENTATION, 11, 1, struct.pack("<f", float("nan")))),
        directory("<", (ORIENTATION, 12, 1, struct.pack("<L", 2**32 - 1))),
        directory("<", (GPS, 4, 1, struct.pack("<L", 2**32 - 1))),
        directory("<", (GPS, 4, 1, struct.pack("<L", 8))),
        directory("<", (GPS, 11, 1, struct.pack("<f", float("inf")))),
        directory("<", (GPS, 11, 1, struct.pack("<f", 1e38))),
        directory("<", (GPS, 4, 0, bytes(4))),
    ],
)
def test_rubbish_says_nothing(raw):
    assert read_exif(raw) == Exif()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["<", ">"]),
    st.lists(
        st.tuples(
            st.sampled_from([ORIENTATION, GPS, 1, 2, 3, 4]),
            st.integers(0, 13),
            st.integers(0, 2**32 - 1) | st.integers(0, 9),
            st.binary(min_size=4, max_size=4) | st.sampled_from([b"\x08\0\0\0", b"\0\0\0\x08"]),
        ),
        max_size=12,
    ),
    st.binary(max_size=60),
)
def test_no_block_raises(order, fields, tail):
    found = read_exif(directory(order, *fields) + tail)
    assert found.orientation in range(1, 9)
    assert found.position is None or isinstance(found.position, LatLon)

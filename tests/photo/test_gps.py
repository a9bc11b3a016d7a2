"""Positions as software writes them into EXIF and XMP: one rule for hemispheres and ranges."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from img2loc.photo.decode import exif_position, open_photo
from img2loc.photo.exif import read_exif
from img2loc.photo.gps import read_angle
from img2loc.photo.xmp import MAX_BYTES, read_xmp
from tests.soak.picture_files import encoded, picture, with_chunks, with_exif, with_segments

CASES = Path(__file__).parent / "cases"  # one picture of our own, and a part of another
AUCKLAND = "-36.80400, 174.72650"
PARIS = "48.85840, 2.29450"
BYTE, ASCII, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE, IFD = 1, 2, 4, 5, 7, 10, 12, 13
LAT, LON = ((48, 1), (51, 1), (3024, 100)), ((2, 1), (17, 1), (4020, 100))

Field = tuple[int, object]  # its type, and its numbers or text


def block(fields: dict[int, Field], order: str = "<", pointer: int = LONG) -> bytes:
    """EXIF with a GPS directory, packed by hand, as no library would."""
    at, listed, data = 26 + 2 + 12 * len(fields) + 4, b"", b""
    for tag, (kind, value) in sorted(fields.items()):
        if isinstance(value, str):
            raw, count = value.encode(), len(value.encode())
        else:
            form = {BYTE: "B", LONG: "L", RATIONAL: "LL", SRATIONAL: "ll", DOUBLE: "d"}[kind]
            raw, count = (
                b"".join(struct.pack(order + form, *v if isinstance(v, tuple) else (v,)) for v in value),
                len(value),
            )
        if len(raw) <= 4:
            place = raw.ljust(4, b"\0")
        else:
            place, data = struct.pack(f"{order}L", at + len(data)), data + raw
        listed += struct.pack(f"{order}HHL", tag, kind, count) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, 1)
    head += struct.pack(f"{order}HHLLL", 0x8825, pointer, 1, 26, 0)
    return head + struct.pack(f"{order}H", len(fields)) + listed + bytes(4) + data


def fields(lat: object = LAT, lon: object = LON, refs: tuple[str | None, str | None] = ("N\0", "E\0"), kind=RATIONAL):
    made = {2: (kind, lat), 4: (kind, lon)}
    return made | {tag: (ASCII, ref) for tag, ref in zip((1, 3), refs, strict=True) if ref is not None}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("gps", "where"),
    [
        (fields(), PARIS),
        (fields(((48, 1), (51504, 1000), (0, 0)), ((2, 1), (17670, 1000), (0, 0))), PARIS),
        (fields(((48, 1), (51504, 1000)), ((2, 1), (17670, 1000))), PARIS),
        (fields(((488584, 10000), (0, 0), (0, 0)), ((22945, 10000), (0, 0), (0, 0))), PARIS),
        (fields(((488584, 10000),), ((22945, 10000),)), PARIS),
        (fields(((48, 1), (51, 1), (60, 1))), "48.86667, 2.29450"),
        (fields(refs=("n\0", "e\0")), PARIS),
        (fields(refs=("North\0", "east\0")), PARIS),
        (fields(refs=("South latitude\0", "West longitude\0")), "-48.85840, -2.29450"),
        (fields(refs=(" S\0", " W")), "-48.85840, -2.29450"),
        (fields(refs=("S", "W\0\0\0")), "-48.85840, -2.29450"),
        (fields(((-36, 1), (48, 1), (144, 10)), LON, kind=SRATIONAL), "-36.80400, 2.29450"),
        (fields(((-36, 1), (48, 1), (144, 10)), LON, ("S\0", "E\0"), SRATIONAL), "-36.80400, 2.29450"),
        (fields(((-36, 1), (-48, 1), (-144, 10)), LON, kind=SRATIONAL), "-36.80400, 2.29450"),
        (fields(((0, 1), (-48, 1), (-144, 10)), LON, kind=SRATIONAL), "-0.80400, 2.29450"),
        (fields([48.8584, 0.0, 0.0], [2.2945, 0.0, 0.0], kind=DOUBLE), PARIS),
        (fields("48,51.504N\0", "2,17.670E\0", (None, None), ASCII), PARIS),
        (fields("48 51 30.24\0", "2 17 40.2\0", kind=ASCII), PARIS),
        (fields("48/1,51/1,3024/100\0", "2/1,17/1,4020/100\0", kind=ASCII), PARIS),
        (fields("48 deg 51' 30.24\" N\0", "2 deg 17' 40.20\" E\0", (None, None), ASCII), PARIS),
        (fields("48°51'30.24\"\0", "2°17'40.20\"\0", kind=ASCII), PARIS),
        (fields("48\ufffd51'30.24\"\0", "2\ufffd17'40.20\"\0", kind=ASCII), PARIS),
        (fields("48.8584\0", "2.2945\0", ("s\0", "w\0"), ASCII), "-48.85840, -2.29450"),
        (fields(((0, 1), (0, 1), (0, 1))), "0.00000, 2.29450"),
        (fields(lon=((0, 1), (0, 1), (0, 1))), "48.85840, 0.00000"),
        (fields(((90, 1), (0, 1), (0, 1)), ((180, 1), (0, 1), (0, 1))), "90.00000, -180.00000"),
        # No position: what is missing or makes no sense is never filled in.
        (fields(refs=(None, None)), "None"),
        (fields(refs=("N\0", None)), "None"),
        (fields(refs=("\0", "\0")), "None"),
        (fields(refs=(" \0", " \0")), "None"),
        (fields(refs=("?\0", "E\0")), "None"),
        (fields(refs=("E\0", "N\0")), "None"),
        (fields(refs=("Nowhere\0", "E\0")), "None"),
        (fields(((48, 1), (51, 1), (66448, 1))), "None"),
        (fields(((48, 1), (60, 1), (0, 1))), "None"),
        (fields(((48, 1), (8584, 1), (0, 0))), "None"),
        (fields(((48, 1), (51, 1), (-30, 1)), kind=SRATIONAL), "None"),
        (fields(((4294967248, 1), (51, 1), (0, 1))), "None"),
        (fields(((91, 1), (0, 1), (0, 1))), "None"),
        (fields(lon=((180, 1), (0, 1), (1, 1))), "None"),
        (fields(((0, 0), (0, 0), (0, 0)), ((0, 0), (0, 0), (0, 0))), "None"),
        (fields(((48, 0), (0, 1), (0, 1))), "None"),
        (fields(((48, 1), (51, 0), (0, 1))), "None"),
        (fields(((48, 1),)), "None"),
        (fields(((48, 1), (51, 1), (30, 1), (2, 1))), "None"),
        (fields(((0, 1), (0, 1), (0, 1)), ((0, 1), (0, 1), (0, 1))), "None"),
        (fields("0\0", "0\0", kind=ASCII), "None"),
        (fields("48.8584\0", "2.2945\0", (None, None), ASCII), "None"),
        (fields("unknown\0", "unknown\0", kind=ASCII), "None"),
        (fields("1e1\0", "1e1\0", kind=ASCII), "None"),
    ],
)
def test_exif_as_software_writes_it(gps, where, order):
    for pointer in (LONG, IFD):
        assert str(read_exif(block(gps, order, pointer)).position) == where


@pytest.mark.parametrize(
    ("text", "hemisphere", "degrees"),
    [
        ("48,51.504N", "", 48.8584),
        ("48,51,30N", "", 48.858333),
        ("48,51,30.24S", "", -48.8584),
        ("N 48 51 30.24", "", 48.8584),
        ("S48.8584", "", -48.8584),
        ("-48.8584", "South", -48.8584),
        ("48,8584N", "", math.nan),  # a decimal comma would be 8,584 minutes
        ("48,51.504", "", math.nan),
        ("48,51.504O", "", math.nan),
        ("48..5N", "", math.nan),
        ("48/0,1,1N", "", math.nan),
        ("48,51,30,2N", "", math.nan),
        ("N", "N", math.nan),
        ("1" * 60_000 + "N", "", math.nan),
        ("1 " * 30 + "N", "", math.nan),
        ("°" * 62 + "1", "N", math.nan),
    ],
)
def test_angles_as_text(text, hemisphere, degrees):
    assert read_angle(text, hemisphere, "NS") == pytest.approx(degrees, abs=1e-6, nan_ok=True)


def packet(inside: str = "", *, attributes: str = "", head: str = "") -> bytes:
    return (
        f"{head}<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description xmlns:exif='http://ns.adobe.com/exif/1.0/' {attributes}>{inside}</rdf:Description>"
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def as_attributes(lat: str, lon: str, more: str = "") -> bytes:
    return packet(attributes=f'exif:GPSLatitude="{lat}" exif:GPSLongitude="{lon}" {more}')


XMP = as_attributes("48,51.504N", "2,17.670E")
ENTITY = "<!DOCTYPE x [<!ENTITY a 'N'><!ENTITY b '" + "&a;" * 10 + "'>]>"
REFS = 'exif:GPSLatitudeRef="S" exif:GPSLongitudeRef="W"'


@pytest.mark.parametrize(
    ("xml", "where"),
    [
        (XMP, PARIS),
        (
            packet(
                "<exif:GPSLatitude>48,51.504N</exif:GPSLatitude><exif:GPSLongitude>\n2,17.670E </exif:GPSLongitude>"
            ),
            PARIS,
        ),
        (as_attributes("48,51,30.24N", "2,17,40.2E"), PARIS),
        (as_attributes("48.8584", "2.2945"), PARIS),
        (as_attributes("-48.8584", "-2.2945"), "-48.85840, -2.29450"),
        (as_attributes("48.8584", "2.2945", REFS), "-48.85840, -2.29450"),
        (as_attributes("48.8584N", "2.2945W"), "48.85840, -2.29450"),
        (as_attributes("0,0.0N", "32,30.0E"), "0.00000, 32.50000"),
        (XMP.replace(b"exif:", b"e:").replace(b"xmlns:exif", b"xmlns:e"), PARIS),
        (XMP.replace(b"x:xmpmeta", b"x:xapmeta"), PARIS),
        (XMP[XMP.index(b"<rdf:RDF") : -len(b"</x:xmpmeta>")], PARIS),
        (
            b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?>"
            + XMP
            + b"\n" * 2000
            + b"<?xpacket end='w'?>",
            PARIS,
        ),
        (as_attributes("0,0.0N", "0,0.0E"), "None"),
        (as_attributes("48,51.504", "2,17.670"), "None"),
        (as_attributes("48,66448N", "2,17.670E"), "None"),
        (as_attributes("91.0", "2.0"), "None"),
        (as_attributes("", ""), "None"),
        (as_attributes("nan", "inf"), "None"),
        (packet("<exif:GPSLatitude>48,51.504N</exif:GPSLatitude>"), "None"),
        (packet(), "None"),
        (XMP[:-30], "None"),
        (XMP.replace(b"<rdf:Desc", b"<rdf:Desc & "), "None"),
        (XMP.replace(b"exif/1.0", b"other/1.0"), "None"),
        (packet("<a>" * 100_000), "None"),
        (packet("<a>" * 50_000 + "</a>" * 50_000), "None"),
        (packet("x" * MAX_BYTES), "None"),
        (packet("<exif:GPSLatitude>48,51.504&b;</exif:GPSLatitude>", head=ENTITY), "None"),
        (packet(ENTITY + "<exif:GPSLatitude>48,51.504&b;</exif:GPSLatitude>"), "None"),
    ],
)
def test_xmp_as_software_writes_it(xml, where):
    assert str(read_xmp(b"before" + xml + b"after")) == where


def in_file(format_name: str, xml: bytes) -> bytes:
    if format_name == "JPEG":
        return with_segments([(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xml)])
    if format_name == "PNG":
        return with_chunks([(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xml)])
    options = {"tiffinfo": {700: xml}} if format_name == "TIFF" else {"xmp": xml}
    return encoded(picture(), format_name, **options)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_position_in_xmp_alone_is_read_and_called_so(format_name):
    data = in_file(format_name, XMP)
    photo = open_photo(data)
    assert (photo.exif_position, str(photo.xmp_position)) == (None, PARIS)
    assert str(exif_position(data)) == "None"
    assert not photo.image.info and b"xmpmeta" not in photo.jpeg


@pytest.mark.parametrize(
    ("name", "exif_position", "xmp_position"),
    [
        ("02-seconds-0-0", AUCKLAND, "None"),
        ("03-two-values", AUCKLAND, "None"),
        ("05-no-refs", "None", "None"),
        ("07-lower-refs", AUCKLAND, "None"),
        ("11-ref-blank", AUCKLAND, "None"),
        ("12-ref-empty", "None", "None"),
        ("14-srational-negative-N", AUCKLAND, "None"),
        ("15-srational-negative-S", AUCKLAND, "None"),
        ("17-seconds-66448", "None", "None"),
        ("23-ifd-pointer-type-13", AUCKLAND, "None"),
        ("24-zero-zero", "None", "None"),
        ("25-lat-equator", "0.00000, 32.50000", "None"),
        ("40-xmp-exif", "None", AUCKLAND),
        ("42-xmp-then-exif", AUCKLAND, "None"),
    ],
)
def test_files_with_odd_metadata(name, exif_position, xmp_position):
    photo = open_photo((CASES / f"{name}.jpg").read_bytes())
    assert (str(photo.exif_position), str(photo.xmp_position)) == (exif_position, xmp_position)


def test_exif_goes_before_xmp():
    raw = with_segments([(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + as_attributes("1.5", "2.5"))])
    photo = open_photo(with_segments([(0xE1, b"Exif\0\0" + block(fields()))], raw))
    assert (str(photo.exif_position), photo.xmp_position) == (PARIS, None)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_every_format_brings_its_exif(format_name):
    assert with_exif(format_name, block(fields()))
    assert str(open_photo(with_exif(format_name, block(fields()))).exif_position) == PARIS

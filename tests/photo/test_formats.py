"""What is cut off a file before a decoder sees it, and what is kept."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from img2loc.errors import PhotoError
from img2loc.photo.decode import open_photo
from img2loc.photo.formats import MAX_PARTS, MAX_SCANS, strip
from tests.soak.named_files import tag_bomb
from tests.soak.picture_files import (
    FORMATS,
    SERIAL,
    encoded,
    exif,
    picture,
    sources,
    tiff,
    with_blocks,
    with_chunks,
    with_exif,
    with_icc,
    with_segments,
)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "TIFF", "AVIF", "WEBP"])
def test_the_pixels_stay_the_same(format_name):
    for source in sources(format_name):
        if Image.open(io.BytesIO(source)).getexif().get(0x0112, 1) == 1:  # Pillow turns a TIFF as it opens it
            assert np.array_equal(pixels(strip(source)[0]), pixels(source))


def test_descriptions_are_cut_off():
    described = {
        "JPEG": with_segments(
            [(0xFE, SERIAL), (0xE1, b"Exif\0\0" + SERIAL), (0xE2, b"MPF\0" + SERIAL), (0xED, SERIAL)]
        ),
        "PNG": with_chunks([(b"tEXt", b"a\0" + SERIAL), (b"eXIf", SERIAL), (b"acTL", bytes(8)), (b"abCd", SERIAL)]),
        "GIF": with_blocks([(0xFE, SERIAL), (0xFF, b"XMP DataXMP" + SERIAL)]),
    }
    for format_name, data in described.items():
        plain = sources(format_name)[0]
        assert SERIAL in data and len(strip(data)[0]) <= len(plain), format_name
    assert strip(with_segments([(0xE0, b"JFIF\0" + SERIAL)]))[0].count(b"JFIF") == 2  # it says how colours are coded


def test_exif_is_read_before_it_is_cut_off():
    for format_name in ("JPEG", "PNG", "TIFF", "AVIF", "HEIC"):
        found = strip(
            with_exif(format_name, exif(8).removeprefix(b"Exif\0\0")) if format_name != "TIFF" else exif(8)[6:]
        )[1]
        assert str(found.position) == "-33.96250, 18.40944", format_name
        assert found.orientation == (1 if format_name in ("AVIF", "HEIC") else 8)  # which are turned by the container


def test_what_follows_a_jpegs_end_is_cut_off():
    source = sources("JPEG")[0]
    assert strip(source + sources("JPEG")[1] + bytes(1000))[0] == strip(source)[0]


def test_a_restart_or_an_escaped_byte_ends_no_jpeg():
    source = encoded(picture(1, (640, 480)), "JPEG", quality=95, restart_marker_blocks=1)
    assert source.count(b"\xff\xd0") > 50 and source.count(b"\xff\x00") > 50
    assert strip(source)[0] == source


def test_a_scan_too_many_is_refused():
    source = encoded(picture(0, mode="L"), "JPEG", progressive=True)
    scan = source[source.rindex(b"\xff\xda") : -2]
    scans = source.count(b"\xff\xda")
    strip(source[:-2] + scan * (MAX_SCANS - scans) + b"\xff\xd9")
    with pytest.raises(PhotoError, match="too many scans"):
        strip(source[:-2] + scan * (MAX_SCANS - scans + 1) + b"\xff\xd9")
    head = source.index(b"\xff\xc2") + 5
    large = source[:head] + struct.pack(">HH", 8000, 8000) + source[head + 4 :]
    with pytest.raises(PhotoError, match="too many scans"):
        strip(large[:-2] + scan * 40 + b"\xff\xd9")


@pytest.mark.parametrize(
    "pieces",
    [
        lambda count: with_segments([(0xFE, b"")] * count),
        lambda count: with_chunks([(b"abCd", b"")] * count),
        lambda count: with_blocks([(0xFE, bytes(count))], size=1),
        lambda count: with_blocks([(0xFE, b"")] * count),
        lambda count: sources("AVIF")[0] + struct.pack(">L4s", 8, b"free") * count,
    ],
)
def test_a_hundred_thousand_pieces_are_refused(pieces):
    assert open_photo(pieces(MAX_PARTS // 2))
    with pytest.raises(PhotoError, match="parts"):
        open_photo(pieces(MAX_PARTS + 1))


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name != "GIF"])
def test_a_megabyte_of_exif_claims_no_gigabytes(format_name):
    data = with_exif(format_name, tag_bomb(300, 1_000_000))
    data = (
        tiff([(tag, 7, 1_000_000, 8) for tag in range(40_000, 40_300)], bytes(1_000_000))
        if format_name == "TIFF"
        else data
    )
    tracemalloc.start()
    try:
        open_photo(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_profiles_and_comments_of_any_size_cost_nothing():
    for format_name, data in {
        "PNG": with_icc("PNG", bytes(5_000_000)),
        "JPEG": with_segments([(0xE1, b"Exif\0\0" + bytes(900))] * 20_000),
        "GIF": with_blocks([(0xFE, bytes(5_000_000))]),
    }.items():
        assert len(strip(data)[0]) <= len(sources(format_name)[0])
        assert open_photo(data).format == format_name


def test_a_tiffs_other_pages_and_fields_are_cut_off():
    needed, _ = strip(tiff([(282, 5, 500_000, 8), (34675, 7, 4000, 8)], bytes(4000), after=8 + 64 * 64))
    image = Image.open(io.BytesIO(needed))
    assert image.n_frames == 1 and not {282, 34675} & set(image.tag_v2)


@pytest.mark.parametrize(
    "data",
    [
        tiff([(273, 4, 3_000_000, 8)], bytes(100)),
        tiff(tile=30_000),
        encoded(picture(0, mode="1"), "TIFF", compression="group4"),
    ],
)
def test_a_tiff_like_no_photo_is_refused(data):
    with pytest.raises(PhotoError, match="isn't supported"):
        open_photo(data)


@pytest.mark.parametrize("tile", [64, 256])
def test_tiled_tiffs_open(tile):
    assert open_photo(tiff([(325, 4, 1, tile * tile)], bytes(tile * tile), tile=tile)).image.size == (64, 64)


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_is_cut_short_raises_nothing_of_its_own(format_name):
    for source in sources(format_name)[:3]:
        for length in range(0, min(len(source), 700), 7):
            try:
                strip(source[:length])
            except (PhotoError, IndexError, struct.error):
                continue

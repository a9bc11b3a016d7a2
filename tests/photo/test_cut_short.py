"""Files that every viewer opens: without their end, with bytes before or behind them, and cut short."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2loc.errors import PhotoError
from img2loc.photo.decode import DAMAGED, open_photo
from img2loc.photo.formats import NO_PHOTO
from tests.soak.picture_files import FORMATS, encoded, photos

CASES = Path(__file__).parent / "cases"
KINDS = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "grey JPEG": ("JPEG", {}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {"interlace": 0}),
    "TIFF": ("TIFF", {}),
}
FIRST, COARSE = "only the first (\\d+)% of the picture could be read", "fine detail of the picture is missing"


@cache
def scene(mode: str = "RGB") -> Image.Image:
    return photos()[2].resize((320, 240)).convert(mode)


@cache
def whole(kind: str) -> bytes:
    format_name, options = KINDS.get(kind, (kind, {}))
    return encoded(scene({"GIF": "P", "grey JPEG": "L"}.get(kind, "RGB")), format_name, **options)


@pytest.mark.parametrize(
    ("name", "note"), [("44-no-eoi", ""), ("46-cut-95", FIRST), ("48-motion", ""), ("53-progressive-no-eoi", "")]
)
def test_handed_files_open(name, note):
    photo = open_photo((CASES / f"{name}.jpg").read_bytes())
    assert re.search(note, photo.note) and bool(note) == bool(photo.note)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "grey JPEG"])
@pytest.mark.parametrize(
    "tail", [b"", b"\xff", b"\0", bytes(500), b"\xff\xff", b"\r\n", b"junk" * 20, b"\xff\xe1\x40\0cut"]
)
def test_no_end_mark_is_no_damage(kind, tail):
    photo = open_photo(whole(kind)[:-2] + tail)
    assert photo.note == "" and np.array_equal(photo.image, open_photo(whole(kind)).image)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"\n", b""),
        (b"\r\n\r\n", b"\r\n"),
        (b"\xef\xbb\xbf", b"junk"),
        (bytes(4), bytes(4)),
        (b"\n" * 300, b""),
        (b"--frame\r\n", b""),
    ],
)
def test_bytes_before_and_behind_are_passed_over(format_name, before, behind):
    photo = open_photo(before + whole(format_name) + behind)
    assert (photo.format, photo.note) == (format_name, "")
    assert np.array_equal(photo.image, open_photo(whole(format_name)).image)


@pytest.mark.parametrize("format_name", ["ICO", "ICNS"])
def test_a_file_with_a_picture_inside_is_none(format_name):
    with pytest.raises(PhotoError, match="a JPEG"):
        open_photo(encoded(scene().resize((64, 64)), format_name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.97, 0.6, 0.3])
@pytest.mark.parametrize("zeros", [False, True])
def test_what_is_there_of_a_cut_file_is_shown_with_a_note(kind, share, zeros):
    """A download that stopped; some programs make the file as long as it should become, and leave zeros."""
    data = whole(kind)
    size = int(len(data) * share)
    if zeros and kind == "TIFF":
        pytest.skip("its pixels are bytes, of which nobody can say whether they are missing")
    photo = open_photo(data[:size] + bytes(len(data) - size) * zeros)
    if kind == "progressive JPEG":
        assert re.search(COARSE, photo.note) and photo.image.size == (320, 240)
        return
    percent = re.search(FIRST, photo.note)
    assert percent and abs(int(percent[1]) / 100 - share) < 0.25
    rows = photo.image.height
    assert abs(rows / 240 - int(percent[1]) / 100) < 0.02
    original = np.asarray(open_photo(data).image)[: rows - 8]
    assert np.abs(np.asarray(photo.image)[: rows - 8].astype(int) - original).mean() < 3  # nothing is made up


def test_a_progressive_file_is_noted_wherever_it_ends():
    data = whole("progressive JPEG")
    scans = [match.start() for match in re.finditer(b"\xff\xda|\xff\xc4", data)]
    first_scan = data.index(b"\xff\xda")
    for at in scans:
        if at > first_scan:
            for size in (at, at + 1, at + 2, at + 5):
                assert re.search(COARSE, open_photo(data[:size]).note), size
    assert re.search(FIRST, open_photo(data[: first_scan + 500]).note)


def test_a_turned_photo_keeps_the_rows_that_came():
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    photo = open_photo(data[: len(data) * 2 // 3])
    assert photo.image.height == 320 and photo.image.width < 200 and photo.note


@pytest.mark.parametrize("kind", [*KINDS, "AVIF", "HEIC"])
def test_too_little_of_a_picture_is_a_sentence(kind):
    for size in (12, 40, 200, 400):
        with pytest.raises(PhotoError) as failure:
            open_photo(whole(kind)[:size])
        assert str(failure.value) in (DAMAGED, NO_PHOTO), size
    assert DAMAGED in str(failure.value)


@pytest.mark.parametrize(
    ("format_name", "options"),
    [("AVIF", {}), ("HEIC", {}), ("GIF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_formats_of_which_a_part_is_nothing(format_name, options):
    """Of these the decoders give no part, or one with gaps."""
    data = encoded(scene("P" if format_name == "GIF" else "RGB"), format_name, **options)
    with pytest.raises(PhotoError, match="cut short"):
        open_photo(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["WebP", "lossless WebP"])
@pytest.mark.parametrize("lost", [1, 2, 3, 10, 50, 200, 400])
def test_a_webp_that_lacks_a_few_bytes_opens(kind, lost):
    photo = open_photo(whole(kind)[:-lost])
    assert bool(photo.note) == (lost > 1)
    assert photo.image.height > 200


def test_a_webp_that_lacks_a_part_of_its_metadata_is_whole():
    data = encoded(scene(), "WEBP", exif=b"Exif\0\0II*\0" + bytes(range(256)) * 10)
    photo = open_photo(data[:-1000])
    assert photo.note == "" and photo.image.size == (320, 240)

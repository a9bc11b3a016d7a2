"""Files made to hurt, the short version of `python -m tests.soak.photos`, and the worst of those that it has found."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

import tests.soak.photos as soak
from img2loc.errors import PhotoError
from img2loc.photo.decode import MAX_SIDE_PX, Photo, open_photo
from tests.soak.named_files import Case, big_tiff, deep_grey_heic, named_cases
from tests.soak.picture_files import SMALL, encoded, picture


def test_hundreds_of_files_give_photos_or_words(tmp_path, capsys):
    status = soak.main(["--inputs", "700", "--seed", "1", "--light", "--save", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert ", 0 faults," in printed and not list(tmp_path.iterdir())


def test_a_grey_heic_of_a_lie_about_its_bits_is_refused():
    """pi_heif 1.4.0 writes past the end of its memory, and the process dies sooner or later."""
    with pytest.raises(PhotoError, match="grey HEIC"):
        open_photo(deep_grey_heic())


def test_a_big_tiff_is_refused_unread():
    """Pillow reads its fields one by one: a megabyte became eight gigabytes."""
    with pytest.raises(PhotoError, match="a JPEG"):
        open_photo(big_tiff(25_000))
    with Image.open(io.BytesIO(big_tiff(0))) as whole:
        assert whole.size == (64, 64)


@pytest.mark.parametrize("format_name", ["BMP", "JPEG2000", "ICO", "PPM", "TGA", "PCX", "DDS", "ICNS", "PDF", "QOI"])
def test_other_formats_are_refused_before_any_decoder(format_name: str):
    with pytest.raises(PhotoError, match="a JPEG"):
        open_photo(encoded(picture(0, (64, 64)), format_name))


def test_floats_too_far_apart_for_a_float_open():
    ramp = np.linspace(-3e38, 3e38, 64, dtype=np.float32)[None, :].repeat(32, axis=0)
    photo = open_photo(encoded(Image.fromarray(ramp), "TIFF"))
    assert [photo.image.getpixel((x, 0))[0] for x in (0, 63)] == [0, 255]


def test_a_signalling_nan_is_no_number():
    raw = np.full((32, 64), 0x7F800001, dtype=np.uint32).view(np.float32)
    with pytest.raises(PhotoError, match="aren't numbers"):
        open_photo(encoded(Image.frombytes("F", (64, 32), raw.tobytes()), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"])
def test_large_pictures_of_every_mode_are_scaled_down(mode):
    photo = open_photo(encoded(picture(0, (5000, 300), mode), "TIFF" if mode not in ("LA", "P") else "PNG"))
    assert photo.image.size == (MAX_SIDE_PX, round(MAX_SIDE_PX * 300 / 5000))
    small = open_photo(encoded(picture(0, SMALL, mode), "TIFF" if mode not in ("LA", "P") else "PNG"))
    means = [np.asarray(one.image).mean(axis=(0, 1)) for one in (photo, small)]
    assert np.abs(means[0] - means[1]).max() < 12


def test_pillows_warnings_of_damage_are_muted_once():
    data = next(
        case for case in named_cases() if case.name == "65,535 tags, none there" and case.format == "TIFF"
    ).make()
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        filters = len(warnings.filters)
        for _ in range(3):
            with pytest.raises(PhotoError):
                open_photo(data)
        assert not complaints and len(warnings.filters) == filters + 1


def _made(result: object):
    def opener(data: bytes) -> Photo:
        if isinstance(result, Exception):
            raise result
        return result

    return opener


GOOD = picture(0)
TAGGED = GOOD.copy()
TAGGED.info["comment"] = "x"


@pytest.mark.parametrize(
    ("result", "must", "words"),
    [
        (Photo(GOOD, None, "PNG"), "open", ""),
        (Photo(GOOD, None, "PNG"), "refuse", "it is photo"),
        (PhotoError("The picture is damaged."), "refuse", ""),
        (PhotoError("The picture is damaged."), "open", "it is refused"),
        (PhotoError("no"), "either", "no sentence"),
        (ValueError("a decoder's own"), "either", "ValueError"),
        (MemoryError(), "either", "MemoryError"),
        (Photo(GOOD.convert("L"), None, "PNG"), "either", "the picture is"),
        (Photo(GOOD.resize((MAX_SIDE_PX + 1, 100)), None, "PNG"), "either", "the picture is"),
        (Photo(TAGGED, None, "PNG"), "either", "metadata"),
        (Photo(GOOD, (1, 2), "PNG"), "either", "metadata"),
        (Photo(GOOD, None, "BMP"), "either", "format"),
        (Photo(GOOD, None, "PNG"), "upright", "not upright"),
    ],
)
def test_the_soak_sees_what_is_wrong(monkeypatch, result, must, words):
    monkeypatch.setattr(soak, "open_photo", _made(result))
    _, fault = soak._examine(Case("PNG", "whole", "", must, bytes), encoded(GOOD, "PNG"))
    assert words in fault and bool(words) == bool(fault)

"""Photos: every format in, an upright RGB picture without metadata out, and words for whatever else."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin

import img2loc.photo.decode
from img2loc.errors import PhotoError
from img2loc.geo.sphere import haversine_km
from img2loc.photo.decode import JPEG_MAX_SIDE_PX, MAX_BYTES, MAX_PIXELS, MAX_SIDE_PX, load_photo, open_photo
from img2loc.types import LatLon

CAPE_TOWN = LatLon(-33.9625, 18.409444)
ORIENTATION, GPS = 0x0112, 0x8825


def exif(orientation: int = 1, gps: dict[int, object] | None = None) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    block[0x010F] = "A camera with a serial number"
    if gps is not None:
        block.get_ifd(GPS).update(gps)
    return block


def gps_of(lat: tuple[float, ...], south: bool, lon: tuple[float, ...], west: bool) -> dict[int, object]:
    return {1: "S" if south else "N", 2: lat, 3: "W" if west else "E", 4: lon}


def quarters(mode: str = "RGB") -> Image.Image:
    """Red top left, green top right, blue below: 64 x 48, so that a turn shows."""
    image = Image.new("RGB", (64, 48), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 24))
    image.paste((0, 255, 0), (32, 0, 64, 24))
    return image.convert(mode)


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if format_name == "HEIC":
        heif = pillow_heif.from_pillow(image)
        if "exif" in options:
            heif.info["exif"] = options["exif"].tobytes()
        heif.save(buffer, quality=95)
    else:
        image.save(buffer, format_name, **options)
    return buffer.getvalue()


def assert_quarters(image: Image.Image, tolerance: int = 40) -> None:
    assert (image.mode, image.size) == ("RGB", (64, 48))
    for at, colour in {(10, 8): (255, 0, 0), (54, 8): (0, 255, 0), (10, 40): (0, 0, 255)}.items():
        assert np.abs(np.array(image.getpixel(at)) - colour).max() <= tolerance, (at, image.getpixel(at))


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC", "TIFF", "GIF"])
def test_every_format_opens_whatever_its_name(format_name):
    photo = open_photo(encoded(quarters(), format_name))
    assert photo.format == format_name
    assert_quarters(photo.image)


@pytest.mark.parametrize(
    ("mode", "format_name"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF")],
)
def test_every_mode_becomes_rgb(mode, format_name):
    photo = open_photo(encoded(quarters(mode), format_name))
    if mode in {"L", "LA", "1"}:
        assert (photo.image.mode, photo.image.size) == ("RGB", (64, 48))
        assert np.asarray(photo.image)[:24, 32:].mean() > np.asarray(photo.image)[24:].mean() + 50  # green, blue
    else:
        assert_quarters(photo.image)


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None, :].repeat(32, axis=0)
    photo = open_photo(encoded(Image.fromarray(ramp), "PNG"))
    values = np.asarray(photo.image)[0, :, 0].astype(int)
    assert values[0] == 0 and values[-1] == 255
    assert abs(values[32] - 130) <= 2


def test_floating_point_tiffs_open():
    ramp = np.linspace(-1, 1, 64, dtype=np.float32)[None, :].repeat(32, axis=0)
    assert open_photo(encoded(Image.fromarray(ramp), "TIFF")).image.getpixel((63, 0)) == (255, 255, 255)
    with pytest.raises(PhotoError, match="aren't numbers"):
        open_photo(encoded(Image.fromarray(ramp * np.float32(np.nan)), "TIFF"))


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert open_photo(encoded(clear, "PNG")).image.getpixel((5, 5)) == (255, 255, 255)
    palette = clear.quantize(4)
    assert open_photo(encoded(palette, "PNG", transparency=0)).image.getpixel((5, 5)) == (255, 255, 255)


def test_a_moving_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    photo = open_photo(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert photo.image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_photos_are_upright_and_without_metadata(format_name):
    turned = quarters().transpose(Image.Transpose.ROTATE_90)  # 6 says: turn me a quarter clockwise
    gps = gps_of((33.0, 57.0, 45.0), True, (18.0, 24.0, 34.0), False)
    if format_name == "TIFF":  # whose EXIF is the file's own directory
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[ORIENTATION], tags[0x010F], tags[GPS] = 6, "A camera with a serial number", gps
        data = encoded(turned, format_name, tiffinfo=tags)
    else:
        data = encoded(turned, format_name, exif=exif(6, gps))
    assert b"serial number" in data
    photo = open_photo(data)
    assert_quarters(photo.image)
    assert not photo.image.info and not photo.image.getexif()
    assert haversine_km(photo.exif_position, CAPE_TOWN) < 0.1
    assert b"serial number" not in photo.jpeg and b"Exif" not in photo.jpeg


def test_heic_carries_its_position_too():
    data = encoded(quarters(), "HEIC", exif=exif(1, gps_of((33.0, 57.0, 45.0), True, (18.0, 24.0, 34.0), False)))
    photo = open_photo(data)
    assert haversine_km(photo.exif_position, CAPE_TOWN) < 0.1
    assert_quarters(photo.image)


@pytest.mark.parametrize(
    "gps",
    [
        {},
        gps_of((0.0, 0.0, 0.0), False, (0.0, 0.0, 0.0), False),
        gps_of((95.0, 0.0, 0.0), False, (18.0, 0.0, 0.0), False),
        {1: "N", 2: (TiffImagePlugin.IFDRational(1, 0), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (33.0,), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 3: "E"},
    ],
)
def test_exif_positions_that_make_no_sense_are_none(gps):
    assert open_photo(encoded(quarters(), "JPEG", exif=exif(1, gps))).exif_position is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and goes on
def test_damaged_exif_costs_no_photo():
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 200)
    assert_quarters(open_photo(data).image)


def test_an_open_picture_is_taken_as_it_is(tower):
    again = open_photo(tower.image)
    assert np.array_equal(np.asarray(again.image), np.asarray(tower.image))


def test_large_photos_are_scaled_down_keeping_their_shape():
    photo = open_photo(encoded(Image.new("RGB", (5000, 2500), "teal"), "JPEG"))
    assert photo.image.size == (MAX_SIDE_PX, MAX_SIDE_PX // 2)
    sent = Image.open(io.BytesIO(photo.jpeg))
    assert sent.size == (JPEG_MAX_SIDE_PX, JPEG_MAX_SIDE_PX // 2)


def _png_header(width: int, height: int) -> bytes:
    """A PNG of 100 bytes that says it is huge."""
    data = bytearray(encoded(Image.new("1", (32, 32)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"x" * (MAX_BYTES + 1), "30 MB"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "JPEG, PNG"),
        (b"GIF89a", "picture"),
        (b"%PDF-1.7 and so on", "JPEG, PNG"),
        (_png_header(9_000, 9_000), f"{MAX_PIXELS // 10**6} million"),
        (_png_header(60_000, 60_000), f"{MAX_PIXELS // 10**6} million"),
        (_png_header(1, 65_535), "at least 16"),
        (_png_header(20, 60_000), "narrow"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "damaged"),
    ],
)
def test_what_is_no_photo_gets_words(data, words):
    with pytest.raises(PhotoError, match=words):
        open_photo(data)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(img2loc.photo.decode, "MAX_PIXELS", 64 * 48 - 1)
    for format_name in ("JPEG", "PNG", "HEIC"):
        with pytest.raises(PhotoError, match="pixels"):
            open_photo(encoded(quarters(), format_name))


def test_a_photo_may_be_given_in_any_form(tmp_path):
    file = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(file)
    whole = load_photo(file)
    for source in (str(file), file.read_bytes(), bytearray(file.read_bytes()), Image.open(file), whole):
        assert load_photo(source).image.tobytes() == whole.image.tobytes()
    with pytest.raises(TypeError, match="A photo is a path, bytes, a picture of Pillow's or a Photo, not int"):
        load_photo(3)
    with pytest.raises(PhotoError, match="null character"):
        load_photo("a\0b")


def test_a_photo_is_encoded_once_however_many_models_are_asked(monkeypatch):
    save = Mock(side_effect=lambda buffer, *_, **__: (time.sleep(0.05), buffer.write(b"jpeg")))
    monkeypatch.setattr("PIL.Image.Image.save", save)
    photo = open_photo(Image.new("RGB", (16, 16)))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: photo.jpeg, range(4))) == [b"jpeg"] * 4
    assert save.call_count == 1

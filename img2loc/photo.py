"""Untrusted bytes in; an upright RGB picture without metadata out."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from img2loc.errors import PhotoError
from img2loc.types import LatLon

MAX_BYTES = 30_000_000
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself warns of a bomb
MIN_SIDE_PX = 16
MAX_ASPECT = 20
# More than any encoder or provider reads; the cost of all later work is bounded by it.
MAX_SIDE_PX = 2048
JPEG_MAX_SIDE_PX = 1024

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF")  # as Pillow names them; HEIC has a decoder of its own
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_EXIF_GPS, _GPS_LAT_REF, _GPS_LAT, _GPS_LON_REF, _GPS_LON = 0x8825, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that is safe to use.

    Args:
        image: Upright, mode RGB, at most MAX_SIDE_PX a side, no metadata.
        exif_position: What the file's own EXIF said. For a person to compare with; never used to predict.
        format: The format of the bytes it came from, "" for a picture that was never encoded.
    """

    image: Image.Image = field(repr=False)
    exif_position: LatLon | None
    format: str

    def to_jpeg(self, max_side_px: int = JPEG_MAX_SIDE_PX) -> bytes:
        """Encode the picture as a JPEG without metadata.

        Args:
            max_side_px: Bound on its long side; larger ones are scaled down.
        """
        image = self.image.copy()
        image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


def open_photo(source: bytes | Image.Image) -> Photo:
    """Open a photo from anywhere.

    Args:
        source: A file's bytes, whose content alone says what they are, or a picture that is open already.

    Returns:
        The photo: EXIF's orientation applied, transparency laid on white, all metadata left behind.

    Raises:
        PhotoError: The bytes are empty, too many, no picture of a known format, damaged, or of an absurd size.
    """
    if isinstance(source, Image.Image):
        return _photo(source, source.format or "")
    if not source:
        raise PhotoError("The file is empty; choose a photo.")
    if len(source) > MAX_BYTES:
        raise PhotoError(
            f"The file has {len(source) / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are taken: make the photo smaller."
        )
    try:
        if source[4:8] == b"ftyp" and source[8:12] in _HEIC_BRANDS:
            return _photo(_open_heic(source), "HEIC")
        image = Image.open(io.BytesIO(source), formats=FORMATS)
        _check_size(*image.size)
        # Lets the JPEG decoder skip detail that is scaled away below: several times faster on a phone's photos.
        image.draft("RGB", (MAX_SIDE_PX, MAX_SIDE_PX))
        return _photo(image, image.format or "")
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoError("This is no JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF picture; choose a photo.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PhotoError(f"The picture has too many pixels; at most {MAX_PIXELS // 10**6} million are taken.") from None
    except MemoryError:
        raise PhotoError("The picture is too large for this machine's memory; make it smaller.") from None
    except Exception as error:  # a decoder fed with damaged bytes may raise anything at all
        raise PhotoError(f"The picture is damaged and can't be read ({type(error).__name__}).") from error


def exif_position(source: bytes) -> LatLon | None:
    """The position that a file's EXIF claims, read without decoding its pixels; for building galleries.

    Args:
        source: A file's bytes.

    Returns:
        The position; None where there is none, or it makes no sense.

    Raises:
        PhotoError: The bytes are no picture of a known format.
    """
    try:
        if source[4:8] == b"ftyp" and source[8:12] in _HEIC_BRANDS:
            return _exif_position(_open_heic(source))
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            return _exif_position(image)
    except Exception as error:  # whatever a reader trips over in damaged bytes
        raise PhotoError(f"This is no picture that can be read ({type(error).__name__}).") from error


def _open_heic(source: bytes) -> Image.Image:
    import pi_heif  # noqa: PLC0415 - a native library that only HEIC photos need

    heif = pi_heif.open_heif(io.BytesIO(source))
    _check_size(*heif.size)
    image: Image.Image = heif.to_pillow()
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError(f"The picture has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are taken.")
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(f"The picture has {width} x {height} pixels; at least {MIN_SIDE_PX} a side are needed.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError(f"The picture has {width} x {height} pixels, too narrow a strip to be a photo; crop it.")


def _photo(image: Image.Image, format_name: str) -> Photo:
    _check_size(*image.size)
    exif_position = _exif_position(image)
    pixels = _to_rgb(image)
    pixels.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    try:
        pixels = ImageOps.exif_transpose(pixels)
    except Exception:  # noqa: S110 - a damaged EXIF block costs the orientation, not the photo
        pass
    clean = Image.frombytes("RGB", pixels.size, pixels.tobytes())
    return Photo(clean, exif_position, format_name)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Bring any of Pillow's modes to 8-bit RGB, keeping `info` for the orientation."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        if not np.isfinite(values).all():
            raise PhotoError("The picture holds values that are no numbers.")
        low, high = (0.0, 65535.0) if image.mode != "F" else (float(values.min()), float(values.max()))
        grey = Image.fromarray(np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255).astype(np.uint8))
        rgb = grey.convert("RGB")
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size, "white")
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        return image.convert("RGB")
    rgb.info = {key: value for key, value in image.info.items() if key == "exif"}
    return rgb


def _exif_position(image: Image.Image) -> LatLon | None:
    """The position that the file's EXIF claims; None where there is none or it makes no sense."""
    try:
        gps = image.getexif().get_ifd(_EXIF_GPS)
        lat = _degrees(gps[_GPS_LAT]) * (-1 if str(gps[_GPS_LAT_REF]).strip("\0 ").upper() == "S" else 1)
        lon = _degrees(gps[_GPS_LON]) * (-1 if str(gps[_GPS_LON_REF]).strip("\0 ").upper() == "W" else 1)
        # Cameras without a fix write zeros.
        return None if (lat, lon) == (0, 0) else LatLon(lat, lon)
    except Exception:  # EXIF is untrusted, and Pillow raises whatever it trips over; no position is the answer then
        return None


def _degrees(dms: tuple[float, ...]) -> float:
    """Degrees, minutes and seconds to degrees; NaN (refused by LatLon) where a rational has no denominator."""
    degrees, minutes, seconds = (float(value) for value in dms)
    total = degrees + minutes / 60 + seconds / 3600
    return total if math.isfinite(total) and minutes >= 0 and seconds >= 0 else math.nan

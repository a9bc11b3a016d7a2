"""Untrusted bytes in; an upright RGB picture without metadata out."""

from __future__ import annotations

import io
import re
import stat
import threading
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from img2loc.errors import PhotoError
from img2loc.photo.exif import Exif, read_exif
from img2loc.photo.formats import NO_PHOTO, SCAN, completed, lacks_scans, strip
from img2loc.photo.xmp import read_xmp
from img2loc.types import LatLon

MAX_BYTES = 30_000_000
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself warns of a bomb
MIN_SIDE_PX = 16
MAX_ASPECT = 20
MAX_SIDE_PX = 1280  # more than any encoder or provider reads; it bounds the cost of all later work
JPEG_MAX_SIDE_PX = 1024

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF")  # as Pillow names them; HEIC has a decoder of its own
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DAMAGED = "The picture is damaged or cut short, and can't be read; copy or download the photo again."
_MUTED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as warnings.filters keeps it
# Decoding takes up to 20 bytes a pixel, so only two large pictures are decoded at a time.
LARGE_PIXELS = 16_000_000
_LARGE_SLOTS = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that is safe to use."""

    image: Image.Image = field(repr=False)  # upright, mode RGB, at most MAX_SIDE_PX a side, without metadata
    exif_position: LatLon | None  # for a person to compare with; never used to predict
    format: str  # of the bytes it came from; "" for a picture that was never encoded
    xmp_position: LatLon | None = None  # likewise; looked for only where EXIF has none
    note: str = ""  # what a person should know of it: that not all of the picture is there
    _jpeg: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)
    _jpeg_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def jpeg(self) -> bytes:
        """The picture as a JPEG of at most JPEG_MAX_SIDE_PX a side, without metadata; made when it is first needed."""
        with self._jpeg_lock:  # several models may be asked at once
            if not self._jpeg:
                image = self.image.copy()
                image.thumbnail((JPEG_MAX_SIDE_PX, JPEG_MAX_SIDE_PX), Image.Resampling.LANCZOS)
                buffer = io.BytesIO()
                image.save(buffer, "JPEG", quality=90)
                self._jpeg.append(buffer.getvalue())
            return self._jpeg[0]


def read_photo(path: Path) -> bytes:
    """Read a file that should be a photo; of a file that is too large, one byte more than allowed.

    Raises:
        PhotoError: It can't be read, or isn't a regular file: reading a pipe or a device might never end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PhotoError("This is a folder, a pipe, a socket or a device; only files can be read.")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PhotoError(f"The file can't be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise PhotoError("The file's name contains a null character.") from error


def open_photo(source: bytes | Image.Image) -> Photo:
    """Open a photo: EXIF's orientation applied, transparency laid on white, all metadata removed.

    Args:
        source: A file's bytes, whose format is told by their content alone, or a picture that is open already.

    Raises:
        PhotoError: The bytes are empty, too many, no picture of a known format, damaged, or of an absurd size.
    """
    _mute_pillow()
    if isinstance(source, Image.Image):
        _check_size(*source.size)
        return _photo(_shrink(source.copy()), source.format or "", Exif(), source.info)
    if not source:
        raise PhotoError("The file is empty; choose a photo.")
    if len(source) > MAX_BYTES:
        raise PhotoError(f"The file is larger than {MAX_BYTES / 1e6:.0f} MB; make the photo smaller.")
    try:
        content, exif = strip(source)
        photo = _open_heic_photo(content, exif) if _is_heic(content) else _open_photo(content, exif)
    except PhotoError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PhotoError(f"The picture has too many pixels; the limit is {MAX_PIXELS // 10**6} million.") from None
    except MemoryError:
        raise PhotoError("The picture is too large for this machine's memory; make it smaller.") from None
    except Exception as error:  # a decoder fed with damaged bytes may raise anything at all
        raise PhotoError(DAMAGED) from error
    return photo if photo.exif_position else replace(photo, xmp_position=read_xmp(source))


PhotoSource = Photo | str | Path | bytes | Image.Image


def load_photo(source: PhotoSource) -> Photo:
    """Open a photo given as a path, bytes, a picture of Pillow's or a Photo.

    Raises:
        PhotoError: It can't be read, or isn't a photo.
        TypeError: It is something else.
    """
    if isinstance(source, Photo):
        return source
    if not isinstance(source, str | Path | bytes | bytearray | Image.Image):
        raise TypeError(f"A photo is a path, bytes, a picture of Pillow's or a Photo, not {type(source).__name__}.")
    return open_photo(read_photo(Path(source)) if isinstance(source, str | Path) else source)


def exif_position(source: bytes) -> LatLon | None:
    """The position in a file's EXIF, read without decoding pixels; None where there is none, or it makes no sense.

    Raises:
        PhotoError: The bytes aren't a picture of a known format.
    """
    _mute_pillow()
    try:
        content, exif = strip(source)
        if _is_heic(content):
            _open_heic(content)
            return exif.position
        with Image.open(io.BytesIO(completed(content)[0]), formats=FORMATS) as image:
            return exif.position or read_exif(image.info.get("exif") or b"").position
    except Exception as error:  # a reader of damaged bytes may raise anything at all
        raise PhotoError(f"This file can't be read as a picture ({type(error).__name__}).") from error


def _mute_pillow() -> None:
    """Keep Pillow's warnings of harmless damage from filling the log, and Python's list of warnings given."""
    if _MUTED not in warnings.filters:
        warnings.filterwarnings("ignore", module=_MUTED[3].pattern)


def _is_heic(source: bytes) -> bool:
    return source[4:8] == b"ftyp" and source[8:12] in _HEIC_BRANDS


def _open_heic(source: bytes) -> Any:  # noqa: ANN401 - the package has no types
    import pi_heif  # noqa: PLC0415 - a native library that only HEIC photos need

    heif = pi_heif.open_heif(io.BytesIO(source))
    # For a grey picture the package (1.4.0) trusts the file's number of bits, and writes past the end of its memory
    # where that is wrong. No camera makes grey pictures with more than 8 bits.
    if heif.mode.startswith("I;"):
        raise PhotoError(
            "This is a grey HEIC picture with more than 8 bits, which can't be read safely; save it as JPEG."
        )
    return heif


def _decoding_slot(width: int, height: int) -> AbstractContextManager[object]:
    return _LARGE_SLOTS if width * height > LARGE_PIXELS else nullcontext()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"The picture is {width} x {height} pixels; the limit is {MAX_PIXELS // 10**6} million pixels."
        )
    if min(width, height) < MIN_SIDE_PX:
        raise PhotoError(f"The picture is {width} x {height} pixels; each side must be at least {MIN_SIDE_PX}.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError(f"The picture is {width} x {height} pixels, too narrow to be a photo; crop it.")


def _open_heic_photo(content: bytes, exif: Exif) -> Photo:
    heif = _open_heic(content)
    _check_size(*heif.size)
    with _decoding_slot(*heif.size):
        image = heif.to_pillow()
        return _photo(_shrink(image), "HEIC", exif, image.info)


def _open_photo(content: bytes, exif: Exif) -> Photo:
    """Open any other format; of a picture that is cut short, what is there."""
    image, *other_ends = map(_decode, completed(content))
    pixels, note = image.pixels, image.note
    for other in other_ends:
        difference = ImageChops.difference(pixels, other.pixels).getbbox()
        is_coarse = image.format == "JPEG" and lacks_scans(content, image.components)
        if difference and content.count(SCAN) <= 1:  # later scans of a JPEG only add detail
            pixels, note = _first_rows(pixels, difference[1])
        elif difference or is_coarse:
            note = "The file is cut short: fine detail of the picture is missing."
    return _photo(pixels, image.format, exif, image.info, note=note)


@dataclass(frozen=True, slots=True)
class _Decoded:
    pixels: Image.Image  # as _shrink returns them
    format: str
    components: int
    info: Mapping[Any, Any]  # what the decoder says besides
    note: str


def _decode(content: bytes) -> _Decoded:
    opened = _open(content)
    with _decoding_slot(*opened.size):
        image, note = _load(opened)
        return _Decoded(_shrink(image), opened.format or "", len(image.getbands()), opened.info, note)


def _open(content: bytes) -> ImageFile.ImageFile:
    """Open a picture without decoding it; a JPEG so that detail which is scaled away below is skipped.

    That is several times faster on a phone's photos. The size must have the photo's shape, as the decoder keeps both of
    its sides.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        is_other = content[4:8] == b"ftyp" and not content[8:12].startswith(b"avi")  # a film, JPEG XL or JPEG 2000
        raise PhotoError(NO_PHOTO if is_other else DAMAGED) from None
    _check_size(*image.size)
    scale = MAX_SIDE_PX / max(image.size)
    image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
    return image


def _load(image: ImageFile.ImageFile) -> tuple[Image.Image, str]:
    """Decode a picture; of one that its decoder gives up, the rows before that, as viewers show them, and a note."""
    is_gif_interlaced = image.format == "GIF" and tuple(image.tile[0].args or ())[1:2] == (1,)
    try:
        image.load()
    except (OSError, SyntaxError):
        if is_gif_interlaced or image.info.get("interlace"):
            raise  # what is there has gaps
        image.tile = []  # takes what was decoded for the whole
        rows = image.getbbox(alpha_only=False)  # the others are still zeros
        if rows is None:
            raise
        return _first_rows(image, rows[3])
    return image, ""


def _first_rows(image: Image.Image, rows: int) -> tuple[Image.Image, str]:
    if rows < MIN_SIDE_PX or rows * MAX_ASPECT < image.width:
        raise PhotoError(DAMAGED)
    share = min(0.99, rows / image.height)
    note = f"The file is cut short or damaged: only the first {share:.0%} of the picture could be read."
    return image.crop((0, 0, image.width, rows)), note


def _photo(pixels: Image.Image, format_name: str, exif: Exif, info: Mapping[Any, Any], *, note: str = "") -> Photo:
    """Turn a picture upright and copy its pixels alone; `info` is what its decoder says of it."""
    decoder_exif = read_exif(info.get("exif") or b"")  # WebP's, and how AVIF is turned
    turn = _TURNS.get(max(exif.orientation, decoder_exif.orientation))
    upright = pixels if turn is None else pixels.transpose(turn)
    clean = Image.frombytes("RGB", upright.size, upright.tobytes())
    return Photo(clean, exif.position or decoder_exif.position, format_name, note=note)


def _shrink(image: Image.Image) -> Image.Image:
    """Scale a picture down to MAX_SIDE_PX a side, in 8-bit RGB."""
    if image.mode in ("1", "P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        # Scaling averages pixels, which means nothing in other modes.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    gap = None if image.mode.startswith("I;") else 2.0  # Pillow's faster reduction, for 8 and 32 bits only
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=gap)
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Bring any of Pillow's modes to 8-bit RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise PhotoError("The picture contains values that aren't numbers.")
        values = pixels.astype(np.float64)  # in 32 bits, the difference of two pixels could overflow
        low, high = (0.0, 65535.0) if image.mode != "F" else (float(values.min()), float(values.max()))
        grey = Image.fromarray(np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255).astype(np.uint8))
        return grey.convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size, "white")
    rgb.paste(rgba, mask=rgba.getchannel("A"))
    return rgb

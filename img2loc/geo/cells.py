"""Positions in the cells of a table: decimal degrees with a point or a comma, or degrees, minutes and seconds."""

from __future__ import annotations

import re
from typing import Final

from img2loc.types import LatLon

MAX_CELL: Final = 64  # characters; a longer cell holds no angle
_NO_NUMBER: Final = ("nan", "none", "null", "na", "n/a", "<na>", "#n/a", "\\n", "inf", "-inf", "")
_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
# 48 deg 51' 30.24" N, as exiftool writes it; 48°51.504'N; N 48.8584; 48.8584° N.
_MARKED: Final = re.compile(
    r"""(?P<before>[NSEW])?\ ?
        (?P<degrees>[+-]?\d{1,3}([.,]\d+)?)\ ?(?P<mark>°|º|deg(rees)?)?\ ?
        ((?P<minutes>\d{1,2}([.,]\d+)?)\ ?['\u2032\u2019]\ ?)?
        ((?P<seconds>\d{1,2}([.,]\d+)?)\ ?(["\u2033\u201d]|'')\ ?)?
        (?P<after>N(orth)?|S(outh)?|E(ast)?|W(est)?)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_WRONG_HEMISPHERES: Final = {"lat": "EW", "lon": "NS"}


def read_angle(text: str, axis: str, reference: str = "") -> float | None:
    """Read one cell of a position.

    Args:
        text: The cell.
        axis: "lat" or "lon".
        reference: The cell that names the hemisphere, as EXIF's GPSLatitudeRef does; empty where there is none.

    Returns:
        Degrees, south and west negative; None where the cell holds no such angle, or its hemisphere isn't known.
    """
    text = text.strip().replace("\u2212", "-")
    if len(text) > MAX_CELL:
        return None
    letter = reference.strip()[:1].upper()
    if _NUMBER.fullmatch(text):
        degrees = float(text.replace(",", "."))
    else:
        match = _MARKED.fullmatch(text)
        if match is None:
            return None
        letters = [each[0].upper() for each in (match["before"], match["after"]) if each]
        letter = letters[0] if letters else letter
        minutes, seconds = (float((match[part] or "0").replace(",", ".")) for part in ("minutes", "seconds"))
        has_parts = bool(match["minutes"] or match["seconds"])
        # exiftool's EXIF group writes 33 deg 51' 24.00" for north and south alike, with the hemisphere elsewhere.
        is_unknown = has_parts and not letter and match["degrees"][0] not in "+-"
        if len(letters) > 1 or minutes >= 60 or seconds >= 60 or is_unknown or (has_parts and not match["mark"]):
            return None
        size = abs(float(match["degrees"].replace(",", "."))) + minutes / 60 + seconds / 3600
        degrees = -size if match["degrees"].startswith("-") else size
    if letter and letter in _WRONG_HEMISPHERES[axis]:
        return None
    return -abs(degrees) if letter and letter in "SW" else degrees


def read_position(lat: str, lon: str, *, references: tuple[str, str] = ("", "")) -> LatLon | str:
    """The position that two cells hold, or why they hold none.

    Args:
        lat: The latitude's cell.
        lon: The longitude's cell.
        references: The cells that name the hemispheres, where there are such.
    """
    angles = read_angle(lat, "lat", references[0]), read_angle(lon, "lon", references[1])
    if angles[0] is None or angles[1] is None:
        return f"{lat or 'nothing'}, {lon or 'nothing'} isn't a position"
    try:
        return LatLon(angles[0], angles[1])
    except ValueError as error:
        return str(error)


def is_beyond_a_pole(text: str) -> bool:
    """Whether a cell is a number that no latitude has, and a longitude may have."""
    angle = read_angle(text, "lon")
    return angle is not None and 90 < abs(angle) <= 180


def is_like_number(text: str) -> bool:
    """Whether a cell holds an angle of either axis, or what programs write for none."""
    # Any reference will do: that the hemisphere isn't known doesn't make it no angle.
    return text.lower() in _NO_NUMBER or any(read_angle(text, axis, "?") is not None for axis in ("lat", "lon"))

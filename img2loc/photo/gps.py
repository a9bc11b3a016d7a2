"""Angles as EXIF and XMP write them, to a position: the one rule for hemispheres and ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, Literal

from img2loc.types import LatLon

Letters = Literal["NS", "EW"]  # of the two hemispheres, the positive one first

MAX_CHARS: Final = 64  # of an angle or a hemisphere as text
_HEMISPHERES: Final = ("N", "NORTH", "S", "SOUTH", "E", "EAST", "W", "WEST")
_NUMBER: Final = r"\d{1,9}(?:\.\d{1,15})?(?:/\d{1,9})?"
_BETWEEN: Final = r"(?:[\s,;:°º'\"\u2019\u201d\u2032\u2033\ufffd]|DEG|MIN|SEC)"
_ANGLE: Final = re.compile(
    rf"([A-Z]*)\s*([-+]?{_NUMBER})(?:{_BETWEEN}+({_NUMBER}))?(?:{_BETWEEN}+({_NUMBER}))?{_BETWEEN}*([A-Z]*)"
)


def position_at(lat: float, lon: float) -> LatLon | None:
    """The position; None for values out of range, and for 0, 0, which cameras without a fix write."""
    try:
        return None if (lat, lon) == (0, 0) else LatLon(lat, lon)
    except ValueError:
        return None


def join_degrees(values: Sequence[float], hemisphere: str, letters: Letters) -> float:
    """Join degrees, minutes and seconds into signed degrees.

    Args:
        values: One with a fraction, two or three; NaN for minutes or seconds that are left open. They may be negative,
            all or the first.
        hemisphere: A letter or a word in English. A negative angle stays negative in any hemisphere.
        letters: The hemispheres that the angle may have.

    Returns:
        NaN if the hemisphere is missing or another one, or a value isn't in its range.
    """
    word = next(iter(hemisphere.upper().split()), "")
    is_whole = len(values) == 1 and values[0].is_integer()
    if word not in _HEMISPHERES or word[0] not in letters or not 1 <= len(values) <= 3 or is_whole:
        return math.nan
    degrees, *others = values
    minutes, seconds = (0.0 if math.isnan(value) else value for value in (*others, 0.0, 0.0)[:2])
    is_mixed = degrees > 0 > min(minutes, seconds)
    if is_mixed or abs(minutes) >= 60 or abs(seconds) > 60:  # rounding makes 60 seconds of 59.999
        return math.nan
    is_negative = word[0] == letters[1] or min(degrees, minutes, seconds) < 0
    return (abs(degrees) + abs(minutes) / 60 + abs(seconds) / 3600) * (-1 if is_negative else 1)


def read_angle(text: str, hemisphere: str, letters: Letters) -> float:
    """Read an angle such as 48,51.504N or 48 51 30, with its hemisphere in it or beside it.

    Returns:
        Signed degrees; NaN if it isn't one, see join_degrees.
    """
    match = _ANGLE.fullmatch(text[: MAX_CHARS + 1].strip().upper())
    if match is None or len(text) > MAX_CHARS:
        return math.nan
    before, *numbers, after = match.groups()
    try:
        values = [float(Fraction(number)) for number in numbers if number]
    except ZeroDivisionError:
        return math.nan
    return join_degrees(values, before or after or hemisphere, letters)

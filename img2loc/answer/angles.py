"""Latitudes and longitudes as people and models write them: reads one angle, and makes a position of two."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from img2loc.types import LatLon

Axis = Literal["lat", "lon"]


class Problem(StrEnum):
    """Why no position could be read."""

    EMPTY = "empty"
    ABSENT = "absent"
    OFF_EARTH = "off_earth"
    NULL_ISLAND = "null_island"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a text gives no position."""

    problem: Problem
    reason: str  # a clause about a reply, for a person, such as "it is empty"


ABSENT = Unreadable(Problem.ABSENT, "it holds no coordinates that can be read")


@dataclass(frozen=True, slots=True)
class Angle:
    """One number of a position."""

    value: float  # degrees, signed; not checked against any range
    axis: Axis | None = None  # from its hemisphere letter
    decimals: int = 0  # digits after the decimal point; minutes count as four
    marked: bool = False  # has a degree sign or a hemisphere
    start: int = 0  # where it begins in the text
    end: int = 0


# All quantifiers are bounded, so that a search takes time linear in the text.
_ANGLE = re.compile(
    r"""
    (?: (?<![\w.+\-$€£¥\#]) | (?<=[\d°'"][NSEW]) )      # not inside a word, a longer number or a range
    (?: (?P<before>[NSEW])\s{0,2}[:=]?\s{0,2} )?
    (?P<sign>[-+])?
    (?P<degrees>\d{1,3}(?:\.(?P<decimals>\d{1,40}))?(?:[eE]-\d{1,3})?)
    (?: \s{0,2}(?P<mark>°)
        (?: \s{0,2}(?P<minutes>\d{1,2}(?:\.\d{1,40})?)\s{0,2}(?:'(?!') | (?=[NSEW](?![A-Za-z])))
            (?: \s{0,2}(?P<seconds>\d{1,2}(?:\.\d{1,40})?)\s{0,2}(?:"|''|(?=[NSEW](?![A-Za-z]))) )?
        )?
    )?
    (?(before)|(?:\s{0,2}(?P<after>[NSEW](?![A-Za-z]) | (?i:north|south|east|west)(?![A-Za-z])))?)
    (?: \s{0,2}(?:±|\+/-)\s{0,2}\d{1,3}(?:\.\d{1,9})?°? )?
    (?: (?<=[NSEW]) | (?![\w%°]) ) (?!\.\d|-\d)
    (?!\s{0,2}(?i:km|mi|m|ft|miles?|met(?:re|er)s?|feet|percent|stars?|years?|hours?|similar|photos|places)\b)
    """,
    re.VERBOSE,
)

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_SAME = (
    {ord(char): " " for char in _SPACES + "~\u2248\u223c\u2245{}"}
    | {ord(char): None for char in _INVISIBLE + "*`"}
    | {ord(char): "-" for char in "\u2212\u2010\u2011\u2012\u2013\ufe63"}
    | {ord(char): "\u00b0" for char in "\u00ba\u02da\u2218"}
    | {ord(char): "'" for char in "\u2032\u2019\u2018\u02b9\u00b4\u02bc"}
    | {ord(char): '"' for char in "\u2033\u201d\u201c\u201e\u02dd\u02ba"}
    | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
)
_REWRITES = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\^?\s?\\(?:circ|degree)\b|&deg;|&#176;|\s?(?<![a-z_])(?:degrees|degree|deg)\b\.?", "°"),
        (r"\^?\s?\\prime\b|(?<=\d)\s?\b(?:minutes|minute|min)\b", "'"),
        (r"(?<=\d)\s?\b(?:seconds|second|sec)\b", '"'),
        (r"\\(?:text|mathrm|boxed|left|right|quad|[,;()\[\]])", " "),
        (r"\$(-?\d{1,3}\.\d{1,40}(?:, ?-?\d{1,3}\.\d{1,40})?)\$(?!\d)", r"\1"),
        (r"\b(?:approximately|approx|about|around|roughly|circa)\b\.?\s?", ""),
        (r"(?:^|(?<=\n))[ \t]{0,8}\d{1,2}[.)](?=[ \t])|\(?\bWGS[ -]?84\b\)?", ""),  # numbers of a list, or of a datum
        (r"((?<=[\d° ])[NSEW]|\b(?:north|south|east|west))\s(?:latitude|longitude)\b(?!\s?[:=])", r"\1"),
        (r"[ \t]{2,}", " "),
        (r"([:=(,\[][ \t]{0,2}-)[ \t](?=\d)", r"\1"),
    )
)


def tidy(text: str) -> str:
    """Normalise signs, spaces and full-width digits, and remove emphasis, LaTeX and "about"."""
    text = text.translate(_SAME)
    if "\\circ" in text or "\\degree" in text:
        text = text.replace("$", " ")  # around a formula; elsewhere a dollar marks a price
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def angles_in(text: str) -> list[Angle]:
    """Find every number that could be an angle, in order; contradictions (75 minutes, "-33 N") are left out.

    Args:
        text: Tidied text.
    """
    return [angle for match in _ANGLE.finditer(text) if (angle := _angle(match)) is not None]


def read_angle(value: object) -> Angle | None:
    """Read one angle that stands alone, as in a JSON field.

    Args:
        value: A number, or text such as "48.8584° N", "48,8584" or 48°51'30.1"N. Anything else (true, null, "unknown",
            a range) isn't an angle.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return Angle(float(value))
        except OverflowError:
            return Angle(math.inf)
    if not isinstance(value, str) or len(value) > 100:
        return None
    text = re.sub(r"(?<=\d),(?=\d)", ".", tidy(value)).upper().strip(" \t\n.()[]")
    match = _ANGLE.fullmatch(text)
    return _angle(match) if match else None


def _angle(match: re.Match[str]) -> Angle | None:
    minutes, seconds = float(match["minutes"] or 0), float(match["seconds"] or 0)
    degrees, hemisphere = float(match["degrees"]), (match["before"] or match["after"] or "")[:1].upper()
    if minutes >= 60 or seconds >= 60:
        return None
    if (match["minutes"] and match["decimals"]) or (match["seconds"] and not minutes.is_integer()):
        return None  # only the last of degrees, minutes and seconds may have a fraction
    value = degrees + minutes / 60 + seconds / 3600
    if match["sign"] == "-":
        if hemisphere in ("N", "E"):
            return None
        value = -value
    elif hemisphere in ("S", "W"):
        value = -value
    return Angle(
        value,
        axis="lat" if hemisphere and hemisphere in "NS" else "lon" if hemisphere else None,
        decimals=4 if match["minutes"] else len(match["decimals"] or ""),
        marked=bool(match["mark"] or hemisphere),
        start=match.start(),
        end=match.end(),
    )


def to_position(first: Angle, second: Angle, *, labelled: bool = False) -> LatLon | Unreadable:
    """Make a position of two angles. Nothing is clamped or wrapped into range.

    They are latitude and longitude in this order, unless their hemispheres say otherwise, or unless nothing names them
    and the first cannot be a latitude (beyond 90 degrees) while the second can. Exactly (0, 0) isn't an answer: it is
    what models copy from examples and what programs write for "none".

    Args:
        first: Probably the latitude.
        second: Probably the longitude.
        labelled: The text itself named the first latitude and the second longitude.
    """
    axes = {first.axis, second.axis}
    if len(axes) == 1 and None not in axes:
        return ABSENT
    swapped = first.axis == "lon" or second.axis == "lat"
    if labelled and swapped and None in axes:
        return ABSENT  # the label and the letter contradict each other
    if axes == {None} and not labelled:
        swapped = abs(first.value) > 90 >= abs(second.value)
    lat, lon = (second.value, first.value) if swapped else (first.value, second.value)
    if lat == 0 and lon == 0:
        return Unreadable(Problem.NULL_ISLAND, "it gives 0, 0, which is a placeholder and no place")
    try:
        return LatLon(lat, lon)
    except ValueError:
        return Unreadable(Problem.OFF_EARTH, f"its coordinates ({lat:g}, {lon:g}) do not lie on Earth")

"""Latitudes and longitudes as people and models write them: reads one angle, and makes a position of two."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from img2loc.answer.notations import tidy
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
    axis: Axis | None = None  # from its hemisphere, or from "latitude" behind it
    decimals: int = 0  # digits after the decimal point; minutes count as four
    marked: bool = False  # has a degree sign or a hemisphere
    has_degree_sign: bool = False
    in_minutes: bool = False
    minus_and_hemisphere: bool = False
    contradictory: bool = False  # has a minus, and N or E
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
    (?: \s?(?P<bracket>\()?\s?(?i:in[ ])?(?i:(?P<lat>lat(?:itude)?)|lon(?:gitude)?|lng)\b (?(bracket)\s?\))
        (?!\s{0,2}[:=]?\s{0,2}[-+\dNSEW]) (?P<named>) )?
    (?: (?<=[NSEW]) | (?![\w%°]) ) (?!\.\d|-\d)
    (?!°?[ ]?[OLZ\u0417\u0421\u042e\u0412](?!\w))  # a hemisphere in a language that isn't known
    (?!\s{0,2}(?i:[kc]?m|mm|mi|ft|miles?|met(?:re|er)s?|feet|percent|stars?|years?|hours?|similar|photos|places)\b)
    (?!\s{0,2}(?:[€£]|(?:EUR|USD|GBP|Uhr|[ap]\.?m|kg|lbs?|mph|hPa|°?[CF])\b))
    """,
    re.VERBOSE,
)

_REPEATED = re.compile(
    r"\s{0,2}(?:[(\[=→]|,? ?(?:or|i\.e\.),?\b)\s{0,2}", re.IGNORECASE
)  # between two spellings of an angle
_WHOLE_MINUTES = 0.02  # degrees; whole minutes are off by half a minute at most, and decimals are rounded too


def angles_in(text: str) -> list[Angle]:
    """Find every number that could be an angle, in order; impossible ones (75 minutes) are left out.

    An angle that is written twice, as in "8°30' S (-8.5)", counts once.

    Args:
        text: Tidied text.
    """
    angles: list[Angle] = []
    for match in _ANGLE.finditer(text):
        angle = _angle(match)
        if angle is None:
            continue
        if angles and (gap := _REPEATED.fullmatch(text, angles[-1].end, angle.start)) and _are_same(angles[-1], angle):
            end = angle.end + (gap[0].strip() in ("(", "[") and text[angle.end : angle.end + 1] in (")", "]"))
            angles[-1] = replace(angles[-1], end=end)
        else:
            angles.append(angle)
    return angles


def _are_same(a: Angle, b: Angle) -> bool:
    has_other_axis = a.axis and b.axis and a.axis != b.axis
    return not has_other_axis and a.in_minutes != b.in_minutes and abs(abs(a.value) - abs(b.value)) < _WHOLE_MINUTES


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
    if match["sign"] == "-" or hemisphere in ("S", "W"):
        value = -value
    axis: Axis | None = None if not hemisphere else "lat" if hemisphere in "NS" else "lon"
    named: Axis | None = None if match["named"] is None else "lat" if match["lat"] else "lon"
    if axis and named and axis != named:
        return None
    return Angle(
        value,
        axis=axis or named,
        decimals=4 if match["minutes"] else len(match["decimals"] or ""),
        marked=bool(match["mark"] or hemisphere or named),
        has_degree_sign=bool(match["mark"]),
        in_minutes=bool(match["minutes"]),
        minus_and_hemisphere=bool(match["sign"] == "-" and hemisphere),
        contradictory=match["sign"] == "-" and hemisphere in ("N", "E"),
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
    letters_only_name_axes = first.minus_and_hemisphere and second.minus_and_hemisphere
    if (first.contradictory or second.contradictory) and not letters_only_name_axes:
        return ABSENT
    if not labelled and (_are_mixed(first, second) or _are_mixed(second, first)):
        return ABSENT
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


def _are_mixed(a: Angle, b: Angle) -> bool:
    """Whether one is in degrees and minutes and the other in decimal degrees, so that one number was misread."""
    return a.in_minutes and not b.in_minutes and b.decimals > 0

"""Finds the position that a text in prose gives as its answer.

Rules, in this order:
1. Latitude and longitude named as such ("Latitude: 48.85, longitude: 2.29", "(lat, lon) = (48.85, 2.29)") go first.
2. Then a pair after words that announce an answer ("final answer", "my best guess").
3. Then a pair after "coordinates", "position", "location", or alone on the first or last line.
4. Then any pair that looks like coordinates: with hemispheres, degree signs, or enough decimals.
Among equals the last one counts. Pairs that the text gives for something else ("similar places: ...", "far from ...")
and ranges ("48 to 49 N") never count. Text that says "latitude: unknown" and names no other latitude has no position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from img2loc.answer.angles import ABSENT, Angle, Axis, Unreadable, angles_in, tidy, to_position
from img2loc.types import LatLon


class _Rank(IntEnum):
    OFF_EARTH = 0  # a pair that isn't a position on Earth; kept for the reason
    BARE = 1
    MARKED = 2
    ANNOUNCED = 3
    LABELLED = 4


@dataclass(frozen=True, slots=True)
class _Pair:
    first: Angle
    second: Angle
    labelled: bool


_WINDOW = 120  # characters before a pair that may say what it is
_LABEL = re.compile(r"(?<![a-z])(?:(?P<lat>lat(?:itude|itud)?)|(?P<lon>lon(?:g(?:itude|itud)?)?|lng))(?![a-z])", re.I)
_LABEL_REACH = 48  # characters between a label and its number
_SEPARATOR = re.compile(r"""["']?[ \t]{0,3}[,;/|&]?[ \t]{0,3}["']?""")
_LOOSE_SEPARATOR = re.compile(r"\s{0,3}(?:[,;/|&]|,?\s?\b(?:and|by)\b)?\s{0,3}")  # between two hemispheres
_RANGE = re.compile(r"\s{0,3}(?:to|through|-)\s{0,3}")
_REFERENCE = re.compile(
    r"similar|neighbou?r|\breference|unlike|(?:far|away) from|rather than|instead of|other than", re.I
)
_CLAUSE_END = re.compile(r"[.!?;,]\s|(?<!:)\n")
_ANNOUNCED = re.compile(r"\b(?:final|answer|guess|estimated?|predict(?:ion|ed)?|conclu(?:de|sion))\b", re.I)
_MARKED = re.compile(r"\b(?:coordinates?|coords?|position|location|located|gps)\b", re.I)
_JUST_BEFORE = re.compile(
    r"\b(?:answer|guess|estimate|prediction|coordinates?|coords?|position|location|gps)\W{0,4}(?:is|are|at)?\W{0,8}$",
    re.I,
)
_DECLINED = re.compile(r"\blat(?:itude)?\b\W{0,6}(?:null|none|n/?a|nan|unknown|undefined)\b", re.I)
_DECIMAL_COMMAS = re.compile(
    r"""(?<![\w.,])([-+]?\d{1,3}),(\d{1,12})([°\s]{0,2}[NSEW]?)
        ([ \t]{0,3}[;/|][ \t]{0,3}|,?\s{1,3})([-+]?\d{1,3}),(\d{1,12})(?![\w,]|\.\d)""",
    re.VERBOSE,
)
_LABELLED_COMMA = re.compile(
    _LABEL.pattern + r"""(["']?\s{0,2}[:=]\s{0,2}["']?[-+]?\d{1,3}),(\d{2,12})(?![\d.])""", re.I
)


def read_coordinates(text: str) -> LatLon | Unreadable:
    """Read the position in a text, or why there is none. Takes time linear in the text."""
    text = _decimal_points(tidy(text))
    best: tuple[_Rank, LatLon | Unreadable] = (_Rank.OFF_EARTH, ABSENT)
    for rank, reading in _candidates(text):
        if rank >= best[0]:
            best = (rank, reading)
    if best[0] is not _Rank.LABELLED and _DECLINED.search(text):
        return ABSENT
    return best[1]


def _decimal_points(text: str) -> str:
    """Decimal commas to points, where they cannot separate two numbers."""
    whole = text.strip()

    def convert(match: re.Match[str]) -> str:
        lat, lat_decimals, mark, separator, lon, lon_decimals = match.groups()
        looks_like_thousands = len(lat_decimals) == len(lon_decimals) == 3
        if looks_like_thousands and not mark.strip() and match[0] != whole:
            return match[0]
        return f"{lat}.{lat_decimals}{mark}{separator}{lon}.{lon_decimals}"

    text = _DECIMAL_COMMAS.sub(convert, text)
    return _LABELLED_COMMA.sub(lambda match: match[0].replace(",", "."), text)


def _candidates(text: str) -> Iterator[tuple[_Rank, LatLon | Unreadable]]:
    first_word, last_word = re.search(r"\w", text), re.search(r"\w\W*\Z", text)
    end, was_reference = 0, False
    for pair in _pairs(text):
        a, b = pair.first, pair.second
        start, stop = min(a.start, b.start), max(a.end, b.end)
        between, before = text[end:start], text[max(end, start - _WINDOW) : start]
        follows_on = end > 0 and len(between) <= 12 and not re.search(r"[^\W\d_]", between)
        end = stop
        if pair.labelled:
            was_reference = False
            yield _Rank.LABELLED, to_position(a, b, labelled=True)
            continue
        was_reference = (follows_on and was_reference) or _is_reference(before)
        if was_reference:
            continue
        is_first = first_word is not None and first_word.start() >= start
        is_last = last_word is not None and last_word.start() < stop
        alone = (is_first or is_last) and _fills_its_line(text, start, stop)
        rank = _Rank.ANNOUNCED if _ANNOUNCED.search(before) else _Rank.MARKED if _MARKED.search(before) else _Rank.BARE
        if alone:
            rank = max(rank, _Rank.MARKED)
        bracketed = before.endswith(("(", "["))
        if _is_plausible(a, b, rank, may_be_whole=alone or bool(_JUST_BEFORE.search(before)), bracketed=bracketed):
            reading = to_position(a, b)
            off_earth = rank is _Rank.BARE and isinstance(reading, Unreadable)
            yield _Rank.OFF_EARTH if off_earth else rank, reading


def _pairs(text: str) -> Iterator[_Pair]:
    """Pairs of neighbouring numbers that are named latitude and longitude, or that only a separator divides."""
    angles = angles_in(text)
    gaps = [text[a.end : b.start] for a, b in pairwise(angles)]
    joined = [_joins(gap, a, b) for gap, (a, b) in zip(gaps, pairwise(angles), strict=True)] + [False]
    ranges = [_RANGE.fullmatch(gap) is not None for gap in gaps] + [False, False]  # ranges[-1] for the first number
    index = 0
    while index < len(gaps):
        a, b, gap = angles[index], angles[index + 1], gaps[index]
        before, between = _labels(gaps[index - 1] if index else text[: a.start]), _labels(gap)
        is_range = ranges[index - 1] or ranges[index + 1]
        run = 1  # numbers in a row: only two make a pair, unless hemispheres show where a pair ends
        has_both_axes = a.axis and b.axis and a.axis != b.axis
        while joined[index + run - 1] and not (has_both_axes and run == 2):
            run += 1
        if before and between and before[-1] != between[-1] and len(gap) <= 2 * _LABEL_REACH:
            run = 2
            if not is_range:
                yield _Pair(a, b, True) if before[-1] == "lat" else _Pair(b, a, True)
        elif run == 2 and not is_range:
            axes = before[-2:] if len(set(before[-2:])) == 2 else []
            yield _Pair(b, a, True) if axes[:1] == ["lon"] else _Pair(a, b, bool(axes))
        index += run


def _joins(gap: str, a: Angle, b: Angle) -> bool:
    separator = _LOOSE_SEPARATOR if a.axis and b.axis else _SEPARATOR
    return separator.fullmatch(gap) is not None


def _labels(before: str) -> list[Axis]:
    """The axes named shortly before a number, with only words in between."""
    tail = re.split(r"\d", before[-_LABEL_REACH:])[-1]
    return ["lat" if match["lat"] else "lon" for match in _LABEL.finditer(tail)]


def _is_reference(before: str) -> bool:
    """Whether the clause before a pair says that the pair is the position of something else."""
    clause = _CLAUSE_END.split(before)[-1]
    mentions = list(_REFERENCE.finditer(clause))
    return bool(mentions) and not _ANNOUNCED.search(clause, mentions[-1].end())


def _fills_its_line(text: str, start: int, stop: int) -> bool:
    before, after = text[max(0, start - _WINDOW) : start], text[stop : stop + _WINDOW]
    return not re.search(r"\w", before.rpartition("\n")[2] + after.partition("\n")[0])


def _is_plausible(a: Angle, b: Angle, rank: _Rank, *, may_be_whole: bool, bracketed: bool) -> bool:
    """Whether two numbers are coordinates, rather than prices, years or counts."""
    decimals = min(a.decimals, b.decimals)
    if a.axis and b.axis:
        return True
    if a.axis or b.axis:
        return decimals > 0 and rank >= _Rank.MARKED
    if may_be_whole:
        return True
    if rank >= _Rank.MARKED:
        return decimals >= 1
    return (a.marked and b.marked) or decimals >= 2 or (bracketed and decimals >= 1)

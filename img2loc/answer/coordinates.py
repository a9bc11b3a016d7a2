"""Finds the position that a text in prose gives as its answer.

Rules, in this order:
1. A pair after "final answer", then one after "viewpoint" or "camera": where the photo was taken, not what it shows.
2. Latitude and longitude named as such ("Latitude: 48.85, longitude: 2.29", "(lat, lon) = (48.85, 2.29)").
3. Then a pair after words that announce an answer ("my best guess", "in summary").
4. Then a pair after "coordinates", "position", "location", or alone on the first or last line.
5. Then any pair that looks like coordinates: with hemispheres, degree signs, or enough decimals.
6. Then alternatives ("Backup: ..."), what is seen or near, and the second and later items of a list.
Among equals the last one counts, of the sixth kind the first. Pairs that the text gives for something else ("similar
places: ...") and ranges ("48 to 49 N", "between ... and ...") never count. Text that says
"latitude: unknown" and names no other latitude has no position.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from img2loc.answer.angles import ABSENT, Angle, Axis, Unreadable, angles_in, to_position
from img2loc.answer.notations import tidy
from img2loc.types import LatLon


class _Rank(IntEnum):
    OFF_EARTH = 0  # a pair that isn't a position on Earth; kept for the reason
    SECOND = 1
    BARE = 2
    MARKED = 3
    ANNOUNCED = 4
    LABELLED = 5
    VIEWPOINT = 6
    FINAL = 7


@dataclass(frozen=True, slots=True)
class _Pair:
    first: Angle
    second: Angle
    labelled: bool

    @property
    def start(self) -> int:
        return min(self.first.start, self.second.start)

    @property
    def stop(self) -> int:
        return max(self.first.end, self.second.end)


_WINDOW = 120  # characters before a pair that may say what it is
_LABEL = re.compile(r"(?<![a-z])(?:(?P<lat>lat(?:itude|itud)?)|(?P<lon>lon(?:g(?:itude|itud)?)?|lng))(?![a-z])", re.I)
_LABEL_REACH = 48  # characters between a label and its number
_NEXT_ITEM = re.compile(r"[^\n]{0,40}\n[ \t]{0,8}-\s[^\n]{0,60}[:(\[-]\s?")  # in a list of places, one a line
_REFINED = re.compile(r"\b(?:precise|exact|refined|better|specific)", re.I)
_FOLLOWS_ON = re.compile(r"[\W\d_]{0,12}|\W{0,4}(?:and|or)\W{0,4}")
_BETWEEN = re.compile(r"\bbetween\b(?:(?! and )[^.;\n]){0,60}$", re.I)
_AND = re.compile(r"\W{0,5}and\b[^.;\n]{0,60}", re.I)
_TO = re.compile(r"\W{0,5}(?:to|through)\W{0,5}", re.I)
_ORDER_AFTER = re.compile(r"[)\]]?\s?[(\[]?\s?(?:in |as )?(?:lon(?:g(?:itude)?)?|lng)\s?[,/;]?\s?lat", re.I)
_SEPARATOR = re.compile(r"""["']?[ \t]{0,3}[,;/|&]?[ \t]{0,3}["']?""")
_LOOSE_SEPARATOR = re.compile(r"\s{0,3}(?:[,;/|&]|,?\s?\b(?:and|by)\b)?\s{0,3}")  # between two hemispheres
_RANGE = re.compile(r"[ \t]{0,3}(?:to|through|-)[ \t]{0,3}")
_OTHERS = re.compile(
    r"\b(?:similar (?:\w+ )?(?:\w+s|to)\b|neighbou?rs\b|reference (?:photo|image|picture|place|location|position)s?\b"
    r"|unlike|rather than|instead of|other than|look-?alike|resembl|(?:far|away) from)",
    re.I,
)
# Not where an answer was announced: "my best guess: the quay, or a similar pier (...)".
_OTHER = re.compile(r"\b(?:similar|neighbou?r(?:ing)?)\b", re.I)
_ELSEWHERE = re.compile(
    r"\b(?:alternat|back-?up\b|fall-?back|otherwise\b|second (?:guess|choice|option|candidate|best)|runner-up|plan b\b"
    r"|less likely|another (?:option|possibility|candidate|guess|place|spot)|other (?:options|possibilities|candidates)"
    r"|or (?:perhaps|possibly|maybe|else)\b|(?:could|might|may) also\b|if (?:not|wrong)\b"
    r"|if you(?: prefer|(?: woul|')d rather)\b)",
    re.I,
)
_SEEN = re.compile(
    r"\b(?:itself|seen|visible|in the (?:background|distance)|replica|subject|nearest|closest)\b"
    r"|\d\s?(?:k?m|mi|miles?|kilomet\w+|met(?:er|re)s?)\s(?:\w+ ){0,3}(?:from|of|to)\b",
    re.I,
)
_VIEWPOINT = re.compile(
    r"\b(?:view-?point|vantage|camera|photographer|observer|where (?:it|the photo) was taken)\b", re.I
)
_CLAUSE_END = re.compile(r"[.!?;,]\s|(?<!:)\n")
_FINAL = re.compile(
    r"\bfinal\s(?:\w+\s)?(?:answer|guess|estimate|prediction|coordinates|position|location)\b"
    r"(?:\W{0,4}\b(?:is|are|would be|at|the|coordinates|location|position|lat(?:itude)?|lon(?:gitude)?)\b){0,4}"
    r"\W{0,8}$",
    re.I,
)
_ANNOUNCED = re.compile(r"\b(?:final|answer|guess|estimated?|predict(?:ion|ed)?|conclu(?:de|sion)|in summary)\b", re.I)
_MARKED = re.compile(r"\b(?:coordinates?|coords?|position|location|located|gps|pin|marker|spot)\b", re.I)
_JUST_BEFORE = re.compile(
    r"\b(?:answer|guess|estimate|prediction|coordinates?|coords?|position|location|gps)\W{0,4}(?:is|are|at)?\W{0,8}$",
    re.I,
)
_ENDS = re.compile(r"[ \t]?[)\]}\"'|]{0,2}[ \t]?(?:[.;(<\n]|\Z)")
_IN_WORDS = re.compile(r"\d\s?(?:north|south|east|west)\b", re.I)
_MEASURES = re.compile(
    r"\b(?:prices?|costs?|versions?|ratings?|scores?|ratios?|temperatures?|phone|tel|call|dates?|probability|confidence|rgb)"
    r"\b\.?[^;.\d]{0,16}$",
    re.I,
)
_DECLINED = re.compile(r"\blat(?:itude)?\b\W{0,6}(?:null|none|n/?a|nan|unknown|undefined)\b", re.I)
_DECIMAL_COMMAS = re.compile(
    r"""(?<![\w.,])([-+]?\d{1,3}),(\d{1,12})([°\s]{0,2}[NSEW]?)
        ([ \t]{0,3}[;/|][ \t]{0,3}|,?\s{1,3})([-+]?\d{1,3}),(\d{1,12})(?![\w,]|\.\d)""",
    re.VERBOSE,
)
_LABELLED_COMMA = re.compile(
    _LABEL.pattern + r"""(["']?\s{0,2}[:=]?\s{0,2}["']?[-+]?\d{1,3}),(\d{2,12})(?![\d.])""", re.I
)


def read_coordinates(text: str) -> LatLon | Unreadable:
    """Read the position in a text, or why there is none. Takes time linear in the text."""
    text = _decimal_points(tidy(text))
    best: tuple[_Rank, LatLon | Unreadable] = (_Rank.OFF_EARTH, ABSENT)
    for rank, reading in _candidates(text):
        if rank > best[0] or (rank == best[0] and rank is not _Rank.SECOND):
            best = (rank, reading)
    if best[0] < _Rank.LABELLED and _DECLINED.search(text):
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
    for pair in _outside_ranges(text, list(_pairs(text))):
        a, b = pair.first, pair.second
        start, stop = pair.start, pair.stop
        between, before = text[end:start], text[max(end, start - _WINDOW) : start]
        was_reference = (was_reference and _FOLLOWS_ON.fullmatch(between) is not None) or _is_reference(before)
        is_next_item = end > 0 and _NEXT_ITEM.fullmatch(between) and not _REFINED.search(between)
        end = stop
        if was_reference:
            continue
        is_first = first_word is not None and first_word.start() >= start
        is_last = last_word is not None and last_word.start() < stop
        alone = (is_first or is_last) and _fills_its_line(text, start, stop)
        rank = _rank(before, labelled=pair.labelled, alone=alone)
        if pair.labelled or _is_plausible(pair, rank, alone, before, text[start : stop + 9]):
            reading = to_position(a, b, labelled=pair.labelled)
            if rank is _Rank.BARE and isinstance(reading, Unreadable):
                rank = _Rank.OFF_EARTH
            elif rank < _Rank.FINAL and (is_next_item or _is_second(before)):
                rank = _Rank.SECOND
            yield rank, reading


def _rank(before: str, *, labelled: bool, alone: bool) -> _Rank:
    if _FINAL.search(before):
        return _Rank.FINAL
    if _VIEWPOINT.search(_CLAUSE_END.split(before)[-1]):
        return _Rank.VIEWPOINT
    if labelled:
        return _Rank.LABELLED
    if _ANNOUNCED.search(before):
        return _Rank.ANNOUNCED
    return _Rank.MARKED if alone or _MARKED.search(before) else _Rank.BARE


def _is_second(before: str) -> bool:
    """Whether the words before a pair say that it is an alternative, or what is seen or near."""
    return _is_said(_ELSEWHERE, before) or _is_said(_SEEN, _CLAUSE_END.split(before)[-1])


def _is_reference(before: str) -> bool:
    """Whether the clause before a pair says that the pair is the position of something else."""
    clause = _CLAUSE_END.split(before)[-1]
    return _is_said(_OTHERS, clause) or (_is_said(_OTHER, clause) and not _ANNOUNCED.search(before))


def _is_said(pattern: re.Pattern[str], before: str) -> bool:
    """Whether words stand before a pair, and nothing behind them announces an answer."""
    mentions = list(pattern.finditer(before))
    return bool(mentions) and not _ANNOUNCED.search(before, mentions[-1].end())


def _outside_ranges(text: str, pairs: list[_Pair]) -> list[_Pair]:
    """The pairs without those that are two corners or two ends."""
    ends: set[int] = set()
    for index, (pair, following) in enumerate(pairwise(pairs)):
        gap, before = text[pair.stop : following.start], text[max(0, pair.start - _WINDOW) : pair.start]
        if _TO.fullmatch(gap) or (_AND.fullmatch(gap) and _BETWEEN.search(before)):
            ends |= {index, index + 1}
    return [pair for index, pair in enumerate(pairs) if index not in ends]


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
            if not axes and _ORDER_AFTER.match(text, b.end):
                axes = ["lon", "lat"]
            yield _Pair(b, a, True) if axes[:1] == ["lon"] else _Pair(a, b, bool(axes))
        index += run


def _joins(gap: str, a: Angle, b: Angle) -> bool:
    separator = _LOOSE_SEPARATOR if a.axis and b.axis else _SEPARATOR
    return separator.fullmatch(gap) is not None


def _labels(before: str) -> list[Axis]:
    """The axes named shortly before a number, with only words in between."""
    tail = re.split(r"\d", before[-_LABEL_REACH:])[-1]
    return ["lat" if match["lat"] else "lon" for match in _LABEL.finditer(tail)]


def _fills_its_line(text: str, start: int, stop: int) -> bool:
    before, after = text[max(0, start - _WINDOW) : start], text[stop : stop + _WINDOW]
    return not re.search(r"\w", before.rpartition("\n")[2] + after.partition("\n")[0])


def _is_plausible(pair: _Pair, rank: _Rank, alone: bool, before: str, text: str) -> bool:
    """Whether two numbers are coordinates, rather than prices, dates, streets or counts.

    Args:
        pair: The numbers.
        rank: What the words before them make of them.
        alone: They have a line of their own, the first or the last.
        before: Those words.
        text: The numbers as written, and the characters behind them.
    """
    a, b = pair.first, pair.second
    written = text[: pair.stop - pair.start]
    decimals, has_axes = min(a.decimals, b.decimals), a.axis is not None and b.axis is not None
    is_announced = alone or _JUST_BEFORE.search(before) is not None
    if not (a.decimals or b.decimals or a.has_degree_sign or b.has_degree_sign):
        if "/" in written or _IN_WORDS.search(written):  # "24/7", "40 South 80 West"
            return False
        if (a.axis is None) != (b.axis is None):
            return False
        return alone or ("," in written if has_axes else is_announced and bool(_ENDS.match(text, len(written))))
    if has_axes:
        return True
    if "/" in written and not (a.marked and b.marked) and decimals < 3:
        return is_announced and decimals == 2  # a score otherwise
    if a.axis or b.axis:
        return decimals > 0 and rank >= _Rank.MARKED
    if is_announced:
        return True
    if rank >= _Rank.MARKED:
        return decimals >= 1
    if _MEASURES.search(before):
        return False
    return (a.marked and b.marked) or decimals >= 2 or (before.endswith(("(", "[")) and decimals >= 1)

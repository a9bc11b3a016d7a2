"""Asks a large multimodal model for a position, reads its reply, and asks once more where that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from img2loc.answer import prompt
from img2loc.answer.angles import ABSENT, Problem, Unreadable, read_angle, to_position
from img2loc.answer.coordinates import read_coordinates
from img2loc.answer.lenient_json import find_objects
from img2loc.answer.refusals import refuses
from img2loc.answer.thoughts import without_thoughts
from img2loc.errors import LMMError
from img2loc.geo.areas import Area, holds
from img2loc.lmm import LMM, Turn
from img2loc.types import LatLon, Outcome, OutcomeKind, Reply

MAX_PLACE_CHARS: Final = 200
MAX_REASONING_CHARS: Final = 2000
# Of a longer reply only its head and tail are read: the answer is at the end, sometimes at the start.
HEAD_CHARS: Final = 8_000
TAIL_CHARS: Final = 32_000
MAX_QUOTED_CHARS: Final = 4_000  # of a rejected reply (unreadable, or outside the area) that is sent back

_MAX_DEPTH = 4
_LAT_KEYS = frozenset("lat latitude latitud latitudine breitengrad широта 纬度 緯度 위도 خطالعرض".split())
_LON_KEYS = frozenset(
    "lon lng long longitude longitud longitudine längengrad долгота 经度 經度 経度 경도 خطالطول".split()
)
_INNER_KEYS = frozenset(
    (
        "coordinates coordinate coords latlon latlng latlong latitudelongitude position location point gps geo "
        "geolocation geometry answer finalanswer prediction result guess bestguess estimate output "
        "candidates predictions guesses"
    ).split()
)
_KEY_NOISE = re.compile(r"^(?:predicted|estimated|final|approximate|approx)|(?:deg|degrees|decimal)$")
_PLACE_KEYS = ("place", "place_name", "location", "location_name", "address", "landmark", "name")
_PLACE_PARTS = ("city", "region", "state", "country")
_REASONING_KEYS = (
    *("reasoning", "reason", "reasons", "explanation", "rationale", "justification", "analysis", "evidence", "clues"),
    *("thoughts", "description"),
)

_WORD = re.compile(r"[^\W\d_]{2}")
# What is said of a date ("a future date or placeholder") is not said of the coordinates.
_PLACEHOLDER = re.compile(
    r"(?:^|[.!?\n])(?:(?!\b(?:dates?|time|timestamp|watermark)\b)[^.!?\n]){0,300}(?<!not )(?<!not a )(?<!no )"
    r"\bplaceholders?\b|\bto be replaced\b|\bdummy (?:values|coordinates)\b",
    re.I,
)
# Objects under such names are about other places than the photo's.
_OTHER_PLACE = re.compile(
    "alternat|similar|backup|second|other|example|reference|compar|nearby|lookalike|unlikely|rejected"
)
_THINK_LESS = "turn its thinking off, allow it a longer reply, or choose another model"
_REFUSED = Unreadable(Problem.REFUSED, "it refuses to say where the photo was taken")
_PLACEHOLDERS = Unreadable(Problem.ABSENT, "it calls its coordinates placeholders")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says, as plain text of bounded length."""

    position: LatLon
    place: str = ""
    reasoning: str = ""


def ask(lmm: LMM, text: str, jpeg: bytes, within: Area | None = None) -> Outcome:
    """Ask a model where a photo was taken, and once more if its reply can't be read or names a place outside the area.

    Args:
        lmm: The model.
        text: The prompt.
        jpeg: The photo, without metadata.
        within: Where the photo is known to have been taken; a position outside isn't an answer.

    Returns:
        How it ended; a failure is an outcome, never an exception. After a refusal the model isn't asked again.
    """
    turns: tuple[Turn, ...] = (Turn("user", text),)
    replies: tuple[Reply, ...] = ()
    failure = ""
    for success in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        try:
            reply = lmm.reply(turns, jpeg)
        except LMMError as error:
            return Outcome(OutcomeKind.PROVIDER_ERROR, message=str(error), replies=replies)
        replies += (reply,)
        answer = _REFUSED if reply.refused else parse(reply.text)
        if isinstance(answer, Answer):
            if holds(within, answer.position):
                return Outcome(success, answer.position, answer.place, answer.reasoning, replies=replies)
            kind, correction = OutcomeKind.OUTSIDE, prompt.OUTSIDE.format(area=within)
            failure = f"and its last answer ({answer.position}) is outside the known area: {within}."
        elif answer.problem is Problem.REFUSED:
            message = "The model refuses to say where the photo was taken."
            return Outcome(OutcomeKind.REFUSED, message=message, replies=replies)
        else:
            kind, correction = OutcomeKind.UNPARSEABLE, prompt.REPAIR
            cut = " (it was cut off at the length limit)" if reply.truncated else ""
            failure = f"but its last reply can't be used: {answer.reason}{cut}."
        turns += (Turn("assistant", _quoted(reply.text)), Turn("user", correction))
    return Outcome(kind, message=f"The model was asked twice, {failure}", replies=replies)


def parse(text: str) -> Answer | Unreadable:
    """Read a model's reply, or say why it can't be read.

    A JSON object with a latitude and a longitude takes precedence over prose. Among several, the last with a usable
    position counts. An object that gives null, a range, (0, 0) or values off Earth is a failure, whatever the prose
    around it says. Thoughts are never an answer, nor is what the reply calls a placeholder. Takes time linear in the
    text, of which no more than HEAD_CHARS + TAIL_CHARS are read.
    """
    has_thoughts = bool(text.strip())
    text = visible_text(text)
    if not text.strip():
        reason = f"it holds only the model's thoughts; {_THINK_LESS}" if has_thoughts else "it is empty"
        return Unreadable(Problem.EMPTY, reason)
    answer = _answer_in(text)
    if isinstance(answer, Answer):
        return _PLACEHOLDERS if _PLACEHOLDER.search(text) else answer
    return _REFUSED if answer.problem is Problem.ABSENT and refuses(text) else answer


def _answer_in(text: str) -> Answer | Unreadable:
    answer: Answer | None = None
    failure: Unreadable | None = None
    for item in find_objects(text):
        position = _position_in(item)
        if isinstance(position, LatLon):
            place = plain_text(_place_in(item), MAX_PLACE_CHARS)
            answer = Answer(position, place, reasons_in(item))
        elif position is not None:
            failure = position
    if answer:
        return answer
    if failure is None:
        prose = read_coordinates(text)
        if isinstance(prose, LatLon):
            return Answer(prose, reasoning=plain_text(text, MAX_REASONING_CHARS) if _WORD.search(text) else "")
        failure = prose
    return failure


def visible_text(text: str) -> str:
    """A reply without its thoughts, and without the middle if it is very long."""
    text = without_thoughts(text)
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n…\n{text[-TAIL_CHARS:]}"


def reasons_in(item: dict[str, object]) -> str:
    """The reasons in a JSON object that a model wrote, as plain text; empty where it gives none."""
    texts = (_first_text(inner, _REASONING_KEYS) for inner in _objects_in(item))
    return plain_text(next(filter(None, texts), ""), MAX_REASONING_CHARS)


def plain_text(text: str, max_chars: int) -> str:
    """Text on one line without control characters, cut to a length."""
    text = " ".join("".join(char if char.isprintable() else " " * char.isspace() for char in text).split())
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def _quoted(text: str) -> str:
    """A reply as it is sent back to the model; some servers accept no empty turn."""
    return text[-MAX_QUOTED_CHARS:] if text.strip() else "(no text)"


def _position_in(value: object, depth: int = 0) -> LatLon | Unreadable | None:
    """The position in a JSON value; None where the value doesn't try to give one."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str) and depth:
        objects = find_objects(value)
        return _position_in(objects[-1], depth) if objects else read_coordinates(value)
    if isinstance(value, list):
        return _position_in_list(value, depth)
    if not isinstance(value, dict):
        return None
    fields = {_KEY_NOISE.sub("", re.sub(r"[\W\d_]", "", str(key).casefold())): item for key, item in value.items()}
    lat = next((key for key in fields if key in _LAT_KEYS), None)
    lon = next((key for key in fields if key in _LON_KEYS), None)
    if lat or lon:
        first, second = read_angle(fields.get(lat or "")), read_angle(fields.get(lon or ""))
        return to_position(first, second, labelled=True) if first and second else ABSENT
    is_geojson = value.get("type") == "Point"  # longitude first. Source: RFC 7946, section 3.1.1
    failure: Unreadable | None = None
    for key, item in fields.items():
        if key in _INNER_KEYS:
            inner = item[1::-1] if is_geojson and isinstance(item, list) else item
            position = _position_in(inner, depth + 1)
            if isinstance(position, LatLon):
                return position
            # A text under another key may be the name of a place.
            is_attempt = not isinstance(item, str) or key.startswith(("coord", "lat", "gps"))
            failure = failure or (position or ABSENT if is_attempt else None)
    if failure:
        return failure
    others = (item for key, item in fields.items() if _holds_object(item) and not _OTHER_PLACE.search(key))
    return next((position for item in others if (position := _position_in(item, depth + 1))), None)


def _holds_object(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _position_in_list(values: list[object], depth: int) -> LatLon | Unreadable | None:
    if len(values) == 2 and not any(isinstance(value, dict | list) for value in values):
        first, second = (read_angle(value) for value in values)
        return to_position(first, second) if first and second else ABSENT
    return _position_in(values[0], depth + 1) if values else None  # candidates, best first


def _place_in(item: object) -> str:
    return next(filter(None, map(_place_of, _objects_in(item))), "")


def _place_of(item: dict[str, object]) -> str:
    place = _first_text(item, _PLACE_KEYS)
    return place or ", ".join(part for key in _PLACE_PARTS if (part := _first_text(item, (key,))))


def _objects_in(value: object, depth: int = 0) -> Iterator[dict[str, object]]:
    """An object and those in it, from the outside in, of a list only the first."""
    if isinstance(value, str) and depth:
        value = find_objects(value)[-1:]
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and depth <= _MAX_DEPTH:
        yield value
        for key, item in value.items():
            if not _OTHER_PLACE.search(str(key).casefold()):
                yield from _objects_in(item, depth + 1)


def _first_text(item: dict[str, object], keys: tuple[str, ...]) -> str:
    """The first text of words under one of the keys; a list of texts is joined."""
    lowered = {str(key).casefold().replace(" ", "_"): value for key, value in item.items()}
    for value in map(lowered.get, keys):
        texts = value if isinstance(value, list) else [value]
        text = "; ".join(text for text in texts if isinstance(text, str) and text.strip())
        if _WORD.search(text) and not text.lstrip().startswith("{"):  # an object in a text has words of its own
            return text
    return ""

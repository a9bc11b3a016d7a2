"""What a large multimodal model answered: reads its reply, and asks once more where that fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from img2loc.answer import prompt
from img2loc.answer.angles import ABSENT, Problem, Unreadable, position, read_angle
from img2loc.answer.coordinates import read_coordinates
from img2loc.answer.lenient_json import objects
from img2loc.errors import LMMError
from img2loc.geo.areas import Area, holds
from img2loc.lmm import LMM, Turn
from img2loc.types import LatLon, Outcome, OutcomeKind, Reply

MAX_PLACE_CHARS: Final = 200
MAX_REASONING_CHARS: Final = 2000
# Of a longer reply only its head and tail are read: an answer stands at the end, sometimes at the start.
HEAD_CHARS: Final = 8_000
TAIL_CHARS: Final = 32_000
MAX_QUOTED_CHARS: Final = 4_000  # of an unreadable reply, when it is sent back with the repair turn

_MAX_DEPTH = 4
_LAT_KEYS = frozenset({"lat", "latitude"})
_LON_KEYS = frozenset({"lon", "lng", "long", "longitude"})
_INNER_KEYS = frozenset(
    (
        "coordinates coordinate coords latlon latlng latlong latitudelongitude position location point gps geo "
        "geolocation geometry answer finalanswer prediction result guess bestguess estimate output "
        "candidates predictions guesses"
    ).split()
)
_KEY_NOISE = re.compile(r"[^a-z]|^(?:predicted|estimated|final|approximate|approx)|(?:deg|degrees|decimal)$")
_PLACE_KEYS = ("place", "place_name", "location", "location_name", "address", "landmark", "name")
_PLACE_PARTS = ("city", "region", "state", "country")
_REASONING_KEYS = ("reasoning", "reason", "reasons", "explanation", "rationale", "analysis", "thoughts")

_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning)"
_THOUGHT_BEGIN = re.compile(rf"<{_THOUGHT}>|\[THINK\]", re.I)
_THOUGHT_END = re.compile(rf"</{_THOUGHT}>|\[/THINK\]", re.I)
# Will not, as opposed to cannot tell: "I can't determine the exact place" deserves to be asked for a guess.
_REFUSAL = re.compile(
    r"\b(?:can(?:'t|not| not)|unable to|not able to|not allowed to|won't|will not)\s(?:\w+\s){0,2}?"
    r"(?:help|assist|comply|provide|share|give|do (?:that|this)|fulfil|support|disclose|participate|engage)\b(?! but\b)"
    r"|\bsorry\b[^.!?\n]{0,40}(?:can't|cannot|can not|unable|not able|won't)\b(?! help but\b)"
    r"|\b(?:must|have to|will|respectfully) decline\b"
    r"|\bagainst (?:my|our|the) (?:\w+ )?(?:policy|policies|guidelines)\b",
    re.I,
)
_REFUSED = Unreadable(Problem.REFUSED, "it refuses to say where the photo was taken")


@dataclass(frozen=True, slots=True)
class Answer:
    """What could be read in a reply.

    Args:
        position: Where the model places the photo.
        place: Its name for the place: plain text of at most MAX_PLACE_CHARS characters, or empty.
        reasoning: Its reasons: plain text of at most MAX_REASONING_CHARS characters, or empty.
    """

    position: LatLon
    place: str = ""
    reasoning: str = ""


def ask(lmm: LMM, text: str, jpeg: bytes, within: Area | None = None) -> Outcome:
    """Ask a model where a photo was taken, and once more where its reply can't be read or lies where it can't be.

    Args:
        lmm: The model.
        text: The prompt.
        jpeg: The photo, without metadata.
        within: Where the photo is known to have been taken; no position elsewhere is taken for an answer.

    Returns:
        How it ended; a failure is an outcome, never an exception. A refusal is not asked again.
    """
    turns: tuple[Turn, ...] = (Turn("user", text),)
    replies: tuple[Reply, ...] = ()
    failure: Unreadable | LatLon = ABSENT
    for success in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        try:
            reply = lmm.reply(turns, jpeg)
        except LMMError as error:
            return Outcome(OutcomeKind.PROVIDER_ERROR, message=str(error), replies=replies)
        replies += (reply,)
        found = _REFUSED if reply.refused else parse(reply.text)
        if isinstance(found, Answer) and holds(within, found.position):
            return Outcome(success, found.position, found.place, found.reasoning, replies=replies)
        if isinstance(found, Unreadable) and found.problem is Problem.REFUSED:
            return Outcome(
                OutcomeKind.REFUSED, message="The model refuses to say where the photo was taken.", replies=replies
            )
        failure = found.position if isinstance(found, Answer) else found
        again = prompt.OUTSIDE.format(area=within) if isinstance(found, Answer) else prompt.REPAIR
        turns += (Turn("assistant", _quoted(reply.text)), Turn("user", again))
    if isinstance(failure, LatLon):
        message = f"The model was asked twice, and its last answer ({failure}) is outside the known area: {within}."
        return Outcome(OutcomeKind.OUTSIDE, message=message, replies=replies)
    cut = " (it was cut off at the length limit)" if replies[-1].truncated else ""
    message = f"The model was asked twice, but its last reply can't be used: {failure.reason}{cut}."
    return Outcome(OutcomeKind.UNPARSEABLE, message=message, replies=replies)


def parse(text: str) -> Answer | Unreadable:
    """Read a model's reply.

    A JSON object with a latitude and a longitude goes before prose; of several such objects the last whose position
    can be used counts. An object that gives null, a range, (0, 0) or values off Earth is a failure, whatever the prose
    around it says. What stands in <think> blocks is never an answer. Takes time linear in the text, of which no more
    than HEAD_CHARS + TAIL_CHARS are read.

    Args:
        text: The raw reply.

    Returns:
        The answer, or why there is none.
    """
    text = spoken(text)
    if not text.strip():
        return Unreadable(Problem.EMPTY, "it is empty")
    answer: Answer | None = None
    failure: Unreadable | None = None
    for item in objects(text):
        found = _position_in(item)
        if isinstance(found, LatLon):
            answer = Answer(found, place=_place_in(item), reasoning=reasons_in(item))
        elif found is not None:
            failure = found
    if answer is None and failure is None:
        prose = read_coordinates(text)
        if isinstance(prose, LatLon):
            says_more = re.search(r"[^\W\d_]{2}", text)
            answer = Answer(prose, reasoning=text if says_more else "")
        else:
            failure = prose
    if answer is not None:
        place, reasoning = plain(answer.place, MAX_PLACE_CHARS), plain(answer.reasoning, MAX_REASONING_CHARS)
        return Answer(answer.position, place, reasoning)
    return _REFUSED if refuses(text) else failure or ABSENT


def spoken(text: str) -> str:
    """What a reply says: its blocks of thoughts left out, and the midst of a very long one."""
    return _bounded(_without_thoughts(text))


def refuses(text: str) -> bool:
    """Whether words begin with a refusal to say anything."""
    return bool(_REFUSAL.search(text[:1000].replace("\u2019", "'")))


def reasons_in(item: dict[str, object]) -> str:
    """The reasons in a JSON object that a model wrote; empty where it gives none."""
    return _first_text(item, _REASONING_KEYS)


def plain(text: str, limit: int) -> str:
    """Text on one line without control characters, cut to a length."""
    text = " ".join("".join(char if char.isprintable() else " " * char.isspace() for char in text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _without_thoughts(text: str) -> str:
    """What follows the last block of thoughts. Some servers leave its opening tag out, a cut reply the closing one."""
    end = 0
    for tag in _THOUGHT_END.finditer(text):
        end = tag.end()
    begin = _THOUGHT_BEGIN.search(text, end)
    return text[end : begin.start() if begin else None]


def _bounded(text: str) -> str:
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n…\n{text[-TAIL_CHARS:]}"


def _quoted(text: str) -> str:
    """A reply as it goes back to the model; some servers accept no empty turn."""
    return text[-MAX_QUOTED_CHARS:] if text.strip() else "(no text)"


def _position_in(value: object, depth: int = 0) -> LatLon | Unreadable | None:
    """The position in a JSON value; None where the value does not even try to give one."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, str):
        return read_coordinates(value) if depth else None
    if isinstance(value, list):
        return _position_in_list(value, depth)
    if not isinstance(value, dict):
        return None
    fields = {_KEY_NOISE.sub("", re.sub("[^a-z]", "", str(key).lower())): item for key, item in value.items()}
    lat = next((key for key in fields if key in _LAT_KEYS), None)
    lon = next((key for key in fields if key in _LON_KEYS), None)
    if lat or lon:
        first, second = read_angle(fields.get(lat or "")), read_angle(fields.get(lon or ""))
        return position(first, second, labelled=True) if first and second else ABSENT
    is_geojson = value.get("type") == "Point"  # longitude first. Source: RFC 7946, section 3.1.1
    failure: Unreadable | None = None
    for key, item in fields.items():
        if key in _INNER_KEYS:
            inner = item[1::-1] if is_geojson and isinstance(item, list) else item
            found = _position_in(inner, depth + 1)
            if isinstance(found, LatLon):
                return found
            tried = not isinstance(item, str) or key.startswith(("coord", "lat", "gps"))  # others may hold a mere name
            failure = failure or (found or ABSENT if tried else None)
    return failure


def _position_in_list(values: list[object], depth: int) -> LatLon | Unreadable | None:
    if len(values) == 2 and not any(isinstance(value, dict | list) for value in values):
        first, second = (read_angle(value) for value in values)
        return position(first, second) if first and second else ABSENT
    return _position_in(values[0], depth + 1) if values else None  # candidates, best first


def _place_in(item: dict[str, object]) -> str:
    place = _first_text(item, _PLACE_KEYS)
    if place:
        return place
    return ", ".join(part for key in _PLACE_PARTS if (part := _first_text(item, (key,))))


def _first_text(item: dict[str, object], keys: tuple[str, ...]) -> str:
    lowered = {str(key).lower(): value for key, value in item.items()}
    return next((value for key in keys if isinstance(value := lowered.get(key), str) and value.strip()), "")

"""Shows a model the best candidates, with the evidence for each, and reads which one it chooses.

They are listed from west to east, so that their order doesn't reveal their scores. The text contains no letter or
number that a model could echo as its answer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from img2loc.answer.ask import MAX_REASONING_CHARS, Answer, parse, plain_text, reasons_in, visible_text
from img2loc.answer.lenient_json import find_objects
from img2loc.answer.refusals import refuses
from img2loc.errors import LMMError
from img2loc.geo.coarse import EXACT, Precision, coarse_positions
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import haversine_km
from img2loc.judge.candidates import MERGE_KM
from img2loc.lmm import LMM, Picture, Turn
from img2loc.types import Candidate, LatLon, Neighbour, Outcome, OutcomeKind

MAX_OPTIONS: Final = 5
LETTERS: Final = "ABCDE"
MAX_URL_CHARS: Final = 500
MAX_NAMES: Final = 4  # of the places where a candidate's neighbours were taken

_BEFORE: Final = (
    "You are an expert in geolocation. Where was this photo taken? It was probably taken near one of these places, "
    "which stand from west to east:"
)
_AFTER: Final = (
    "Compare the photo with what you know of each place: landmarks, writing, plants, buildings, roads, light. Earlier "
    "guesses and similar photos may all be wrong. Then choose the place that fits best, even if you are unsure. "
    'Answer with one JSON object and nothing else: "choice", the letter of the place, and "reasoning", one or two '
    "sentences on what decided it."
)

_KEYS: Final = ("choice", "chosen", "answer", "letter", "place", "candidate", "option", "best", "selection")
_EXTENSIONS: Final = (".jpg", ".jpeg", ".png", ".webp")
_PAGES: Final = ("/blob/", "/wiki/")  # GitHub's and Wikimedia's pages about a picture have a picture's name
_WORD: Final = r"(?:choice|candidate|option|answer|place|letter)"
# A letter, but not the article of "A tower".
_GOES_ON: Final = "is|fits|because|since|as|matches|seems|looks|by|for|due|with|or|and|but|not|nor"
_LETTER: Final = rf"([B-Zb-z]|[Aa](?!\s+(?!(?:{_GOES_ON})\b)[a-z]))(?![^\W_])"
# At the beginning of a value, such as "B", "(B)", "B. Paris", "Place B"; and in prose.
_ALONE: Final = re.compile(rf"\W*(?:(?i:{_WORD})\W+)?{_LETTER}", re.ASCII)
_NAMED: Final = re.compile(rf"\b(?i:{_WORD})\b(?i:\s+is|\s+would be)?[\s:*\"'(]{{1,8}}(?=[A-Z]){_LETTER}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate as the model is shown it."""

    letter: str
    candidate: Candidate
    neighbours: tuple[Neighbour, ...]  # the photo's nearest that lie near the candidate, the most similar first

    @property
    def picture(self) -> Picture | None:
        """The most similar photo near it that is on the web."""
        for neighbour in self.neighbours:
            if neighbour.photo and is_picture(neighbour.photo.url):
                return Picture(f"A similar photo, from place {self.letter}:", neighbour.photo.url)
        return None


def make_options(candidates: Sequence[Candidate], neighbours: Sequence[Neighbour]) -> tuple[Option, ...]:
    """Take the MAX_OPTIONS first of candidates, which are sorted by score, and put them in order from west to east."""
    best = sorted(candidates[:MAX_OPTIONS], key=lambda candidate: (candidate.position.lon, candidate.position.lat))
    return tuple(
        Option(letter, candidate, tuple(n for n in neighbours if _is_near(n.position, candidate.position)))
        for letter, candidate in zip(LETTERS, best, strict=False)
    )


def write_question(options: Sequence[Option], *, answers: int, neighbours: int) -> str:
    """Write the question, with the numbers of earlier answers and of neighbours."""
    lines = []
    for option in options:
        evidence = []
        if answers:
            evidence.append(f"{option.candidate.answers} of {answers} earlier guesses lie here")
        if neighbours:
            names = list(dict.fromkeys(str(nearest_place(near.position)) for near in option.neighbours))
            where = f" ({'; '.join(names[:MAX_NAMES])})" if names else ""
            evidence.append(f"{len(option.neighbours)} of the {neighbours} most similar photos were taken here{where}")
        position = option.candidate.position
        lines.append(f"{option.letter}. {position} ({nearest_place(position)}): {', '.join(evidence)}")
    return "\n\n".join((_BEFORE, "\n".join(lines), _AFTER))


def choose(lmm: LMM, options: Sequence[Option], text: str, jpeg: bytes, *, precision: Precision = EXACT) -> Outcome:
    """Ask a model to choose, once.

    Args:
        lmm: The model.
        options: What there is to choose from.
        text: The question.
        jpeg: The photo, without metadata.
        precision: How precise the candidates' positions are.

    Returns:
        The chosen candidate's position, or why there is none; a failure is an outcome, never an exception.
    """
    pictures = tuple(option.picture for option in options if option.picture)
    turn = Turn("user", text, pictures, tuple(option.letter for option in options))
    try:
        reply = lmm.reply((turn,), jpeg)
    except LMMError as error:
        return Outcome(OutcomeKind.PROVIDER_ERROR, message=str(error))
    position, reasoning = (None, "") if reply.refused else read_choice(reply.text, options, precision)
    if position is not None:
        return Outcome(OutcomeKind.ANSWERED, position, reasoning=reasoning, replies=(reply,))
    if reply.refused or refuses(visible_text(reply.text)):
        return Outcome(OutcomeKind.REFUSED, message="The model declined to choose.", replies=(reply,))
    cut = " (it was cut off at the length limit)" if reply.truncated else ""
    message = f"The model's reply names none of the {len(options)} places{cut}."
    return Outcome(OutcomeKind.UNPARSEABLE, message=message, replies=(reply,))


def read_choice(text: str, options: Sequence[Option], precision: Precision = EXACT) -> tuple[LatLon | None, str]:
    """Read what a model chose: a letter in JSON, else in prose, else coordinates near one candidate.

    Args:
        text: The raw reply.
        options: What there was to choose from.
        precision: How precise their positions are. Coordinates are made as coarse before they are compared.

    Returns:
        The position of the chosen candidate, None where that is unclear; and the model's reasons.
    """
    places = {option.letter: option.candidate.position for option in options}
    visible = visible_text(text)
    for item in reversed(find_objects(visible)):
        fields = {str(key).lower(): value for key, value in item.items()}
        for key in _KEYS:
            value = fields.get(key)
            if isinstance(value, str) and (match := _ALONE.match(value)) and match[1].upper() in places:
                return places[match[1].upper()], reasons_in(item)
    alone = _ALONE.fullmatch(visible.strip().rstrip(".)*\"'"))
    letters = {alone[1].upper()} if alone else {match[1] for match in _NAMED.finditer(visible)}
    if len(letters) == 1 and (letter := letters.pop()) in places:
        return places[letter], "" if alone else plain_text(visible, MAX_REASONING_CHARS)
    answer = parse(text)
    if isinstance(answer, Answer):
        (position,) = coarse_positions([answer.position], precision)
        nearest = min(places.values(), key=lambda place: haversine_km(place, position))
        if _is_near(nearest, position):
            return nearest, answer.reasoning
    return None, ""


def _is_near(a: LatLon, b: LatLon) -> bool:
    return haversine_km(a, b) <= MERGE_KM


def is_picture(url: str) -> bool:
    """Whether an untrusted address is that of a picture on the public web, which a provider may be asked to fetch.

    Nothing is fetched here, and no address in a private network is passed on.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_plain = len(url) <= MAX_URL_CHARS and url.isascii() and url.isprintable() and " " not in url
    is_public_name = "." in host and not host.endswith((".local", ".localhost", ".internal")) and not _is_number(host)
    has_login = parts.username is not None or parts.password is not None
    path = parts.path.lower()
    is_file = path.endswith(_EXTENSIONS) and not any(page in path for page in _PAGES)
    return is_plain and parts.scheme == "https" and is_public_name and not has_login and is_file


def _is_number(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.rpartition(".")[2].isdigit()  # some programs read 127.1 as an address
    return True

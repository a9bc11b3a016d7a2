"""The model's second turn: it is shown the best candidates and chooses one, with what speaks for each.

They stand from west to east, so that their order says nothing of their scores. No letter or number stands where a model
could echo it as its answer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from img2loc.answer.ask import MAX_REASONING_CHARS, Answer, parse, plain, reasons_in, refuses, spoken
from img2loc.answer.lenient_json import objects
from img2loc.errors import LMMError
from img2loc.geo.coarse import EXACT, Precision, coarse_positions
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import haversine_km
from img2loc.judge.candidates import MERGE_KM
from img2loc.lmm import LMM, Picture, Turn
from img2loc.types import Candidate, LatLon, Neighbour, Outcome, OutcomeKind

SHOWN: Final = 5  # so many of the best candidates
LETTERS: Final = "ABCDE"
MAX_URL_CHARS: Final = 500
NAMES: Final = 4  # of places of the neighbours near a candidate

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
_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")
_PAGES: Final = ("blob", "wiki")  # GitHub's and Wikimedia's pages about a picture are called like the picture
_WORD: Final = r"(?:choice|candidate|option|answer|place|letter)"
# A letter, but not the article of "A tower".
_GOES_ON: Final = "is|fits|because|since|as|matches|seems|looks|by|for|due|with|or|and|but|not|nor"
_LETTER: Final = rf"([B-Zb-z]|[Aa](?!\s+(?!(?:{_GOES_ON})\b)[a-z]))(?![^\W_])"
# One that opens a value, such as "B", "(B)", "B. Paris", "Place B"; and one that prose names.
_ALONE: Final = re.compile(rf"\W*(?:(?i:{_WORD})\W+)?{_LETTER}", re.ASCII)
_NAMED: Final = re.compile(rf"\b(?i:{_WORD})\b(?i:\s+is|\s+would be)?[\s:*\"'(]{{1,8}}(?=[A-Z]){_LETTER}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate as the model is shown it.

    Args:
        letter: What it is called.
        candidate: Which it is.
        neighbours: Of the photo's nearest, those that lie near it, the most similar first.
    """

    letter: str
    candidate: Candidate
    neighbours: tuple[Neighbour, ...]

    @property
    def picture(self) -> Picture | None:
        """The most similar photo near it that is on the web."""
        urls = (neighbour.photo.url for neighbour in self.neighbours if neighbour.photo)
        return next(
            (Picture(f"A similar photo, from place {self.letter}:", url) for url in urls if is_picture(url)), None
        )


def options(found: Sequence[Candidate], neighbours: Sequence[Neighbour]) -> tuple[Option, ...]:
    """Choose what a model is shown.

    Args:
        found: The candidates, the best first.
        neighbours: The photo's nearest.

    Returns:
        The best SHOWN, from west to east.
    """
    places = sorted(found[:SHOWN], key=lambda one: (one.position.lon, one.position.lat))
    return tuple(
        Option(letter, one, tuple(n for n in neighbours if haversine_km(n.position, one.position) <= MERGE_KM))
        for letter, one in zip(LETTERS, places, strict=False)
    )


def worded(shown: Sequence[Option], *, guesses: int, neighbours: int) -> str:
    """Put the question into words.

    Args:
        shown: What there is to choose from.
        guesses: How many answers the model gave before.
        neighbours: How many neighbours there are.
    """
    lines = []
    for option in shown:
        said = []
        if guesses:
            said.append(f"{option.candidate.answers} of {guesses} earlier guesses lie here")
        if neighbours:
            names = list(dict.fromkeys(str(nearest_place(near.position)) for near in option.neighbours))
            of = f" ({'; '.join(names[:NAMES])})" if names else ""
            said.append(f"{len(option.neighbours)} of the {neighbours} most similar photos were taken here{of}")
        position = option.candidate.position
        lines.append(f"{option.letter}. {position} ({nearest_place(position)}): {', '.join(said)}")
    return "\n\n".join((_BEFORE, "\n".join(lines), _AFTER))


def choose(lmm: LMM, shown: Sequence[Option], text: str, jpeg: bytes, *, precision: Precision = EXACT) -> Outcome:
    """Ask a model to choose, once.

    Args:
        lmm: The model.
        shown: What there is to choose from.
        text: The question, as `worded` has it.
        jpeg: The photo, without metadata.
        precision: How precise the candidates' positions are.

    Returns:
        How it ended; a chosen candidate's position, or why there is none. Never an exception.
    """
    pictures = tuple(option.picture for option in shown if option.picture)
    turn = Turn("user", text, pictures, tuple(option.letter for option in shown))
    try:
        reply = lmm.reply((turn,), jpeg)
    except LMMError as error:
        return Outcome(OutcomeKind.PROVIDER_ERROR, message=str(error))
    chosen, reasoning = (None, "") if reply.refused else read_choice(reply.text, shown, precision)
    if chosen is not None:
        return Outcome(OutcomeKind.ANSWERED, chosen, reasoning=reasoning, replies=(reply,))
    if reply.refused or refuses(spoken(reply.text)):
        return Outcome(OutcomeKind.REFUSED, message="The model declined to choose.", replies=(reply,))
    cut = " (it was cut off at the length limit)" if reply.truncated else ""
    message = f"The model's reply names none of the {len(shown)} places{cut}."
    return Outcome(OutcomeKind.UNPARSEABLE, message=message, replies=(reply,))


def read_choice(text: str, shown: Sequence[Option], precision: Precision = EXACT) -> tuple[LatLon | None, str]:
    """Read what a model chose: a letter in JSON, else in prose, else coordinates near one candidate.

    Args:
        text: The raw reply.
        shown: What there was to choose from.
        precision: How precise their positions are. Coordinates are made as coarse before they are compared.

    Returns:
        The position of the chosen candidate, None where it can't be told; and the model's reasons.
    """
    places = {option.letter: option.candidate.position for option in shown}
    words = spoken(text)
    for item in reversed(objects(words)):
        fields = {str(key).lower(): value for key, value in item.items()}
        for key in _KEYS:
            value = fields.get(key)
            if isinstance(value, str) and (match := _ALONE.match(value)) and match[1].upper() in places:
                return places[match[1].upper()], plain(reasons_in(item), MAX_REASONING_CHARS)
    bare = _ALONE.fullmatch(words.strip().rstrip(".)*\"'"))
    named = {bare[1].upper()} if bare else {match[1] for match in _NAMED.finditer(words)}
    if len(named) == 1 and (letter := named.pop()) in places:
        return places[letter], "" if bare else plain(words, MAX_REASONING_CHARS)
    answer = parse(text)
    if isinstance(answer, Answer):
        (said,) = coarse_positions([answer.position], precision)
        nearest = min(places.values(), key=lambda place: haversine_km(place, said))
        if haversine_km(nearest, said) <= MERGE_KM:
            return nearest, answer.reasoning
    return None, ""


def is_picture(url: str) -> bool:
    """Whether an address is a picture's on the web that a provider may be asked to fetch; nothing is fetched here.

    Args:
        url: Of a gallery's record, untrusted: no address in a network of somebody's own is passed on.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    plain_text = len(url) <= MAX_URL_CHARS and url.isascii() and url.isprintable() and " " not in url
    named = "." in host and not host.endswith((".local", ".localhost", ".internal")) and not _is_number(host)
    ours = parts.username is None and parts.password is None
    path = parts.path.lower()
    shown = path.endswith(_ENDINGS) and not any(f"/{page}/" in path for page in _PAGES)
    return plain_text and parts.scheme == "https" and named and ours and shown


def _is_number(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.rpartition(".")[2].isdigit()  # some take 127.1 for one
    return True

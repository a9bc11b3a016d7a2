"""The texts that are sent to a large multimodal model: the prompt, and what follows an answer that can't be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Final

from img2loc.errors import ConfigError, quoted
from img2loc.geo.areas import Area
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import haversine_km
from img2loc.types import Neighbour, Retrieval

# Each is a text in prompts/, with a description for people. No text contains a number: some models echo a template's
# numbers as their answer in a third to more than half of their replies.
TEMPLATES: Final = {
    "paper": "As in the paper: both lists of coordinates",
    "numbered": "Numbered lists with places, similarities and distances",
    "g3": "In the manner of G3: pairs of numbers, JSON without reasons",
    "zero-shot": "Zero-shot: the photo alone, without neighbours",
}
MAX_TEMPLATE_CHARS: Final = 20_000
SAME_PLACE_KM: Final = 1.0  # in numbered lists, photos this close are one place with a count

REPAIR: Final = (
    "No position could be read from that reply. Answer again with one JSON object and nothing else: "
    '"latitude" and "longitude" as numbers in decimal degrees (negative in the south and in the west), '
    '"place" and "reasoning" as short strings. If you are unsure, give your best guess.'
)
# The prompt's last line if the area is known, and what follows an answer outside of it.
WITHIN: Final = "It is known that the photo was taken here: {area}. Give a position inside that area."
OUTSIDE: Final = (
    "That position lies outside of the area in which the photo is known to have been taken: {area}. "
    "Answer again in the same form, with the most likely position inside it."
)


@cache
def template_named(name: str) -> str:
    """Read one of the templates that come with the code.

    Raises:
        ConfigError: There is none of that name; the message lists those there are.
    """
    if name not in TEMPLATES:
        raise ConfigError(f"There is no prompt {quoted(name)}; choose one of: {', '.join(TEMPLATES)}.")
    return (resources.files("img2loc") / "prompts" / f"{name}.txt").read_text("utf-8").strip()


# Source: paper, section 3.2: both sets of coordinates are appended to the text as anchors.
DEFAULT_TEMPLATE: Final = template_named("paper")


def chosen_template(text: str) -> str:
    """Take a template's name, a template itself, or nothing for the default.

    Raises:
        ConfigError: It is one word and no template's name, or a template that check_template refuses.
    """
    text = text.strip()
    if not text:
        return DEFAULT_TEMPLATE
    if text in TEMPLATES or (len(text.split()) == 1 and "$" not in text):
        return template_named(text)
    check_template(text)
    return text


def check_template(template: str) -> None:
    """Check that a prompt's template can be filled in.

    Args:
        template: Text with placeholders for the nearest and for the farthest neighbours, each as $nearest (coordinates
            on one line), $nearest_list (a numbered list that begins on the next line) or $nearest_pairs (JSON), and
            likewise $farthest; or without any, for zero-shot. '$$' becomes a dollar sign.

    Raises:
        ConfigError: It is too long, a placeholder is unknown or only one kind of neighbours has any, or a '$' begins no
            placeholder.
    """
    if len(template) > MAX_TEMPLATE_CHARS:
        raise ConfigError(f"The prompt has {len(template):,} characters; use at most {MAX_TEMPLATE_CHARS:,}.")
    parsed = Template(template)
    if not parsed.is_valid():
        raise ConfigError("The prompt has a '$' that starts no placeholder; write '$$' for a dollar sign.")
    names = parsed.get_identifiers()
    unknown = [f"${name}" for name in names if name not in _FORMATS]
    if unknown:
        raise ConfigError(
            f"The prompt has the unknown placeholder {', '.join(unknown)}; use $nearest and $farthest, alone or "
            "followed by _list or _pairs, and write '$$' for a dollar sign."
        )
    missing = [f"${kind}" for kind in _KINDS if not any(name.startswith(kind) for name in names)]
    if names and missing:
        raise ConfigError(
            f"The prompt lacks {missing[0]}; use both $nearest and $farthest, or neither to ask without neighbours."
        )


def render(template: str, retrieval: Retrieval, within: Area | None = None) -> str:
    """Fill the neighbours into a template.

    A line whose lists are all empty is left out, so that switching a list off also removes the words about it.
    An empty list that shares its line with a full one reads "none"; so does every list where no line would be left.

    Args:
        template: Text that check_template accepts.
        retrieval: The neighbours, in rank order; either list may be empty.
        within: Where the photo is known to have been taken; a last line says so.

    Returns:
        The prompt. Coordinates are in degrees with 5 decimals (about a metre).

    Raises:
        ConfigError: check_template refuses the template.
    """
    check_template(template)
    lists = {}
    for name in Template(template).get_identifiers():
        kind, write = _FORMATS[name]
        neighbours = retrieval.nearest if kind == "nearest" else retrieval.farthest
        lists[name] = write(neighbours) if neighbours else ""
    lines = [Template(line) for line in template.split("\n")]
    kept = [line for line in lines if not (names := line.get_identifiers()) or any(lists[name] for name in names)]
    values = {name: text or "none" for name, text in lists.items()}
    prompt = "\n".join(line.substitute(values) for line in kept).strip()
    prompt = prompt or Template(template).substitute(values).strip()
    return f"{prompt}\n{WITHIN.format(area=within)}" if within else prompt


@dataclass(frozen=True, slots=True)
class Spot:
    """Neighbours so close together that they are one place: the one of best rank, and how many there are."""

    first: Neighbour
    count: int


def spots(neighbours: Sequence[Neighbour]) -> list[Spot]:
    """Merge neighbours, given in rank order, with a better-ranked one within SAME_PLACE_KM."""
    merged: list[Spot] = []
    for neighbour in neighbours:
        for index, spot in enumerate(merged):
            if haversine_km(spot.first.position, neighbour.position) <= SAME_PLACE_KM:
                merged[index] = Spot(spot.first, spot.count + 1)
                break
        else:
            merged.append(Spot(neighbour, 1))
    return merged


def _coordinates(neighbours: Sequence[Neighbour]) -> str:
    return ", ".join(f"({neighbour.position})" for neighbour in neighbours)


def _pairs(neighbours: Sequence[Neighbour]) -> str:
    return "[" + ", ".join(f"[{neighbour.position}]" for neighbour in neighbours) + "]"


def _numbered_list(neighbours: Sequence[Neighbour]) -> str:
    """One line per place; distances are from the first neighbour."""
    lines = []
    for number, spot in enumerate(spots(neighbours), start=1):
        position = spot.first.position
        facts = [f"similarity {spot.first.similarity:.2f}"]
        if number > 1:
            facts.append(f"{haversine_km(neighbours[0].position, position):,.0f} km from number 1")
        if spot.count > 1:
            facts.append(f"{spot.count} photos")
        lines.append(f"{number}. {position} ({nearest_place(position)}): {', '.join(facts)}")
    return "\n" + "\n".join(lines)


_KINDS = ("nearest", "farthest")
_FORMATS: dict[str, tuple[str, Callable[[Sequence[Neighbour]], str]]] = {
    f"{kind}{ending}": (kind, write)
    for kind in _KINDS
    for ending, write in (("", _coordinates), ("_list", _numbered_list), ("_pairs", _pairs))
}

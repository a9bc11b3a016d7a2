"""The words that go to a large multimodal model: the prompt, the answer's schema, and the repair turn."""

from __future__ import annotations

from collections.abc import Iterable
from string import Template
from typing import Final

from img2loc.errors import ConfigError
from img2loc.types import Neighbour, Retrieval

# Two placeholders, $nearest and $farthest, each on a line of its own (see render). No example coordinates: some models
# echo a template's numbers as their answer in a third to more than half of their replies.
# Source: paper, section 3.2: both sets of coordinates are appended to the text as anchors.
DEFAULT_TEMPLATE: Final = """\
You are an expert in geolocation who can tell from a single photo where on Earth it was taken.
Guess where this photo was taken, as precisely as you can. Always commit to one position, however unsure you are.
For your reference, these are the coordinates (latitude, longitude) of places that look similar: $nearest
And these are the coordinates of places that look dissimilar, which the answer should be far away from: $farthest
Answer with one JSON object and nothing else. Its keys are "latitude" and "longitude" (numbers in decimal degrees, \
negative in the south and in the west), "place" (the name of the place) and "reasoning" (one or two sentences on what \
you see in the photo that decided it)."""

REPAIR: Final = (
    "No position could be read from that reply. Answer again with one JSON object and nothing else: "
    '"latitude" and "longitude" as numbers in decimal degrees (negative in the south and in the west), '
    '"place" and "reasoning" as short strings. If you are unsure, give your best guess.'
)

# Strict mode wants every key required and no others. Our parser checks ranges: not all servers accept them here.
# Source: https://platform.openai.com/docs/guides/structured-outputs
ANSWER_SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "latitude": {"type": "number", "description": "Decimal degrees, negative in the south."},
        "longitude": {"type": "number", "description": "Decimal degrees, negative in the west."},
        "place": {"type": "string", "description": "The name of the place."},
        "reasoning": {"type": "string", "description": "One or two sentences on what decided it."},
    },
    "required": ["latitude", "longitude", "place", "reasoning"],
    "additionalProperties": False,
}

_LISTS = ("nearest", "farthest")
_NONE = "none"


def check_template(template: str) -> None:
    """Check that a prompt's template can be filled in.

    Args:
        template: Text with the placeholders $nearest and $farthest; '$$' stands for a dollar.

    Raises:
        ConfigError: A placeholder is missing or unknown, or a '$' begins none.
    """
    parsed = Template(template)
    if not parsed.is_valid():
        raise ConfigError("The prompt has a '$' that begins no placeholder; write '$$' where a dollar is meant.")
    names = parsed.get_identifiers()
    unknown = [f"${name}" for name in names if name not in _LISTS]
    if unknown:
        raise ConfigError(
            f"The prompt has the unknown placeholder {', '.join(unknown)}; only $nearest and $farthest are filled in, "
            "and a dollar is written '$$'."
        )
    missing = [f"${name}" for name in _LISTS if name not in names]
    if missing:
        raise ConfigError(
            f"The prompt lacks {' and '.join(missing)}; it needs both $nearest and $farthest, "
            "where the coordinates of the similar and the dissimilar places belong."
        )


def render(template: str, retrieval: Retrieval) -> str:
    """Fill the neighbours' coordinates into a template.

    A line whose lists are all empty is left out, so that switching a list off also takes away the words about it.
    An empty list that shares its line with a full one reads "none"; so does every list where no line would be left.

    Args:
        template: Text that check_template accepts.
        retrieval: The neighbours, in rank order; either list may be empty.

    Returns:
        The prompt, with each list as "(lat, lon), (lat, lon), ..." in degrees with 5 decimals (about a metre).

    Raises:
        ConfigError: The template has a missing or unknown placeholder.
    """
    check_template(template)
    values = {"nearest": _coordinates(retrieval.nearest), "farthest": _coordinates(retrieval.farthest)}
    lines = [Template(line) for line in template.split("\n")]
    kept = [line for line in lines if not (names := line.get_identifiers()) or any(values[name] for name in names)]
    filled = {name: value or _NONE for name, value in values.items()}
    text = "\n".join(line.substitute(filled) for line in kept).strip()
    return text or Template(template).substitute(filled).strip()


def _coordinates(neighbours: Iterable[Neighbour]) -> str:
    return ", ".join(f"({neighbour.position})" for neighbour in neighbours)

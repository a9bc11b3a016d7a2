"""What asking a model will cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import Template
from typing import Final

from img2loc.answer.prompt import OUTSIDE, REPAIR, WITHIN
from img2loc.geo.areas import Area
from img2loc.judge.choice import MAX_OPTIONS
from img2loc.judge.sampling import Judge, requests_of
from img2loc.lmm import BACKENDS
from img2loc.lmm.prices import Pricing, expected_tokens
from img2loc.lmm.request import MAX_OUTPUT_TOKENS
from img2loc.lmm.servers import pricing, server_named
from img2loc.lmm.usage import MAX_PHOTO_TOKENS

# Characters of a neighbour in a prompt: a pair of coordinates, or a line of a numbered list.
PAIR_CHARS: Final = 22
LINE_CHARS: Final = 85
CHOICE_CHARS: Final = 700 + MAX_OPTIONS * 200  # of the turn that chooses; a gallery's pictures cost as much again, each
# The same at most, in bytes. No token is shorter than a byte.
MAX_PAIR_BYTES: Final = 25
MAX_LINE_BYTES: Final = 200
MAX_CHOICE_BYTES: Final = 1000 + MAX_OPTIONS * 700


@dataclass(frozen=True, slots=True)
class Expense:
    """What one photo is expected to take."""

    requests: int  # if every reply can be read
    cost_usd: float | None  # None where the price is unknown


def expense(
    judge: Judge | None, template: str, nearest: int, farthest: int, *, samples: int, prices: Pricing | None
) -> Expense:
    """Estimate what one photo will take; the parameters are those of a request."""
    neighbour_chars = _neighbour_size(template, PAIR_CHARS, LINE_CHARS)
    counts = _neighbour_counts(judge, nearest, farthest)
    lengths = [len(template) + neighbour_chars * count for count in counts] * samples
    lengths += [CHOICE_CHARS] if judge and judge.choice else []
    expected = [expected_tokens(length) for length in lengths]
    cost = None if prices is None else sum(prices.cost_usd(*tokens) for tokens in expected)
    return Expense(requests_of(judge, samples), cost)


def max_tokens(
    judge: Judge | None, template: str, nearest: int, farthest: int, *, samples: int, within: Area | None
) -> int:
    """The most tokens that one photo can take, read and written, with a second turn after every first reply."""
    area_bytes = len(str(within).encode()) if within else 0
    second_bytes = max(len(REPAIR), len(OUTSIDE) + area_bytes)
    text_bytes = len(template.encode()) + (len(WITHIN) + area_bytes if within else 0)
    neighbour_bytes = _neighbour_size(template, MAX_PAIR_BYTES, MAX_LINE_BYTES)
    total = 0
    for count in _neighbour_counts(judge, nearest, farthest):
        first = MAX_PHOTO_TOKENS + text_bytes + neighbour_bytes * count + MAX_OUTPUT_TOKENS
        # The second turn reads the first again, its reply and what is wrong with it.
        total += samples * (2 * first + MAX_OUTPUT_TOKENS + second_bytes)
    if judge and judge.choice:
        total += MAX_PHOTO_TOKENS * (1 + MAX_OPTIONS) + MAX_CHOICE_BYTES + MAX_OUTPUT_TOKENS
    return total


def _neighbour_counts(judge: Judge | None, nearest: int, farthest: int) -> list[int]:
    """How many neighbours each prompt holds."""
    return [nearest + farthest] if judge is None else [2 * count for count in judge.counts]


def _neighbour_size(template: str, pair: int, line: int) -> int:
    """The size of a neighbour in a template: of a pair of coordinates, of a list's line, or 0 where it takes none."""
    names = Template(template).get_identifiers()
    return line if any(name.endswith("_list") for name in names) else pair if names else 0


def prices_of(backend: str, server: str, model: str) -> Pricing | None:
    """The list prices of a model; None where they are unknown.

    Args:
        backend: Its exact name.
        server: As server_named takes it.
        model: Its exact name.

    Raises:
        ConfigError: There is no such server.
    """
    return pricing(server_named(server), model) if BACKENDS[backend].name == "openai" else None


def dollars(usd: float) -> str:
    """Write a sum with two significant digits, and at least in cents."""
    digits = 2 if usd >= 1 or usd <= 0 else max(2, 1 - math.floor(math.log10(usd)))
    return f"${usd:,.{digits}f}"

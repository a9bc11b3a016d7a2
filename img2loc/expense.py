"""What asking a model will cost, and what it has used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from string import Template
from typing import Final

from img2loc.choice import SHOWN
from img2loc.lmm import BACKENDS
from img2loc.lmm.prices import Pricing, expected_tokens
from img2loc.lmm.servers import pricing, server_named
from img2loc.sampling import Judge, requests_of
from img2loc.types import OutcomeKind, Prediction, Reply

# Characters that a neighbour takes in a prompt: a pair of coordinates, or a line of a numbered list.
PAIR_CHARS: Final = 22
LINE_CHARS: Final = 85
CHOICE_CHARS: Final = 700 + SHOWN * 200  # of the turn that chooses; a gallery's pictures cost as much again, each


@dataclass(frozen=True, slots=True)
class Expense:
    """What one photo will take.

    Args:
        requests: If every reply can be read.
        tokens: About, read and written.
        cost_usd: About; None where the price is unknown.
    """

    requests: int
    tokens: float
    cost_usd: float | None


def expense(
    judge: Judge | None, template: str, nearest: int, farthest: int, *, samples: int, prices: Pricing | None
) -> Expense:
    """Estimate what one photo will take.

    Args:
        judge: How the model is asked; None for one prompt.
        template: The prompt's text, with its placeholders.
        nearest: How many of the most similar photos go into the one prompt.
        farthest: How many of the most dissimilar.
        samples: How often each prompt is sent.
        prices: The model's; None where they are unknown.
    """
    counts = [nearest + farthest] if judge is None else [2 * count for count in judge.counts]
    names = Template(template).get_identifiers()
    each = LINE_CHARS if any(name.endswith("_list") for name in names) else PAIR_CHARS if names else 0
    lengths = [len(template) + each * count for count in counts] * samples
    lengths += [CHOICE_CHARS] if judge and judge.choice else []
    expected = [expected_tokens(length) for length in lengths]
    cost = None if prices is None else sum(prices.cost_usd(*tokens) for tokens in expected)
    return Expense(requests_of(judge, samples), sum(map(sum, expected)), cost)


def tokens_used(prediction: Prediction, expected: Expense) -> float:
    """Add up what a photo's replies say that they used.

    Args:
        prediction: What became of the photo.
        expected: What was expected. A reply that doesn't say counts as it was expected, and so does a request that got
            no reply: it may have been paid for all the same.
    """
    each = expected.tokens / expected.requests
    outcomes = [outcome for outcome in (prediction.outcome, prediction.choice) if outcome]
    used = [_tokens_of(reply) for outcome in outcomes for reply in outcome.replies]
    failed = any(outcome.kind is OutcomeKind.PROVIDER_ERROR for outcome in outcomes) or len(used) < expected.requests
    return sum(each if tokens is None else tokens for tokens in used) + each * failed


def _tokens_of(reply: Reply) -> float | None:
    if reply.input_tokens is None or reply.output_tokens is None:
        return None
    return float(reply.input_tokens + reply.output_tokens)


def prices_of(backend: str, server: str, model: str) -> Pricing | None:
    """The list prices of a model; None where they are unknown.

    Args:
        backend: A backend's exact name.
        server: The server it asks, as server_named takes it.
        model: The model's exact name.

    Raises:
        ConfigError: There is no such server.
    """
    return pricing(server_named(server), model) if BACKENDS[backend].name == "openai" else None


def dollars(usd: float) -> str:
    """Write a sum with two digits that tell something."""
    digits = 2 if usd >= 1 or usd <= 0 else max(2, 1 - math.floor(math.log10(usd)))
    return f"${usd:,.{digits}f}"

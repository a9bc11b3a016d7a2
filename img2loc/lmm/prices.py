"""What a model's tokens cost, from prices.json, which says where and when each price was read; nothing is guessed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import Any, Final

# A guess, until replies say how it really is: a photo of 1024 px is 765 tokens for some models and 1,400 for others; an
# answer takes 150, and models that think first take more.
PHOTO_TOKENS: Final = 1100
ANSWER_TOKENS: Final = 300
CHARS_PER_TOKEN: Final = 3.0  # coordinates, being digits, take more tokens than words

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@cache
def _table() -> dict[str, Any]:
    text = (resources.files("img2loc.lmm") / "prices.json").read_text("utf-8")
    return dict(json.loads(text))


def prices_compiled() -> date:
    """The day on which the prices were put together."""
    return date.fromisoformat(_table()["compiled"])


def cost_usd(model: str, input_tokens: int, output_tokens: int, *, on: date | None = None) -> float | None:
    """Say what a request cost, or would cost.

    Args:
        model: The model's exact name at its own provider; a version's date at its end, as replies carry it, is ignored.
        input_tokens: Read, the photo's among them.
        output_tokens: Written, those of thinking among them.
        on: The day; today by default.

    Returns:
        US dollars at the standard rate, or None where the price is unknown or no longer holds. Open models cost what
        the one who runs them asks, so theirs is unknown too.
    """
    models = _table()["models"]
    price = models.get(model) or models.get(_DATED.sub("", model))
    if price is None:
        return None
    if "until" in price and (on or datetime.now(UTC).date()) > date.fromisoformat(price["until"]):
        return None
    return float(input_tokens * price["input"] + output_tokens * price["output"]) / 1_000_000


def expected_tokens(prompt_chars: float) -> tuple[float, float]:
    """Guess the tokens of one request, in and out.

    Args:
        prompt_chars: How long its text is.
    """
    return PHOTO_TOKENS + prompt_chars / CHARS_PER_TOKEN, float(ANSWER_TOKENS)


@dataclass(frozen=True, slots=True)
class Pricing:
    """A model's prices.

    Args:
        input_usd: For a million tokens of ours.
        output_usd: For a million tokens of the model's.
    """

    input_usd: float
    output_usd: float

    @classmethod
    def of_model(cls, model: str, *, on: date | None = None) -> Pricing | None:
        """A model's list prices, today's by default; None where they are unknown."""
        input_usd, output_usd = cost_usd(model, 10**6, 0, on=on), cost_usd(model, 0, 10**6, on=on)
        return None if input_usd is None or output_usd is None else cls(input_usd, output_usd)

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6

"""What a model's tokens cost, from prices.json, which says where and when each price was read; nothing is guessed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import Any, Final

# Estimates, until replies say how many it really is. A photo of 1024 px is 765 tokens for some models and 1,400 for
# others; an answer takes 150, and more from models that think first.
PHOTO_TOKENS: Final = 1100
ANSWER_TOKENS: Final = 300
CHARS_PER_TOKEN: Final = 3.0  # coordinates, being digits, take more tokens than words

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@cache
def _table() -> dict[str, Any]:
    return dict(json.loads((resources.files("img2loc.lmm") / "prices.json").read_text("utf-8")))


def expected_tokens(prompt_chars: float) -> tuple[float, float]:
    """Estimate a request's input and output tokens from its text's length."""
    return PHOTO_TOKENS + prompt_chars / CHARS_PER_TOKEN, float(ANSWER_TOKENS)


@dataclass(frozen=True, slots=True)
class Pricing:
    """A model's prices.

    Args:
        input_usd: For a million input tokens, the photo's among them.
        output_usd: For a million output tokens, those of thinking among them.
    """

    input_usd: float
    output_usd: float

    @classmethod
    def of_model(cls, model: str, *, on: date | None = None) -> Pricing | None:
        """Look up a model's list prices.

        Args:
            model: Its exact name at its own provider; a date at its end, as replies carry it, is ignored.
            on: The day; today by default.

        Returns:
            None where the prices are unknown or no longer hold. Those of open models are unknown, since every provider
            sets its own.
        """
        models = _table()["models"]
        price = models.get(model) or models.get(_DATED.sub("", model))
        if price is None:
            return None
        if "until" in price and (on or datetime.now(UTC).date()) > date.fromisoformat(price["until"]):
            return None
        return cls(price["input"], price["output"])

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6

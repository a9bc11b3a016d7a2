"""What a model's tokens cost, from prices.json, which says where and when each price was read; nothing is guessed."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import Any

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

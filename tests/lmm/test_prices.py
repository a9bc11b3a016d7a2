"""Costs: exact names, sourced prices, and None rather than a guess."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

import img2loc.lmm
from img2loc.lmm import BACKENDS
from img2loc.lmm.prices import Pricing
from img2loc.lmm.servers import SERVERS

TABLE = json.loads((Path(img2loc.lmm.__file__).parent / "prices.json").read_text(encoding="utf-8"))
COMPILED = date.fromisoformat(TABLE["compiled"])


def test_a_cost_is_tokens_times_price():
    pricing = Pricing.of_model("gpt-5.5")
    assert pricing == Pricing(5.0, 30.0)
    assert pricing.cost_usd(1_000_000, 0) == 5.0 and pricing.cost_usd(0, 0) == 0.0
    assert pricing.cost_usd(1500, 200) == pytest.approx(0.0135)


def test_the_date_of_a_version_is_ignored_and_nothing_else_is():
    assert Pricing.of_model("gpt-5.5-2026-04-23") == Pricing.of_model("gpt-5.5")
    for model in ("", "gpt", "gpt-5.5-turbo", "GPT-5.5", "openai/gpt-5.5", "gpt-5.5-2026", "llava", "2026-04-23"):
        assert Pricing.of_model(model) is None


def test_a_price_with_an_announced_end_is_unknown_afterwards():
    assert Pricing.of_model("gemini-3.8-flash", on=date(2026, 12, 31)) == Pricing(0.75, 3.75)
    assert Pricing.of_model("gemini-3.8-flash", on=date(2027, 1, 1)) is None


def test_every_price_says_where_and_when_it_was_read():
    assert COMPILED >= date(2026, 11, 1)
    for name, price in TABLE["models"].items():
        assert 0 < price["input"] < price["output"] < 1000, name
        assert price["source"].startswith("https://") and re.fullmatch(r"2026-\d{2}(-\d{2})?", price["read"]), name


def test_the_suggested_models_of_paid_providers_have_a_price():
    suggested = {*BACKENDS["openai"].models, *SERVERS["gemini"].models, *SERVERS["anthropic"].models}
    assert {name for name in suggested if Pricing.of_model(name, on=COMPILED) is None} == set()

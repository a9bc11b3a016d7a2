"""What asking will cost, said before: requests and money."""

from __future__ import annotations

import contextlib

import pytest

from img2loc.answer.prompt import TEMPLATES, template_named
from img2loc.errors import (
    ConfigError,
    LMMCancelledError,
    LMMError,
    LMMRateLimitError,
    LMMRejectedError,
    LMMServerError,
    LMMTimeoutError,
    LMMUnreachableError,
)
from img2loc.geo.areas import read_area
from img2loc.judge.sampling import Judge
from img2loc.lmm import Turn
from img2loc.lmm.prices import Pricing
from img2loc.lmm.request import MAX_OUTPUT_TOKENS
from img2loc.lmm.usage import MAX_PHOTO_TOKENS, MeteredLMM
from img2loc.locator import Ask
from img2loc.policy.cost import dollars, expense, max_tokens, prices_of
from img2loc.types import Reply
from tests.fakes.scripted_lmm import ScriptedLMM

PRICES = Pricing(1.0, 10.0)
ZERO_SHOT = template_named("zero-shot")
FOUR = (0, 5, 10, 15)


def cost(judge: Judge | None, template: str = ZERO_SHOT, neighbours: int = 16, samples: int = 1) -> float:
    found = expense(judge, template, neighbours, neighbours, samples=samples, prices=PRICES)
    assert found.cost_usd is not None
    return found.cost_usd


def test_requests_are_counted_and_each_is_paid():
    def requests(judge, samples=1):
        return expense(judge, ZERO_SHOT, 16, 16, samples=samples, prices=None).requests

    assert [requests(None), requests(Judge(FOUR)), requests(Judge(FOUR, choice=True))] == [1, 4, 5]
    assert [requests(None, 3), requests(Judge(FOUR, choice=True), 3)] == [3, 13]
    assert cost(Judge(FOUR)) == pytest.approx(4 * cost(None)) and cost(None, samples=3) == pytest.approx(3 * cost(None))
    assert cost(Judge(FOUR)) < cost(Judge(FOUR, choice=True)) < cost(Judge(FOUR)) + 2 * cost(None)
    assert cost(None) == pytest.approx((1100 + len(ZERO_SHOT) / 3) / 1e6 + 300 * 10 / 1e6)


def test_neighbours_in_the_prompt_are_paid_for_where_it_takes_them():
    assert cost(None, neighbours=16) == cost(None, neighbours=0)
    for name in set(TEMPLATES) - {"zero-shot"}:
        template = template_named(name)
        assert cost(None, template, 0) < cost(None, template, 16) < cost(None, template, 50)
    assert cost(Judge((0, 10)), template_named("paper"), 16) == cost(Judge((0, 10)), template_named("paper"), 0)


def test_a_price_is_known_at_the_models_own_provider_only():
    assert prices_of("openai", "", "gpt-5.5") == Pricing(5.0, 30.0) == prices_of("openai", "openai", "gpt-5.5")
    assert prices_of("openai", "http://127.0.0.1:1/v1", "gpt-5.5") is None
    for backend, server, model in (("openai", "", "gpt-x"), ("openai", "vllm", "gpt-5.5"), ("hf", "", "gpt-5.5")):
        assert prices_of(backend, server, model) is None
    assert expense(None, ZERO_SHOT, 1, 1, samples=1, prices=None).cost_usd is None
    with pytest.raises(ConfigError):
        prices_of("openai", "nowhere", "gpt-5.5")


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0, "$0.00"), (0.00123, "$0.0012"), (0.0351, "$0.035"), (0.5, "$0.50"), (1.234, "$1.23"), (1234.5, "$1,234.50")],
)
def test_a_sum_has_two_digits_that_tell_something(usd: float, words: str):
    assert dollars(usd) == words


def said(input_tokens: int | None, output_tokens: int | None) -> Reply:
    return Reply("no idea", "m", 0.5, input_tokens, output_tokens)


TURNS = (Turn("user", "Where is this?"),)


def metered(*replies: Reply | Exception) -> int:
    """What so many requests count, answered or not."""
    lmm = MeteredLMM(ScriptedLMM(replies))
    for _ in replies:
        with contextlib.suppress(LMMError):
            lmm.reply(TURNS, b"")
    return lmm.tokens


def test_a_reply_counts_as_it_says_and_else_as_the_most_that_it_can_take():
    assert metered(said(1000, 200)) == 1200 and metered(said(1000, 200), said(1300, 100)) == 2600
    most = metered(said(None, None))
    assert most > MAX_OUTPUT_TOKENS + MAX_PHOTO_TOKENS
    assert metered(said(1000, None)) == 1000 + MAX_OUTPUT_TOKENS
    assert metered(said(1000, 200), said(None, 5)) == 1200 + most - MAX_OUTPUT_TOKENS + 5
    assert metered(said(0, 5)) == metered(said(None, 5))  # no request is without a photo


def test_a_request_without_a_reply_counts_as_the_most_unless_it_certainly_costs_nothing():
    most = metered(said(None, None))
    for unknown in (LMMTimeoutError, LMMCancelledError, LMMError):
        assert metered(unknown("")) == most and metered(unknown("", may_be_billed=False)) == 0
    assert metered(LMMServerError("", may_be_billed=True)) == most
    assert metered(LMMError("", input_tokens=1000, output_tokens=200)) == 1200
    for free in (LMMRateLimitError, LMMRejectedError, LMMServerError, LMMUnreachableError):
        assert metered(free("")) == 0 and metered(said(1000, 200), free("")) == 1200


@pytest.mark.parametrize("judge", [None, Judge((0, 5, 50), choice=True)])
@pytest.mark.parametrize("template", [template_named(name) for name in TEMPLATES])
@pytest.mark.parametrize("within", [None, read_area("FR; DE; GB; BA; VC")])
def test_no_photo_takes_more_than_is_reserved_for_it(starter, tower, judge, template, within):
    """With two turns for each prompt, the longest replies and no word of what was used."""
    replies = [Reply("\N{GLOBE WITH MERIDIANS}" * 9000, "m", 0.5) for _ in range(20)]
    scripted = ScriptedLMM(replies)
    metered = MeteredLMM(scripted)
    starter.locate(
        tower, Ask(lmm=metered, nearest=50, farthest=50, template=template, judge=judge, within=within, samples=2)
    )
    assert len(scripted.asked) == (13 if judge else 4)
    most = max_tokens(judge, template, 50, 50, samples=2, within=within)
    assert len(scripted.asked) * MAX_OUTPUT_TOKENS < metered.tokens <= most

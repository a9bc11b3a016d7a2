"""What asking will cost, said before: requests and money."""

from __future__ import annotations

import pytest

from img2loc.errors import ConfigError
from img2loc.expense import Expense, dollars, expense, prices_of, tokens_used
from img2loc.lmm.prices import Pricing
from img2loc.prompt import TEMPLATES, template_named
from img2loc.sampling import Judge
from img2loc.types import Outcome, OutcomeKind, Prediction, Reply, Retrieval

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
    return Reply("{}", "m", 0.5, input_tokens, output_tokens)


def used(expected: Expense, *replies: Reply, choice: Reply | None = None, kind: OutcomeKind = OutcomeKind.UNPARSEABLE):
    chosen = choice and Outcome(OutcomeKind.UNPARSEABLE, replies=(choice,))
    outcome = Outcome(kind, replies=replies)
    prediction = Prediction(None, None, "lmm", None, None, Retrieval((), ()), "", outcome, (), choice=chosen)
    return tokens_used(prediction, expected)


def test_what_was_used_is_what_replies_say_and_else_what_was_expected():
    one = Expense(requests=1, tokens=1500, cost_usd=None)
    assert used(one, said(1000, 200)) == 1200
    assert used(one, said(1000, 200), said(1300, 100)) == 2600  # a repair is another request
    assert used(one, said(None, None)) == used(one, said(1000, None)) == 1500
    assert used(one, kind=OutcomeKind.PROVIDER_ERROR) == 1500  # it may have been paid for all the same
    three = Expense(requests=3, tokens=4500, cost_usd=None)
    assert used(three, said(1000, 200), said(1000, 200), choice=said(500, 100)) == 3000
    assert used(three, said(1000, 200)) == 1200 + 1500  # and what was not sent afterwards is not paid for

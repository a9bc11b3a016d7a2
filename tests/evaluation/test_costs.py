"""What runs cost: known before, metered, and kept within limits."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from random import Random

import pytest

from img2loc.errors import DataError
from img2loc.evaluation.report.score import open_run
from img2loc.evaluation.run.budget import Budget, Meter, Pace
from img2loc.evaluation.run.journal import read_journal
from img2loc.lmm import Turn
from img2loc.lmm.prices import Pricing
from img2loc.lmm.request import MAX_OUTPUT_TOKENS
from img2loc.lmm.usage import MAX_PHOTO_TOKENS, max_usage, usage_of
from img2loc.types import Reply
from tests.evaluation.runs import ITEMS, SETUP, CountingLMM, Killed, as_older, number_of


def test_half_a_count_counts_and_a_resumed_run_estimates_the_same(start):
    most = max_usage([Turn("user", "x" * 4000)])
    meter = Meter(Pricing(10.0, 40.0), [usage_of(Reply("", "test-1", 0.1, input_tokens=90_000_000), most)])
    assert meter.spent.cost_usd > 900 and meter.spent.inexact == 1
    meter = Meter(Pricing(10.0, 40.0), [usage_of(Reply("", "test-1", 0.1, output_tokens=1_000_000), most)])
    assert meter.spent.cost_usd >= 40

    lmm, costs = CountingLMM(), []
    lmm.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1)
    for _ in range(2):
        start(lmm, pricing=Pricing(10.0, 40.0), on_meter=lambda meter: costs.append(meter.spent.cost_usd))
    assert costs[0] == pytest.approx(costs[1]) and costs[0] > 0


def test_the_cost_is_known_before_and_kept_below_the_limit(start, tmp_path, photos):
    pricing = Pricing(input_usd=10.0, output_usd=40.0)  # 1.4 cents a photo at 1000 + 100 tokens
    with pytest.raises(DataError, match=r"about \$0\.\d+ in all, more than \$0\.05"):
        start(CountingLMM(), pricing=pricing, max_cost_usd=0.05)
    with pytest.raises(DataError, match="needs prices"):
        start(CountingLMM(), max_cost_usd=0.05)
    # The guess before the first reply is higher than what is paid then.
    reason, record = start(CountingLMM(), pricing=pricing, max_cost_usd=0.35)
    assert reason == "" and len(record.used) == 12


def test_a_run_that_proves_dearer_than_the_guess_stops_in_time(start):
    wordy = CountingLMM()
    wordy.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1, input_tokens=5000, output_tokens=2000)
    reason, record = start(wordy, pricing=Pricing(10.0, 40.0), concurrency=1, max_cost_usd=0.40)
    assert "the limit of $0.40" in reason
    assert len(record.entries) == 3  # 13 cents each
    meter = Meter(Pricing(10.0, 40.0), record.used)
    assert meter.spent.cost_usd == pytest.approx(0.39)


def costing(usd):
    """A number of output tokens that costs so much at a dollar for a million."""
    return round(usd * 1_000_000)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_photos_that_cost_no_more_than_those_before_never_pass_the_limit(start, concurrency):
    """One dollar stays one dollar, however many photos are asked about at a time."""
    lmm = CountingLMM()

    def reply(turns, jpeg):
        time.sleep(0.2)
        return Reply("1.1, 2.1", "test-1", 0.1, input_tokens=1, output_tokens=costing(0.19))

    lmm.reply = reply
    reason, record = start(lmm, pricing=Pricing(0.0, 1.0), concurrency=concurrency, max_cost_usd=1.0)
    assert "exceed the limit of $1.00" in reason
    assert Meter(Pricing(0.0, 1.0), record.used).spent.cost_usd == pytest.approx(0.95)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("concurrency", [1, 5, 16])
def test_the_limit_is_passed_only_by_what_a_photo_costs_more_than_all_before(start, journal, concurrency, samples):
    """Random costs, the first photo cheap; some replies can't be read and are asked for again, some aren't counted."""
    pricing = Pricing(0.0, 1.0)
    for seed in range(6):
        journal.unlink(missing_ok=True)
        random = Random(seed)
        costs = [0.01, *(random.choice([0.01, 0.02, 0.1, 0.5]) for _ in ITEMS[1:])]
        limit = random.uniform(0.1, 2.0)
        lmm = CountingLMM()
        lock = threading.Lock()

        def reply(turns, jpeg, costs=costs, random=random, lock=lock):
            number = number_of(jpeg)
            with lock:
                text = "no idea" if random.random() < 0.2 else f"{number}.1, {2 * number}.1"
                tokens = None if number and random.random() < 0.2 else costing(costs[number])
                pause_s = random.choice([0, 0.001, 0.005])
            time.sleep(pause_s)
            return Reply(text, "test-1", 0.1, input_tokens=1, output_tokens=tokens)

        lmm.reply = reply
        _, record = start(
            lmm,
            setup=replace(SETUP, samples=samples),
            pricing=pricing,
            concurrency=concurrency,
            limit_usd=limit,
        )
        meter = Meter(pricing)
        photos = [meter.cost_usd(entry.used) for entry in record.entries.values()]
        # The first is asked alone, so everyone after it reserves at least its cost.
        excess = max(0.0, max(photos) - photos[0]) if photos else 0.0
        spent = Meter(pricing, record.used).spent.cost_usd
        assert spent <= limit + concurrency * excess + 1e-9
        if concurrency == 1:
            assert spent <= limit + max([cost - max(photos[:n], default=0.0) for n, cost in enumerate(photos)] + [0.0])


def test_a_budget_reserves_the_dearest_for_each_under_way():
    budget = Budget(1.0, spent_usd=0.0, highest_usd=0.1)
    assert budget.begin("a")
    budget.add("a", 0.3)  # under way, and known to be dear
    assert budget.begin("b") and budget.begin("c")
    waiting = threading.Thread(target=lambda: outcomes.append(budget.begin("d")))
    outcomes: list[bool] = []
    waiting.start()
    budget.end("b")  # for nothing: a failure
    waiting.join(5)
    assert outcomes == [True]
    for photo in "acd":
        budget.end(photo)
    assert budget.begin("e") and budget.begin("f")
    budget.add("e", 0.6)
    budget.end("e")
    budget.end("f")
    assert not budget.begin("g")  # 0.9 spent, and it might cost 0.6


def test_requests_whose_replies_a_kill_lost_count_at_the_most_that_is_possible(start):
    def fail(number):
        raise Killed

    with pytest.raises(Killed):
        start(CountingLMM(fail), pricing=Pricing(10.0, 40.0), concurrency=1)
    lmm = CountingLMM()
    reason, record = start(lmm, pricing=Pricing(10.0, 40.0), concurrency=1, limit_usd=0.40)
    ((most,),) = record.under_way.values()
    assert (MAX_PHOTO_TOKENS, MAX_OUTPUT_TOKENS) <= (most.input_tokens, most.output_tokens)
    assert "exceed the limit" in reason and "spent so far: $0.3" in reason and not lmm.asked
    reason, _ = start(lmm, pricing=Pricing(10.0, 40.0), concurrency=1, limit_usd=0.80)
    assert "exceed the limit" in reason and sum(lmm.asked.values()) >= 1


@pytest.mark.parametrize("count", [-5, 10**30, 10**400, 1.5, float("nan"), float("inf"), "12", None, [1], {"a": 1}])
def test_counts_that_cannot_be_true_are_estimated_and_marked(start, journal, count):
    """By a meter, in a journal that is written, and in an old one that holds them."""
    lmm = CountingLMM()
    lmm.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1, input_tokens=1000, output_tokens=count)
    pricing = Pricing(10.0, 40.0)
    _, record = start(lmm, pricing=pricing)
    spent = Meter(pricing, record.used).spent
    assert spent.inexact == 12 and spent.cost_usd == pytest.approx(12 * (1000 * 10 + MAX_OUTPUT_TOKENS * 40) / 1e6)
    for line in journal.read_text().splitlines()[1:]:
        for reply in json.loads(line).get("entry", {}).get("outcome", {}).get("replies", ()):
            assert reply["output_tokens"] is None
    text = journal.read_text()
    assert '"input_tokens":1000' in text
    try:
        old = json.dumps(count)
    except TypeError:
        return
    journal.write_text(as_older(text).replace('"input_tokens":1000', f'"input_tokens":{old}'))
    record = read_journal(journal)
    assert {reply.input_tokens for entry in record.entries.values() for reply in entry.replies} == {None}
    start(CountingLMM(), pricing=pricing)
    assert open_run("run", record).main.n == 12


def test_the_pace_spaces_requests():
    clock = [100.0]
    waits = []

    def wait(seconds):
        waits.append(round(seconds, 6))
        clock[0] += seconds

    pace = Pace(120, wait=wait, now=lambda: clock[0])
    assert [pace.take() for _ in range(3)] == pytest.approx([0, 0.5, 0.5])
    clock[0] += 10
    assert pace.take() == 0
    assert waits == [0.5, 0.5]
    assert [Pace(0, wait=wait).take() for _ in range(3)] == [0, 0, 0] and len(waits) == 2

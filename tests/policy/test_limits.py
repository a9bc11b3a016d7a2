"""The operator's bounds: nobody gets past them, by speed or by many requests at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from random import Random

import pytest

from img2loc.errors import Img2LocError, LimitError
from img2loc.policy.limits import HOUR_S, MODEL_SLOTS, SLOTS_PER_VISITOR, Limits


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_without_bounds_nothing_is_counted_or_kept():
    limits = Limits()
    for _ in range(1000):
        limits.settle(limits.reserve("192.0.2.1", tokens=10**9), 10**9)
    assert not limits._reservations


def test_each_visitor_has_a_window_that_slides():
    clock = Clock()
    limits = Limits(per_visitor=2, clock=clock)
    limits.reserve("192.0.2.1")
    clock.now_s += 600
    limits.reserve("192.0.2.1")
    with pytest.raises(LimitError, match=r"used your 2 model answers .* Try again in 50 minutes, use a key") as refused:
        limits.reserve("192.0.2.1")
    assert isinstance(refused.value, Img2LocError)
    limits.reserve("192.0.2.2")
    clock.now_s += HOUR_S - 600  # the first is an hour old, the second is not
    limits.reserve("192.0.2.1")
    with pytest.raises(LimitError, match="in 10 minutes"):
        limits.reserve("192.0.2.1")
    clock.now_s += 599.9
    with pytest.raises(LimitError, match="in 1 minute,"):
        limits.reserve("192.0.2.1")


def test_all_together_have_one_too_and_a_refusal_is_not_counted():
    clock = Clock()
    limits = Limits(per_visitor=2, total=3, clock=clock)
    for address in ("a", "a", "b"):
        limits.reserve(address)
    for _ in range(5):
        with pytest.raises(LimitError, match="hourly budget for model answers is used up"):
            limits.reserve("c")
    clock.now_s += HOUR_S
    limits.reserve("c")


class SlowDeque(deque):
    """Leaves time between looking and writing, as a busy machine may."""

    def append(self, item) -> None:
        time.sleep(0.002)
        super().append(item)


@pytest.mark.parametrize("bounds", [{"per_visitor": 20, "total": 20}, {"tokens": 20_000}])
def test_many_hands_at_once_get_no_more(bounds):
    limits, taken = Limits(**bounds), []
    limits._reservations = SlowDeque()
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        for _ in range(5):
            try:
                limits.reserve("192.0.2.1", tokens=1000)
            except LimitError:
                continue
            taken.append(1)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(limits._reservations) == 20


def test_what_is_kept_tells_no_address_and_is_forgotten_unasked():
    limits = Limits(total=5, window_s=0.1)
    limits.reserve("192.0.2.1")
    time.sleep(0.05)
    limits.reserve("192.0.2.2")
    kept = repr(limits._reservations)
    other = Limits(total=5)
    other.reserve("192.0.2.1")
    assert "192.0.2" not in kept and limits._reservations[0].visitor != other._reservations[0].visitor
    deadline = time.monotonic() + 5
    while limits._reservations and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not limits._reservations
    limits.reserve("192.0.2.1")  # and the watch begins again
    while limits._reservations and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not limits._reservations


def test_a_photo_that_is_asked_about_often_counts_often():
    clock = Clock()
    limits = Limits(per_visitor=5, total=7, clock=clock)
    limits.reserve("192.0.2.1", 4)
    with pytest.raises(LimitError, match=r"needs 2 model answers, and you have 1 left for this hour\. Try again in 60"):
        limits.reserve("192.0.2.1", 2)
    limits.reserve("192.0.2.1")
    with pytest.raises(LimitError, match=r"hourly budget for model answers is used up\. Try again in 60 minutes"):
        limits.reserve("192.0.2.2", 3)
    limits.reserve("192.0.2.2", 2)
    with pytest.raises(LimitError, match=r"needs 6 model answers, and this site allows 5 an hour\. Ask for fewer"):
        limits.reserve("192.0.2.1", 6)
    with pytest.raises(LimitError, match="more than this site's hourly budget"):
        Limits(total=5).reserve("192.0.2.1", 6)


def test_tokens_are_reserved_before_and_counted_after():
    clock = Clock()
    limits = Limits(tokens=10_000, clock=clock)
    first = limits.reserve("a", 1, 1500)
    limits.settle(first, 1000)  # less was used: the rest is free again
    clock.now_s += 60
    limits.settle(limits.reserve("b", 2, 3000), 7000)  # more was used
    with pytest.raises(LimitError, match=r"budget for model answers is used up\. Try again in 60 minutes"):
        limits.reserve("c", 1, 1500)  # since a request has lately used 3,500
    clock.now_s += HOUR_S - 60
    with pytest.raises(LimitError, match="in 1 minute"):
        limits.reserve("c", 1, 1500)
    clock.now_s += 60
    limits.reserve("c", 1, 1500)
    with pytest.raises(LimitError, match="more than this site's hourly budget"):
        limits.reserve("c", 1, 10_001)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_replies_use_the_bound_on_tokens_holds_at_every_moment(seed):
    """Photos at once, each of which uses anything up to what was reserved for it, or counts as all of that."""
    limits, random = Limits(tokens=100_000), Random(seed)
    uses = [
        (most := random.randint(1000, 30_000), random.choice((0, random.randint(0, most), most))) for _ in range(80)
    ]
    used: list[int] = []

    def ask(most: int, use: int) -> None:
        with suppress(LimitError):
            reservation = limits.reserve("a", 1, most)
            time.sleep(0.001)
            used.append(use)
            limits.settle(reservation, use)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda pair: ask(*pair), uses))
    assert 0 < sum(used) <= 100_000


def test_model_slots_are_taken_by_models_only_and_given_back():
    limits = Limits()
    with ExitStack() as stack:
        for _ in range(MODEL_SLOTS - 1):
            stack.enter_context(limits.slot("openai"))
        with pytest.raises(ZeroDivisionError), limits.slot("vote", "hf"):
            raise ZeroDivisionError
        stack.enter_context(limits.slot("hf"))
        with pytest.raises(LimitError, match="Too many models are being asked"), limits.slot("openai"):
            pass
        with limits.slot("vote"):
            pass
    with limits.slot("openai"):
        pass


def test_one_visitor_holds_only_a_share_of_the_slots():
    limits = Limits()
    with ExitStack() as stack:
        for _ in range(SLOTS_PER_VISITOR):
            stack.enter_context(limits.slot("openai", visitor="192.0.2.1"))
        with pytest.raises(LimitError, match="5 of your requests are asking models"):
            stack.enter_context(limits.slot("openai", visitor="192.0.2.1"))
        with limits.slot("vote", visitor="192.0.2.1"), limits.slot("openai", "hf", visitor="192.0.2.2"):
            pass
        for _ in range(MODEL_SLOTS - SLOTS_PER_VISITOR):  # those of whom nothing is known share the rest
            stack.enter_context(limits.slot("openai"))
        with pytest.raises(LimitError, match="Too many models"), limits.slot("openai", visitor="192.0.2.2"):
            pass
    assert not limits._slots  # no address is kept


def test_slots_are_given_back_however_a_request_ends():
    limits = Limits()

    def ask(number: int) -> None:
        with suppress(LimitError, ZeroDivisionError), limits.slot("openai", visitor=str(number % 3)):
            time.sleep(0.0005)
            number // (number % 2)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(ask, range(600)))
    assert not limits._slots

"""The operator's bounds: nobody gets past them, by speed, by many hands or by a made-up address."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from img2loc.errors import Img2LocError
from img2loc.limits import HOUR_S, LimitError, Limits, client_address


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_without_bounds_nothing_is_counted_or_kept():
    limits = Limits()
    for _ in range(1000):
        limits.count("192.0.2.1")
    assert not limits._counted


def test_each_visitor_has_a_window_that_slides():
    clock = Clock()
    limits = Limits(per_visitor=2, clock=clock)
    limits.count("192.0.2.1")
    clock.now_s += 600
    limits.count("192.0.2.1")
    with pytest.raises(LimitError, match=r"You have sent 2 photos .* Try again in 50 minutes, give a key") as refused:
        limits.count("192.0.2.1")
    assert refused.value.retry_after_s == HOUR_S - 600 and isinstance(refused.value, Img2LocError)
    limits.count("192.0.2.2")
    clock.now_s += HOUR_S - 600  # the first is an hour old, the second is not
    limits.count("192.0.2.1")
    with pytest.raises(LimitError, match="in 10 minutes"):
        limits.count("192.0.2.1")
    clock.now_s += 599.9
    with pytest.raises(LimitError, match="in 1 minute,"):
        limits.count("192.0.2.1")


def test_all_together_have_one_too_and_a_refusal_is_not_counted():
    clock = Clock()
    limits = Limits(per_visitor=2, total=3, clock=clock)
    for address in ("a", "a", "b"):
        limits.count(address)
    for _ in range(5):
        with pytest.raises(LimitError, match="visitors have sent all"):
            limits.count("c")
    clock.now_s += HOUR_S
    limits.count("c")


class SlowDeque(deque):
    """Leaves time between looking and writing, as a busy machine may."""

    def append(self, item) -> None:
        time.sleep(0.002)
        super().append(item)


def test_many_hands_at_once_get_no_more():
    limits, taken = Limits(per_visitor=20, total=20), []
    limits._counted = SlowDeque()
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        for _ in range(5):
            try:
                limits.count("192.0.2.1")
            except LimitError:
                continue
            taken.append(1)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(limits._counted) == 20


def test_what_is_kept_tells_no_address_and_is_forgotten_unasked():
    limits = Limits(total=5, window_s=0.1)
    limits.count("192.0.2.1")
    time.sleep(0.05)
    limits.count("192.0.2.2")
    kept = repr(limits._counted)
    other = Limits(total=5)
    other.count("192.0.2.1")
    assert "192" not in kept and limits._counted[0][1] != other._counted[0][1]
    deadline = time.monotonic() + 5
    while limits._counted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not limits._counted
    limits.count("192.0.2.1")  # and the watch begins again
    while limits._counted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not limits._counted


REAL = "8.8.4.4"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([REAL], REAL),
        ([f"1.1.1.1, {REAL}"], REAL),  # the visitor wrote the first, a proxy the second
        (["1.1.1.1", REAL], REAL),
        ([f"1.1.1.1, {REAL}, 10.0.3.4"], REAL),  # and another proxy of the Space's own network the third
        ([f"{REAL}:4711"], REAL),
        (["2606:4700:1:2:3:4:5:6"], "2606:4700:1:2::/64"),
        (["[2606:4700:1:2:ffff::1]:4711"], "2606:4700:1:2::/64"),
        ([f"::ffff:{REAL}"], REAL),
        (["1.1.1.1, nonsense"], "10.16.0.9"),  # nothing that a proxy wrote: then all are one
        (["127.0.0.1"], "10.16.0.9"),
        ([""], "10.16.0.9"),
        ([], "10.16.0.9"),
    ],
)
def test_on_a_space_the_address_is_the_one_that_a_proxy_saw(forwarded, address):
    assert client_address("10.16.0.9", forwarded, on_space=True) == address


@pytest.mark.parametrize("forwarded", [["1.1.1.1"], ["1.1.1.1", "2.2.2.2"], ["nonsense"]])
def test_elsewhere_a_header_changes_nothing(forwarded):
    assert client_address(REAL, forwarded, on_space=False) == REAL
    assert client_address("testclient", forwarded, on_space=False) == "testclient"


def test_a_photo_that_is_asked_about_often_counts_often():
    clock = Clock()
    limits = Limits(per_visitor=5, total=7, clock=clock)
    limits.count("192.0.2.1", 4)
    with pytest.raises(LimitError, match=r"You have sent 4 photos .* this one counts as 2: more than all that"):
        limits.count("192.0.2.1", 2)
    limits.count("192.0.2.1")
    with pytest.raises(LimitError, match="This site's visitors have sent all") as refused:
        limits.count("192.0.2.2", 3)
    assert refused.value.retry_after_s == HOUR_S
    limits.count("192.0.2.2", 2)
    with pytest.raises(LimitError, match="counts as 6"):
        Limits(per_visitor=5).count("192.0.2.1", 6)

"""The waits between retries: no less than what is asked for, spread, bounded."""

from __future__ import annotations

import time

import pytest

from img2loc.lmm.retry import FIRST_WAIT_S, JITTER, MAX_WAIT_S, pause_s, retry_after_s


@pytest.mark.parametrize("tried", range(8))
def test_our_own_waits_double_and_stay_bounded_and_differ(tried):
    waits = {pause_s(tried, None) for _ in range(50)}
    top = min(MAX_WAIT_S, FIRST_WAIT_S * 2**tried)
    assert len(waits) > 40 and top / 2 <= min(waits) and max(waits) <= top


def test_a_provider_gets_at_least_what_it_asks_for():
    waits = {pause_s(0, 20.0) for _ in range(50)}
    assert len(waits) > 40 and min(waits) >= 20 and max(waits) <= 20 * (1 + JITTER)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_each_of_its_shapes(headers, seconds):
    assert retry_after_s(headers) == seconds


def test_a_date_to_come_is_turned_into_seconds():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 28 <= retry_after_s({"retry-after": date}) <= 30

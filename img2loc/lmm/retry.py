"""Retries of failures that may pass (no connection, too many requests, a server's error), within one deadline."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from img2loc.errors import (
    LMMCancelledError,
    LMMError,
    LMMRateLimitError,
    LMMServerError,
    LMMUnreachableError,
)
from img2loc.lmm.base import BackendOptions

MAX_RETRIES: Final = 3
FIRST_WAIT_S = 0.5
MAX_WAIT_S: Final = 8.0  # where the provider doesn't ask for more
JITTER: Final = 0.25
MAX_STATED_WAIT_S: Final = 48 * 3600

_TRANSIENT = (LMMRateLimitError, LMMServerError, LMMUnreachableError)
_POLL_S = 0.1

T = TypeVar("T")


def with_retries(attempt: Callable[[float], T], options: BackendOptions) -> T:
    """Try, and try again while the failure may pass and there is time.

    Args:
        attempt: One try; takes the seconds left until the deadline.
        options: The time-out is for everything together, the waits between tries included.

    Raises:
        LMMError: The last failure; LMMCancelledError where the request was cancelled.
    """
    deadline = time.monotonic() + options.timeout_s
    may_be_billed = False  # for any of the tries
    for retries in range(MAX_RETRIES + 1):
        if options.cancel.is_set():
            break
        deadline += options.pace()
        try:
            return attempt(deadline - time.monotonic())
        except LMMError as error:
            failure = error
        failure.may_be_billed = may_be_billed = may_be_billed or failure.may_be_billed
        wait_s = pause_s(retries, failure.retry_after_s)
        may_pass = isinstance(failure, _TRANSIENT) and (options.resend_billed or not may_be_billed)
        if retries == MAX_RETRIES or not may_pass or wait_s >= deadline - time.monotonic():
            raise failure  # outside the handler: a provider's own error, which may quote the key, isn't chained
        options.cancel.wait(wait_s)
    raise LMMCancelledError("The request was cancelled.", may_be_billed=may_be_billed)


def pause_s(retries: int, retry_after_s: float | None) -> float:
    """Choose how many seconds to wait before the next try.

    At least what the provider asks for, with a random part, so that clients that failed together don't return together.

    Args:
        retries: How many there have been.
        retry_after_s: What the provider asks for; None where it says nothing.

    Source: Marc Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """
    jitter = random.random()
    if retry_after_s is not None:
        return retry_after_s * (1 + JITTER * jitter)
    backoff_s: float = min(MAX_WAIT_S, FIRST_WAIT_S * 2**retries)
    return backoff_s * (0.5 + 0.5 * jitter)


def in_thread(
    work: Callable[[], T], *, timeout_s: float, cancel: threading.Event, close: Callable[[], object] = lambda: None
) -> T:
    """Do one request in a thread of its own, so that a server that drips bytes can't hold us beyond the time-out.

    Args:
        work: The request.
        timeout_s: Seconds until we leave it.
        cancel: Leave it as soon as this is set.
        close: Called on leaving; makes a request still under way end soon.

    Returns:
        What the request returned, also where it was done by the time that `cancel` was set.

    Raises:
        TimeoutError: It took too long.
        LMMCancelledError: `cancel` was set. Whatever the request raises is raised here.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="lmm-request", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    try:
        while not cancel.is_set() or result.done():
            left_s = deadline - time.monotonic()
            try:
                return result.result(timeout=max(0.0, min(left_s, _POLL_S)))
            except TimeoutError:
                if result.done() or left_s <= 0:
                    raise
        raise LMMCancelledError("The request was cancelled.")
    finally:
        close()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds a provider asks to wait; None where it doesn't say.

    Args:
        headers: Of its response, with names in lower case or case-insensitive.

    Source: RFC 9110, section 10.2.3; retry-after-ms is OpenAI's own.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value, re.ASCII):
            return float(value) * unit_s
        if value and name == "retry-after":
            try:
                return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
            except (ValueError, OverflowError):
                return None
    return None


def wait_in_words(wait_s: float | None) -> str:
    """When to try again: "in 24 hours"."""
    if wait_s is None or wait_s < 1:
        return "in a minute"
    if wait_s > MAX_STATED_WAIT_S:
        return "another day"
    unit, unit_s = next(pair for pair in (("hour", 3600), ("minute", 60), ("second", 1)) if wait_s >= pair[1])
    count = math.ceil(wait_s / unit_s)
    return f"in {count} {unit}{'s' if count > 1 else ''}"

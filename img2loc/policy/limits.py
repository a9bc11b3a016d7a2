"""Limits on visitors: model answers at the operator's expense by the hour, and models asked at the same time."""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from img2loc.errors import LimitError

HOUR_S: Final = 3600.0
# A request holds a thread until its model has replied. The page keeps other threads for the rest (web/page.py).
MODEL_SLOTS: Final = 40
SLOTS_PER_VISITOR: Final = MODEL_SLOTS // 8
_INSTEAD: Final = "use a key of your own at a provider such as OpenAI, or take the vote, which is free."


@dataclass(slots=True, eq=False)
class Reservation:
    """What is counted for one photo.

    Args:
        at_s: When it was made, by the clock of Limits.
        visitor: A hash.
        requests: Prompts, and the choice; samples don't count.
        tokens: The most that may be used, or what was used once it is settled.
        used_per_request: Tokens, once it is settled.
    """

    at_s: float
    visitor: bytes
    requests: int
    tokens: float
    used_per_request: float = 0.0


class Limits:
    """Counts requests and tokens in a sliding window, and those who ask models at the moment; thread-safe.

    What is kept of a visitor is a hash with a salt that only this process knows, for no longer than the window.

    Args:
        per_visitor: Requests a window for each visitor; None for no bound.
        total: Requests a window for all together; None for no bound.
        tokens: Tokens a window for all together; None for no bound.
        window_s: The window, in seconds.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        per_visitor: int | None = None,
        total: int | None = None,
        tokens: int | None = None,
        *,
        window_s: float = HOUR_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_visitor, self._total, self._tokens = per_visitor, total, tokens
        self._window_s = window_s
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._reservations: deque[Reservation] = deque()  # the oldest first
        self._lock = threading.Lock()
        self._is_sweeping = False
        self._slots: Counter[str] = Counter()  # in use, by visitor

    @contextmanager
    def slot(self, *backends: str, visitor: str = "") -> Iterator[None]:
        """Hold one of the model slots; the vote needs none.

        Args:
            backends: Who is asked meanwhile.
            visitor: As visitors.single_visitor_of returns it; empty if it may be many visitors, who share all slots.

        Raises:
            LimitError: All slots are taken, or the visitor's. Nobody waits for one, since waiting requests would take
                the threads that votes need.
        """
        if all(backend == "vote" for backend in backends):
            yield
            return
        self._take_slot(visitor)
        try:
            yield
        finally:
            with self._lock:
                self._slots[visitor] -= 1
                self._slots += Counter()  # drops visitors without a slot, so that no address stays in memory

    def _take_slot(self, visitor: str) -> None:
        with self._lock:
            if visitor and self._slots[visitor] >= SLOTS_PER_VISITOR:
                raise LimitError(
                    f"{SLOTS_PER_VISITOR} of your requests are asking models already, which is the most at a time. "
                    "Wait for one of them, or take the vote."
                )
            if self._slots.total() >= MODEL_SLOTS:
                raise LimitError(
                    "Too many models are being asked at the moment. Try again in a minute, or take the vote."
                )
            self._slots[visitor] += 1

    def reserve(self, address: str, requests: int = 1, tokens: float = 0.0) -> Reservation:
        """Reserve what a photo needs.

        Args:
            address: The visitor's, as visitors.visitor_of returns it.
            requests: Prompts, and the choice; samples don't count.
            tokens: The most that they may use. If a recent request used more, that counts instead: the model takes more
                for a photo than was expected.

        Returns:
            The reservation, to be settled.

        Raises:
            LimitError: It is too much; the message says when to try again.
        """
        visitor = hashlib.blake2b(address.encode(), key=self._salt, digest_size=16).digest()
        with self._lock:
            new = Reservation(self._clock(), visitor, requests, tokens)
            if self._per_visitor is self._total is self._tokens is None:
                return new
            self._forget(new.at_s)
            self._check_visitor(new)
            self._check_total(new)
            self._reserve_tokens(new)
            self._reservations.append(new)
            if not self._is_sweeping:
                self._sweep_after(self._window_s)
        return new

    def settle(self, reservation: Reservation, tokens: float) -> None:
        """Replace the tokens that were reserved by those that were used."""
        with self._lock:
            reservation.tokens = tokens
            reservation.used_per_request = tokens / reservation.requests

    def _check_visitor(self, new: Reservation) -> None:
        bound = self._per_visitor
        taken = [(item.at_s, item.requests) for item in self._reservations if item.visitor == new.visitor]
        used = sum(requests for _, requests in taken)
        if bound is None or used + new.requests <= bound:
            return
        need = f"This photo needs {new.requests} model answers"
        if new.requests > bound:
            raise LimitError(f"{need}, and this site allows {bound} an hour. Ask for fewer, {_INSTEAD}")
        if used == bound:
            reason = f"You've used your {bound} model answers for this hour."
        else:
            reason = f"{need}, and you have {bound - used} left for this hour."
        raise LimitError(f"{reason} {self._advice(taken, used + new.requests - bound, new.at_s)}")

    def _check_total(self, new: Reservation) -> None:
        taken = [(item.at_s, item.requests) for item in self._reservations]
        self._check_budget(new, self._total, new.requests, new.requests, taken)

    def _reserve_tokens(self, new: Reservation) -> None:
        if self._tokens is None:
            return
        expected = new.tokens
        new.tokens = max(
            expected, new.requests * max((item.used_per_request for item in self._reservations), default=0)
        )
        taken = [(item.at_s, item.tokens) for item in self._reservations]
        self._check_budget(new, self._tokens, expected, new.tokens, taken)

    def _check_budget(
        self,
        new: Reservation,
        bound: float | None,
        expected: float,
        needed: float,
        taken: Sequence[tuple[float, float]],
    ) -> None:
        if bound is None or (excess := sum(amount for _, amount in taken) + needed - bound) <= 0:
            return
        if expected > bound:
            raise LimitError(
                f"This photo needs more than this site's hourly budget for model answers. Ask for fewer, {_INSTEAD}"
            )
        advice = self._advice(taken, excess, new.at_s)
        raise LimitError(f"This site's hourly budget for model answers is used up. {advice}")

    def _advice(self, taken: Iterable[tuple[float, float]], excess: float, now_s: float) -> str:
        """Say when so much of what was taken will be forgotten.

        Args:
            taken: When, and how much; the oldest first.
            excess: How much has to be forgotten.
            now_s: By the same clock.
        """
        at_s = now_s
        for at_s, amount in taken:  # noqa: B007 - the last one's is used
            excess -= amount
            if excess <= 0:
                break
        minutes = math.ceil((at_s + self._window_s - now_s) / 60)
        return f"Try again in {minutes} minute{'s' * (minutes > 1)}, {_INSTEAD}"

    def _forget(self, now_s: float) -> None:
        while self._reservations and self._reservations[0].at_s <= now_s - self._window_s:
            self._reservations.popleft()

    def _sweep_after(self, seconds: float) -> None:
        """Forget old reservations even if nobody makes new ones."""
        self._is_sweeping = True
        timer = threading.Timer(seconds, self._sweep)
        timer.daemon = True
        timer.start()

    def _sweep(self) -> None:
        with self._lock:
            now_s = self._clock()
            self._forget(now_s)
            self._is_sweeping = bool(self._reservations)
            if self._reservations:
                self._sweep_after(max(self._reservations[0].at_s + self._window_s - now_s, 0.01))

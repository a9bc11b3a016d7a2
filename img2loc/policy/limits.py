"""What visitors may take: model answers at the operator's expense, by the hour, and places for asking models."""

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

from img2loc.errors import Img2LocError

HOUR_S: Final = 3600.0
# Whoever asks a model holds a thread until it has replied. The page keeps others for the rest (web/page.py).
MODEL_PLACES: Final = 40
VISITORS_PLACES: Final = MODEL_PLACES // 8
_INSTEAD: Final = "use a key of your own at a provider such as OpenAI, or take the vote, which is free."


class LimitError(Img2LocError):
    """A visitor, or all of them, asked for more than the operator allows.

    Args:
        message: What a person should know.
        retry_after_s: Seconds until it may be allowed; None where it never will.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class Reservation:
    """What was taken for one photo.

    Args:
        at_s: When, by the clock of Limits.
        visitor: For whom: a hash.
        requests: How often a model is asked.
        tokens: The most that may be used, or what was used once it is settled.
        used_per_request: Once it is settled.
    """

    at_s: float
    visitor: bytes
    requests: int
    tokens: float
    used_per_request: float = 0.0


class Limits:
    """Counts in a sliding window; safe to use from many threads at once.

    What is kept of a visitor is a hash with a salt that this process alone knows, for no longer than the window.

    Args:
        per_visitor: Requests a window for each visitor; None for no bound.
        total: Requests a window for all together; None for no bound.
        tokens: Tokens a window for all together; None for no bound.
        window_s: The window, in seconds.
        clock: Seconds from any start that never go back.
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
        self._sweeping = False
        self._places: Counter[str] = Counter()  # that are held, by visitor

    @contextmanager
    def place(self, *backends: str, visitor: str = "") -> Iterator[None]:
        """Hold one of the places for asking models; the vote needs none.

        Args:
            backends: Who is asked meanwhile.
            visitor: As visitors.single_visitor_of has it; empty where it may be many, who share all places.

        Raises:
            LimitError: All places are taken, or the visitor's. Nobody waits for one: those who wait would hold the
                votes' threads.
        """
        if all(backend == "vote" for backend in backends):
            yield
            return
        self._take_place(visitor)
        try:
            yield
        finally:
            with self._lock:
                self._places[visitor] -= 1
                self._places += Counter()  # keeps those who hold some, so that no address stays in memory

    def _take_place(self, visitor: str) -> None:
        with self._lock:
            if visitor and self._places[visitor] >= VISITORS_PLACES:
                raise LimitError(
                    f"{VISITORS_PLACES} of your requests are asking models already, which is the most at a time. "
                    "Wait for one of them, or take the vote.",
                    retry_after_s=60.0,
                )
            if self._places.total() >= MODEL_PLACES:
                raise LimitError(
                    "Too many models are being asked at the moment. Try again in a minute, or take the vote.",
                    retry_after_s=60.0,
                )
            self._places[visitor] += 1

    def reserve(self, address: str, requests: int = 1, tokens: float = 0.0) -> Reservation:
        """Take what a photo needs, unless that is too much.

        Args:
            address: Whom it is for, as visitors.visitor_of has it.
            requests: How often a model will be asked.
            tokens: The most that they may use. If a request lately used more, that counts instead: the model takes
                more for a photo than was thought.

        Returns:
            What was taken; `settle` says what was really used.

        Raises:
            LimitError: It is too much; the message says when to come again.
        """
        visitor = hashlib.blake2b(address.encode(), key=self._salt, digest_size=16).digest()
        with self._lock:
            now = self._clock()
            reservation = Reservation(now, visitor, requests, tokens)
            if self._per_visitor is self._total is self._tokens is None:
                return reservation
            self._forget(now)
            kept = self._reservations
            own = [one for one in kept if one.visitor == visitor]
            self._check_visitor(own, requests, now)
            self._check_total(kept, requests, now)
            self._reserve_tokens(reservation, now)
            kept.append(reservation)
            if not self._sweeping:
                self._sweep_in(self._window_s)
        return reservation

    def settle(self, reservation: Reservation, tokens: float) -> None:
        """Put what was used in place of what was reserved."""
        with self._lock:
            reservation.tokens = tokens
            reservation.used_per_request = tokens / reservation.requests

    def _check_visitor(self, own: Sequence[Reservation], requests: int, now: float) -> None:
        bound, used = self._per_visitor, sum(one.requests for one in own)
        if bound is None or used + requests <= bound:
            return
        if requests > bound:
            raise LimitError(
                f"This photo needs {requests} model answers, and this site allows {bound} an hour. "
                f"Ask for fewer, {_INSTEAD}"
            )
        wait_s = self._wait_s([(one.at_s, one.requests) for one in own], used + requests - bound, now)
        if used == bound:
            said = f"You've used your {bound} model answers for this hour."
        else:
            said = f"This photo needs {requests} model answers, and you have {bound - used} left for this hour."
        raise LimitError(f"{said} Try again in {_minutes(wait_s)}, {_INSTEAD}", retry_after_s=wait_s)

    def _check_total(self, kept: Iterable[Reservation], requests: int, now: float) -> None:
        amounts = [(one.at_s, one.requests) for one in kept]
        if self._total is not None and (excess := sum(amount for _, amount in amounts) + requests - self._total) > 0:
            raise _used_up(None if requests > self._total else self._wait_s(amounts, excess, now))

    def _reserve_tokens(self, reservation: Reservation, now: float) -> None:
        if self._tokens is None:
            return
        asked = reservation.tokens
        most = max((one.used_per_request for one in self._reservations), default=0.0)
        reservation.tokens = max(asked, most * reservation.requests)
        amounts = [(one.at_s, one.tokens) for one in self._reservations]
        if (excess := sum(amount for _, amount in amounts) + reservation.tokens - self._tokens) > 0:
            raise _used_up(None if asked > self._tokens else self._wait_s(amounts, excess, now))

    def _wait_s(self, amounts: Iterable[tuple[float, float]], excess: float, now: float) -> float:
        """Seconds until enough is forgotten.

        Args:
            amounts: What was taken: when, and how much; the oldest first.
            excess: How much of it must be.
            now: By the same clock.
        """
        at_s = now
        for at_s, amount in amounts:  # noqa: B007 - the last one's is wanted
            excess -= amount
            if excess <= 0:
                break
        return at_s + self._window_s - now

    def _forget(self, now: float) -> None:
        while self._reservations and self._reservations[0].at_s <= now - self._window_s:
            self._reservations.popleft()

    def _sweep_in(self, seconds: float) -> None:
        """Forget the past even if nobody comes to ask again."""
        self._sweeping = True
        timer = threading.Timer(seconds, self._sweep)
        timer.daemon = True
        timer.start()

    def _sweep(self) -> None:
        with self._lock:
            now = self._clock()
            self._forget(now)
            if self._reservations:
                self._sweep_in(max(self._reservations[0].at_s + self._window_s - now, 0.01))
            else:
                self._sweeping = False


def _minutes(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minute{'s' * (minutes > 1)}"


def _used_up(wait_s: float | None) -> LimitError:
    """The refusal for all visitors together.

    Args:
        wait_s: Until it may be allowed; None where one photo needs more than an hour's budget.
    """
    if wait_s is None:
        return LimitError(
            f"This photo needs more than this site's hourly budget for model answers. Ask for fewer, {_INSTEAD}"
        )
    said = "This site's hourly budget for model answers is used up."
    return LimitError(f"{said} Try again in {_minutes(wait_s)}, {_INSTEAD}", retry_after_s=wait_s)

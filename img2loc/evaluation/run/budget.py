"""What asking a model costs: an estimate before the first request, a meter and a budget during the run, and a pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from img2loc.errors import DataError, LMMCancelledError
from img2loc.lmm.prices import Pricing, expected_tokens
from img2loc.lmm.usage import FREE, Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been used so far."""

    requests: int  # those that may be billed, answered or not
    input_tokens: int  # as lmm/usage.py counts them
    output_tokens: int  # likewise
    inexact: int  # requests counted with the most tokens possible, because the provider gave no usable count
    cost_usd: float | None  # None if the prices are unknown

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.4f}"
        text = (
            f"{self.requests:,} requests, {self.input_tokens:,} input and {self.output_tokens:,} output tokens, {cost}"
        )
        inexact = f" ({self.inexact:,} without a usable token count, counted with the most possible)"
        return text + inexact if self.inexact else text


@dataclass(frozen=True, slots=True)
class Preview:
    """An estimate of what is still to be paid."""

    photos: int  # how many the model will be asked about
    input_tokens: float  # estimate for all of them
    output_tokens: float  # likewise
    cost_usd: float | None  # likewise; None if the prices are unknown
    spent: Spent  # by earlier parts of the run

    def __str__(self) -> str:
        cost = "unknown (no prices given)" if self.cost_usd is None else f"${self.cost_usd:,.2f}"
        basis = "from the replies so far" if self.spent.requests > self.spent.inexact else "a guess"
        before = f"; spent so far: {self.spent}" if self.spent.requests else ""
        return (
            f"{self.photos:,} photos to ask about, about {self.input_tokens:,.0f} input and {self.output_tokens:,.0f} "
            f"output tokens ({basis}; an unreadable reply costs a second request); estimated cost: {cost}{before}"
        )


class Meter:
    """Adds up tokens and money. Threads may share it.

    Args:
        pricing: The model's prices; None if unknown.
        used: The requests of earlier parts of the run.
    """

    def __init__(self, pricing: Pricing | None, used: Iterable[Usage] = ()) -> None:
        self.pricing = pricing
        self._lock = threading.Lock()
        self._requests = self._inexact = 0
        self._input = self._output = 0
        self._exact_input = self._exact_output = 0
        for usage in used:
            self.add(usage)

    def add(self, usage: Usage) -> float:
        """Count a request.

        Returns:
            Its cost in US dollars; 0 if the prices are unknown.
        """
        if usage == FREE:
            return 0.0
        with self._lock:
            self._requests += 1
            self._inexact += not usage.exact
            self._input += usage.input_tokens
            self._output += usage.output_tokens
            self._exact_input += usage.exact * usage.input_tokens
            self._exact_output += usage.exact * usage.output_tokens
        return self.cost_usd([usage])

    def cost_usd(self, used: Iterable[Usage]) -> float:
        """The cost of requests, without counting them; 0 if the prices are unknown."""
        if not self.pricing:
            return 0.0
        return sum(self.pricing.cost_usd(usage.input_tokens, usage.output_tokens) for usage in used)

    @property
    def spent(self) -> Spent:
        """The total so far."""
        with self._lock:
            cost = self.pricing.cost_usd(self._input, self._output) if self.pricing else None
            return Spent(self._requests, self._input, self._output, self._inexact, cost)

    def preview(self, photos: int, prompt: str, *, requests: int = 1) -> Preview:
        """Estimate what is still to be paid, from the mean of the replies so far or else from the prompt's length.

        Args:
            photos: How many the model will be asked about.
            prompt: The text of one request.
            requests: How many requests each photo takes.
        """
        spent = self.spent
        with self._lock:
            exact = self._requests - self._inexact
            mean = (self._exact_input / exact, self._exact_output / exact) if exact else expected_tokens(len(prompt))
        input_tokens, output_tokens = (photos * requests * tokens for tokens in mean)
        cost = self.pricing.cost_usd(input_tokens, output_tokens) if self.pricing else None
        return Preview(photos, input_tokens, output_tokens, cost, spent)


class Budget:
    """Keeps the cost of a run below a limit. Threads may share it.

    A photo under way reserves the highest cost of any photo so far, or the estimate if that is higher. Another photo
    begins only if its own reservation still fits the limit; otherwise it waits for those under way, which may turn out
    cheaper. So only a photo that costs more than the estimate and than every photo before it can pass the limit, and
    only by that difference. Requests without a usable reply cost what lmm/usage.py counts for them.

    Args:
        limit_usd: None for no limit.
        spent_usd: What was spent before.
        highest_usd: The estimate for one photo, or the highest cost of one so far.
    """

    def __init__(self, limit_usd: float | None, *, spent_usd: float, highest_usd: float) -> None:
        self.limit_usd, self._spent_usd, self._highest_usd = limit_usd, spent_usd, highest_usd
        self._under_way: dict[str, float] = {}
        self._changed = threading.Condition()

    def begin(self, photo: str) -> bool:
        """Reserve the cost of a photo, waiting for others if that may help; False if the limit forbids it."""
        with self._changed:
            self._changed.wait_for(lambda: self._allows_another() or not self._under_way)
            if not self._allows_another():
                return False
            self._under_way[photo] = 0.0
            return True

    def add(self, photo: str, cost_usd: float) -> None:
        """Count a request about a photo under way."""
        with self._changed:
            self._under_way[photo] += cost_usd
            self._highest_usd = max(self._highest_usd, self._under_way[photo])

    def end(self, photo: str) -> None:
        """Replace a photo's reservation by what it cost."""
        with self._changed:
            self._spent_usd += self._under_way.pop(photo)
            self._changed.notify_all()

    def _allows_another(self) -> bool:
        if self.limit_usd is None:
            return True
        return self._spent_usd + (len(self._under_way) + 1) * self._highest_usd <= self.limit_usd


def check_budget(previews: Sequence[Preview], max_cost_usd: float) -> None:
    """Refuse runs that together would cost more than a limit, which includes what was spent before.

    Raises:
        DataError: They would cost more, or their cost is unknown.
    """
    total = 0.0
    for item in previews:
        if item.cost_usd is None or item.spent.cost_usd is None:
            raise DataError("--max-cost needs prices: give --price-input and --price-output in US dollars per million.")
        total += item.cost_usd + item.spent.cost_usd
    if total > max_cost_usd:
        raise DataError(
            f"This would cost about ${total:,.2f} in all, more than ${max_cost_usd:,.2f}. Raise --max-cost, or use "
            "--sample."
        )


class Pace:
    """Spaces requests evenly. Threads may share it.

    Args:
        per_minute: At most so many requests; 0 for no limit.
        wait: Sleeps; returns True if it was woken because the reply is no longer wanted.
        now: The time in seconds.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        wait: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s = 60 / per_minute if per_minute else 0.0
        self._wait, self._now = wait, now
        self._lock = threading.Lock()
        self._next = 0.0

    def take(self) -> float:
        """Wait until the next request may be sent.

        Returns:
            How many seconds that took.

        Raises:
            LMMCancelledError: `wait` was woken.
        """
        with self._lock:
            turn = max(self._now(), self._next)
            self._next = turn + self._gap_s
        left_s = max(0.0, turn - self._now())
        if left_s and self._wait(left_s) is True:
            raise LMMCancelledError("The request was cancelled.", may_be_billed=False)
        return left_s

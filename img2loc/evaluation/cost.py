"""What asking costs: a preview before the first paid request, a meter while it runs, and a pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from img2loc.errors import DataError
from img2loc.lmm.prices import cost_usd
from img2loc.types import Reply

# A guess for the preview, until replies say how it really is: a photo of 1024 px is 765 tokens for some models and
# 1,400 for others; an answer takes 150, and models that think first take more.
PHOTO_TOKENS: Final = 1100
ANSWER_TOKENS: Final = 300
CHARS_PER_TOKEN: Final = 3.0  # coordinates, being digits, take more tokens than words


@dataclass(frozen=True, slots=True)
class Pricing:
    """A model's prices.

    Args:
        input_usd: For a million tokens of ours.
        output_usd: For a million tokens of the model's.
    """

    input_usd: float
    output_usd: float

    @classmethod
    def of_model(cls, model: str) -> Pricing | None:
        """A model's list prices; None where they are unknown."""
        input_usd, output_usd = cost_usd(model, 10**6, 0), cost_usd(model, 0, 10**6)
        return None if input_usd is None or output_usd is None else cls(input_usd, output_usd)

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been used so far.

    Args:
        requests: Replies that came.
        input_tokens: As counted by the provider.
        output_tokens: Likewise.
        uncounted: Replies for which the provider counted nothing.
        cost_usd: None where the prices are unknown.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    uncounted: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.4f}"
        uncounted = f", {self.uncounted:,} replies without a count" if self.uncounted else ""
        tokens = f"{self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        return f"{self.requests:,} replies, {tokens}, {cost}{uncounted}"


class Meter:
    """Counts tokens and money. Threads may share it.

    Args:
        pricing: The model's prices; None where unknown.
        paid: Replies of earlier parts of the run.
    """

    def __init__(self, pricing: Pricing | None, paid: Iterable[Reply] = ()) -> None:
        self.pricing = pricing
        self._lock = threading.Lock()
        self._requests = self._input = self._output = self._uncounted = 0
        for reply in paid:
            self.add(reply)

    def add(self, reply: Reply) -> None:
        """Count a reply."""
        with self._lock:
            self._requests += 1
            self._uncounted += reply.input_tokens is None or reply.output_tokens is None
            self._input += reply.input_tokens or 0
            self._output += reply.output_tokens or 0

    @property
    def spent(self) -> Spent:
        """The count so far."""
        with self._lock:
            cost = self.pricing.cost_usd(self._input, self._output) if self.pricing else None
            return Spent(self._requests, self._input, self._output, self._uncounted, cost)

    def expected_tokens(self, prompt: str) -> tuple[float, float]:
        """Tokens of one request, in and out: as measured where there were replies, else guessed.

        Args:
            prompt: The text of such a request.
        """
        counted = self._requests - self._uncounted
        if counted:
            return self._input / counted, self._output / counted
        return PHOTO_TOKENS + len(prompt) / CHARS_PER_TOKEN, float(ANSWER_TOKENS)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run will cost, before it does.

    Args:
        photos: How many are to be asked.
        input_tokens: In all; an estimate.
        output_tokens: Likewise.
        cost_usd: Likewise; None where the prices are unknown.
        spent: By earlier parts of the run.
        measured: Whether the estimate rests on replies of this run, not on a guess.
    """

    photos: int
    input_tokens: float
    output_tokens: float
    cost_usd: float | None
    spent: Spent
    measured: bool

    def __str__(self) -> str:
        cost = "an unknown sum (no prices given)" if self.cost_usd is None else f"${self.cost_usd:,.2f}"
        basis = "by the replies so far" if self.measured else "a guess"
        before = f"; spent so far: {self.spent}" if self.spent.requests else ""
        return (
            f"{self.photos:,} photos to ask, about {self.input_tokens:,.0f} tokens in and {self.output_tokens:,.0f} "
            f"out ({basis}; a reply that can't be read is asked for twice): {cost}{before}"
        )


def preview(photos: int, prompt: str, meter: Meter, *, samples: int = 1) -> Preview:
    """Estimate what is still to be paid.

    Args:
        photos: How many are to be asked.
        prompt: The text of one such request.
        meter: With what was paid so far, and the prices.
        samples: How often each is asked.
    """
    spent = meter.spent
    tokens_in, tokens_out = (photos * samples * tokens for tokens in meter.expected_tokens(prompt))
    cost = meter.pricing.cost_usd(tokens_in, tokens_out) if meter.pricing else None
    return Preview(photos, tokens_in, tokens_out, cost, spent, spent.requests > spent.uncounted)


def check_budget(previews: Sequence[Preview], max_cost_usd: float) -> None:
    """Refuse what would cost too much, all runs together.

    Args:
        previews: One a run.
        max_cost_usd: The limit, for what was spent before too.

    Raises:
        DataError: It would cost more, or there is no price to hold against the limit.
    """
    total = 0.0
    for item in previews:
        if item.cost_usd is None or item.spent.cost_usd is None:
            raise DataError("A limit of cost needs prices; give --price-input and --price-output, dollars per million.")
        total += item.cost_usd + item.spent.cost_usd
    if total > max_cost_usd:
        raise DataError(
            f"This would cost about ${total:,.2f} in all, more than ${max_cost_usd:,.2f}. Raise --max-cost, or take a "
            "--sample."
        )


class Pace:
    """Spaces requests evenly. Threads may share it.

    Args:
        per_minute: At most so many; 0 for no limit.
        wait: Sleeps.
        now: Tells the time in seconds.
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
        """Wait for one's turn.

        Returns:
            How many seconds that took.
        """
        with self._lock:
            turn = max(self._now(), self._next)
            self._next = turn + self._gap_s
        left = max(0.0, turn - self._now())
        if left:
            self._wait(left)
        return left

"""What asking costs: a preview before the first paid request, a meter and a budget while it runs, and a pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from img2loc.errors import DataError, LMMCancelledError
from img2loc.lmm.chat import token_count
from img2loc.lmm.prices import Pricing, expected_tokens
from img2loc.types import Reply


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been used so far.

    Args:
        requests: Replies that came.
        input_tokens: As counted by the provider.
        output_tokens: Likewise.
        uncounted: Replies for which the provider gave no usable count of one or both; that is estimated.
        cost_usd: None where the prices are unknown.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    uncounted: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.4f}"
        tokens = f"{self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        estimated = "" if self.cost_usd is None else "; their cost is an estimate"
        uncounted = f" ({self.uncounted:,} without a usable token count{estimated})" if self.uncounted else ""
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
        self._inputs_counted = self._outputs_counted = 0
        self._prompt_chars = 0
        for reply in paid:
            self.add(reply)

    def add(self, reply: Reply) -> float:
        """Count a reply.

        Returns:
            By how much that raises the cost in US dollars, 0 where prices are unknown. It is the reply's own cost,
            and what it changes in the estimate for earlier replies without usable counts.
        """
        with self._lock:
            before = self._total_usd()
            tokens_in, tokens_out = _counted(reply)
            self._requests += 1
            self._uncounted += None in (tokens_in, tokens_out)
            self._input += tokens_in or 0
            self._inputs_counted += tokens_in is not None
            self._output += tokens_out or 0
            self._outputs_counted += tokens_out is not None
            return self._total_usd() - before

    def cost_usd(self, replies: Iterable[Reply]) -> float:
        """What replies cost, without counting them."""
        with self._lock:
            return sum(self._cost_of(reply) for reply in replies)

    @property
    def spent(self) -> Spent:
        """The count so far."""
        with self._lock:
            cost = self._total_usd() if self.pricing else None
            return Spent(self._requests, self._input, self._output, self._uncounted, cost)

    def estimate(self, prompt: str) -> tuple[float, float]:
        """Tokens of one request, in and out: as measured where there were replies, else guessed by its text.

        From then on a reply without a usable count is taken for such a request.
        """
        with self._lock:
            self._prompt_chars = len(prompt)
            return self._expected()

    def _expected(self) -> tuple[float, float]:
        tokens_in, tokens_out = expected_tokens(self._prompt_chars)
        if self._inputs_counted:
            tokens_in = self._input / self._inputs_counted
        if self._outputs_counted:
            tokens_out = self._output / self._outputs_counted
        return tokens_in, tokens_out

    def _cost_of(self, reply: Reply) -> float:
        if not self.pricing:
            return 0.0
        tokens_in, tokens_out = (
            expected if counted is None else counted
            for counted, expected in zip(_counted(reply), self._expected(), strict=True)
        )
        return self.pricing.cost_usd(tokens_in, tokens_out)

    def _total_usd(self) -> float:
        """The cost of all replies. Missing counts are estimated anew each time, so that their order doesn't matter."""
        if not self.pricing:
            return 0.0
        tokens_in, tokens_out = self._expected()
        return self.pricing.cost_usd(
            self._input + (self._requests - self._inputs_counted) * tokens_in,
            self._output + (self._requests - self._outputs_counted) * tokens_out,
        )


def _counted(reply: Reply) -> tuple[int | None, int | None]:
    """A reply's tokens in and out, None where a count can't be used. No request is without a photo, so 0 in is none."""
    return token_count(reply.input_tokens) or None, token_count(reply.output_tokens)


class Budget:
    """Keeps the cost of a run below a limit. Threads may share it.

    A photo that is asked about reserves the highest cost that any photo has had so far, or the estimate where that is
    higher. Another begins only if what is spent and reserved stays within the limit with its own reservation; else it
    waits for those under way, which may turn out cheaper. So no photo passes the limit unless it costs more than the
    estimate and every photo before it, and then only by that difference.

    Args:
        limit_usd: The most that may be spent; None for no limit.
        spent_usd: What was spent before.
        highest_usd: The estimate for a photo, or what the dearest cost before.
    """

    def __init__(self, limit_usd: float | None, *, spent_usd: float, highest_usd: float) -> None:
        self.limit_usd, self._spent_usd, self._highest_usd = limit_usd, spent_usd, highest_usd
        self._under_way: dict[str, float] = {}
        self._changed = threading.Condition()

    def begin(self, photo: str) -> bool:
        """Reserve the cost of a photo, waiting for others where that may help; False where the limit forbids it."""
        with self._changed:
            self._changed.wait_for(lambda: self._allows_another() or not self._under_way)
            if not self._allows_another():
                return False
            self._under_way[photo] = 0.0
            return True

    def add(self, photo: str, cost_usd: float) -> None:
        """Count a reply about a photo under way."""
        with self._changed:
            self._under_way[photo] += cost_usd
            self._highest_usd = max(self._highest_usd, self._under_way[photo])

    def end(self, photo: str) -> None:
        """Release what a photo reserved, and keep what it cost."""
        with self._changed:
            self._spent_usd += self._under_way.pop(photo)
            self._changed.notify_all()

    def _allows_another(self) -> bool:
        if self.limit_usd is None:
            return True
        return self._spent_usd + (len(self._under_way) + 1) * self._highest_usd <= self.limit_usd


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


def preview(photos: int, prompt: str, meter: Meter, *, requests: int = 1) -> Preview:
    """Estimate what is still to be paid.

    Args:
        photos: How many are to be asked.
        prompt: The text of one such request.
        meter: With what was paid so far, and the prices.
        requests: How many each takes.
    """
    spent = meter.spent
    tokens_in, tokens_out = (photos * requests * tokens for tokens in meter.estimate(prompt))
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
        wait: Sleeps; True if it was woken because nobody waits for the reply any more.
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

        Raises:
            LMMCancelledError: `wait` was woken.
        """
        with self._lock:
            turn = max(self._now(), self._next)
            self._next = turn + self._gap_s
        left = max(0.0, turn - self._now())
        if left and self._wait(left) is True:
            raise LMMCancelledError("The request was cancelled.")
        return left

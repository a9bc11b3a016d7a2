"""What a request may be billed for: one rule for the operator's hourly tokens and for an evaluation's budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from img2loc.errors import LMMError
from img2loc.lmm.base import LMM, Turn
from img2loc.lmm.request import MAX_OUTPUT_TOKENS
from img2loc.types import Reply

# More than any model reads or writes at once; a larger number is an error of the server's.
MAX_BELIEVABLE_TOKENS: Final = 100_000_000
# The most for a photo of 1024 px, with the answer's schema. LLaVA-NeXT takes 2,900, the models of prices.json less;
# where a model takes more, Limits learns it from the replies.
MAX_PHOTO_TOKENS: Final = 3500


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a request counts as."""

    input_tokens: int  # the photo's among them; 0 only where the request costs nothing
    output_tokens: int  # those of thinking among them
    exact: bool = True  # False where one or both are an upper bound, because the provider gave no number


FREE: Final = Usage(0, 0)


class MeteredLMM:
    """A model whose requests are counted by what the provider may bill.

    Args:
        lmm: The model. It must not resend a request that may be billed, since that wouldn't be counted.
        on_request: Called before each request with the most that it may use. If it fails, nothing is sent.
        on_usage: Called after each request, answered or not.
    """

    def __init__(
        self,
        lmm: LMM,
        on_request: Callable[[Usage], object] = lambda most: None,
        on_usage: Callable[[Usage], object] = lambda usage: None,
    ) -> None:
        self.name, self.model = lmm.name, lmm.model
        self.used: list[Usage] = []  # what each request counts as
        self._lmm, self._on_request, self._on_usage = lmm, on_request, on_usage

    @property
    def tokens(self) -> int:
        """All tokens so far, input and output."""
        return sum(usage.input_tokens + usage.output_tokens for usage in self.used)

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation; see LMM."""
        most = max_usage(turns)
        self._on_request(most)
        usage = most  # also if it ends in an unexpected error
        try:
            reply = self._lmm.reply(turns, jpeg)
            usage = usage_of(reply, most)
        except LMMError as error:
            usage = usage_of(error, most)
            raise
        finally:
            self.used.append(usage)
            self._on_usage(usage)
        return reply


def usage_of(result: Reply | LMMError, most: Usage) -> Usage:
    """Count a request: by the provider's numbers, and by the most that it may have used where there are none."""
    if isinstance(result, LMMError) and not result.may_be_billed:
        return FREE
    input_tokens = token_count(result.input_tokens) or None  # there is a photo in each request, so 0 isn't a count
    output_tokens = token_count(result.output_tokens)
    return Usage(
        most.input_tokens if input_tokens is None else input_tokens,
        most.output_tokens if output_tokens is None else output_tokens,
        exact=input_tokens is not None and output_tokens is not None,
    )


def max_usage(turns: Sequence[Turn]) -> Usage:
    """The most that a request may use: no token is shorter than a byte, and the reply's length is limited."""
    input_tokens = MAX_PHOTO_TOKENS * (1 + sum(len(turn.pictures) for turn in turns))
    for turn in turns:
        size_bytes = len(turn.text.encode("utf-8", "replace"))
        input_tokens += min(size_bytes, MAX_OUTPUT_TOKENS) if turn.role == "assistant" else size_bytes
    return Usage(input_tokens, MAX_OUTPUT_TOKENS, exact=False)


def token_count(value: object) -> int | None:
    """Read a number of tokens that a server sent; None, for unknown, unless it is whole and believable."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= MAX_BELIEVABLE_TOKENS or value != int(value):  # NaN is in no range
        return None
    return int(value)

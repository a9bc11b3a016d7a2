"""What a request may be billed for: the one rule for the operator's hourly tokens and for an evaluation's budget."""

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
    """Tokens that a request is counted with.

    Args:
        input_tokens: Read, the photo's among them; 0 only where the request costs nothing.
        output_tokens: Written, those of thinking among them.
        exact: False where one or both are the most that is possible, because the provider gave no number.
    """

    input_tokens: int
    output_tokens: int
    exact: bool = True


FREE: Final = Usage(0, 0)


class MeteredLMM:
    """A model whose requests are counted by what the provider may bill.

    Args:
        lmm: The model. A request that may be billed must not be sent again without being counted again.
        on_request: Called before each request with the most that it may use. If it fails, nothing is sent.
        on_usage: Called after each request, answered or not.

    Attributes:
        used: What each request is counted with.
    """

    def __init__(
        self,
        lmm: LMM,
        on_request: Callable[[Usage], object] = lambda most: None,
        on_usage: Callable[[Usage], object] = lambda usage: None,
    ) -> None:
        self.name, self.model = lmm.name, lmm.model
        self.used: list[Usage] = []
        self._lmm, self._on_request, self._on_usage = lmm, on_request, on_usage

    @property
    def tokens(self) -> int:
        """All tokens so far, read and written."""
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
    """Count a request.

    Args:
        result: How it ended.
        most: The most that it may have used.

    Returns:
        The provider's numbers, and the most in place of each that it doesn't give; nothing where the request was never
        sent or was refused.
    """
    if isinstance(result, LMMError) and not result.may_be_billed:
        return FREE
    read = token_count(result.input_tokens) or None  # there is a photo in each request, so 0 is no count
    written = token_count(result.output_tokens)
    return Usage(
        most.input_tokens if read is None else read,
        most.output_tokens if written is None else written,
        exact=read is not None and written is not None,
    )


def max_usage(turns: Sequence[Turn]) -> Usage:
    """The most that a request may use: no token is shorter than a byte, and the reply's length is limited."""
    pictures = sum(len(turn.pictures) for turn in turns)
    read = MAX_PHOTO_TOKENS * (1 + pictures)
    for turn in turns:
        size = len(turn.text.encode("utf-8", "replace"))
        read += min(size, MAX_OUTPUT_TOKENS) if turn.role == "assistant" else size  # the model wrote no more
    return Usage(read, MAX_OUTPUT_TOKENS, exact=False)


def token_count(value: object) -> int | None:
    """Read a number of tokens that a server sent.

    Returns:
        A whole number from 0 to MAX_BELIEVABLE_TOKENS; None, which counts as unknown, for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= MAX_BELIEVABLE_TOKENS or value != int(value):  # NaN is in no range
        return None
    return int(value)

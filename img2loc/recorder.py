"""Keeps the replies that a model gave about one photo, whatever becomes of the photo afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from img2loc.lmm import LMM, Turn
from img2loc.types import Reply


class Recorder:
    """A model whose replies are kept as they come.

    Args:
        lmm: The model.
        on_reply: Called with each reply.

    Attributes:
        replies: Those that came, in order.
    """

    def __init__(self, lmm: LMM, on_reply: Callable[[Reply], object] = lambda reply: None) -> None:
        self.name, self.model = lmm.name, lmm.model
        self.replies: list[Reply] = []
        self._lmm, self._on_reply = lmm, on_reply

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo."""
        reply = self._lmm.reply(turns, jpeg)
        self.replies.append(reply)
        self._on_reply(reply)
        return reply

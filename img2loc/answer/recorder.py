"""Keeps the replies that a model gave about one photo, whatever becomes of the photo afterwards."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Sequence

from img2loc.lmm import LMM, Turn
from img2loc.system.process import hold_interrupts
from img2loc.types import Reply


class Recorder:
    """A model whose replies are kept as they come. An interrupt amid a request ends it, but loses no reply that came.

    Args:
        lmm: The model.
        cancel: What ends its requests.

    Attributes:
        replies: Those that came, in order.
    """

    def __init__(self, lmm: LMM, cancel: threading.Event) -> None:
        self.name, self.model = lmm.name, lmm.model
        self.replies: list[Reply] = []
        self._lmm, self._cancel = lmm, cancel

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo."""
        with hold_interrupts(self._give_up):
            reply = self._lmm.reply(turns, jpeg)
            self.replies.append(reply)
        return reply

    def _give_up(self) -> None:
        # In a thread of its own: the one that is interrupted may hold the event's lock.
        _thread.start_new_thread(self._cancel.set, ())

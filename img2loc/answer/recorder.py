"""Keeps the replies that a model gave about one photo, whatever happens to the photo afterwards."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Sequence

from img2loc.lmm import LMM, Turn
from img2loc.system.process import hold_interrupts
from img2loc.types import Reply


class Recorder:
    """A model whose replies are kept. An interrupt sets `cancel` and ends a request, but loses no reply."""

    def __init__(self, lmm: LMM, cancel: threading.Event) -> None:
        self.name, self.model = lmm.name, lmm.model
        self.replies: list[Reply] = []
        self._lmm, self._cancel = lmm, cancel

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo; see LMM."""
        with hold_interrupts(self._give_up):
            reply = self._lmm.reply(turns, jpeg)
            self.replies.append(reply)
        return reply

    def _give_up(self) -> None:
        # In another thread, since the interrupted one may hold the event's lock.
        _thread.start_new_thread(self._cancel.set, ())

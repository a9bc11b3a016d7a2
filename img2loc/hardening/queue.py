"""Gradio's queue: who still waits for an answer, and what each session is told."""

from __future__ import annotations

import threading
import time
from asyncio import Queue
from collections import OrderedDict
from typing import Final

import gradio as gr
from gradio.context import LocalContext
from gradio.server_messages import EventMessage

MAX_MAILBOXES: Final = 2000  # as many as Gradio's own
_LOOK_EVERY_S: Final = 0.1
_ending = threading.Event()


def end_all_work() -> None:
    """Give up everything under way, because the server ends."""
    _ending.set()


def is_ending() -> bool:
    """Whether the server ends: models aren't waited for any more, and what has an answer is answered."""
    return _ending.is_set()


class Abandoned(threading.Event):
    """Set when nobody waits for an answer: by whoever knows, or once the client has hung up or cancelled.

    Gradio stops waiting for a function then, but lets it run on. Made in the thread of the event that it is about.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = LocalContext.blocks.get(None)
        self._queue = blocks._queue if blocks else None
        self._event_id = LocalContext.event_id.get(None)  # none where Gradio's queue has no part in it

    def is_set(self) -> bool:
        """Whether nobody waits."""
        return super().is_set() or _ending.is_set() or self._is_given_up()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nobody waits any more, or for so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left_s = _LOOK_EVERY_S if end is None else end - time.monotonic()
            if left_s <= 0:
                return False
            super().wait(min(left_s, _LOOK_EVERY_S))
        return True

    def _is_given_up(self) -> bool:
        if self._queue is None or self._event_id is None:
            return False
        running = (event for job in list(self._queue.active_jobs) for event in job or ())
        return not any(event._id == self._event_id and event.alive for event in running)


def wait_for_answers(demo: gr.Blocks, timeout_s: float) -> None:
    """Wait until all requests under way have their answers, or for so many seconds."""
    end = time.monotonic() + timeout_s
    while any(demo._queue.active_jobs) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)  # until the last ones are sent


class Mailboxes(OrderedDict[str, Queue[EventMessage]]):
    """What Gradio has to tell each session, of so many sessions as were asked for last.

    Gradio's own forgets the session that came first, though its visitor may have asked again and be waiting.

    Args:
        expected: Gradio's list of what each session waits for; nobody else takes a session off it.
        size: Of how many.
    """

    def __init__(self, expected: dict[str, set[str]], size: int = MAX_MAILBOXES) -> None:
        super().__init__()
        self._expected = expected
        self._size = size

    def __contains__(self, session: object) -> bool:
        """Whether there is one; whoever looks needs it."""
        found = super().__contains__(session)
        if found:
            self.move_to_end(str(session))
        return found

    def __setitem__(self, session: str, box: Queue[EventMessage]) -> None:
        """Add one, in place of the one that nobody has looked for in the longest time."""
        super().__setitem__(session, box)
        self.move_to_end(session)
        if len(self) > self._size:
            del self[next(iter(self))]  # not popitem, which asks whether it is there

    def __delitem__(self, session: str) -> None:
        """Forget a session."""
        super().__delitem__(session)
        self._expected.pop(session, None)

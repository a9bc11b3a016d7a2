"""Gradio's queue: who still waits for an answer, and the messages for each session."""

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
_POLL_EVERY_S: Final = 0.1
_ending = threading.Event()


def end_all_work() -> None:
    """Abandon everything in progress, because the server ends."""
    _ending.set()


def is_ending() -> bool:
    """Whether the server ends: it no longer waits for models, and sends the answers that it has."""
    return _ending.is_set()


class Abandoned(threading.Event):
    """Set when nobody waits for an answer any more: explicitly, or when the client has disconnected or cancelled.

    Gradio then stops waiting for a function, but lets it run on. Made in the thread of the event that it is about.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = LocalContext.blocks.get(None)
        self._queue = blocks._queue if blocks else None
        self._event_id = LocalContext.event_id.get(None)  # None outside of Gradio's queue

    def is_set(self) -> bool:
        """Whether nobody waits."""
        return super().is_set() or _ending.is_set() or self._is_dropped()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nobody waits any more, or for so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left_s = _POLL_EVERY_S if end is None else end - time.monotonic()
            if left_s <= 0:
                return False
            super().wait(min(left_s, _POLL_EVERY_S))
        return True

    def _is_dropped(self) -> bool:
        if self._queue is None or self._event_id is None:
            return False
        running = (event for job in list(self._queue.active_jobs) for event in job or ())
        return not any(event._id == self._event_id and event.alive for event in running)


def wait_for_answers(demo: gr.Blocks, timeout_s: float) -> None:
    """Wait until all requests in progress are answered, or for so many seconds."""
    end = time.monotonic() + timeout_s
    while any(demo._queue.active_jobs) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)  # until the last ones are sent


class Mailboxes(OrderedDict[str, Queue[EventMessage]]):
    """The messages for each session; of more sessions than `size`, the one looked up least recently is forgotten.

    Args:
        expected: Gradio's events that each session waits for; nobody else removes a session from it.
        size: Of sessions.
    """

    def __init__(self, expected: dict[str, set[str]], size: int = MAX_MAILBOXES) -> None:
        super().__init__()
        self._expected = expected
        self._size = size

    def __contains__(self, session: object) -> bool:
        is_there = super().__contains__(session)
        if is_there:
            self.move_to_end(str(session))
        return is_there

    def __setitem__(self, session: str, messages: Queue[EventMessage]) -> None:
        super().__setitem__(session, messages)
        self.move_to_end(session)
        if len(self) > self._size:
            del self[next(iter(self))]  # popitem would call __contains__

    def __delitem__(self, session: str) -> None:
        super().__delitem__(session)
        self._expected.pop(session, None)

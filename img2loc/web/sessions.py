"""Who waits for an answer, so that the work ends with the waiting."""

from __future__ import annotations

import threading
import time
from asyncio import Queue
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from gradio.context import LocalContext
from gradio.server_messages import EventMessage

MAX_MAILBOXES = 2000  # as many as Gradio's own
_LOOK_EVERY_S = 0.1
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


class Sessions:
    """What each visitor has under way."""

    def __init__(self) -> None:
        self._asking: dict[str, dict[threading.Event, str]] = {}
        self._lock = threading.Lock()

    def leave(self, request: gr.Request, tab: str = "") -> None:
        """Give up what a visitor was waiting for.

        Args:
            request: Gradio's, of a visitor who has closed the page, pressed Cancel or chosen another photo.
            tab: Where that was; empty for all tabs.
        """
        with self._lock:
            for cancel, asked_on in self._asking.get(request.session_hash or "", {}).items():
                if tab in ("", asked_on):
                    cancel.set()

    @contextmanager
    def asked_by(self, request: gr.Request | None, tab: str) -> Iterator[threading.Event]:
        """What is set when the visitor who sent a request waits no more.

        Args:
            request: Gradio's; None outside of a page.
            tab: Where it was sent from.
        """
        session, cancel = (request.session_hash if request else None) or "", Abandoned()
        with self._lock:
            self._asking.setdefault(session, {})[cancel] = tab
        try:
            yield cancel
        finally:
            with self._lock:
                del self._asking[session][cancel]
                if not self._asking[session]:
                    del self._asking[session]


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

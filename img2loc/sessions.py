"""Who waits for an answer, so that the work ends with the waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr


class Sessions:
    """What each visitor has under way."""

    def __init__(self) -> None:
        self._asking: dict[str, set[threading.Event]] = {}
        self._lock = threading.Lock()

    def leave(self, request: gr.Request) -> None:
        """Give up what a visitor was waiting for, who has closed the page or pressed Cancel."""
        with self._lock:
            for cancel in self._asking.get(request.session_hash or "", ()):
                cancel.set()

    @contextmanager
    def asked_by(self, request: gr.Request | None) -> Iterator[threading.Event]:
        """What is set when the visitor who sent a request waits no more."""
        session, cancel = (request.session_hash if request else None) or "", threading.Event()
        with self._lock:
            self._asking.setdefault(session, set()).add(cancel)
        try:
            yield cancel
        finally:
            with self._lock:
                self._asking[session].discard(cancel)
                if not self._asking[session]:
                    del self._asking[session]

"""Who waits for an answer, so that the work ends with the waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from img2loc.hardening.queue import Abandoned


class Sessions:
    """What each visitor has under way."""

    def __init__(self) -> None:
        self._asking: dict[str, dict[threading.Event, str]] = {}
        self._lock = threading.Lock()

    def leave(self, http_request: gr.Request, tab: str = "") -> None:
        """Give up what a visitor was waiting for.

        Args:
            http_request: Gradio's, of a visitor who has closed the page, pressed Cancel or chosen another photo.
            tab: Where that was; empty for all tabs.
        """
        with self._lock:
            for cancel, asked_on in self._asking.get(http_request.session_hash or "", {}).items():
                if tab in ("", asked_on):
                    cancel.set()

    @contextmanager
    def asked_by(self, http_request: gr.Request | None, tab: str) -> Iterator[threading.Event]:
        """What is set when the visitor who sent it waits no more.

        Args:
            http_request: Gradio's; None outside of a page.
            tab: Where it was sent from.
        """
        session, cancel = (http_request.session_hash if http_request else None) or "", Abandoned()
        with self._lock:
            self._asking.setdefault(session, {})[cancel] = tab
        try:
            yield cancel
        finally:
            with self._lock:
                del self._asking[session][cancel]
                if not self._asking[session]:
                    del self._asking[session]

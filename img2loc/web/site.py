"""What the page, its tabs and the client API share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import gradio as gr

from img2loc.errors import Img2LocError, api_message
from img2loc.hardening.queue import Abandoned
from img2loc.hardening.visitors import single_visitor_of
from img2loc.policy.limits import Limits
from img2loc.policy.settings import Settings
from img2loc.web.gallery_loader import Host
from img2loc.web.render.html import error_html

ERROR_SHOWN_S: Final = 20


class Site:
    """The operator's settings, the locators, the visitors who wait, and the count of what they have used."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host
        self.settings = settings
        self.sessions = Sessions()
        self.limits = Limits(settings.hourly_per_visitor, settings.hourly_total, settings.hourly_tokens)

    @contextmanager
    def answering(
        self, http_request: gr.Request | None, tab: str, *backends: str, photo: str | None = None
    ) -> Iterator[threading.Event]:
        """Answer on a tab of the page: hold a model slot, and show errors as messages.

        Args:
            http_request: From Gradio.
            tab: See Sessions.leave.
            backends: Who answers.
            photo: The uploaded file; see Sessions.leave.

        Yields:
            An event that is set when the visitor stops waiting.
        """
        slot = self.limits.slot(*backends, visitor=single_visitor_of(http_request))
        with shown_errors(error_html), slot, self.sessions.waiting(http_request, tab, photo) as cancel:
            yield cancel


@contextmanager
def shown_errors(write: Callable[[Img2LocError], str] = api_message) -> Iterator[None]:
    """Turn our own errors into what Gradio shows to visitors and clients: one sentence.

    Args:
        write: Turns the error into text for the API, or HTML for the page.
    """
    try:
        yield
    except Img2LocError as error:
        raise gr.Error(write(error), duration=ERROR_SHOWN_S, print_exception=False) from None


class Sessions:
    """What each visitor waits for, so that the work ends when nobody waits for it any more."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[threading.Event, tuple[str, str | None]]] = {}
        self._lock = threading.Lock()

    def leave(self, http_request: gr.Request, tab: str = "", *, chosen: str | None = None) -> None:
        """Give up what a visitor waits for, after leaving, cancelling or choosing another photo.

        Args:
            http_request: From Gradio.
            tab: Give up only what was requested on it; empty for all tabs.
            chosen: The photo that the visitor has chosen. What was requested about it goes on: the request may have
                arrived before the message that the photo was chosen.
        """
        with self._lock:
            for cancel, (tab_of_request, photo) in self._waiting.get(http_request.session_hash or "", {}).items():
                if tab in ("", tab_of_request) and (chosen is None or photo != chosen):
                    cancel.set()

    @contextmanager
    def waiting(self, http_request: gr.Request | None, tab: str, photo: str | None = None) -> Iterator[threading.Event]:
        """Yield an event that is set when the visitor stops waiting for what was requested on a tab about a photo."""
        session, cancel = (http_request.session_hash if http_request else None) or "", Abandoned()
        with self._lock:
            self._waiting.setdefault(session, {})[cancel] = tab, photo
        try:
            yield cancel
        finally:
            with self._lock:
                del self._waiting[session][cancel]
                if not self._waiting[session]:
                    del self._waiting[session]

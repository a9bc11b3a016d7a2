"""The page's form, filled in as a visitor finds it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from img2loc.web.tabs.form import Form
from img2loc.web.tabs.locate_events import LocateEvents, Shown


def filled_form(**changes: Any) -> Form:
    """What the fields hold at first, but for the changes."""
    return Form("vote", "", {}, 16, 16, "", "", "", "")._replace(**changes)


def locate(
    events: LocateEvents,
    photo: str | None,
    *,
    truth: str = "",
    http_request: gr.Request | None = None,
    token: gr.OAuthToken | None = None,
    **changes: Any,
) -> Shown:
    """Press Locate."""
    return events.locate(http_request, token, gr.Progress(), photo, truth, *filled_form(**changes))

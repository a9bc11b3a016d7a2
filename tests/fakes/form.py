"""The page as it is built, and its form, filled in as a visitor finds it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import gradio as gr

from img2loc.policy.settings import Settings
from img2loc.web import page
from img2loc.web.gallery_loader import Host
from img2loc.web.tabs.form import Form
from img2loc.web.tabs.locate_events import LocateEvents, Shown
from tests.conftest import in_own_loop


def build_page(settings: Settings) -> gr.Blocks:
    """Build the page, without replacing what other tests use of Gradio."""

    async def build() -> gr.Blocks:  # in a loop, or Gradio makes one that nobody closes
        with patch("img2loc.web.page.install"):
            return page.build(Host(settings), settings)

    return in_own_loop(build())


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

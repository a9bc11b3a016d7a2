"""Opens the Chromium that the machine has, or else Playwright's own."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--process-per-site",  # all but the first page are drawn by a warm one
    # Whatever a page asks for, it finds no other host. Playwright's routes would do it too, at twice the time a page.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def open_chromium(playwright: Playwright) -> Browser:
    """Start a headless Chromium that fetches nothing by itself; closes as a context manager."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    return playwright.chromium.launch(executable_path=installed, args=[*QUIET])

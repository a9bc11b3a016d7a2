"""Opens the Chromium that the machine has, or else Playwright's own."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
LOOPBACK = ("127.0.0.1", "localhost")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    # Nothing else is reached, whatever a page asks for. (Playwright's routes would do it too, at twice the time a page.)
    "--host-resolver-rules=MAP * ~NOTFOUND, " + ", ".join(f"EXCLUDE {host}" for host in LOOPBACK),
)


def open_chromium(playwright: Playwright) -> Browser:
    """Start a headless Chromium that fetches nothing by itself; closes as a context manager."""
    installed = next(filter(None, map(shutil.which, NAMES)), None)
    return playwright.chromium.launch(executable_path=installed, args=[*QUIET])

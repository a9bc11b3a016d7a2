"""Takes the README's picture of the page: python -m tests.browser.screenshot [FILE]."""

from __future__ import annotations

import sys
from pathlib import Path

import gradio
from playwright.sync_api import sync_playwright

from tests.app_process import ROOT, AppProcess
from tests.browser.chromium import open_chromium


def main(file: Path) -> None:
    """Locate the Eiffel tower and take a picture of the whole page, 1280 pixels wide."""
    with AppProcess() as app, sync_playwright() as playwright, open_chromium(playwright) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(app.address)
        page.set_input_files("#photo input[type=file]", gradio.get_image("tower.jpg"))
        page.wait_for_selector("#farthest-map path.point", timeout=60_000)
        page.wait_for_timeout(2000)  # fades
        page.screenshot(path=file, full_page=True)
    print(f"wrote {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "page.png")

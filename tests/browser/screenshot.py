"""Takes the pictures in docs/: python -m tests.browser.screenshot [--out FOLDER] [NAME ...]."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import gradio
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.acts import choose, choose_openai, open_more, use_compare_key, use_key
from tests.browser.chromium import open_chromium
from tests.conftest import PHOTOS
from tests.fakes.app_process import ROOT, AppProcess
from tests.fakes.openai_server import OpenAIServer

TOWER = gradio.get_image("tower.jpg")
WAIT_MS = 60_000
VEGAS = (
    '{"latitude": 36.17, "longitude": -115.17, "place": "Las Vegas", "reasoning": "A half-size copy of the tower, '
    'lit at night, as stands at a hotel in Las Vegas."}'
)
PARIS = '{"latitude": 48.858, "longitude": 2.295, "place": "Paris", "reasoning": "The tower itself, from the Seine."}'
CHOICE = '{"choice": "%s", "reasoning": "The original: it stands free in a park, by a river."}'
# What the stand-in for a model says, a reply a request.
SAID = {"page-model": [VEGAS], "compare": [VEGAS], "page-judge": [PARIS, VEGAS, PARIS, VEGAS, CHOICE % "B"]}


def locate(page: Page) -> None:
    """Locate the Eiffel tower by the vote."""
    page.set_input_files("#photo input[type=file]", TOWER)
    page.wait_for_selector("#farthest-map path.point", state="attached", timeout=WAIT_MS)


def ask_model(page: Page) -> None:
    """Let a stand-in for a model answer, and disagree with the vote."""
    choose_openai(page)
    use_key(page)
    page.set_input_files("#photo input[type=file]", TOWER)
    page.wait_for_selector("#photo img[alt]")
    page.click("#locate")
    page.wait_for_selector("#farthest-map path.point", timeout=WAIT_MS)


def judge(page: Page) -> None:
    """Let a stand-in for a model answer four prompts, not alike, and choose among the candidates."""
    choose_openai(page)
    use_key(page)
    open_more(page)
    choose(page, "How often the model is asked", "5: 0, 5, 10, 15 + ✓")
    page.get_by_role("button", name="More settings").click()
    page.set_input_files("#photo input[type=file]", TOWER)
    page.wait_for_selector("#photo img[alt]")
    page.click("#locate")
    page.wait_for_selector("#farthest-map path.point", timeout=WAIT_MS)


def within(page: Page) -> None:
    """Locate the tower where it is known to stand in one of four countries."""
    page.locator("#where > button").click()
    page.locator("#within :is(input, textarea)").fill("France; Belgium; Spain; Italy")
    page.locator("#within :is(input, textarea)").press("Enter")
    page.wait_for_selector("#area :text('Only within')", timeout=WAIT_MS)
    locate(page)


def compare(page: Page) -> None:
    """Let the vote and a stand-in for a model answer."""
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-photo input[type=file]", TOWER)
    use_compare_key(page)
    page.click("#compare")
    page.wait_for_selector("#compare-map path.point:nth-child(1)", timeout=WAIT_MS)
    page.wait_for_selector(".i2l-files", timeout=WAIT_MS)


def batch(page: Page) -> None:
    """Locate several photos."""
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#photos input[type=file]", [TOWER, *sorted(PHOTOS.glob("c2lc*.jpg"))[:8]])
    page.click("#locate-all")
    page.wait_for_selector("#batch-map path.point", timeout=WAIT_MS)


# name -> width, height, dark or light, path, what is done
SHOTS: dict[str, tuple[int, int, str, str, Callable[[Page], None]]] = {
    "page": (1280, 900, "light", "", locate),
    "page-model": (1280, 900, "light", "", ask_model),
    "page-judge": (1280, 900, "light", "", judge),
    "page-within": (1280, 900, "light", "", within),
    "page-dark": (1280, 900, "dark", "", locate),
    "page-phone": (390, 844, "light", "", locate),
    "embed": (640, 900, "light", "?embed=true", locate),
    "compare": (1280, 900, "light", "", compare),
    "batch": (1280, 900, "light", "", batch),
}


def main() -> None:
    """Take the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder that they go to")
    parser.add_argument("names", nargs="*", help=", ".join(SHOTS))
    given = parser.parse_args()
    with OpenAIServer() as provider, sync_playwright() as playwright, open_chromium(playwright) as browser:
        with AppProcess(IMG2LOC_OPENAI_BASE_URL=provider.base_url, IMG2LOC_OPENAI_MODEL="a-model") as app:
            for name in given.names or SHOTS:
                width, height, scheme, path, act = SHOTS[name]
                for said in SAID.get(name, []):
                    provider.enqueue("good", text=said)
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(app.address + path)
                page.wait_for_selector("#examples button img")
                act(page)
                page.wait_for_timeout(1500)  # fades
                picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
                picture.quantize(256).save(given.out / f"{name}.png", optimize=True)  # a third of the bytes
                page.close()
                print(f"wrote {given.out / name}.png")


if __name__ == "__main__":
    main()

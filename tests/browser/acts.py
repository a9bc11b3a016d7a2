"""What the browser tests do on the page, and how a phone looks at it."""

from __future__ import annotations

import re
from pathlib import Path

import gradio
from playwright.sync_api import Page, expect

from tests.fakes.openai_server import KEY, OpenAIServer

TOWER = gradio.get_image("tower.jpg")
MAPS = ("#prediction-map", "#nearest-map", "#farthest-map")
LOCATE_MS = 60_000
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def open_more(page: Page) -> None:
    """Open the settings that most visitors leave alone."""
    page.get_by_role("button", name="More settings").click()
    expect(page.locator("#truth")).to_be_visible()


def upload(page: Page, file: str | Path = TOWER) -> None:
    page.set_input_files("#photo input[type=file]", file)


def locate_tower(page: Page) -> None:
    upload(page)
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    for selector in MAPS:
        expect(page.locator(f"{selector} path.point").first).to_be_attached(timeout=LOCATE_MS)


def choose(page: Page, label: str, option: str | re.Pattern[str]) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def choose_openai(page: Page) -> None:
    choose(page, "Who answers", re.compile("OpenAI"))
    expect(page.locator("#key-openai input")).to_be_visible()


def use_key(page: Page) -> None:
    page.fill("#key-openai input", KEY)
    page.click("#use-key-openai")
    expect(page.locator("#key-openai input")).to_have_value("")
    expect(page.locator("#use-key-openai")).to_have_text("Key set")


def use_compare_key(page: Page) -> None:
    page.get_by_role("button", name="Your own keys").click()
    page.fill("#compare-key-openai input", KEY)
    page.click("#use-compare-key-openai")
    expect(page.locator("#compare-key-openai input")).to_have_value("")
    expect(page.locator("#use-compare-key-openai")).to_have_text("Key set")


def ready_to_ask(page: Page) -> None:
    """Choose a model, give its key and choose a photo, so that Locate asks it."""
    choose_openai(page)
    use_key(page)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")


def wait_until_asked(page: Page, provider: OpenAIServer, requests: int) -> None:
    """Wait until the provider has got so many requests in all."""
    while len(provider.requests) < requests:
        page.wait_for_timeout(50)


def width_and_overflow(page: Page) -> tuple[int, int]:
    return tuple(page.evaluate("[innerWidth, document.documentElement.scrollWidth]"))

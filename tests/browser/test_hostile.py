"""A model's server, and a file's name, that try to be more than words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from img2loc.web.i18n import without_marks
from tests.browser.acts import LOCATE_MS, TOWER, choose_openai, upload, use_compare_key, use_key
from tests.fakes.openai_server import OpenAIServer
from tests.soak.hostile_replies import MARKUP

IMAGE = '<img src="https://hostile.example/a.png" onerror="window.struck=1">'
SAID = " ".join(words for words in MARKUP if words.isprintable())
ACTIVE = ":is(img, script, style, iframe, svg svg, b b, a[href^='javascript:'])"


@pytest.fixture
def hostile(provider: OpenAIServer) -> Iterator[OpenAIServer]:
    models = provider.models
    provider.models = [f"gpt {IMAGE}"]
    yield provider
    provider.models, provider.models_error = models, ""


@pytest.fixture
def requests(page: Page, address: str) -> Iterator[list[str]]:
    """What the page asks for; nothing but itself, and nothing may have run."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog {dialog.message}"))
    yield asked
    page.wait_for_timeout(200)  # for an image's request, which comes after its element
    assert page.evaluate("window.struck") is None
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def assert_text(shown: Locator, words: str) -> None:
    expect(shown).to_contain_text(words, timeout=LOCATE_MS)
    assert shown.locator(ACTIVE).count() == 0


def test_what_a_models_server_says_is_shown_as_text(page: Page, hostile: OpenAIServer, requests: list[str]):
    choose_openai(page)
    use_key(page)
    page.locator("#model input").click()
    page.locator("#model input").fill("")
    assert_text(page.get_by_role("option", name="gpt <img"), IMAGE)
    page.keyboard.press("Escape")
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    body = json.dumps({"latitude": 51.5, "longitude": -0.12, "place": SAID, "reasoning": SAID}) + SAID
    hostile.enqueue("good", text=body)
    page.click("#locate")
    assert_text(page.locator("#answer .i2l-why"), MARKUP[0])
    page.get_by_text("What the model was asked and what it replied").click()
    expect(page.locator("#conversation textarea").nth(0)).to_have_value(without_marks(SAID))
    expect(page.locator("#conversation textarea").nth(1)).to_have_value(without_marks(body))
    hostile.enqueue("bad_request", text=IMAGE)
    page.click("#locate")
    assert_text(page.locator("#answer [role=alert]"), IMAGE)
    hostile.models_error = IMAGE
    page.fill("#key-openai input", "sk-another")
    page.click("#use-key-openai")
    assert_text(page.locator("#refused [role=alert]"), IMAGE)
    assert len(requests) > 5


def test_names_are_shown_as_text(page: Page, hostile: OpenAIServer, requests: list[str], tmp_path: Path):
    link = "<a href='https://hostile.example'>x<b>y"
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-photo input[type=file]", TOWER)
    page.wait_for_selector("#compare-photo img")
    use_compare_key(page)
    chosen = page.locator("#contestants input")
    for name in (f"openai:{link}", f"openai:{IMAGE}"):
        chosen.fill(name)
        chosen.press("Enter")
    page.click("#compare")
    assert_text(page.locator("#compare-answers"), link)
    assert_text(page.locator("#compare-answers"), IMAGE)
    expect(page.locator("#compare-answers .i2l-pending")).to_have_count(0, timeout=LOCATE_MS)
    for at in range(page.locator("#compare-map path.point").count()):
        page.locator("#compare-map path.point").nth(at).hover(force=True)
        expect(page.locator("#compare-map .hoverlayer .hovertext").first).to_be_visible()
        assert page.locator("#compare-map .hoverlayer a").count() == 0
    chosen.fill(f"{IMAGE}:m")
    chosen.press("Enter")
    page.click("#compare")
    assert_text(page.locator("#contestants"), "There is no provider '<img")

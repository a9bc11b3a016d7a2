"""The page in a real Chromium, with no network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gradio
import httpx
import pytest
from playwright.sync_api import Page, expect

from img2loc import maps
from tests.openai_server import KEY, OpenAIServer

TOWER = gradio.get_image("tower.jpg")
MAPS = ("#prediction-map", "#nearest-map", "#farthest-map")
LOCATE_MS = 60_000
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def upload(page: Page, file: str | Path = TOWER) -> None:
    page.set_input_files("#photo input[type=file]", file)


def locate_tower(page: Page) -> None:
    upload(page)
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    for selector in MAPS:
        expect(page.locator(f"{selector} path.point").first).to_be_attached(timeout=LOCATE_MS)


def choose_openai(page: Page) -> None:
    page.get_by_label("Who answers").click()
    page.get_by_role("option", name=re.compile("OpenAI")).click()
    expect(page.locator("#key input")).to_be_visible()


def use_key(page: Page) -> None:
    page.fill("#key input", KEY)
    page.click("#use-key")
    expect(page.locator("#key input")).to_have_value("")
    expect(page.locator("#use-key")).to_have_text("Key set")


def width_and_overflow(page: Page) -> tuple[int, int]:
    return tuple(page.evaluate("[innerWidth, document.documentElement.scrollWidth]"))


def test_one_action_gives_a_position_and_three_maps(page: Page):
    locate_tower(page)
    expect(page.locator("#answer code")).to_have_text(re.compile(r"48\.8\d+, 2\.\d+"))
    for selector, points in zip(MAPS, (17, 16, 16), strict=True):
        drawn = page.locator(selector)
        assert drawn.locator("path.point").count() == points, selector
        outlines = drawn.locator("path.js-line").evaluate_all(
            "paths => paths.map(path => path.getAttribute('d').length)"
        )
        assert max(outlines) > 20_000, f"{selector}: no outlines of countries"
        box = drawn.locator("[data-testid=plotly]").bounding_box()
        assert 1.8 < box["width"] / box["height"] < 2.2
    assert page.locator("#prediction-map path.js-line").count() == 2  # countries and radius
    star = page.locator("#prediction-map path.point").last.bounding_box()
    frame = page.locator("#prediction-map [data-testid=plotly]").bounding_box()
    assert abs(star["x"] + star["width"] / 2 - frame["x"] - frame["width"] / 2) < frame["width"] / 50
    assert abs(star["y"] + star["height"] / 2 - frame["y"] - frame["height"] / 2) < frame["height"] / 25
    link = page.get_by_role("link", name="OpenStreetMap")
    assert link.get_attribute("href").startswith("https://www.openstreetmap.org/?mlat=48.8")


def test_land_is_filled_and_sea_is_not(page: Page):
    """Plotly fills the rest of the globe where a ring is wound the wrong way; then every point would be land."""
    locate_tower(page)
    inside = """path => [[0.5, 0.5], [0.1, 0.5]].map(([x, y]) => {
        const frame = path.ownerSVGElement.getBoundingClientRect(), point = path.ownerSVGElement.createSVGPoint();
        [point.x, point.y] = [frame.width * x, frame.height * y];
        return path.isPointInFill(point);
    })"""
    countries = page.locator("#prediction-map path.js-line").first
    assert countries.evaluate(inside) == [True, False]  # Paris, and the Atlantic


def test_the_example_is_located_by_one_click(page: Page):
    page.click("#examples button")
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    # Clicking an example makes Gradio build the image box anew; it must still take bad files with a word.
    bad = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": b"not a picture"}
    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    page.set_input_files("#photo input[type=file]", bad)
    expect(page.get_by_test_id("toast-body")).to_contain_text("choose a photo", timeout=LOCATE_MS)


@pytest.mark.parametrize("content", [b"not a picture", b"\xff\xd8\xff\xe0 torn"])
def test_a_bad_file_gets_words_and_costs_nothing_else(page: Page, content: bytes):
    page.fill("#truth :is(input, textarea)", "48.8584, 2.2945")
    page.set_input_files("#photo input[type=file]", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content})
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("picture", timeout=LOCATE_MS)
    assert "Traceback" not in toast.inner_text()
    assert page.input_value("#truth :is(input, textarea)") == "48.8584, 2.2945"


def test_a_wrong_true_position_gets_words_and_keeps_the_answer(page: Page):
    locate_tower(page)
    truth = page.locator("#truth :is(input, textarea)")
    truth.fill("in Paris")
    truth.press("Enter")
    expect(page.get_by_test_id("toast-body")).to_contain_text("48.8584, 2.2945", timeout=LOCATE_MS)
    expect(page.locator("#answer h2")).to_have_text("Paris, France")
    truth.fill("48.8584, 2.2945")
    truth.press("Enter")
    expect(page.locator("#answer")).to_contain_text("from the position you gave", timeout=LOCATE_MS)
    expect(page.locator("#prediction-map path.point")).to_have_count(18)
    expect(page.locator("#legend")).to_contain_text("true position")


def test_locate_without_a_photo_says_so(page: Page):
    page.click("#locate")
    expect(page.get_by_test_id("toast-body")).to_contain_text("choose one first", timeout=LOCATE_MS)


def test_a_model_answers_and_its_key_is_nowhere(page: Page, provider: OpenAIServer, address: str):
    session: set[str] = set()
    page.on("request", lambda request: session.update(re.findall(r'"session_hash":"(\w+)"', request.post_data or "")))
    choose_openai(page)
    use_key(page)
    use_key(page)  # again: what Gradio remembers of a box changes once the box has been changed
    sent = len(provider.requests)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    page.wait_for_timeout(1000)
    assert len(provider.requests) == sent, "a photo went to the provider unasked"
    provider.enqueue("good")
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)
    assert provider.requests[-1].key == KEY
    page.get_by_text("What the model was asked, and said").click()
    expect(page.locator("#conversation textarea").nth(2)).to_have_value(provider.requests[-1].prompt)
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert KEY not in stored and KEY not in page.content()
    with httpx.Client(base_url=address, timeout=20, follow_redirects=True) as http:
        public = [http.get(path).text for path in ("", "config", "gradio_api/info", "gradio_api/runs")]
        # Gradio serves the last value of every input to whoever knows the session's name.
        link = http.get("gradio_api/deep_link", params={"session_hash": session.pop()}).json()
        saved = http.get("config", params={"deep_link": link})
        assert saved.json()["deep_link_state"] == "valid"
    assert not any(KEY in text for text in (*public, saved.text))


def test_a_failing_model_leaves_the_votes_answer_with_a_note(page: Page, provider: OpenAIServer):
    choose_openai(page)
    use_key(page)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    provider.enqueue("refusal")
    page.click("#locate")
    note = page.locator("#answer [role=alert]")
    expect(note).to_contain_text("The model gave no position.", timeout=LOCATE_MS)
    expect(note).to_contain_text("the neighbours' vote")
    expect(page.locator("#answer h2")).to_have_text("Paris, France")


def test_a_models_words_stay_words(page: Page, provider: OpenAIServer):
    nasty = "<img src=x onerror='window.struck=1'> ${window.struck=2} {{lookup this 'constructor'}} <b>bold</b>"
    choose_openai(page)
    use_key(page)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    provider.enqueue("good", text=json.dumps({"latitude": 1, "longitude": 2, "place": nasty, "reasoning": nasty}))
    page.click("#locate")
    expect(page.locator("#answer .i2l-why")).to_contain_text(nasty, timeout=LOCATE_MS)
    assert page.evaluate("window.struck") is None
    assert page.locator("#answer :is(img, b)").count() == 0


def test_a_key_is_taken_without_its_button(page: Page, provider: OpenAIServer):
    choose_openai(page)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    page.focus("#key input")
    page.keyboard.type(KEY)
    provider.enqueue("good")
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)
    assert provider.requests[-1].key == KEY
    expect(page.locator("#key input")).to_have_value("")


def test_the_page_works_with_the_keyboard(page: Page):
    upload(page)
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    page.focus("#truth :is(input, textarea)")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert "locate" in reached and any("Prompt" in name for name in reached)
    page.focus("#neighbours button")
    page.keyboard.press("Enter")
    expect(page.locator("#neighbours table").first).to_be_visible()
    assert page.locator("#neighbours tbody tr").count() == 32
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.focus(".i2l-copy")
    page.keyboard.press("Enter")
    expect(page.locator(".i2l-copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#answer code").inner_text()


def test_removing_the_photo_takes_its_answer_away(page: Page):
    locate_tower(page)
    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    expect(page.locator("#answer")).to_contain_text("Where was it taken?")
    expect(page.locator("#prediction-map")).to_have_count(0)


@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}])
def test_dark_mode_is_dark_all_over(page: Page):
    locate_tower(page)
    assert page.evaluate("document.body.classList.contains('dark')")
    backgrounds = "e => [...e.querySelectorAll('svg.main-svg, rect.bg')].map(s => getComputedStyle(s).backgroundColor)"
    for selector in MAPS:
        painted = page.locator(selector).evaluate(backgrounds)
        assert set(painted) <= {"rgba(0, 0, 0, 0)"}, painted
    light = page.evaluate("getComputedStyle(document.querySelector('#answer h2')).color")
    assert min(int(part) for part in re.findall(r"\d+", light)[:3]) > 180


@pytest.mark.parametrize("options", [PHONE])
def test_a_phone_shows_everything_without_sideways_scrolling(page: Page):
    assert width_and_overflow(page) == (390, 390)
    locate_tower(page)
    page.wait_for_function("document.getElementById('answer').getBoundingClientRect().top < 200")  # scrolled to
    page.locator("#neighbours button").click()
    expect(page.locator("#neighbours table").first).to_be_visible()
    assert width_and_overflow(page) == (390, 390)
    for selector in MAPS:
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] > 150
    # A finger on a map scrolls the page: the map takes no touches.
    assert page.locator("#prediction-map .bg rect").evaluate("e => getComputedStyle(e).pointerEvents") == "none"


def test_the_legends_colours_are_the_maps(page: Page):
    locate_tower(page)
    star = page.locator("#legend .i2l-red").first.evaluate("e => getComputedStyle(e).color")
    assert star == "rgb({}, {}, {})".format(*bytes.fromhex(maps.VERMILION[1:]))

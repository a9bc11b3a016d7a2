"""Whoever can't see well or use a mouse: axe-core's rules, and a walk through every control by keyboard alone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.acts import LOCATE_MS, PHONE, TOWER, choose_openai, locate_tower, open_more

SERIOUS = {"serious", "critical"}
# Where the focus is: a control's words, and what kind of thing it is.
FOCUSED = """() => {
  const e = document.activeElement;
  delete e.dataset.unreached;
  const name = e.getAttribute("aria-label") ?? e.labels?.[0]?.innerText ?? e.innerText ?? "";
  const id = e.id || e.closest("[id]:not([id^=component])")?.id || "";
  return e === document.body ? "" : `${id}|${name.trim().split("\\n")[0]}`;
}"""
# Marks every control that can be seen, so that what a walk leaves out is known.
MARK = """() => document.querySelectorAll(
    ".gradio-container :is(a[href], button, input, textarea, select, summary, [tabindex])"
  ).forEach((e) => { if (e.tabIndex >= 0 && !e.disabled && e.checkVisibility()) e.dataset.unreached = ""; })"""
LEFT_OUT = "() => [...document.querySelectorAll('[data-unreached]')].map((e) => e.outerHTML.slice(0, 200))"


def findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for item in found
        if item["impact"] in SERIOUS
        for node in item["nodes"]
    ]


def walk(page: Page, steps: int = 300) -> list[str]:
    """Press Tab until the page has been walked through; no control may be left out."""
    page.evaluate(MARK)
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    reached: list[str] = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        if not here and len(reached) > 5:
            break
        reached.append(here)
    assert page.evaluate(LEFT_OUT) == []
    return reached


def walk_through(page: Page, order: list[str]) -> None:
    """Expect controls one after another, in the order of reading."""
    reached = walk(page)
    at = -1
    for control in order:
        found = [index for index, name in enumerate(reached) if control in name and index > at]
        assert found, (control, reached)
        at = found[0]


def open_tab(page: Page, name: str) -> None:
    """Go to a tab by keyboard alone."""
    tab = page.get_by_role("tab", name=name)
    for _ in range(10):
        page.keyboard.press("Tab")
        if tab.evaluate("tab => tab === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(tab).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    "options",
    [{"viewport": {"width": 1280, "height": 900}, "color_scheme": scheme} for scheme in ("light", "dark")],
    ids=["light", "dark"],
)
def test_axe_finds_nothing_serious(page: Page):
    assert findings(page) == []
    locate_tower(page)
    choose_openai(page)
    open_more(page)
    assert findings(page) == []
    page.locator("#truth :is(input, textarea)").fill("in Paris")  # and what is wrong, in words beside its field
    page.locator("#truth :is(input, textarea)").press("Enter")
    expect(page.locator("#truth")).to_contain_text("48.8584, 2.2945")
    page.fill("#key-openai input", "sk-wrong")
    page.click("#use-key-openai")
    expect(page.locator("#refused [role=alert]")).to_be_visible(timeout=LOCATE_MS)
    assert findings(page) == []
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("tab", name="Batch").click()
    expect(page.locator("#locate-all")).to_be_visible()
    assert findings(page) == []


@pytest.mark.parametrize("options", [PHONE])
def test_axe_finds_nothing_serious_on_a_phone_or_in_a_frame(page: Page, address: str):
    for path in ("", "?embed=true"):
        page.goto(address + path)
        locate_tower(page)
        assert findings(page) == []
    page.goto(address)
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#photos input[type=file]", [TOWER])
    page.click("#locate-all")
    expect(page.get_by_role("link", name="in a zip")).to_be_visible(timeout=LOCATE_MS)
    expect(page.locator("#batch-map path.point")).to_have_count(1, timeout=LOCATE_MS)
    assert findings(page) == []


def test_every_control_is_reached_by_keyboard_in_the_order_of_reading(page: Page):
    locate_tower(page)
    choose_openai(page)
    open_more(page)
    walk_through(
        page,
        [
            "Locate",
            "backend|",
            "server|",
            "model|",
            "key-openai|",
            "use-key-openai|",
            "locate|",
            "more|",
            "nearest|",
            "farthest|",
            "judge|",
            "truth|",
            "named-template|",
            "template|",
            "Restore",
            "link|",
            "Copy the coordinates",
            "OpenStreetMap",
            "GeoJSON",
            "KML",
            "CSV",
            "Show the streets",
            "Show 1, Paris",
        ],
    )


def test_a_photo_is_located_and_looked_into_without_a_mouse(page: Page):
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    expect(page.locator("#nearest-map path.point").first).to_be_attached(timeout=LOCATE_MS)
    page.locator(".i2l-neighbours .i2l-row").nth(1).focus()
    expect(page.locator("#nearest-map .i2l-lit")).to_have_count(1)
    page.get_by_role("tab", name="Locate").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#compare")).to_be_visible()
    page.set_input_files("#compare-photo input[type=file]", TOWER)
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#compare-answers li").first).to_contain_text("Paris", timeout=LOCATE_MS)


def test_every_control_of_compare_is_reached_by_keyboard(page: Page):
    open_tab(page, "Compare")
    page.set_input_files("#compare-photo input[type=file]", TOWER)
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#compare-answers li").first).to_contain_text("Paris", timeout=LOCATE_MS)
    expect(page.get_by_role("link", name="CSV")).to_be_visible(timeout=LOCATE_MS)
    walk_through(
        page,
        ["Compare", "compare-photo", "contestants|", "compare-keys|", "compare|",
         "Show A, Paris", "GeoJSON", "KML", "CSV"],
    )  # fmt: skip


def test_every_control_of_batch_is_reached_by_keyboard(page: Page):
    open_tab(page, "Batch")
    page.set_input_files("#photos input[type=file]", [TOWER])
    page.locator("#locate-all").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#batch-answers tbody tr")).to_have_count(1, timeout=LOCATE_MS)
    expect(page.get_by_role("link", name="in a zip")).to_be_visible(timeout=LOCATE_MS)
    walk_through(page, ["Batch", "photos", "locate-all|", "in a zip", "The photos", "Show 1, Paris"])

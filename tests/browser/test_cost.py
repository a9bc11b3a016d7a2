"""What asking will cost stands on the page before anything is sent, and what was judged in the end."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.acts import LOCATE_MS, choose, choose_openai, open_more, upload, use_key
from tests.fakes.openai_server import OpenAIServer


def test_the_cost_follows_what_is_chosen(page: Page, address: str):
    expect(page.locator("#cost")).to_be_hidden()
    choose_openai(page)
    expect(page.locator("#cost")).to_have_text("Requests per photo: 1 (price unknown)")  # at our own server
    choose(page, "Server", "Gemini")
    expect(page.locator("#cost")).to_have_text(
        re.compile(r"Requests per photo: 1 \(about \$0\.00\d+ with this model\)")
    )
    open_more(page)
    choose(page, "How often the model is asked", "5: 0, 5, 10, 15 + ✓")
    for line in ("#cost", "#judge-cost"):
        expect(page.locator(line)).to_have_text(re.compile(r"Requests per photo: 5 \(about \$0\.01\d+ with this model"))
    page.locator("#model input").fill("my-own-model")
    page.locator("#model input").press("Enter")
    expect(page.locator("#cost")).to_have_text("Requests per photo: 5 (price unknown)")
    choose(page, "Who answers", "Vote of the neighbours (no key)")
    expect(page.locator("#cost")).to_be_hidden()
    expect(page.locator("#judge-cost")).to_be_hidden()

    page.goto(f"{address}?server=gemini&judge=3,7%2Bchoice")
    expect(page.locator("#cost")).to_have_text(re.compile(r"Requests per photo: 3 \(about \$0\.0\d+ with this model\)"))
    open_more(page)
    expect(page.locator("#judge input")).to_have_value("3: 3, 7 + ✓")


def test_the_candidates_can_be_read_with_the_models_choice(page: Page, provider: OpenAIServer):
    choose_openai(page)
    use_key(page)
    upload(page)
    open_more(page)
    choose(page, "How often the model is asked", "5: 0, 5, 10, 15 + ✓")
    provider.enqueue(*["good"] * 4)
    provider.enqueue("good", text='{"choice": "B", "reasoning": "It looks so."}')
    page.click("#locate")
    table = page.locator("#beside .i2l-table")
    expect(table).to_be_visible(timeout=LOCATE_MS)
    expect(table.locator("thead")).to_contain_text("answers · vote · choice")
    expect(table.locator("tbody tr", has_text="✓")).to_have_count(1)
    expect(table.locator("tbody tr").first).to_contain_text("Paris, France")
    assert table.bounding_box()["width"] > 500

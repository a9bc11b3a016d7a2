"""Asking a model on the page: keys, answers, failures, giving up."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import (
    LOCATE_MS,
    choose,
    choose_openai,
    open_more,
    ready_to_ask,
    upload,
    use_key,
    wait_until_asked,
)
from tests.fakes.openai_server import KEY, OpenAIServer


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
    page.get_by_text("What the model was asked and what it replied").click()
    expect(page.locator("#conversation textarea").nth(2)).to_have_value(provider.requests[-1].prompt)
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert KEY not in stored and KEY not in page.content()
    with httpx.Client(base_url=address, timeout=20, follow_redirects=True) as http:
        public = [http.get(path).text for path in ("", "config", "gradio_api/info", "gradio_api/runs")]
        # Gradio would keep the last value of every input for whoever knows the session's name.
        link = http.get("gradio_api/deep_link", params={"session_hash": session.pop()})
        assert link.status_code == httpx.codes.NOT_FOUND
    assert not any(KEY in text for text in public)


def test_a_failing_model_leaves_the_votes_answer_with_a_note(page: Page, provider: OpenAIServer):
    ready_to_ask(page)
    provider.enqueue("refusal")
    page.click("#locate")
    note = page.locator("#answer [role=alert]")
    expect(note).to_contain_text("The model gave no position.", timeout=LOCATE_MS)
    expect(note).to_contain_text("the neighbours' vote")
    expect(page.locator("#answer h2")).to_have_text("Paris, France")


def test_a_models_words_stay_words(page: Page, provider: OpenAIServer):
    nasty = "<img src=x onerror='window.struck=1'> ${window.struck=2} {{lookup this 'constructor'}} <b>bold</b>"
    ready_to_ask(page)
    provider.enqueue("good", text=json.dumps({"latitude": 1, "longitude": 2, "place": nasty, "reasoning": nasty}))
    page.click("#locate")
    expect(page.locator("#answer .i2l-why")).to_contain_text(nasty, timeout=LOCATE_MS)
    assert page.evaluate("window.struck") is None
    assert page.locator("#answer .i2l-why :is(img, b)").count() == 0 == page.locator("#answer img").count()


def test_a_key_is_taken_without_its_button(page: Page, provider: OpenAIServer):
    choose_openai(page)
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    page.focus("#key-openai input")
    page.keyboard.type(KEY)
    provider.enqueue("good")
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)
    assert provider.requests[-1].key == KEY
    expect(page.locator("#key-openai input")).to_have_value("")


def test_cancel_frees_the_slot_at_once(page: Page, provider: OpenAIServer):
    ready_to_ask(page)
    expect(page.locator("#cancel")).to_be_hidden()
    provider.enqueue("hang")
    sent = len(provider.requests)
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("Asking the model", timeout=LOCATE_MS)
    wait_until_asked(page, provider, sent + 1)
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    cancel.click()
    expect(page.locator("#answer")).to_contain_text("Cancelled")
    expect(cancel).to_be_hidden()
    provider.enqueue("good")  # a slot is free, and what was given up doesn't come back
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)


def test_another_photo_ends_what_was_asked_for_the_one_before(page: Page, provider: OpenAIServer):
    ready_to_ask(page)
    provider.enqueue("hang")
    sent = len(provider.requests)
    page.click("#locate")
    wait_until_asked(page, provider, sent + 1)
    expect(page.locator("#cancel")).to_be_visible()
    page.locator("#examples button").nth(1).click()
    expect(page.locator("#cancel")).to_be_hidden(timeout=10_000)  # the provider's time-out is longer
    provider.enqueue("good")
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)


def test_a_key_brings_the_models_that_it_opens(page: Page):
    choose_openai(page)
    use_key(page)
    page.locator("#model input").click()
    page.locator("#model input").fill("")
    expect(page.get_by_role("option", name="gpt-test")).to_be_visible(timeout=LOCATE_MS)
    page.locator("#model input").fill("my-own-model")
    page.locator("#model input").press("Enter")
    expect(page.locator("#model input")).to_have_value("my-own-model")


def test_a_wrong_key_is_said_at_once(page: Page):
    choose_openai(page)
    page.fill("#key-openai input", "sk-wrong")
    page.click("#use-key-openai")
    expect(page.locator("#refused [role=alert]")).to_contain_text("rejected the key")
    use_key(page)
    expect(page.locator("#refused")).to_be_hidden()
    page.fill("#key-openai input", "two words")
    page.click("#use-key-openai")
    expect(page.locator("#key-openai")).to_contain_text("copy it again")


def test_a_models_answer_stands_beside_the_vote(page: Page, provider: OpenAIServer):
    ready_to_ask(page)
    words = {"latitude": 51.5, "longitude": -0.12, "place": "London", "reasoning": "A tower."}
    provider.enqueue("good", text=json.dumps(words))
    page.click("#locate")
    expect(page.locator("#answer h2")).to_have_text("London, United Kingdom", timeout=LOCATE_MS)
    expect(page.locator("#answer h3")).to_have_text("Paris, France")
    expect(page.locator("#answer .i2l-apart")).to_have_text(re.compile(r"34\d km apart"))


def test_candidates_can_be_read(page: Page, provider: OpenAIServer):
    choose_openai(page)
    use_key(page)
    open_more(page)
    choose(page, "How often the model is asked", "2: 0, 10")
    upload(page)
    expect(page.locator("#answer")).to_contain_text("Press Locate")
    page.click("#locate")
    expect(page.locator("#answer .i2l-who").first).to_contain_text("Judged among", timeout=LOCATE_MS)
    expect(page.locator("#prediction-map path.point").first).to_be_attached(timeout=LOCATE_MS)
    table = page.get_by_role("region", name="The candidates")
    box, whole = table.bounding_box(), page.locator("#prediction-map").bounding_box()
    assert box["width"] > 0.95 * whole["width"] and box["height"] < 400
    table.locator("tbody tr").nth(1).hover()
    expect(page.locator("#prediction-map .i2l-lit")).to_have_count(1)


@pytest.mark.parametrize("status", [429, 500, 502])
def test_a_key_stays_with_its_provider_though_requests_are_lost(page: Page, status: int):
    """As behind a proxy that fails for a moment, while another provider is chosen."""
    ready_to_ask(page)
    page.locator("#key-openai input").focus()
    page.keyboard.type(KEY)  # and once more, this time still in its field
    page.route("**/gradio_api/**", lambda route: route.fulfill(status=status, body="busy"))
    choose(page, "Server", "Gemini")
    page.wait_for_timeout(500)  # for whatever is sent meanwhile
    page.unroute("**/gradio_api/**")
    page.click("#locate")
    expect(page.get_by_text("Gemini needs a key")).to_be_visible(timeout=LOCATE_MS)

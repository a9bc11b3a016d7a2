"""A connection that is lost and a server that starts again: the page says so, and keeps what it has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import LOCATE_MS, MAPS, locate_tower, ready_to_ask, wait_until_asked
from tests.fakes.app_process import AppProcess
from tests.fakes.cutting_proxy import CuttingProxy
from tests.fakes.openai_server import OpenAIServer


@pytest.fixture
def way(address: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(address)
    yield proxy
    proxy.close()


def opened(page: Page, way: CuttingProxy) -> None:
    page.goto(way.address)
    page.wait_for_selector("#locate")
    page.evaluate("window.sameVisit = true")


def kept(page: Page) -> None:
    """Photo and answer are still there, and the page was not loaded anew."""
    page.wait_for_timeout(2500)  # Gradio would reload every two seconds
    assert page.evaluate("window.sameVisit")
    expect(page.locator("#photo img")).to_be_visible()
    expect(page.locator("#answer h2")).to_have_text("Paris, France")


def test_a_lost_connection_loses_neither_photo_nor_answer(page: Page, way: CuttingProxy):
    opened(page, way)
    locate_tower(page)
    way.cut()
    page.click("#locate")
    expect(page.get_by_text("The server can't be reached.").first).to_be_visible()
    kept(page)
    way.reachable = True
    with page.expect_response(lambda response: "queue/data" in response.url and response.ok, timeout=LOCATE_MS):
        page.click("#locate")
    kept(page)


def test_an_answer_that_is_cut_off_is_told(page: Page, way: CuttingProxy, provider: OpenAIServer):
    opened(page, way)
    ready_to_ask(page)
    provider.enqueue("hang")
    sent = len(provider.requests)
    page.click("#locate")
    wait_until_asked(page, provider, sent + 1)
    expect(page.locator("#answer")).to_contain_text("Asking the model")  # the stream of messages is open
    way.cut()
    expect(page.get_by_text("was lost before the answer came").first).to_be_visible()
    way.reachable = True
    provider.enqueue("good")
    page.click("#locate")
    expect(page.locator("#answer")).to_contain_text("An iron lattice tower.", timeout=LOCATE_MS)
    expect(page.locator(f"{MAPS[0]} path.point").first).to_be_attached(timeout=LOCATE_MS)
    assert page.evaluate("window.sameVisit")


def test_after_a_restart_the_page_says_what_is_missing(page: Page, way: CuttingProxy, provider: OpenAIServer):
    opened(page, way)
    locate_tower(page)
    with AppProcess(IMG2LOC_OPENAI_BASE_URL=provider.base_url) as restarted:
        way.cut()
        way.target, way.reachable = restarted.address, True
        page.click("#locate")
        expect(page.get_by_text("The photo is no longer on the server. Upload it again.").first).to_be_visible()
        kept(page)
        page.get_by_role("button", name="Clear").click()
        locate_tower(page)

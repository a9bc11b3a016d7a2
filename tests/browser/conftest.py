"""A real browser without a network, in front of the real app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.browser.chromium import open_chromium
from tests.fakes.app_process import AppProcess
from tests.fakes.openai_server import OpenAIServer

WAIT_MS = 30_000  # many times what is needed: the machine may have much else to do
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="session")
def address(provider: OpenAIServer) -> Iterator[str]:
    with AppProcess(IMG2LOC_OPENAI_BASE_URL=provider.base_url, IMG2LOC_TIMEOUT_S="20") as app:
        yield app.address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, open_chromium(playwright) as browser:
        yield browser


@pytest.fixture
def options() -> dict[str, object]:
    """How the page is looked at; a test may parametrize it."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="session")
def contexts() -> dict[str, BrowserContext]:
    """The browser's, by options, kept warm: a page in a new one takes twice the time."""
    return {}


@pytest.fixture
def page(
    browser: Browser, contexts: dict[str, BrowserContext], address: str, options: dict[str, object]
) -> Iterator[Page]:
    """A page that reaches loopback only, and whose test fails if it tried anything else or met an error of its own."""
    faults: list[str] = []

    def outside(request: Request) -> None:
        if request.failure == "net::ERR_NAME_NOT_RESOLVED":  # the browser finds no host but this machine
            faults.append(f"request to {request.url}")

    key = repr(sorted(options.items()))
    if key not in contexts:
        contexts[key] = browser.new_context(**options)
        contexts[key].new_page().goto(f"{address}robots.txt")  # stays, and with it the process that draws the pages
    context = contexts[key]
    context.set_default_timeout(WAIT_MS)
    context.on("requestfailed", outside)
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(f"error {error}"))
    page.goto(address)
    page.wait_for_selector("#locate")
    expect(page.locator("#examples button img")).to_have_count(2)  # they come last; a button without has no name yet
    yield page
    context.unroute_all(behavior="ignoreErrors")
    for opened in context.pages[1:]:
        opened.close()
    context.remove_listener("requestfailed", outside)
    context.clear_permissions()
    context.clear_cookies()
    assert not faults, faults

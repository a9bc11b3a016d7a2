"""The page by a link, inside another page, and in other languages."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio
import pytest
from playwright.sync_api import Page, Route, expect

from img2loc.web.i18n import translations
from tests.browser.acts import LOCATE_MS, choose_openai, locate_tower, open_more, upload, use_key, width_and_overflow
from tests.fakes.app_process import ROOT
from tests.fakes.openai_server import KEY

FRONTEND = Path(gradio.__file__).parent / "templates" / "frontend"


def test_a_link_restores_the_settings_but_neither_key_nor_photo(page: Page, address: str):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose_openai(page)
    use_key(page)
    upload(page)
    open_more(page)
    page.locator("#nearest input[type=number]").fill("3")
    page.locator("#nearest input[type=number]").press("Enter")
    page.get_by_label("Prompt").click()
    page.get_by_role("option").nth(1).click()
    expect(page.locator("#template textarea")).to_have_value(re.compile(r"\$nearest_list"))
    # As late as this: the list that the key brought closes the box when it comes.
    page.locator("#model input").fill("my-own-model")
    page.locator("#model input").press("Enter")
    expect(page.locator("#model input")).to_have_value("my-own-model")
    page.get_by_role("button", name="Copy a link to these settings").click()
    expect(page.locator("#link")).to_have_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    query = {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()}
    assert link.startswith(address) and KEY not in link
    expected = {"backend": "openai", "model": "my-own-model", "nearest": "3", "farthest": "16", "prompt": "numbered"}
    assert query == expected | {"judge": "off"}

    page.goto(link)
    expect(page.locator("#backend input")).to_have_value("OpenAI, or a compatible server")
    expect(page.locator("#model input")).to_have_value("my-own-model")
    expect(page.locator("#key-openai input")).to_have_value("")
    expect(page.locator("#use-key-openai")).to_have_text("Use key")
    expect(page.locator("#photo img[alt]")).to_have_count(0)
    open_more(page)
    expect(page.locator("#nearest input[type=number]")).to_have_value("3")
    expect(page.locator("#template textarea")).to_have_value(re.compile(r"\$nearest_list"))


def test_a_wrong_link_gets_words_and_a_working_page(page: Page, address: str):
    page.goto(f"{address}?backend=oracle&nearest=900&farthest=2&key={KEY}")
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("backend in this page's address", timeout=LOCATE_MS)
    expect(toast).to_contain_text("nearest in this page's address must be a number from 0 to 50")
    locate_tower(page)
    expect(page.locator(".i2l-neighbours tbody").nth(1).locator("tr")).to_have_count(2)


def test_compact_inside_a_page_of_ones_own(page: Page, address: str):
    page.goto(f"file://{ROOT}/docs/embed.html?space={address}")
    frame = page.frame_locator("#img2loc")
    frame.locator("#photo input[type=file]").wait_for(state="attached")
    for hidden in ("#head", "#foot", "#more", "footer"):
        expect(frame.locator(hidden)).to_be_hidden()
    expect(frame.get_by_role("tab", name="Batch")).to_be_hidden()
    frame.locator("#examples button").first.click()
    expect(frame.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    expect(frame.locator("#prediction-map path.point").first).to_be_visible(timeout=LOCATE_MS)
    expect(frame.locator("#nearest-map")).to_be_hidden()
    expect(frame.locator(".i2l-neighbours tbody").first.locator("tr")).to_have_count(10)  # the preset of the host page
    page.wait_for_function("document.getElementById('img2loc').clientHeight > 800")  # it grows to what is in it
    for _ in range(100):
        inside = frame.locator(".gradio-container").evaluate(
            "e => [e.scrollHeight, document.documentElement.clientHeight]"
        )
        if inside[1] >= inside[0] - 2:
            break
        page.wait_for_timeout(100)
    assert inside[1] >= inside[0] - 2
    page.set_viewport_size({"width": 390, "height": 800})
    assert width_and_overflow(page) == (390, 390)


@pytest.mark.parametrize(
    "space", ["javascript:window.struck=1", "JavaScript:alert(1)", "data:text/html,x", "blob:x", "file:///etc", "x"]
)
def test_the_host_page_takes_web_addresses_only(page: Page, space: str):
    errors: list[str] = []
    host = page.context.new_page()
    host.on("pageerror", lambda error: errors.append(str(error)))
    host.goto(f"file://{ROOT}/docs/embed.html?space={space}")
    expect(host.get_by_text("must begin with https:// or http://")).to_be_visible()
    assert host.locator("iframe").count() == 0 and host.evaluate("window.struck") is None
    assert errors == ["not the address of a Space"]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Another site: a folder under an address of its own."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_element_for_pages_of_ones_own(page: Page, address: str, tmp_path: Path):
    """The snippet as the page gives it; Gradio's script, elsewhere on its CDN, is the package's own."""
    page.locator("#foot summary").click()
    script, snippet = page.locator("#foot pre").last.inner_text().splitlines()
    assert f'src="{address}' in snippet
    at = re.search(r'src="(https://[^"]+/)gradio.js"', script)
    assert at and gradio.__version__ in at[1]
    cdn = urlsplit(at[1])

    def from_package(route: Route) -> None:
        file = urlsplit(route.request.url).path.removeprefix(cdn.path).lstrip("/")
        route.fulfill(path=FRONTEND / file, headers={"access-control-allow-origin": "*"})

    page.context.route(f"https://{cdn.hostname}/**", from_package)
    (tmp_path / "index.html").write_text(f"<!doctype html><html><head>{script}</head><body>{snippet}</body></html>")
    with served(tmp_path) as host:
        page.goto(host)
        element = page.locator("gradio-app")
        element.locator("#examples button").first.click(timeout=LOCATE_MS)
        expect(element.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
        expect(element.locator("#prediction-map path.point").first).to_be_visible(timeout=LOCATE_MS)


@pytest.mark.parametrize("options", [{"viewport": {"width": 800, "height": 900}, "color_scheme": "dark"}])
def test_a_dark_page_has_a_dark_frame(page: Page, address: str):
    page.goto(f"file://{ROOT}/docs/embed.html?space={address}")
    body = page.frame_locator("#img2loc").locator("body")
    page.frame_locator("#img2loc").locator("#locate").wait_for()
    assert body.evaluate("body => body.classList.contains('dark')")


@pytest.mark.parametrize(
    ("options", "language"),
    [({"locale": locale}, locale.split("-")[0] if locale != "zh-CN" else locale) for locale in
     ("de-DE", "fr-FR", "es-ES", "ja-JP", "zh-CN")],
)  # fmt: skip
def test_the_page_speaks_the_visitors_language(page: Page, language: str):
    words = translations()[language]
    expect(page.locator("#locate")).to_have_text(words["locate"])
    expect(page.locator("#head")).to_contain_text(words["tagline"])
    expect(page.locator("#answer h2")).to_have_text(words["empty_title"])
    expect(page.get_by_role("tab", name=words["tab_batch"])).to_be_visible()
    expect(page.get_by_label(words["backend"])).to_have_value(words["backend_vote"])
    page.locator("#examples button").first.click()
    expect(page.locator("#answer .i2l-who")).to_contain_text(words["who_vote"], timeout=LOCATE_MS)
    expect(page.locator(".i2l-neighbours th").first).to_have_text(words["rank"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=words["copy_label"]).click()
    expect(page.get_by_role("button", name=words["copy_label"])).to_have_text(words["copied"])


@pytest.mark.parametrize("options", [{"locale": "it-IT"}])
def test_other_languages_get_english(page: Page):
    expect(page.locator("#head")).to_contain_text("Where on Earth")

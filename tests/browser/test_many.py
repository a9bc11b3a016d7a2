"""Compare and Batch on the real page."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pandas
from playwright.sync_api import Page, expect

from tests.browser.acts import (
    LOCATE_MS,
    TOWER,
    choose_openai,
    use_compare_key,
    use_key,
    wait_until_asked,
    width_and_overflow,
)
from tests.conftest import PHOTOS
from tests.fakes.openai_server import OpenAIServer

PYRAMID = next(PHOTOS.glob("*Great-Pyramid*"))


def open_compare(page: Page) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.set_input_files("#compare-photo input[type=file]", TOWER)
    page.wait_for_selector("#compare-photo img")


def open_batch(page: Page, *files: str | Path) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.set_input_files("#photos input[type=file]", [str(file) for file in files])
    expect(page.locator("#photos")).to_contain_text(Path(files[0]).stem[:10])


def test_compare_shows_all_answers_on_one_map(page: Page, provider: OpenAIServer):
    open_compare(page)
    use_compare_key(page)
    words = {"latitude": 51.5, "longitude": -0.12, "place": "London", "reasoning": "A tower by a river."}
    provider.enqueue("good", text=json.dumps(words))
    page.click("#compare")
    cards = page.locator("#compare-answers li")
    expect(cards).to_have_count(2)
    expect(cards.nth(0)).to_contain_text("Paris, France", timeout=LOCATE_MS)
    expect(cards.nth(1)).to_contain_text("London, United Kingdom", timeout=LOCATE_MS)
    expect(cards.nth(1)).to_contain_text("A tower by a river.")
    expect(cards.nth(1)).to_contain_text("from the vote")
    expect(page.locator("#compare-map path.point")).to_have_count(2, timeout=LOCATE_MS)
    cards.nth(1).hover()
    expect(page.locator("#compare-map .i2l-lit")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").last.click()
    table = pandas.read_csv(download.value.path())
    assert table["who"][0] == "vote" and table["who"][1].startswith(provider.requests[-1].body["model"])


def test_one_failure_leaves_the_others(page: Page, provider: OpenAIServer):
    open_compare(page)
    use_compare_key(page)
    provider.enqueue("refusal")
    page.click("#compare")
    cards = page.locator("#compare-answers li")
    expect(cards.nth(1)).to_contain_text("refuses", timeout=LOCATE_MS)
    expect(cards.nth(0)).to_contain_text("Paris, France", timeout=LOCATE_MS)
    expect(page.locator("#compare-map path.point")).to_have_count(1, timeout=LOCATE_MS)


def test_compare_can_be_cancelled(page: Page, provider: OpenAIServer):
    open_compare(page)
    use_compare_key(page)
    provider.enqueue("hang")
    sent = len(provider.requests)
    page.click("#compare")
    wait_until_asked(page, provider, sent + 1)
    expect(page.locator("#compare-answers .i2l-pending")).to_have_count(1, timeout=LOCATE_MS)
    page.get_by_role("button", name="Cancel").click()
    cards = page.locator("#compare-answers li")
    expect(cards.nth(1)).to_contain_text("The request was cancelled.", timeout=LOCATE_MS)
    expect(cards.nth(0)).to_contain_text("Paris, France")  # what has come stays
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_batch_gives_a_table_a_map_and_a_zip(page: Page, tmp_path: Path):
    nasty = tmp_path / "=cmd() & {{x}} ${y}.jpg"
    nasty.write_bytes(Path(TOWER).read_bytes())
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff\xe0 torn")
    open_batch(page, nasty, PYRAMID, torn)
    page.click("#locate-all")
    rows = page.locator("#batch-answers tbody tr")
    expect(page.locator("#batch-map path.point")).to_have_count(2, timeout=LOCATE_MS)
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Paris, France")
    expect(rows.nth(1)).to_contain_text("Egypt")
    expect(rows.nth(2)).to_contain_text("picture")
    assert rows.nth(1).locator("img").evaluate("img => img.naturalWidth") > 20
    rows.nth(1).hover()
    expect(page.locator("#batch-map .i2l-lit")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="GeoJSON, KML and CSV in a zip").click()
    assert download.value.suggested_filename == "img2loc.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == ["img2loc.csv", "img2loc.geojson", "img2loc.kml"]
        table = pandas.read_csv(io.BytesIO(archive.read("img2loc.csv")))
        features = json.loads(archive.read("img2loc.geojson"))["features"]
    assert len(table) == len(features) == 3 and table["lat"].notna().sum() == 2
    assert not table["photo"].str.startswith("=").any()


def test_a_cancelled_batch_keeps_what_is_done(page: Page, provider: OpenAIServer):
    choose_openai(page)
    use_key(page)
    open_batch(page, TOWER, PYRAMID)
    provider.enqueue("good", "hang")
    sent = len(provider.requests)
    page.click("#locate-all")
    expect(page.locator("#batch-answers .i2l-pending")).to_contain_text("0 of 2", timeout=LOCATE_MS)
    wait_until_asked(page, provider, sent + 2)  # the first photo is answered, the second under way
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#batch-answers")).to_contain_text("Photos done: 1", timeout=LOCATE_MS)
    expect(page.locator("#batch-answers tbody tr")).to_have_count(1)


def test_nothing_to_do_gets_words(page: Page):
    page.get_by_role("tab", name="Batch").click()
    page.click("#locate-all")
    expect(page.locator("#photos")).to_contain_text("Choose some photos first", timeout=LOCATE_MS)
    page.get_by_role("tab", name="Compare").click()
    page.click("#compare")
    expect(page.locator("#compare-photo")).to_contain_text("Choose one first")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_a_phone_holds_both_tabs(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    open_batch(page, TOWER)
    page.click("#locate-all")
    expect(page.locator("#batch-map path.point")).to_have_count(1, timeout=LOCATE_MS)
    assert width_and_overflow(page) == (390, 390)
    row = page.locator("#batch-answers tbody tr").bounding_box()
    assert row["height"] < 120  # its words stand beside each other
    page.get_by_role("tab", name="Compare").click()
    assert width_and_overflow(page) == (390, 390)


def test_a_wrong_name_is_said_where_it_stands(page: Page):
    open_compare(page)
    names = page.locator("#contestants input")
    names.fill("nobody:at-all")
    names.press("Enter")
    page.click("#compare")
    expect(page.locator("#contestants")).to_contain_text("There is no provider 'nobody'", timeout=LOCATE_MS)
    expect(page.locator("#contestants")).to_contain_text("nobody:at-all")  # and nothing is lost

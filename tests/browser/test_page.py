"""The page in a real Chromium, with no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pandas
import pytest
from playwright.sync_api import Page, Route, expect

from img2loc.maps import figures
from tests.browser.acts import (
    LOCATE_MS,
    MAPS,
    PHONE,
    locate_tower,
    open_more,
    upload,
    width_and_overflow,
)


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


def test_a_known_area_is_set_by_words_and_on_the_map(page: Page):
    page.get_by_role("button", name="Known area").click()  # which draws the map; words that come meanwhile count too
    page.fill("#within :is(input, textarea)", "Frnace")
    page.keyboard.press("Tab")
    expect(page.locator("#area")).to_contain_text("Did you mean France?", timeout=LOCATE_MS)
    page.fill("#within :is(input, textarea)", "italien")
    page.keyboard.press("Tab")
    expect(page.locator("#area")).to_contain_text("Only within: Italy.", timeout=LOCATE_MS)
    upload(page)
    expect(page.locator("#answer h2")).to_contain_text("Italy", timeout=LOCATE_MS)
    page.fill("#within :is(input, textarea)", "")
    page.keyboard.press("Tab")
    expect(page.locator("#area")).to_contain_text("Anywhere on Earth")
    page.fill("#within-radius input[type=number]", "500")
    page.keyboard.press("Tab")
    middle = page.locator("#area-map [data-testid=plotly]")
    expect(middle.locator("path.js-line").first).to_be_attached()
    box = middle.bounding_box()
    middle.click(position={"x": box["width"] / 2, "y": box["height"] / 2})  # where 0, 0 lies on the map of the world
    expect(page.locator("#area")).to_contain_text("Only within: 500 km around", timeout=LOCATE_MS)
    lat, lon, radius = page.locator("#within :is(input, textarea)").input_value().split(", ")
    assert abs(float(lat)) < 3 and abs(float(lon)) < 3 and radius == "500 km"


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
    page.locator("#examples button").first.click()
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    # Clicking an example makes Gradio build the image box anew; it must still take bad files with a word.
    bad = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": b"not a picture"}
    page.get_by_label("Clear").or_(page.get_by_label("Remove")).first.click()
    page.set_input_files("#photo input[type=file]", bad)
    expect(page.locator("#answer")).to_contain_text("choose a photo")


def test_a_photo_that_is_chosen_while_another_is_located_gets_its_answer(page: Page):
    tower, cheetah = page.locator("#examples button").all()
    cheetah.click()
    expect(page.locator("#cancel")).to_be_visible()
    tower.click()
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)
    expect(page.locator("#cancel")).to_be_hidden()


def test_a_pasted_photo_is_located(page: Page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    picture = page.locator("#examples img").first
    picture.evaluate("""async (img) => {
        await img.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
        canvas.getContext("2d").drawImage(img, 0, 0);
        const png = await new Promise((done) => canvas.toBlob(done, "image/png"));
        await navigator.clipboard.write([new ClipboardItem({"image/png": png})]);
    }""")
    page.get_by_role("button", name="Paste from clipboard").click()
    expect(page.locator("#answer h2")).to_have_text("Paris, France", timeout=LOCATE_MS)


@pytest.mark.parametrize("content", [b"not a picture", b"\xff\xd8\xff\xe0 torn"])
def test_a_bad_file_gets_words_and_costs_nothing_else(page: Page, content: bytes):
    open_more(page)
    page.fill("#truth :is(input, textarea)", "48.8584, 2.2945")
    page.set_input_files("#photo input[type=file]", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect(page.locator("#answer")).to_contain_text("picture")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)
    assert page.input_value("#truth :is(input, textarea)") == "48.8584, 2.2945"


def test_a_wrong_true_position_gets_words_and_keeps_the_answer(page: Page):
    locate_tower(page)
    open_more(page)
    truth = page.locator("#truth :is(input, textarea)")
    truth.fill("in Paris")
    truth.press("Enter")
    expect(page.locator("#truth")).to_contain_text("48.8584, 2.2945")
    expect(page.locator("#answer h2")).to_have_text("Paris, France")
    page.get_by_role("button", name="More settings").click()
    expect(page.locator("#truth")).to_be_hidden()
    page.click("#locate")
    expect(page.locator("#truth")).to_be_visible()  # or nobody would know why nothing happens
    truth.fill("48.8584, 2.2945")
    truth.press("Enter")
    expect(page.locator("#answer")).to_contain_text("from the position you gave", timeout=LOCATE_MS)
    expect(page.locator("#prediction-map path.point")).to_have_count(18)
    expect(page.locator("#beside")).to_contain_text("true position")


def test_locate_without_a_photo_says_so(page: Page):
    page.click("#locate")
    expect(page.locator("#photo")).to_contain_text("Choose one first")


def test_the_coordinates_are_copied(page: Page):
    locate_tower(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy the coordinates")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#answer code").inner_text()


def test_a_row_lights_its_point_on_both_maps(page: Page):
    locate_tower(page)
    expect(page.locator(".i2l-neighbours tbody tr")).to_have_count(32)
    lit = page.locator(".i2l-map .i2l-lit")
    nearest, farthest = page.locator(".i2l-neighbours tbody").all()
    for rank in (1, 7):  # one with a number on the map, one without
        nearest.locator("tr").nth(rank - 1).hover()
        expect(lit).to_have_count(2)
        place = nearest.locator("tr").nth(rank - 1).locator("td").nth(1).inner_text().split("\n")[0]
        words = "points => points.map(point => point.__data__.htx ?? point.__data__.hovertext ?? '').join()"
        assert place in (lit.evaluate_all(words) or place)
    farthest.get_by_role("button").nth(2).focus()
    expect(page.locator("#farthest-map .i2l-lit")).to_have_count(1)
    expect(lit).to_have_count(1)  # the one before is out


def test_the_files_open_in_other_programs(page: Page, tmp_path: Path):
    locate_tower(page)
    saved = {}
    for label in ("GeoJSON", "KML", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("link", name=label, exact=True).click()
        saved[label] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[label])
    lon, lat = json.loads(saved["GeoJSON"].read_text())["features"][0]["geometry"]["coordinates"]
    assert saved["GeoJSON"].name == "img2loc.geojson" and (round(lat), round(lon)) == (49, 2)
    table = pandas.read_csv(saved["CSV"])
    assert list(table["role"]) == ["answer"] + ["nearest"] * 16 + ["farthest"] * 16
    assert table["photo"][0] == "tower.jpg" and table["place"][0] == "Paris, France"
    points = ElementTree.parse(saved["KML"]).findall(".//{*}Placemark/{*}Point/{*}coordinates")
    assert len(points) == 33 and points[0].text == f"{lon},{lat}"


def test_streets_are_fetched_only_when_asked_for(page: Page):
    asked: list[str] = []

    def streets(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body="<title>streets</title>", content_type="text/html")

    page.context.route("https://www.openstreetmap.org/**", streets)
    locate_tower(page)
    page.wait_for_timeout(500)
    assert asked == []
    expect(page.locator(".i2l-street")).to_contain_text("see your IP address")
    with page.expect_response("https://www.openstreetmap.org/**"):
        page.get_by_role("button", name="Show the streets").click()
    expect(page.locator("iframe[title^='Street map']")).to_be_visible()
    assert len(asked) == 1
    query = parse_qs(urlsplit(asked[0]).query)
    west, south, east, north = map(float, query["bbox"][0].split(","))
    lat, lon = map(float, query["marker"][0].split(","))
    assert west < lon < east and south < lat < north and (round(lat), round(lon)) == (49, 2)


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
    expect(page.locator(".i2l-neighbours table").first).to_be_visible()
    assert width_and_overflow(page) == (390, 390)
    for selector in MAPS:
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] > 150
    # A finger on a map scrolls the page: the map takes no touches.
    assert page.locator("#prediction-map .bg rect").evaluate("e => getComputedStyle(e).pointerEvents") == "none"


@pytest.mark.parametrize("options", [{"viewport": {"width": 820, "height": 1180}}])
def test_a_tablet_has_the_photo_beside_its_answer(page: Page):
    locate_tower(page)
    assert width_and_overflow(page) == (820, 820)
    photo, answer = (page.locator(part).bounding_box() for part in ("#photo", "#answer"))
    assert photo["x"] + photo["width"] <= answer["x"] and abs(photo["y"] - answer["y"]) < 5
    for selector in MAPS:
        box = page.locator(selector).bounding_box()
        assert box["x"] >= answer["x"] - 1 and box["x"] + box["width"] <= 820


def test_the_legends_colours_are_the_maps(page: Page):
    locate_tower(page)
    star = page.locator("#beside .i2l-red").first.evaluate("e => getComputedStyle(e).color")
    assert star == "rgb({}, {}, {})".format(*bytes.fromhex(figures.VERMILION[1:]))

"""The files that a visitor downloads, read back by other programs' parsers."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import pandas
import pytest

from img2loc.geo.sphere import haversine_km
from img2loc.output import exports
from img2loc.output.printer import FORMATS, as_csv, as_geojson
from img2loc.types import LatLon, Neighbour, Outcome, OutcomeKind, PhotoRecord, Place, Prediction, Retrieval, Vote

PARIS, LONDON, SUVA = LatLon(48.8584, 2.2945), LatLon(51.5, -0.12), LatLon(-18.14, 178.44)
KML = {"k": "http://www.opengis.net/kml/2.2"}
NASTY = '=HYPERLINK("x")\x00\x1b</name>]]>&amp;<b>,\r\n"'


def predicted(author: str = "An Author") -> Prediction:
    record = PhotoRecord("1", author, "https://example.org/1", "CC BY 4.0")
    retrieval = Retrieval((Neighbour(0, LONDON, 0.5, record),), (Neighbour(1, SUVA, -0.1),))
    outcome = Outcome(OutcomeKind.ANSWERED, PARIS)
    place = Place("Paris", "France", "FR", 3.0)
    return Prediction(PARIS, None, "lmm", place, Vote(LONDON, 7.5, 16), retrieval, "", outcome, ())


@pytest.fixture
def listed() -> list[exports.Row]:
    return exports.rows("tower.jpg", predicted(), SUVA)


def test_every_position_is_a_row(listed: list[exports.Row]):
    assert [(row.role, row.rank) for row in listed] == [
        ("answer", None),
        ("vote", None),
        ("truth", None),
        ("nearest", 1),
        ("farthest", 1),
    ]
    assert listed[0].distance_km is None and listed[3].distance_km == pytest.approx(
        haversine_km(PARIS, LONDON), rel=0.01
    )
    assert listed[1].radius_km == 7.5 and listed[3].licence == "CC BY 4.0"


def test_geojson_has_longitude_first(listed: list[exports.Row]):
    features = json.loads(exports.to_geojson(listed))["features"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [2.2945, 48.8584]}
    assert [feature["properties"]["role"] for feature in features] == [row.role for row in listed]
    assert features[3]["properties"]["url"] == "https://example.org/1"


def test_a_spreadsheet_reads_the_csv(listed: list[exports.Row]):
    content = exports.to_csv(listed).encode()
    assert content.startswith(b"\xef\xbb\xbfphoto,")  # by which Excel knows that it is UTF-8
    table = pandas.read_csv(io.BytesIO(content))
    assert table["photo"][0] == "tower.jpg"
    assert list(table["lat"]) == [48.8584, 51.5, -18.14, 51.5, -18.14] and table["place"][0] == "Paris, France"
    assert table["rank"].isna().sum() == 3


def test_a_globe_reads_the_kml(listed: list[exports.Row]):
    root = ElementTree.fromstring(exports.to_kml(listed))
    marks = root.findall(".//k:Placemark", KML)
    assert [mark.findtext("k:Point/k:coordinates", namespaces=KML) for mark in marks][:2] == [
        "2.2945,48.8584",
        "-0.12,51.5",
    ]
    assert marks[0].findtext("k:name", namespaces=KML) == "tower.jpg · Paris, France"
    assert [folder.findtext("k:name", namespaces=KML) for folder in root.findall(".//k:Folder", KML)] == [
        "answer",
        "vote",
        "truth",
        "nearest",
        "farthest",
    ]


@pytest.mark.parametrize("sign", "=+-@\t\r\n")
def test_no_text_is_a_formula(sign: str):
    (header, *lines) = csv.reader(io.StringIO(exports.to_csv(exports.rows(f"{sign}1", predicted(f"{sign}cmd()")))))
    for line in lines:
        for name, cell in zip(header, line, strict=True):
            assert not cell.startswith(tuple("=+@\t\r\n")), (name, cell)
            assert not cell.startswith("-") or name in ("lat", "lon", "similarity")


def test_untrusted_words_stay_words():
    listed = exports.rows(NASTY, predicted(NASTY))
    mark = ElementTree.fromstring(exports.to_kml(listed)).find(".//k:Placemark", KML)
    assert mark is not None and "<b>" in (mark.findtext("k:name", namespaces=KML) or "")
    assert json.loads(exports.to_geojson(listed))["features"][0]["properties"]["photo"] == NASTY
    assert next(csv.DictReader(io.StringIO(exports.to_csv(listed)[1:], newline="")))["photo"] == f"'{NASTY}"


def test_a_failure_is_a_row_without_a_position():
    nothing = replace(predicted(), position=None, method="none", place=None, vote=None)
    failed = [exports.answer_row("a.jpg", "The file isn't a picture."), exports.answer_row("b.jpg", nothing)]
    assert [feature["geometry"] for feature in json.loads(exports.to_geojson(failed))["features"]] == [None, None]
    assert ElementTree.fromstring(exports.to_kml(failed)).find(".//k:Point", KML) is None
    assert "The file isn't a picture." in exports.to_csv(failed)


def test_a_zip_holds_all_three_and_is_the_same_each_time(listed: list[exports.Row]):
    packed = exports.to_zip(listed)
    assert packed == exports.to_zip(listed)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            f"img2loc.{suffix}": write(listed) for suffix, write in exports.WRITERS.items()
        }


def test_a_file_is_its_own_address(listed: list[exports.Row]):
    head, _, body = exports.data_url(exports.to_kml(listed), "kml").partition(";base64,")
    assert head == "data:application/vnd.google-earth.kml+xml"
    assert base64.b64decode(body).decode() == exports.to_kml(listed)


def test_the_command_lines_csv_and_geojson():
    assert FORMATS["csv"].start + as_csv("a,b.jpg", predicted()) == (
        "photo,lat,lon,radius_km,method,city,country,outcome,message\n"
        '"a,b.jpg",48.8584,2.2945,,lmm,Paris,France,answered,\n'
    )
    located, failed = (json.loads(as_geojson("a.jpg", result)) for result in (predicted(), "The file isn't a picture."))
    assert located["geometry"] == {"type": "Point", "coordinates": [2.2945, 48.8584]}
    assert located["properties"]["photo"] == "a.jpg" and located["properties"]["outcome"] == "answered"
    assert failed["geometry"] is None and failed["properties"]["message"] == "The file isn't a picture."


def test_text_that_is_no_unicode_costs_no_file():
    listed = exports.rows("caf\udce9.jpg", replace(predicted("half \ud83d"), note="The file is cut short."))
    archive = zipfile.ZipFile(io.BytesIO(exports.to_zip(listed)))
    features = json.loads(archive.read("img2loc.geojson"))["features"]
    assert features[0]["properties"]["photo"] == "caf\udce9.jpg"
    assert features[0]["properties"]["message"] == "The file is cut short."
    assert b"caf\\udce9.jpg" in archive.read("img2loc.csv") and b"caf.jpg" in archive.read("img2loc.kml")
    for suffix, write in exports.WRITERS.items():
        assert exports.data_url(write(listed), suffix).startswith("data:")

"""Tables of positions in the dialects of spreadsheets, data sets and exiftool, and angles in their cells."""

from __future__ import annotations

import pytest

from img2loc.errors import DataError
from img2loc.geo.cells import read_angle
from img2loc.geo.tables import read_table
from img2loc.types import LatLon

ROWS = [("a.jpg", LatLon(48.8584, 2.2945)), ("b.jpg", LatLon(-36.804, 174.7265)), ("c.jpg", LatLon(40.7484, -73.9857))]
PLAIN = [("file", "lat", "lon"), *((name, f"{at.lat}", f"{at.lon}") for name, at in ROWS)]
COMMAS = "\n".join(";".join(row).replace(".", ",").replace(",jpg", ".jpg") for row in PLAIN)
EXIFTOOL = """SourceFile,GPSLatitude,GPSLongitude
a.jpg,"48 deg 51' 30.24"" N","2 deg 17' 40.20"" E"
b.jpg,"36 deg 48' 14.40"" S","174 deg 43' 35.40"" E"
c.jpg,"40 deg 44' 54.24"" N","73 deg 59' 8.52"" W"
"""
UNSIGNED = """SourceFile,EXIF:GPSLatitude,GPSLatitudeRef,GPSLatitude,GPSLongitudeRef,GPSLongitude
a.jpg,0,North,48.8584,East,2.2945
b.jpg,0,South,36.804,East,174.7265
c.jpg,0,N,40.7484,W,73.9857
"""
JSON = """[{"SourceFile": "a.jpg", "GPSLatitude": 48.8584, "GPSLongitude": 2.2945, "Nested": [1]},
{"SourceFile": "b.jpg", "GPSLatitude": -36.804, "GPSLongitude": 174.7265},
{"SourceFile": "c.jpg", "GPSLatitude": "40 deg 44' 54.24\\" N", "GPSLongitude": "73 deg 59' 8.52\\" W"}]"""
LINES = "\n".join(f'{{"file_name": "{name}", "latitude": {at.lat}, "longitude": {at.lon}}}' for name, at in ROWS)


def joined(separator: str, header: tuple[str, str, str] = ("file", "lat", "lon")) -> str:
    return "\n".join(separator.join(row) for row in (header, *PLAIN[1:])) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", joined(",")),
        ("t.csv", joined(";")),
        ("t.tsv", joined("\t")),
        ("t.txt", joined("|")),
        ("t.csv", joined(" , ")),
        ("t.csv", joined(", ").replace("48.8584", '"48.8584"')),
        ("t.csv", "\ufeff" + joined(";")),
        ("t.csv", joined("\t").encode("utf-16")),
        ("t.csv", "\ufeff".encode("utf-16-be") + joined(",").encode("utf-16-be")),
        ("t.csv", COMMAS),
        ("t.csv", "sep=;\r\n" + COMMAS.replace("\n", "\r\n")),
        ("t.csv", joined(",").replace("\n", "\r")),
        ("t.csv", joined(",").replace("\n", "\n\n")),
        ("t.csv", joined(",").replace("5\n", "5,,\n")),
        ("t.csv", joined(",").replace("\n", ",\n")),
        ("t.csv", joined(",", ("File_Name", "LATITUDE", "Long"))),
        ("t.csv", joined(",", ("image", "Latitude (deg)", "Longitude (deg)"))),
        ("t.csv", joined(",", ("image_path", "gps_lat", "gps_lng"))),
        ("t.csv", joined(",", ("img", "decimalLatitude", "decimalLongitude"))),
        ("t.csv", joined(",", ("Path", "location-lat", "location-long"))),
        ("t.csv", joined(",", ("SourceFile", "Composite:GPSLatitude", "Composite:GPSLongitude"))),
        ("t.csv", EXIFTOOL),
        ("t.csv", UNSIGNED),
        ("t.json", JSON),
        ("metadata.jsonl", LINES),
        ("t.csv", joined(",").replace("-36.804", "\u221236.804")),
    ],
)
def test_every_dialect_gives_the_same_rows(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path, "truth")
    assert [row.id for row in table.rows] == [name for name, _ in ROWS] and not table.text_lines
    for row, (_, at) in zip(table.rows, ROWS, strict=True):
        assert isinstance(row.position, LatLon), row.position
        assert (row.position.lat, row.position.lon) == pytest.approx((at.lat, at.lon), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"file lat lon\na.jpg 1 2\n", "has only one column, 'file lat lon'. Separate columns by"),
        ("t.csv", b"file,lat,lon\ncaf\xe9,1,2\n", "isn't text in UTF-8 or UTF-16"),
        ("t.csv", b"\xff\xfef", "isn't text in UTF-8 or UTF-16"),
        ("t.xlsx", b"PK\3\4rest", "Save the table as CSV"),
        ("t.json", b'{"a": 1}', "isn't a list of objects"),
        ("t.json", b"[1]", "isn't a list of objects"),
        ("t.json", b"[", "isn't JSON"),
        ("t.json", b"[" * 100_000, "isn't JSON"),
        ("t.json", b"[]", "is empty"),
        (
            "t.csv",
            b"SourceFile,EXIF:GPSLatitude,EXIF:GPSLongitude\na.jpg,36.8,174.7\n",
            "no column that looks like the lat",
        ),
        (
            "t.csv",
            b"SourceFile,GPS:GPSLatitude,GPS:GPSLongitude\na.jpg,36.8,174.7\n",
            "no column that looks like the lat",
        ),
        ("t.csv", b"file,lat,lon\na.jpg,48,8584,2,2945\n", "no row with a position"),
        ("t.csv", b"file,lat,Latitude,lon\na.jpg,1,2,3\n", "several columns for the lat"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / name, "truth")


@pytest.mark.parametrize(
    ("text", "axis", "degrees"),
    [
        ("48.8584", "lat", 48.8584),
        ("48,8584", "lat", 48.8584),
        ("+48.8584", "lat", 48.8584),
        ("-.5", "lat", -0.5),
        ("4.88584e1", "lat", 48.8584),
        ("48.8584 N", "lat", 48.8584),
        ("S 33.5", "lat", -33.5),
        ("33.5\u00b0S", "lat", -33.5),
        ("73.5W", "lon", -73.5),
        ("-73.5 W", "lon", -73.5),
        ("2.5 East", "lon", 2.5),
        ("48 deg 51' 30.24\" N", "lat", 48.8584),
        ("48\u00b051\u203230.24\u2033N", "lat", 48.8584),
        ("48\u00b051.504'N", "lat", 48.8584),
        ("-33 deg 30' 0\"", "lat", -33.5),
        ("-0 deg 30' 0\"", "lat", -0.5),
        ("2 deg 17' 40.20\" E", "lat", None),
        ("48 N", "lon", None),
        ("33 deg 30' 0.00\"", "lat", None),  # no hemisphere: exiftool writes south so too
        ("48 deg 61' 0\" N", "lat", None),
        ("48 51 30", "lat", None),
        ("N 48 S", "lat", None),
        ("1,234,567", "lat", None),
        ("1_0", "lat", None),
        ("\u0664\u0668", "lat", None),
        ("", "lat", None),
        ("1" * 100_000, "lat", None),
        ("1 " * 50_000, "lat", None),
    ],
)
def test_an_angle_is_read_or_is_none(text, axis, degrees):
    assert read_angle(text, axis) == (None if degrees is None else pytest.approx(degrees, abs=1e-9))


def test_longitudes_to_360_are_read_where_none_lies_west(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,lat,lon\na,40.75,286.0143\nb,48.86,2.35\n")
    table = read_table(path, "truth")
    assert table.rows[0].position == LatLon(40.75, -73.9857) and table.beyond_180 == 1
    path.write_text("file,lat,latref,lon\na,33.9,S,286.0143\nb,48.86,N,2.35\n")
    assert read_table(path, "truth").rows[0].position == LatLon(-33.9, -73.9857)  # still in the south
    path.write_text("file,lat,lon\na,40.75,286.0143\nb,48.86,-2.35\n")
    assert "longitude must be between" in str(read_table(path, "truth").rows[0].position)

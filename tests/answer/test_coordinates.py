import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.answer.angles import Problem, Unreadable, read_angle, to_position
from img2loc.answer.coordinates import read_coordinates
from img2loc.types import LatLon

PARIS = LatLon(48.8584, 2.2945)
SYDNEY = LatLon(-33.86, 151.2)
LATS = st.floats(-90, 90, allow_nan=False).map(lambda value: round(value, 5))
LONS = st.floats(-180, 179.99, allow_nan=False).map(lambda value: round(value, 5))


@pytest.mark.parametrize(
    "text",
    [
        "48.8584, 2.2945",
        "(48.8584, 2.2945)",
        "[48.8584, 2.2945]",
        "48.8584,2.2945",
        "48.8584 / 2.2945",
        "48.8584; 2.2945",
        "48.8584 2.2945",
        "~48.8584, ~2.2945",
        "`48.8584, 2.2945`",
        "**48.8584, 2.2945**.",
        "48.8584\u00b10.01, 2.2945\u00b10.01",
        "48.8584\u00b0, 2.2945\u00b0",
        "48.8584 N, 2.2945 E",
        "48.8584N2.2945E",
        "48.8584\u00b0 N and 2.2945\u00b0 E",
        "48.8584\u00b0 N\n2.2945\u00b0 E",
        "N 48.8584, E 2.2945",
        "N48.8584 E2.2945",
        "N: 48.8584, E: 2.2945",
        "2.2945 E, 48.8584 N",
        "48.8584 degrees North, 2.2945 degrees East",
        "$48.8584^\\circ \\text{N}$, $2.2945^{\\circ}$ E",
        "\\boxed{48.8584, 2.2945}",
        "\uff14\uff18.\uff18\uff15\uff18\uff14\uff0c\u3000\uff12.\uff12\uff19\uff14\uff15",
        "48,8584; 2,2945",
        "48,8584, 2,2945",
        "48,8584 2,2945",
        "48,8584\u00b0 N, 2,2945\u00b0 E",
        "Latitude: 48,8584, Longitude: 2,2945",
        "latitude: 48.8584, longitude: 2.2945",
        "lat=48.8584&lng=2.2945",
        "Lat 48.8584 Long 2.2945",
        "**Latitude:** 48.8584\n**Longitude:** 2.2945",
        "- **Latitude**: approximately 48.8584\u00b0 N\n- **Longitude**: approximately 2.2945\u00b0 E",
        "The latitude is roughly 48.8584 (Paris), and the longitude is about 2.2945.",
        "Latitude \u2013 48.8584, Longitude \u2013 2.2945",
        "Longitude: 2.2945, latitude: 48.8584",
        "1. Place: Paris\n2. Latitude: 48.8584\n3. Longitude: 2.2945",
        "Latitude (WGS 84): 48.8584, Longitude (WGS 84): 2.2945",
        "It is at 48.8584\u00b0 N latitude and 2.2945\u00b0 East longitude.",
        "{'lat': 48.8584, 'lon': 2.2945, 'place': 'L'Aquila'}",
        "48.8584\u00b0 N, 2.2945\u00b0 E (Paris), 35 km from the coast",
        "The photo dates from 12.05.2015; 48.8584, 2.2945",
        "Latitude, Longitude: 48.8584, 2.2945",
        "Longitude, latitude: 2.2945, 48.8584",
        "(lat, lon) = (48.8584, 2.2945)",
        "| Latitude | Longitude |\n|---|---|\n| 48.8584 | 2.2945 |",
        '{"latitude": 48.8584, "longitude": 2.2945, "place": "Par',
        "https://www.google.com/maps/@48.8584,2.2945,17z",
        "geo:48.8584,2.2945",
        "I think it was taken at 48.8584, 2.2945, 75007 Paris.",
    ],
)
def test_decimal_degrees_are_read_in_every_spelling(text):
    assert read_coordinates(text) == PARIS


@pytest.mark.parametrize(
    "text",
    [
        "48\u00b051'30.24\"N 2\u00b017'40.2\"E",
        "48\u00b051\u203230.24\u2033N 2\u00b017\u203240.2\u2033E",
        "48\u00b051\u201930.24\u201dN, 2\u00b017\u201940.2\u201dE",
        "48\u00b0 51' 30.24'' N, 2\u00b0 17' 40.2'' E",
        "48\u00ba51\u203230.24\u2033 N / 2\u00ba17\u203240.2\u2033 E",
        "N48\u00b051'30.24\", E2\u00b017'40.2\"",
        "48\u00b051'30.24\"N2\u00b017'40.2\"E",
        "48\u00b0 51.504' N, 2\u00b0 17.67' E",
        "N48\u00b0 51.504' E002\u00b0 17.670'",
        "48 degrees 51 minutes 30.24 seconds north, 2 degrees 17 minutes 40.2 seconds east",
        "Latitude: 48\u00b051'30.24\" N\nLongitude: 2\u00b017'40.2\" E",
    ],
)
def test_degrees_minutes_and_seconds_are_read_with_all_quote_marks(text):
    found = read_coordinates(text)
    assert (found.lat, found.lon) == pytest.approx((PARIS.lat, PARIS.lon), abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "-33.86, 151.2",
        "\u221233.86, 151.2",
        "\u201333.86, 151.2",
        "33.86 S 151.2 E",
        "S 33.86, E 151.2",
        "-33.86\u00b0 S, 151.2\u00b0 E",
        "151.2, -33.86",
        "151.2 E, 33.86 S",
        "Latitude: -33.86, Longitude: 151.2",
        "Latitude: - 33.86, Longitude: 151.2",
        "Latitude: 33.86\u00b0 S, Longitude: 151.2\u00b0 E",
        "Latitude:\n- 33.86 S\nLongitude:\n- 151.2 E",
    ],
)
def test_the_southern_hemisphere_is_never_lost(text):
    assert read_coordinates(text) == SYDNEY


@pytest.mark.parametrize(
    "text", ["48, 2", "(48, 2)", "48 N, 2 E", "It looks like Paris.\n\n48, 2", "48, 2\n\nIt is Paris."]
)
def test_integers_are_read_where_they_are_the_answer(text):
    assert read_coordinates(text) == LatLon(48, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "N/A",
        "Unknown",
        "I looked at 16 similar places, 10 of them from 2015.",
        "In 2015, 2016 and 2017 there were 3, 4 and 5 photos.",
        "45.5%, 30.2%",
        "Prices: $12.99, $15.99",
        "It costs 12.99 and 15.99.",
        "15.5\u00b0C, 20.5\u00b0C",
        "3.25, 4.75 km away",
        "+33 1 42 68 53 00",
        "call 42.68.53",
        "on 12/11/2015 at 10:45",
        "192.168.10.20",
        "RGB (12.5, 13.5, 14.5)",
        "12.25, 13.25, 14.25, 15.25",
        "populations of 1,234, 5,678",
        "the photo shows 3, 4 people",
        "12345.67, 89012.34",
        "48 to 49 N, 2 to 3 E",
        "48-49 N, 2-3 E",
        "48.5 - 49.5 N, 2.5 - 3.5 E",
        "Latitude: 48 to 49, Longitude: 2 to 3",
        "48.5 N, 49.5 N",
        "-33.86 N, 151.2 E",
        "48\u00b075'00\"N 2\u00b017'40\"E",
        "48.5\u00b051'N 2.5\u00b017'E",
        "Coordinates of similar places: (1.11, 2.22), (3.33, 4.44)",
        "Similar places:\n- (1.11, 2.22)\n- (3.33, 4.44)",
        "It is far from (1.11, 2.22).",
        "latitude: unknown, longitude: unknown (photos at 1.11, 2.22)",
    ],
)
def test_numbers_that_are_no_answer_are_not_taken_for_one(text):
    found = read_coordinates(text)
    assert isinstance(found, Unreadable) and found.problem is Problem.ABSENT


@pytest.mark.parametrize(
    "text",
    [
        "At first 1.11, 2.22 came to mind. Latitude: 48.8584, longitude: 2.2945. Later 3.33, 4.44.",
        "Latitude: 1.11, longitude: 2.22? No. Latitude: 48.8584, longitude: 2.2945.",
        "Final answer: 48.8584, 2.2945. (Other coordinates: 3.33, 4.44)",
        "The coordinates could be 1.11, 2.22. My best guess: (48.8584, 2.2945)\nOr perhaps 7.77, 8.88.",
        "Perhaps 1.11, 2.22. The coordinates are 48.8584, 2.2945.",
        "Perhaps 1.11, 2.22, or perhaps 3.33, 4.44; no: 48.8584, 2.2945",
        "Coordinates of similar places: (1.11, 2.22), (3.33, 4.44). So I say 48.8584, 2.2945.",
        "It is 48.8584, 2.2945, far from (3.33, 4.44).",
        "Based on the similar places, I estimate 48.8584, 2.2945.",
        "Based on the similar places, the coordinates are 48.8584, 2.2945.",
        "x" * 5000 + "\nFinal answer: 48.8584, 2.2945\n",
    ],
)
def test_of_several_positions_the_one_that_is_meant_counts(text):
    assert read_coordinates(text) == PARIS


@pytest.mark.parametrize("text", ["0, 0", "(0.0, 0.0)", "latitude: 0.0, longitude: 0.0", "0 N, 0 E"])
def test_null_island_is_no_answer(text):
    found = read_coordinates(text)
    assert isinstance(found, Unreadable) and found.problem is Problem.NULL_ISLAND


@pytest.mark.parametrize("text", ["latitude: 95, longitude: 10", "95.5, 110.5", "48.85, 200.25", "95 N, 10 E"])
def test_what_lies_off_earth_is_neither_clamped_nor_wrapped(text):
    found = read_coordinates(text)
    assert isinstance(found, Unreadable) and found.problem is Problem.OFF_EARTH


def test_the_equator_and_the_prime_meridian_are_places():
    assert read_coordinates("0.0, 32.5") == LatLon(0, 32.5)
    assert read_coordinates("51.48, 0.0") == LatLon(51.48, 0)


@pytest.mark.parametrize(
    ("value", "degrees"),
    [
        (48.8584, 48.8584),
        (48, 48),
        ("48.8584", 48.8584),
        ("48,8584", 48.8584),
        ("48.8584\u00b0 N", 48.8584),
        ("48.8584 n", 48.8584),
        ("33.86 South", -33.86),
        ("\u221233.86", -33.86),
        ("about 48.8584\u00b0", 48.8584),
        ("48\u00b030'", 48.5),
    ],
)
def test_one_angle_is_read_from_a_number_or_its_text(value, degrees):
    assert read_angle(value).value == pytest.approx(degrees)


@pytest.mark.parametrize("value", [True, False, None, "", "unknown", "NaN", "48 to 49", "48-49", [48], {}, "4" * 200])
def test_what_is_no_angle_is_none(value):
    assert read_angle(value) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400])
def test_numbers_that_are_not_finite_are_no_position(value):
    assert to_position(read_angle(value), read_angle(2.0), labelled=True).problem is Problem.OFF_EARTH


def test_a_label_and_a_letter_that_contradict_each_other_are_no_position():
    assert to_position(read_angle("48.85 E"), read_angle(2.29), labelled=True).problem is Problem.ABSENT
    assert to_position(read_angle("2.29 E"), read_angle("48.85 N"), labelled=True) == LatLon(48.85, 2.29)


def _dms(value, positive, negative, quotes):
    total = round(abs(value) * 3600 * 1000)
    degrees, rest = divmod(total, 3600 * 1000)
    minutes, milliseconds = divmod(rest, 60 * 1000)
    letter = negative if value < 0 else positive
    return f"{degrees}\u00b0{minutes:02}{quotes[0]}{milliseconds / 1000:06.3f}{quotes[1]}{letter}"


FORMATS = {
    "pair": lambda lat, lon: f"{lat:.5f}, {lon:.5f}",
    "brackets in prose": lambda lat, lon: f"I would say it is ({lat:.5f}, {lon:.5f}), all in all.",
    "labels": lambda lat, lon: f"Latitude: {lat}, Longitude: {lon}",
    "markdown": lambda lat, lon: f"* **Latitude:** {lat:.5f}\n* **Longitude:** {lon:.5f}\n",
    "letters after": lambda lat, lon: f"{abs(lat):.5f}\u00b0 {'NS'[lat < 0]}, {abs(lon):.5f}\u00b0 {'EW'[lon < 0]}",
    "letters before": lambda lat, lon: f"{'NS'[lat < 0]}{abs(lat):.5f} {'EW'[lon < 0]}{abs(lon):.5f}",
    "lon first": lambda lat, lon: f"{abs(lon):.5f} {'EW'[lon < 0]}, {abs(lat):.5f} {'NS'[lat < 0]}",
    "commas": lambda lat, lon: f"{lat:.5f}; {lon:.5f}".replace(".", ","),
    "unicode": lambda lat, lon: f"{lat:.5f}, {lon:.5f}".replace("-", "\u2212"),
    "dms": lambda lat, lon: _dms(lat, "N", "S", "'\"") + " " + _dms(lon, "E", "W", "'\""),
    "dms, primes": lambda lat, lon: _dms(lat, "N", "S", "\u2032\u2033") + ", " + _dms(lon, "E", "W", "\u2032\u2033"),
}


@pytest.mark.parametrize("spelling", FORMATS)
@settings(max_examples=60, deadline=None)
@given(lat=LATS, lon=LONS)
def test_any_position_written_out_is_read_back(spelling, lat, lon):
    if (lat, lon) == (0, 0):
        return
    found = read_coordinates(FORMATS[spelling](lat, lon))
    assert isinstance(found, LatLon)
    east_of = (found.lon - lon + 180) % 360 - 180
    assert (found.lat, east_of) == pytest.approx((lat, 0), abs=2e-6)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"0179.,;:+-\u00b0'\"NSEW()[] \n", "lat", "lon", "similar", "answer"]), max_size=60))
def test_junk_never_raises_and_never_yields_null_island(parts):
    found = read_coordinates("".join(parts))
    assert isinstance(found, LatLon | Unreadable)
    assert found != LatLon(0, 0)


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1,",
        "1N 1E ",
        "1.1, 2.2 ",
        "(1, 2)",
        "lat 1 ",
        "lat ",
        "similar ",
        "1\u00b01' ",
        "1,1; 1,1 ",
        " ",
        "-",
        "1 to ",
    ],
)
def test_time_is_linear_in_the_text(unit):
    text = unit * (40_000 // len(unit))
    start = time.thread_time()
    read_coordinates(text)
    assert time.thread_time() - start < 1.5

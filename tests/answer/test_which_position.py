"""Which of several positions a reply means, and numbers that only look like a position."""

# ruff: noqa: E501, RUF001 - a reply a line; other scripts, and the marks that people use

from __future__ import annotations

import pytest

from tests.answer.test_notations import PARIS, Case, position_in

NO_COORDINATES: tuple[Case, ...] = (
    ("The house is at 40 S 80 W, Provo.", None),
    ("1200 East 900 South", None),
    ("150 N 200 W Logan", None),
    ("It is near 48 N, 2 E.", (48, 2)),
    ("Open 24/7, rated 4.5/5.", None),
    ("Taken on 9/11.", None),
    ("Location: 221/12 Baker Street", None),
    ("Location: 10, 12 Rose Street", None),
    ("Address: 12-14 High Street", None),
    ("ratio 16/9", None),
    ("Score: 4.50/5.00", None),
    ("version 1.25, 2.35", None),
    ("12.50, 14.30 Uhr", None),
    ("Prices: 12.99, 15.99 EUR", None),
    ("15.5 °C, 20.5 °C", None),
    ("tel. 42.68, 53.00", None),
    ("f/2.8, 1/250 s", None),
    ("Highway 40 E, exit 80 W", None),
    ("Location: I-80 W / US-40 E", None),
    ("Date: 12.05.2015, 14.30", None),
    ("Temperature 12.55, 14.22", None),
    ("Location: 5 km N 10 km E of Lyon", None),
    ("Area: 12.55 × 14.22 m", None),
    ("The ratio was 16.90:4.30", None),
    ("Location: 12/05/2015", None),
    ("Probability 0.85, 0.15", None),
    ("Breite: 3.5 m, Länge: 10.2 m", None),
    ("This is the shop at 40 South 80 West in Provo.", None),
    (
        "3. Guess a specific location or coordinate: corner of 500 South and 300 West, Salt Lake City\n   - Approximate coordinates: 40.7581° N, 111.8993° W",
        (40.7581, -111.8993),
    ),
    (
        "3. Guess a specific location or coordinate: 9/11 Memorial plaza, by the pools\n   The plaza has many young oaks and long stone benches, and the station's white ribs rise behind it.\n   Approximate coordinates: 40.7116° N, 74.0133° W",
        (40.7116, -74.0133),
    ),
    ("Location: 10/12 Rose Street, Edinburgh", None),
)
SEVERAL_POSITIONS: tuple[Case, ...] = (
    ("Coordinates: 48.8584, 2.2945. Or possibly 36.1126, -115.1728.", PARIS),
    ("48.8584, 2.2945\nSecond guess: 36.1126, -115.1728", PARIS),
    ("My guess: 48.8584, 2.2945. Plan B: 36.1126, -115.1728.", PARIS),
    ("Alternatively it is 36.1126, -115.1728. Final answer: 48.8584, 2.2945", PARIS),
    ("The camera stands at 48.8584, 2.2945; the tower seen is at 48.8600, 2.3000.", PARIS),
    ("The tower itself is at 48.8600, 2.3000. The viewpoint: 48.8584, 2.2945", PARIS),
    ("Photographer's position: Latitude 48.8584, Longitude 2.2945\nSubject: Latitude 48.86, Longitude 2.3", PARIS),
    ("Subject: Latitude 48.86, Longitude 2.3\nCamera: Latitude 48.8584, Longitude 2.2945", PARIS),
    ("Top 3:\n1. Paris (48.8584, 2.2945)\n2. Las Vegas (36.1126, -115.1728)\n3. Tokyo (35.6586, 139.7454)", PARIS),
    ("Between 48.1, 2.1 and 49.1, 3.1", None),
    ("from 48.1, 2.1 to 49.1, 3.1", None),
    ("It lies between Lyon (45.76, 4.84) and Dijon (47.32, 5.04).", None),
    ("on a road between Lyon and Dijon at 46.50, 4.90", (46.5, 4.9)),
    ("For reference, the coordinates are 48.8584, 2.2945", PARIS),
    ("Coordinates for reference: 48.8584, 2.2945", PARIS),
    ("In a quiet neighbourhood of Paris, 48.8584, 2.2945", PARIS),
    ("It resembles Neuschwanstein (47.5576, 10.7498).", None),
    ("About 5 km north of Lyon at 45.80, 4.83", (45.8, 4.83)),
    ("I first thought 36.1126, -115.1728, but on reflection it is 48.8584, 2.2945", PARIS),
    ("Coordinates: 36.1126, -115.1728. Actually no, the coordinates are 48.8584, 2.2945", PARIS),
    ('1. {"lat": 48.8584, "lon": 2.2945}\n2. {"lat": 1.5, "lon": 2.5}', PARIS),
    ('Guess: {"lat": 1.5, "lon": 2.5}\nFinal: {"lat": 48.8584, "lon": 2.2945}', PARIS),
    ("Latitude: 48.8584 ± 0.01, Longitude: 2.2945 ± 0.02", PARIS),
    (
        "Approximate coordinates: 51.5101, -0.0851.\nBackup, if not there: the brewery. Approximate coordinates: 51.5204, -0.0714.",
        (51.5101, -0.0851),
    ),
    (
        "My best guess is the northern grove:\nLatitude: 40.43° N\nLongitude: 124.08° W\n\nIf you would rather look near the bay, its grove sits at:\nLatitude: 37.90° N\nLongitude: 122.58° W",
        (40.43, -124.08),
    ),
    (
        "Approximate coordinates: 33.7812, -84.3711.\nAlternatives: Austin (30.2612, -97.7711), Chicago (41.8701, -87.6202)",
        (33.7812, -84.3711),
    ),
    (
        "Coordinates of the viewpoint: 27.1711° N, 78.0402° E.\nCoordinates of the tomb seen ahead: 27.1751° N, 78.0421° E.",
        (27.1711, 78.0402),
    ),
    (
        "Camera position: 38.8896° N, 77.0408° W; the obelisk itself stands at about 38.8895° N, 77.0353° W.",
        (38.8896, -77.0408),
    ),
    (
        "As a guess, 35.7° N 139.5° E could be a start.\n\nIn summary:\n- City: near Tokyo\n- Specific location: a wooded valley to the west, with coordinates roughly around 35.81° N 139.05° E.",
        (35.81, 139.05),
    ),
    (
        "By my reasoning the coordinates are near 53.1157° N, 9.2660° W, though the wall puzzles me.\n\nIt is the coast road.\nApproximate pin: 53.1250° N, 9.2870° W",
        (53.125, -9.287),
    ),
    (
        "Some likely campuses:\n- one in Cambridge (42.37° N, 71.11° W)\n- one in Philadelphia (39.95° N, 75.19° W)\n- one in Ann Arbor (42.28° N, 83.74° W)",
        (42.37, -71.11),
    ),
    (
        'Possible coordinates:\n* Ecuador: {"lat": -0.18, "long": -78.47}\n* Peru: {"lat": -12.05, "long": -77.04}',
        (-0.18, -78.47),
    ),
    ("The boat was somewhere between 56.70° N, 5.20° W and 56.80° N, 5.10° W.", None),
    ("Latitude: 38.5°N to 39.5°N\nLongitude: -123.5°W to -123.8°W", None),
    ('{"lat": 36.0-40.0, "long": -2.0-5.0, "city": "Unknown"}', None),
    (
        '```json\n{\n  "latitude": 40.0, // a placeholder, to be replaced\n  "longitude": -100.0, // a placeholder, to be replaced\n  "place": "Unknown"\n}\n```',
        None,
    ),
)
SOMETHING_ELSE: tuple[Case, ...] = (
    ("A flat in the old harbour neighborhood (approx. 41.3812° N, 2.1849° E).", (41.3812, 2.1849)),
    (
        "Best guess: the quay, or a similar pier close by (approximate coordinates: 57.7012° N, 11.9523° E)",
        (57.7012, 11.9523),
    ),
    ("Coordinates of similar places: (1.11, 2.22), (3.33, 4.44)", None),
)
READ_WELL: tuple[Case, ...] = (
    ('{"lat": 30.52, "long": -97.71, "city": Austin, "country": United States, "heading": 270}', (30.52, -97.71)),
    ('{"lat": 4.61, "long": -74.08, "city": "Bogotá," "country": "Colombia"}', (4.61, -74.08)),
    ('\\{"lat": "48.11", "long": "11.58", "city": "Munich"\\}', (48.11, 11.58)),
    ("**Latitude:** 28.4233\n* **Longitude:** -81.4507", (28.4233, -81.4507)),
    ("Kremlin area – 55.751° N, 37.618° E.", (55.751, 37.618)),
    ("Latitude:  –33.33°\nLongitude:  18.80°", (-33.33, 18.8)),
    ('{"lat": -118.24, "long": 33.95, "city": "Los Angeles"}', None),
    ("The specific location is: **33°27'57.8\"N 111°55'26.8\"W**", (33.466056, -111.924111)),
    ("Latitude: 12.8° N (as the sun stands high)\nLongitude: 77.6° E (as the shops are Indian)", (12.8, 77.6)),
    ('```json\n[{"location": "Toronto", "confidence": 0.8, "bbox": [34, 41, 168, 144]}]\n```', None),
    ("| | Value |\n|---|---|\n| Latitude | 47.07° N |\n| Longitude | 15.44° E |", (47.07, 15.44)),
)


@pytest.mark.parametrize(("reply", "position"), [*NO_COORDINATES, *SEVERAL_POSITIONS, *SOMETHING_ELSE, *READ_WELL])
def test_a_reply_is_read_to_the_position_that_it_means_or_to_none(reply, position):
    assert position_in(reply) == (position and pytest.approx(position, abs=1e-3))

"""Metrics against other programs and hand-made cases: thresholds, misses, medians, intervals, pairs."""

from __future__ import annotations

import csv
import math
import statistics

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic

from img2loc.evaluation.report.metrics import MISS, compare, distances_km, geoscore, measure, oracle
from img2loc.geo.sphere import EARTH_RADIUS_KM
from img2loc.types import LatLon
from tests.conftest import SHARED

ORIGIN = LatLon(52.0, 13.0)


def on_the_ellipsoid(origin: LatLon, bearing_deg: float, km: float) -> LatLon:
    end = Geodesic.WGS84.Direct(origin.lat, origin.lon, bearing_deg, km * 1000)
    return LatLon(end["lat2"], end["lon2"])


def on_the_sphere(origin: LatLon, bearing_deg: float, km: float) -> LatLon:
    """By the textbook's formula for the destination, which the program itself uses nowhere."""
    lat, lon = math.radians(origin.lat), math.radians(origin.lon)
    bearing, angle = math.radians(bearing_deg), km / EARTH_RADIUS_KM
    lat2 = math.asin(math.sin(lat) * math.cos(angle) + math.cos(lat) * math.sin(angle) * math.cos(bearing))
    dlon = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(lat), math.cos(angle) - math.sin(lat) * math.sin(lat2)
    )
    return LatLon(math.degrees(lat2), (math.degrees(lon + dlon) + 540) % 360 - 180)


@pytest.mark.parametrize("bearing_deg", [0, 45, 90, 180, 271])
@pytest.mark.parametrize("origin", [ORIGIN, LatLon(-17.0, 179.95), LatLon(0, 0), LatLon(89.9, 0)])
@pytest.mark.parametrize(("formula", "go"), [("geodesic", on_the_ellipsoid), ("haversine", on_the_sphere)])
@pytest.mark.parametrize(("level", "km"), [*enumerate((1, 25, 200, 750, 2500))])
def test_ten_metres_decide_at_every_threshold(formula, go, origin, bearing_deg, level, km):
    ends = [go(origin, bearing_deg, km - 0.01), go(origin, bearing_deg, km + 0.01)]
    found = distances_km(ends, [origin] * 2, formula)
    assert found == pytest.approx([km - 0.01, km + 0.01], abs=1e-6)
    assert measure(found, ["a", "b"], resamples=1).accuracy[level].value == 0.5


def test_the_formulas_disagree_where_they_should():
    """24.99 km on the sphere, northward at the equator, is less on the ellipsoid; eastward it is more."""
    north, east = on_the_sphere(LatLon(0, 0), 0, 24.99), on_the_sphere(LatLon(0, 0), 90, 24.99)
    there = distances_km([north, east], [LatLon(0, 0)] * 2, "geodesic")
    assert there == pytest.approx([24.85, 25.02], abs=0.01)
    assert measure(there, ["a", "b"], resamples=1).accuracy[1].value == 0.5


def test_exactly_at_the_threshold_counts():
    assert measure(np.array([25.0, np.nextafter(25.0, 26)]), ["a", "b"], resamples=1).accuracy[1].value == 0.5


def test_distances_of_real_positions_are_those_of_the_geodesic_library():
    with (SHARED / "data" / "im2gps3k_places365.csv").open(newline="") as file:
        true = [LatLon(float(row["LAT"]), float(row["LON"])) for row in csv.DictReader(file)][:400]
    predicted = true[1:] + true[:1]
    expected = [
        Geodesic.WGS84.Inverse(a.lat, a.lon, b.lat, b.lon)["s12"] / 1000 for a, b in zip(predicted, true, strict=True)
    ]
    geodesic, haversine = (distances_km(predicted, true, formula) for formula in ("geodesic", "haversine"))
    assert geodesic == pytest.approx(expected, abs=1e-9)
    far = geodesic > 1
    assert np.abs(haversine[far] / geodesic[far] - 1).max() < 0.0057
    assert not np.allclose(haversine[far], geodesic[far], rtol=1e-4)


def test_always_answering_paris_is_worth_what_others_published():
    """On Im2GPS3k: 0.57 / 2.64 / 2.8 / 13.3 / 35.4 %, by the haversine formula."""
    with (SHARED / "data" / "im2gps3k_places365.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    true = [LatLon(float(row["LAT"]), float(row["LON"])) for row in rows]
    distances = distances_km([LatLon(48.8566, 2.3522)] * len(true), true, "haversine")
    found = measure(distances, [row["AUTHOR"] for row in rows])
    shares = [100 * estimate.value for estimate in found.accuracy]
    assert shares == pytest.approx([0.57, 2.64, 2.8, 13.3, 35.4], abs=0.06)


def test_a_miss_counts_in_n_and_is_worth_nothing():
    found = measure(distances_km([ORIGIN, None, None], [ORIGIN] * 3), ["a", "b", "c"])
    assert [estimate.value for estimate in found.accuracy] == [pytest.approx(1 / 3)] * 5
    assert found.median_km.value == MISS and found.geoscore.value == pytest.approx(5000 / 3)


def test_geoscore():
    assert geoscore(np.array([0, 1492.7, MISS])) == pytest.approx([5000, 5000 / math.e, 0])


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [5.0, 1.0, 3.0], [4.0, 1.0, 2.0, 8.0], [1.0, 2.0, MISS, MISS]])
def test_the_median_is_the_usual_one(values):
    assert measure(np.array(values), [*map(str, values[:-1]), "z"]).median_km.value == statistics.median(values)


def test_the_same_seed_gives_the_same_intervals_and_another_others():
    distances = np.random.default_rng(5).exponential(300, 90)
    clusters = [str(n // 3) for n in range(90)]
    assert measure(distances, clusters, seed=1) == measure(distances, clusters, seed=1)
    assert measure(distances, clusters, seed=1) != measure(distances, clusters, seed=2)


def test_intervals_are_those_of_a_plain_bootstrap_of_whole_photographers():
    random = np.random.default_rng(3)
    names = [f"p{n}" for n, size in enumerate(random.integers(1, 30, 60)) for _ in range(size)]
    centre = {name: random.choice([5.0, 100.0, 2000.0]) for name in dict.fromkeys(names)}
    distances = np.array([random.exponential(centre[name]) for name in names])
    found = measure(distances, names, resamples=4000)
    groups = [np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)]
    shares, medians = [], []
    for _ in range(4000):
        rows = np.concatenate([groups[n] for n in random.integers(0, len(groups), len(groups))])
        shares.append((distances[rows] <= 25).mean())
        medians.append(np.median(distances[rows]))
    assert (found.accuracy[1].low, found.accuracy[1].high) == pytest.approx(
        np.quantile(shares, (0.025, 0.975)), abs=0.01
    )
    expected = np.quantile(medians, (0.025, 0.975))
    assert (found.median_km.low, found.median_km.high) == pytest.approx(expected, rel=0.1)
    naive = measure(distances, [str(n) for n in range(len(names))]).accuracy[1]
    assert found.accuracy[1].high - found.accuracy[1].low > 1.5 * (naive.high - naive.low)


def test_a_pair_of_runs_is_told_apart_where_each_alone_is_not():
    random = np.random.default_rng(0)
    a = random.exponential(400, 300)
    b = np.where(random.random(300) < 0.1, a + 3000, a)  # the same, but for a tenth that is worse
    clusters = [str(n) for n in range(300)]
    difference = compare(a, b, clusters)[4]
    assert difference.low > 0 and difference.value == pytest.approx((a <= 2500).mean() - (b <= 2500).mean())
    apart = [measure(run, clusters).accuracy[2] for run in (a, b)]
    assert apart[0].low < apart[1].high
    assert all(estimate.low == estimate.value == estimate.high == 0 for estimate in compare(a, a, clusters))


def test_the_oracle_chooses_by_the_geodesic():
    true, north, east = LatLon(0, 0), on_the_sphere(LatLon(0, 0), 0, 100.3), on_the_sphere(LatLon(0, 0), 90, 100)
    assert oracle([east, north, LatLon(50, 50)], true) == north  # though the sphere has it farther
    assert oracle([], true) is None

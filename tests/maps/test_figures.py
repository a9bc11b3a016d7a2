"""The maps: what is drawn, where the frame lies, and that nothing needs a network or a newer plotly.js."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from img2loc.geo.sphere import haversine_km, to_latlon, unit_vectors
from img2loc.maps import atlas, figures
from img2loc.types import LatLon, Neighbour, PhotoRecord, Prediction, Retrieval, Vote
from img2loc.web.render import evidence

PARIS, LONDON, ROME = LatLon(48.8584, 2.2945), LatLon(51.5, -0.12), LatLon(41.9, 12.5)
FIJI, SAMOA = LatLon(-17.7, 178.0), LatLon(-13.8, -171.8)


def found(*positions: LatLon) -> tuple[Neighbour, ...]:
    record = PhotoRecord("1", "A. <b>uthor", "https://example.org/1", "CC BY 4.0")
    return tuple(Neighbour(row, p, 0.6 - row / 100, record) for row, p in enumerate(positions))


def predicted(
    position: LatLon | None, vote: LatLon | None, method: str, *, radius_km: float = 100.0, nearest: tuple = ()
) -> Prediction:
    voted = Vote(vote, radius_km, 16) if vote else None
    own_km = radius_km if method == "vote" else None
    return Prediction(position, own_km, method, None, voted, Retrieval(nearest, ()), "", None, ())


def traces(figure) -> dict[str, dict]:
    return {trace.name: trace.to_plotly_json() for trace in figure.data}


def middle(figure) -> LatLon:
    turn = figure.layout.geo.projection.rotation
    return LatLon(turn.lat, turn.lon)


def radius_deg(figure) -> float:
    return atlas.FRAME_DEG / figure.layout.geo.projection.scale


def test_neighbours_are_ranked_with_the_best_on_top():
    figure = figures.nearest_map(Retrieval(found(PARIS, LONDON, ROME), ()))
    names = [trace.name for trace in figure.data]
    assert names == ["countries", "rank 3", "rank 2", "rank 1"]
    best = traces(figure)["rank 1"]
    assert (list(best["lat"]), list(best["lon"]), best["text"]) == ([48.8584], [2.2945], "1")
    assert "similarity 0.600" in best["hovertext"][0] and "Paris, France" in best["hovertext"][0]
    assert "CC BY 4.0" in best["hovertext"][0]


def test_only_the_first_neighbours_carry_numbers():
    figure = figures.farthest_map(Retrieval((), found(*[LatLon(lat, 10) for lat in range(16)])))
    drawn = traces(figure)
    assert len(drawn["others"]["lat"]) == 16 - figures.NUMBERED
    assert sum(name.startswith("rank") for name in drawn) == figures.NUMBERED


def test_words_from_a_gallery_are_no_markup():
    text = traces(figures.nearest_map(Retrieval(found(PARIS), ())))["rank 1"]["hovertext"][0]
    assert "A. &lt;b&gt;uthor" in text


def test_no_neighbours_leave_the_world():
    figure = figures.nearest_map(Retrieval((), ()))
    assert [trace.name for trace in figure.data] == ["countries"]
    assert figure.layout.geo.projection.type == "natural earth"


def test_one_point_is_shown_in_its_region():
    figure = figures.nearest_map(Retrieval(found(PARIS), ()))
    assert haversine_km(middle(figure), PARIS) < 1
    assert 2 * radius_deg(figure) >= 15


@pytest.mark.parametrize(
    ("positions", "widest_deg"),
    [
        ((PARIS, LONDON, ROME), 12),
        ((FIJI, SAMOA), 10),
        ((LatLon(89, 10), LatLon(84, -150), LatLon(80, 100)), 12),
        ((LatLon(-90, 0), LatLon(-77.8, 166.7)), 12),
        ((LatLon(10, 180), LatLon(-10, -180)), 14),
    ],
)
def test_the_frame_holds_all_points_and_little_else(positions, widest_deg):
    figure = figures.nearest_map(Retrieval(found(*positions), ()))
    centre, radius = middle(figure), radius_deg(figure)
    farthest_km = max(haversine_km(centre, position) for position in positions)
    assert farthest_km / 111.2 < radius <= widest_deg


def test_what_spans_the_globe_is_drawn_on_all_of_it():
    for positions in ((PARIS, FIJI, LatLon(-22.9, -43.2)), (LatLon(0, 0), LatLon(0, -180)), (PARIS, LatLon(40.7, -74))):
        figure = figures.farthest_map(Retrieval((), found(*positions)))
        expected = "hammer" if positions[1] == LatLon(40.7, -74) else "natural earth"
        assert figure.layout.geo.projection.type == expected


@pytest.mark.parametrize("lat", [-89.0, -70.0, -45.0, 0.0, 30.0, 59.0, 61.0, 88.0])
def test_the_frame_is_about_twice_as_wide_as_high(lat):
    """Plotly takes the frame's shape from the axes' ranges as they look in the turned projection."""
    geo = figures.nearest_map(Retrieval(found(LatLon(lat, 20)), ())).layout.geo
    lats, lons = np.linspace(*geo.lataxis.range, 50), np.linspace(*geo.lonaxis.range, 50)
    edge = [(a, o) for a in lats for o in geo.lonaxis.range] + [(a, o) for o in lons for a in geo.lataxis.range]
    points = unit_vectors([LatLon(a, (o + 180) % 360 - 180) for a, o in edge])
    up = unit_vectors([LatLon(lat, 20)])[0]
    east = np.array([-math.sin(math.radians(20)), math.cos(math.radians(20)), 0])
    turned = np.stack([points @ up, points @ east, points @ np.cross(up, east)], axis=1)
    places = [to_latlon(vector) for vector in turned]
    width, height = (max(v) - min(v) for v in ([p.lon for p in places], [p.lat for p in places]))
    assert 1.5 < width / height < 2.6


def test_a_models_answer_stands_beside_the_vote():
    drawn = traces(figures.prediction_map(predicted(PARIS, LONDON, "lmm", nearest=found(LONDON)), ROME))
    assert set(drawn) == {"countries", "neighbours", "vote's radius", "vote", "error", "truth", "answer"}
    assert drawn["answer"]["marker"]["symbol"] == "star"
    assert drawn["answer"]["lat"][0] == 48.8584 and drawn["vote"]["lat"][0] == 51.5
    assert list(drawn["error"]["lat"]) == [48.8584, 41.9]


def test_the_votes_answer_is_not_drawn_twice():
    drawn = traces(figures.prediction_map(predicted(PARIS, PARIS, "vote")))
    assert set(drawn) == {"countries", "radius", "answer"}


@pytest.mark.parametrize("method", ["vote", "lmm", "judge"])
def test_the_answers_own_circle_stands_around_the_answer(method: str):
    """Calibrated or a spread, it is the answer's; the vote's stands beside another's answer only."""
    prediction = replace(predicted(PARIS, LONDON, method), radius_km=40.0, probability=0.9)
    figure = figures.prediction_map(prediction)
    drawn = traces(figure)
    assert drawn["radius"]["line"]["color"] == figures.VERMILION
    first = LatLon(drawn["radius"]["lat"][0], drawn["radius"]["lon"][0])
    assert haversine_km(first, PARIS) == pytest.approx(40, rel=1e-3)
    assert ("vote's radius" in drawn) == (method != "vote")
    legend = evidence.legend(prediction, None)
    assert "with 90% probability" in legend and ("half of the vote" in legend) == (method != "vote")


def test_the_legend_says_what_a_circle_without_a_probability_means():
    judged = replace(predicted(PARIS, LONDON, "judge"), radius_km=40.0)
    legend = evidence.legend(judged, None)
    assert "half of the candidates" in legend and "half of the vote" in legend
    coarse = replace(predicted(PARIS, LONDON, "lmm"), radius_km=50.0)
    assert "the known area" in evidence.legend(coarse, None)
    assert evidence.legend(predicted(PARIS, PARIS, "vote"), None).count("○") == 1


def test_no_position_leaves_the_truth():
    figure = figures.prediction_map(predicted(None, None, "none"), PARIS)
    assert set(traces(figure)) == {"countries", "truth"}
    assert haversine_km(middle(figure), PARIS) < 1


@pytest.mark.parametrize("centre", [PARIS, LatLon(-17.7, 179.9), LatLon(90, 0), LatLon(-89.9, 40)])
def test_the_radius_is_a_closed_circle_on_the_ground(centre):
    circle = traces(figures.prediction_map(predicted(centre, centre, "vote", radius_km=750)))["radius"]
    points = [LatLon(lat, lon) for lat, lon in zip(circle["lat"], circle["lon"], strict=True)]
    assert all(haversine_km(centre, point) == pytest.approx(750, rel=1e-3) for point in points)
    assert haversine_km(points[0], points[-1]) < 0.1
    assert max(haversine_km(a, b) for a, b in pairwise(points)) < 70


def test_the_neighbours_do_not_count_for_the_predictions_frame():
    figure = figures.prediction_map(predicted(PARIS, PARIS, "vote", nearest=found(FIJI, PARIS)))
    assert haversine_km(middle(figure), PARIS) < 5 and radius_deg(figure) < 12


def test_nothing_is_fetched_and_nothing_is_newer_than_the_bundled_plotly():
    for figure in (
        figures.nearest_map(Retrieval(found(PARIS), ())),
        figures.prediction_map(predicted(PARIS, LONDON, "lmm"), ROME),
    ):
        content = json.loads(figure.to_json())
        assert {trace["type"] for trace in content["data"]} == {"scattergeo"}
        geo = content["layout"]["geo"]
        layers = ("coastlines", "countries", "lakes", "land", "ocean", "rivers", "subunits", "frame")
        assert not any(geo[f"show{layer}"] for layer in layers)
        assert "title" not in content["layout"]
        assert content["layout"]["paper_bgcolor"] == geo["bgcolor"] == "rgba(0,0,0,0)"
        assert len(figure.to_json()) < 140_000
        # Everything that plotly.js 4 added to scattergeo and geo is absent.
        assert not {"fitbounds", "hoversort", "hoveranywhere"} & (set(geo) | set(content["layout"]))


def test_countries_are_whole_across_the_antimeridian():
    countries = traces(figures.nearest_map(Retrieval((), ())))["countries"]
    lat, lon = np.array(countries["lat"]), np.array(countries["lon"])
    assert len(lat) > 10_000 and np.array_equal(np.isnan(lat), np.isnan(lon)) and np.isnan(lat[-1])
    on_cut = np.abs(lon) == 180
    assert not (on_cut[1:] & on_cut[:-1] & (np.diff(lat) != 0)).any(), (
        "an edge along the antimeridian would be drawn as a border"
    )
    assert np.nanmin(lat) > -90
    rings = np.split(np.arange(len(lat)), np.flatnonzero(np.isnan(lat)) + 1)[:-1]
    assert all(lat[ring[0]] == lat[ring[-2]] and lon[ring[0]] == lon[ring[-2]] for ring in rings)


def test_rings_are_wound_so_that_the_browser_fills_land():
    """A clockwise ring's area to its right: summed over all countries that is Earth's land, about 29% of it."""
    countries = traces(figures.nearest_map(Retrieval((), ())))["countries"]
    lat, lon = np.radians(np.array(countries["lat"], dtype=float)), np.radians(np.array(countries["lon"], dtype=float))
    steps = (np.diff(lon) + np.pi) % (2 * np.pi) - np.pi
    # Area between each edge and the south pole; Antarctica, wound about that pole, needs nothing added.
    share = np.nansum(steps * (np.sin(lat[1:]) + np.sin(lat[:-1]) + 2)) / 2 / (4 * np.pi)
    assert share == pytest.approx(0.29, abs=0.02)

"""Coarse answers: nothing finer than the operator allows is left in them, wherever one looks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from img2loc.answer.coarsen import coarsen_retrieval
from img2loc.geo.coarse import EXACT, LEVELS, RADII_KM, coarse_places
from img2loc.geo.sphere import haversine_km
from img2loc.maps.figures import farthest_map, nearest_map, prediction_map
from img2loc.output.schema import prediction_json, retrieval_json
from img2loc.policy.precision import abstain, coarsen, place_of
from img2loc.types import (
    Candidate,
    LatLon,
    Neighbour,
    Outcome,
    OutcomeKind,
    PhotoRecord,
    Place,
    Prediction,
    Reply,
    Retrieval,
    Vote,
)

COARSE = [level for level in LEVELS if level != EXACT]
HOUSE = LatLon(48.85837, 2.294481)
SECRETS = ("48.858", "2.2944", "2.2945", "Rue Secrète", "canary", "1234.5", "4242")
PLACES = {
    "Paris": HOUSE,
    "a suburb": LatLon(48.8217, 2.2887),
    "the Alps": LatLon(45.833, 6.865),
    "the Pacific": LatLon(0.0, -140.0),
    "the north pole": LatLon(90.0, 0.0),
    "the south pole": LatLon(-90.0, 0.0),
    "Fiji, east": LatLon(-16.8, 179.99),
    "Fiji, west": LatLon(-16.8, -179.99),
    "Monaco": LatLon(43.73, 7.42),
    "around Moscow": LatLon(55.6, 37.2),
    "Kansas": LatLon(39.0, -98.0),
}


def found(kind: OutcomeKind = OutcomeKind.ANSWERED) -> Prediction:
    answered = kind in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED)
    reply = Reply("48.85837, 2.294481: 5 Rue Secrète, canary", "some-model", 1.5, 100, 20)
    photo = PhotoRecord("canary", "canary", "https://example.org/canary", "CC BY 4.0")
    neighbours = tuple(Neighbour(4242, HOUSE, 0.5, photo) for _ in range(3))
    return Prediction(
        position=HOUSE,
        radius_km=None if answered else 1234.5,
        method="lmm" if answered else "vote",
        place=Place("canary", "France", "FR", 4.01),
        vote=Vote(HOUSE, 1234.5, 16),
        retrieval=Retrieval(neighbours, neighbours),
        prompt="near 48.85837, 2.294481 (canary)",
        outcome=Outcome(
            kind,
            HOUSE if answered else None,
            "5 Rue Secrète",
            "The canary sings at 48.85837.",
            "" if answered else "canary" if kind is not OutcomeKind.PROVIDER_ERROR else "The provider is down.",
            (reply, reply),
        ),
        timings=(("embed", 0.1),),
        candidates=(Candidate(HOUSE, 0.75, 2, 1.0, 0.5, 0.0, 1.0),),
        choice=Outcome(OutcomeKind.ANSWERED, HOUSE, reasoning="The canary sings here.", replies=(reply,)),
    )


@pytest.mark.parametrize("level", COARSE)
@pytest.mark.parametrize("kind", OutcomeKind)
def test_nothing_finer_is_left_in_api_or_maps(level, kind):
    coarse = coarsen(found(kind), level)
    figures = [prediction_map(coarse, None), nearest_map(coarse.retrieval), farthest_map(coarse.retrieval)]
    shown = json.dumps(prediction_json(coarse), ensure_ascii=False) + repr(coarse)
    shown += "".join(json.dumps(figure.to_plotly_json(), default=lambda item: item.tolist()) for figure in figures)
    assert {secret for secret in SECRETS if secret in shown} == set()
    # What tells no place stays.
    assert coarse.outcome.kind is kind and [reply.input_tokens for reply in coarse.outcome.replies] == [100, 100]
    assert bool(coarse.outcome.message) == (coarse.outcome.position is None)
    assert [n.similarity for n in coarse.retrieval.nearest] == [0.5] * 3 and coarse.timings == (("embed", 0.1),)
    assert coarse.choice.kind is OutcomeKind.ANSWERED and coarse.choice.replies[0].input_tokens == 100
    assert coarse.method == found(kind).method and coarse.vote.neighbours == 16


def test_exact_is_exact():
    assert coarsen(found(), EXACT) is not None and coarsen(found(), EXACT) == found()
    assert coarsen_retrieval(found().retrieval, EXACT) == found().retrieval
    assert place_of(HOUSE, EXACT).city == "Paris"


def test_a_provider_s_failure_keeps_its_words():
    assert coarsen(found(OutcomeKind.PROVIDER_ERROR), "city").outcome.message == "The provider is down."


@pytest.mark.parametrize("level", COARSE)
@pytest.mark.parametrize("exact", PLACES.values(), ids=PLACES)
def test_the_radius_is_that_of_the_area_or_of_the_spread_and_one_of_few(level, exact):
    (area,) = coarse_places([exact], level)
    for spread_km in (0.01, 3.0, 700.0):
        coarse = coarsen(replace(found(), position=exact, vote=Vote(exact, spread_km, 16), candidates=()), level)
        assert coarse.radius_km == area.radius_km and coarse.vote.radius_km in RADII_KM
        assert coarse.vote.radius_km == area.radius_km or coarse.vote.radius_km / 2 < max(spread_km, area.radius_km)
        assert coarse.vote.radius_km >= max(spread_km, area.radius_km)
        assert coarse.position == coarse.vote.position == area.position


@pytest.mark.parametrize("exact", PLACES.values(), ids=PLACES)
def test_an_answer_beyond_the_bound_keeps_its_probability_in_a_circle_that_holds_its_own(exact):
    for radius_km in (100.0, 700.0):
        left = abstain(
            replace(found(), position=exact, radius_km=radius_km, probability=0.9, vote=Vote(exact, 3.0, 16)), 50.0
        )
        assert left.probability == 0.9 and {left.radius_km, left.vote.radius_km} <= set(RADII_KM)
        assert haversine_km(left.position, exact) + radius_km <= left.radius_km
        assert haversine_km(left.vote.position, exact) + 3.0 <= left.vote.radius_km


@pytest.mark.parametrize("level", COARSE)
def test_all_of_an_area_get_one_answer(level):
    """So a position says nothing but the area: two points of one city can't be told apart."""
    tower, louvre = (coarsen(replace(found(), position=p), level) for p in (HOUSE, LatLon(48.8606, 2.3376)))
    assert tower == louvre


@pytest.mark.parametrize("level", COARSE)
@pytest.mark.parametrize("exact", PLACES.values(), ids=PLACES)
def test_coarse_once_is_coarse_for_good(level, exact):
    """A coarse position keeps its place and its name, so that whoever names it again names the same."""
    once = coarsen(replace(found(), position=exact), level)
    twice = coarsen(once, level)
    assert (twice.position, twice.place) == (once.position, once.place)
    assert place_of(once.position, level) == once.place


def test_the_levels_are_what_they_are_called():
    city, region, country = (coarsen(found(), level) for level in COARSE)
    assert (city.place.city, city.place.country_code) == ("Paris", "FR")
    assert region.place.city == "the region of Paris" and (country.place.city, country.place.country) == ("", "France")
    assert city.radius_km < region.radius_km < country.radius_km
    for level in COARSE:  # a country's position is in that country, across the antimeridian too
        for east, west in ((PLACES["Fiji, east"], PLACES["Fiji, west"]),):
            assert {place_of(p, level).country_code for p in (east, west)} == {"FJ"}


def test_nothing_known_stays_nothing():
    nothing = Prediction(None, None, "none", None, None, Retrieval((), ()), "", None, ())
    assert [coarsen(nothing, level) for level in COARSE] == [nothing] * 3


def test_neighbours_alone_are_coarse_too():
    rng = np.random.default_rng(0)
    points = [LatLon(float(lat), float(lon)) for lat, lon in rng.uniform((-60, -180), (70, 179), (100, 2))]
    listed = Retrieval(tuple(Neighbour(row, point, 0.0) for row, point in enumerate(points)), ())
    for level in COARSE:
        coarse = retrieval_json(coarsen_retrieval(listed, level))["nearest"]
        assert {item["row"] for item in coarse} == {-1} and {item["photo"] for item in coarse} == {None}
        for item, point in zip(coarse, points, strict=True):
            position = LatLon(**item["position"])
            assert position != point and place_of(position, level) == place_of(point, level)

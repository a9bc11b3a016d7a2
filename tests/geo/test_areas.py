"""Known areas: read from words, held to by everything that follows, and true to the map."""

from __future__ import annotations

import csv
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.answer.vote import modes, vote
from img2loc.errors import ConfigError
from img2loc.geo.areas import MAX_CHARS, Circle, Countries, country_of, holds, read_area
from img2loc.geo.sphere import EARTH_RADIUS_KM, destination, geodesic_km, haversine_km
from img2loc.judge.candidates import rank_candidates, spread_km
from img2loc.judge.sampling import Judge
from img2loc.locator import Ask
from img2loc.maps.figures import area_map, prediction_map
from img2loc.types import LatLon, Neighbour, OutcomeKind
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.rows import from_memory
from tests.conftest import SHARED
from tests.fakes.scripted_lmm import ScriptedLMM
from tests.judge.test_candidates import NEIGHBOURS, POSITIONS
from tests.retrieval.test_gallery import SPEC, unit
from tests.test_locator import EIFFEL_TOWER

PARIS, LONDON, SUVA, LIMA = LatLon(48.8566, 2.3522), LatLon(51.5, -0.12), LatLon(-18.14, 178.44), LatLon(-12.05, -77.04)
LAS_VEGAS = '{"latitude": 36.11, "longitude": -115.17}'
BORDEAUX = '{"latitude": 44.84, "longitude": -0.58}'


@pytest.mark.parametrize(
    ("words", "name", "codes"),
    [
        ("France", "France", "FR"),
        ("  fr ", "France", "FR"),
        ("Deutschland", "Germany", "DE"),
        ("フランス", "France", "FR"),
        ("the netherlands; Holland", "Netherlands", "NL"),
        ("UK", "United Kingdom", "GB"),
        ("cote d ivoire", "Ivory Coast", "CI"),
        ("Spain; France; ", "Spain; France", "ES FR"),
        ("Australia and New Zealand", "Australia and New Zealand", None),
        ("Europe; Japan", "Europe; Japan", None),
    ],
)
def test_countries_and_regions_are_known_by_many_names(words, name, codes):
    area = read_area(words)
    assert isinstance(area, Countries) and str(area) == name
    assert codes is None or area.codes == tuple(codes.split())
    assert read_area(str(area)) == area


@pytest.mark.parametrize(
    ("words", "centre", "radius_km", "name"),
    [
        ("48.8566, 2.3522, 50 km", PARIS, 50, "50 km around 48.85660, 2.35220"),
        ("48.8566 2.3522 7.5km", PARIS, 7.5, "7.5 km around 48.85660, 2.35220"),
        ("Paris, 50 km", PARIS, 50, "50 km around Paris, France"),
        ("80 KM around paris", PARIS, 80, "80 km around Paris, France"),
        ("Paris", PARIS, 25, "25 km around Paris, France"),
        ("Paris, United States, 20 km", LatLon(33.661, -95.556), 20, "20 km around Paris, United States"),
        ("München, 30 km", LatLon(48.137, 11.575), 30, "30 km around Munich, Germany"),
    ],
)
def test_circles_have_a_middle_and_a_radius(words, centre, radius_km, name):
    area = read_area(words)
    assert isinstance(area, Circle) and area.radius_km == radius_km and haversine_km(area.centre, centre) < 2
    assert str(area) == name and read_area(name) == area


def test_nothing_is_anywhere():
    assert read_area("") is read_area("  ") is None
    assert holds(None, SUVA)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Frnace", "Did you mean France"),
        ("Nowhereville", "We don't know 'Nowhereville' as a country, world region or city"),
        ("France; Nowhere", "We don't know 'Nowhere' as a country or world region"),
        ("91, 0, 50 km", "centre is invalid: latitude must be between -90 and 90"),
        ("48, 2, 0 km", "from 1 to 20,000 km"),
        ("48, 2, 99999 km", "from 1 to 20,000 km"),
        (";", "Name 1 to 30"),
        ("x" * (MAX_CHARS + 1), "501 characters"),
        (", 50 km", "as a country"),
        ("<script>alert(1)</script>", "as a country"),
    ],
)
def test_what_is_no_area_gets_one_sentence(words, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read_area(words)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_words_are_an_area_or_refused(words):
    try:
        area = read_area(words)
    except ConfigError:
        return
    assert area is None or read_area(str(area)) == area


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (EIFFEL_TOWER, "France"),
        (LatLon(45.92, 6.87), "France"),  # Chamonix, between two other countries
        (LatLon(46.02, 7.75), "Switzerland"),
        (LatLon(43.083, -79.065), "Canada"),  # the falls of the Niagara
        (LatLon(41.902, 12.453), "Vatican City"),
        (LatLon(1.283, 103.86), "Singapore"),
        (LatLon(40.6892, -74.0445), "United States of America"),  # an island
        (SUVA, "Fiji"),
        (LatLon(-16.8, -179.99), "Fiji"),  # on both sides of the antimeridian
        (LatLon(66, -175), "Russia"),
        (LatLon(-90, 0), "Antarctica"),
        (LatLon(90, 0), None),
        (LatLon(30, -40), None),
    ],
)
def test_places_lie_in_their_countries(place, name):
    country = country_of(place)
    assert name == (country and str(country))
    assert name is None or holds(read_area(name), place)


def test_nearly_every_photo_of_the_field_lies_in_a_country():
    """Piers, boats and small islands too: 2,993 of Im2GPS3k's 2,997 do; the others are of reefs far off the coast."""
    with (SHARED / "data" / "im2gps3k_places365.csv").open(encoding="utf-8", newline="") as file:
        places = [LatLon(float(row["LAT"]), float(row["LON"])) for row in csv.DictReader(file)]
    everywhere = Countries(("all",), tuple(sorted(code for code in _codes())))
    held = everywhere.holds(np.array([(at.lat, at.lon) for at in places]))
    assert len(places) - int(held.sum()) <= 4


def _codes() -> set[str]:
    regions = "Africa; Asia; Europe; North America; South America; Oceania; Antarctica"
    return set(read_area(regions).codes)


@given(POSITIONS, st.floats(1, 20_000), st.floats(0, 360), st.floats(0, 2))
def test_a_circle_holds_what_is_no_farther_than_its_radius(centre, radius_km, bearing, share):
    at = destination(centre, bearing, share * radius_km)
    away_km = haversine_km(centre, at)
    if abs(away_km - radius_km) > 1e-6 * EARTH_RADIUS_KM:
        assert holds(Circle(centre, radius_km), at) == (away_km < radius_km)


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """A gallery of 4,000 places all over the Earth."""
    from img2loc.geo.sphere import to_latlon
    from img2loc.retrieval.gallery import open_gallery

    folder = tmp_path_factory.mktemp("area") / "gallery"
    places = [to_latlon(vector) for vector in np.random.default_rng(5).normal(size=(4000, 3))]
    embeddings = unit(4000, 32)
    write_gallery(Output(folder, Label("scattered")), from_memory(embeddings, places), Networks(SPEC))
    return open_gallery(str(folder)), embeddings


@pytest.mark.parametrize(
    "words", ["Asia", "Russia; Canada", "0, 180, 3000 km", "-89, 0, 2000 km", "France", "Vatican City"]
)
def test_a_gallery_is_searched_within_an_area_as_if_it_held_nothing_else(scattered, words):
    gallery, _ = scattered
    area = read_area(words)
    everything = gallery.search(unit(1, 32, seed=9)[0], 4000, 0).nearest
    inside = [n for n in everything if holds(area, n.position)]
    for k in (16, 4000):
        found = gallery.search(unit(1, 32, seed=9)[0], k, k, area)
        assert [n.row for n in found.nearest] == [n.row for n in inside][:k]
        assert sorted(n.row for n in found.farthest) == sorted(n.row for n in inside[::-1][:k])


def test_what_lies_within_is_looked_up_once(scattered, monkeypatch):
    gallery, embeddings = scattered
    asked = []
    monkeypatch.setattr(Circle, "holds", lambda self, at: asked.append(len(at)) or np.ones(len(at), bool))
    for _ in range(3):
        gallery.search(embeddings[0], 2, 0, Circle(LIMA, 123.0))
    assert asked.count(4000) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(NEIGHBOURS, max_size=12),
    st.lists(POSITIONS, max_size=8),
    st.one_of(
        st.builds(Circle, POSITIONS, st.floats(1, 20_000)),
        st.sampled_from(["Fiji; New Zealand", "Indonesia", "Europe", "Antarctica"]).map(read_area),
    ),
)
def test_no_answer_lies_outside(neighbours, answers, area):
    near = [n for n in neighbours if holds(area, n.position)]
    assert all(holds(area, mode) for mode in modes(near, within=area))
    voted = vote(near, within=area)
    assert (voted is None) == (not near) and (voted is None or holds(area, voted.position))
    assert all(holds(area, one.position) for one in rank_candidates(answers, near, within=area))


def test_between_two_islands_the_more_similar_one_is_the_mode():
    """Their density peaks in the water between them, which the circle around each leaves out."""
    one, other = LatLon(0, 0), destination(LatLon(0, 0), 90, 3)

    class Islands(Countries):
        def holds(self, positions):
            return np.array(
                [min(haversine_km(LatLon(*at), one), haversine_km(LatLon(*at), other)) < 0.5 for at in positions]
            )

    area = Islands(("two",), ())
    near = [Neighbour(0, one, 0.5), Neighbour(1, other, 0.5001)]
    assert not holds(area, vote(near).position) and vote(near, within=area).position == other


def test_the_prompt_says_what_is_known_and_a_model_that_disagrees_is_asked_again(starter, tower):
    lmm = ScriptedLMM([LAS_VEGAS, BORDEAUX])
    found = starter.locate(tower, Ask(lmm=lmm, within=read_area("France")))
    assert found.prompt.endswith("taken here: France. Give a position inside that area.") and found.within == "France"
    (_, (turns, _)) = lmm.asked
    assert "lies outside" in turns[-1].text and "France" in turns[-1].text
    assert found.outcome.kind is OutcomeKind.REPAIRED and found.method == "lmm"
    assert all(holds(read_area("France"), n.position) for n in (*found.retrieval.nearest, *found.retrieval.farthest))
    assert "area" in {trace.name for trace in prediction_map(found).data}


def test_a_model_that_insists_is_no_answer(starter, tower):
    found = starter.locate(tower, Ask(lmm=ScriptedLMM([LAS_VEGAS, LAS_VEGAS]), within=read_area("Paris, 50 km")))
    assert found.outcome.kind is OutcomeKind.OUTSIDE and found.outcome.position is None
    assert "36.11000, -115.17000" in found.outcome.message and "50 km around Paris, France" in found.outcome.message
    assert found.method == "vote" and haversine_km(found.position, EIFFEL_TOWER) < 1
    judged = starter.locate(
        tower, Ask(lmm=ScriptedLMM([LAS_VEGAS] * 4), judge=Judge((0, 5)), within=read_area("Paris, 50 km"))
    )
    assert judged.method == "judge" and all(one.answers == 0 for one in judged.candidates)


def test_a_model_chooses_among_places_within_alone(starter, tower):
    within = read_area("Spain; Portugal")
    lmm = ScriptedLMM(['{"latitude": 40.4, "longitude": -3.7}', '{"choice": "A"}'])
    found = starter.locate(tower, Ask(lmm=lmm, judge=Judge((0,), choice=True), within=within))
    assert found.choice.position and all(holds(within, one.position) for one in found.candidates)
    assert found.radius_km == spread_km(found.candidates) and found.probability is None


def test_where_the_gallery_has_nothing_only_a_model_can_answer(starter, tower):
    nowhere = read_area("30, -40, 500 km")
    found = starter.locate(tower, Ask(within=nowhere))
    assert (found.position, found.method, found.vote, found.retrieval.nearest) == (None, "none", None, ())
    at_sea = '{"latitude": 30.5, "longitude": -40.2}'
    assert starter.locate(tower, Ask(lmm=ScriptedLMM([at_sea]), within=nowhere)).position == LatLon(30.5, -40.2)


def test_maps_show_the_area():
    for words in ("Fiji", "Russia", "-18, 179.9, 500 km", "Europe"):
        (_, outline) = area_map(read_area(words)).data
        assert outline.name == "area" and len(outline.lat) > 10
    assert len(area_map(None).data) == 1
    json.loads(area_map(read_area("Canada")).to_json())


def test_outlines_are_simplified_once_and_not_for_every_map(monkeypatch):
    """Any visitor may have the world drawn as often as they like."""
    import shapely

    world = read_area("Africa; Asia; Europe; North America; South America; Oceania; Antarctica")
    drawn = area_map(world)
    monkeypatch.setattr(shapely, "simplify", None)
    started_s = time.thread_time()
    again = area_map(world)
    assert time.thread_time() - started_s < 0.2
    assert again == drawn and len(again.to_json()) < 400_000


def test_a_country_that_is_known_makes_no_answer_worse(photo_rows, photo_embeddings):
    """All 260 photos, each site left out in turn, by the vote: no answer outside, and no level less often reached."""
    rows, embeddings = photo_rows, photo_embeddings
    positions = [LatLon(float(row["lat"]), float(row["lon"])) for row in rows]
    degrees = np.array([(at.lat, at.lon) for at in positions])
    sites = np.array([row["group"] or row["file"] for row in rows])
    half = np.isin(sites, np.random.default_rng(0).permutation(np.unique(sites))[: len(np.unique(sites)) // 2])
    held: dict[str, np.ndarray] = {}
    errors: dict[bool, list[float]] = {False: [], True: []}
    for at in np.flatnonzero(~half).tolist():
        country = country_of(positions[at])
        inside = held.setdefault(str(country), country.holds(degrees))
        for known in (False, True):
            gallery = np.flatnonzero(half & inside if known else half)
            similarities = embeddings[gallery] @ embeddings[at]
            near = [
                Neighbour(row, positions[gallery[row]], float(similarities[row]))
                for row in (-similarities).argsort()[:16].tolist()
            ]
            found = vote(near, within=country if known else None)
            assert not known or found is None or holds(country, found.position)
            errors[known].append(geodesic_km(found.position, positions[at]) if found else np.inf)
    reached = {known: [np.mean(np.array(errors[known]) <= km) for km in (25, 200, 750, 2500)] for known in errors}
    assert all(with_it >= without for with_it, without in zip(reached[True], reached[False], strict=True)), reached
    assert reached[True][2] > reached[False][2] + 0.2, reached

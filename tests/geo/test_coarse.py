"""Coarse sites: whatever is asked of them, nothing depends on an exact position, only on its coarse one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from img2loc.geo import coarse, places
from img2loc.geo.areas import Circle, read_area
from img2loc.geo.coarse import LEVELS, RADII_KM, CoarseArea, coarse_places, coarse_positions, nearest_cities
from img2loc.geo.sphere import arc_km, destination, haversine_km, to_latlon, unit_vectors_of
from img2loc.judge.sampling import Judge
from img2loc.locator import Locator
from img2loc.maps import figures as maps
from img2loc.output import exports
from img2loc.output.schema import prediction_json, retrieval_json
from img2loc.policy.precision import coarsen
from img2loc.policy.settings import Settings
from img2loc.retrieval.gallery import Gallery
from img2loc.types import LatLon, Outcome, OutcomeKind, Prediction, Retrieval
from img2loc.web.request import LocateRequest
from img2loc.web.site import Site
from img2loc.web.tabs.shared import namer
from tests.fakes.scripted_lmm import ScriptedLMM

COARSE = LEVELS[1:]
# Joshua Tree, Voyageurs, Easter Island, the Pacific, Antarctica, Iceland and the Sahara.
FAR_FROM_TOWNS = tuple(
    LatLon(*degrees)
    for degrees in ((33.9, -115.8), (48.5, -92.9), (-27.1, -109.3), (0, -140), (-75, 20), (64, -18), (23, 12))
)


def others(positions: list[LatLon], level: str, seed: int) -> list[LatLon]:
    """Other exact positions up to 20 km away with the same coarse ones."""
    rng = np.random.default_rng(seed)
    found = list(positions)
    public = coarse_positions(positions, level)
    for _ in range(8):
        tries = [destination(at, float(rng.uniform(0, 360)), float(rng.uniform(2, 20))) for at in positions]
        tries = [LatLon(round(at.lat, 5), round(at.lon, 5)) for at in tries]
        for row, its in enumerate(coarse_positions(tries, level)):
            if its == public[row]:
                found[row] = tries[row]
    return found


def remote(count: int) -> tuple[list[LatLon], list[LatLon]]:
    """Some towns, and for each a position of the same area that is anywhere on Earth: in a desert, at sea, on ice."""
    rng = np.random.default_rng(5)
    anywhere = [to_latlon(vector) for vector in rng.normal(size=(count, 3))]
    anywhere = [*FAR_FROM_TOWNS, *(LatLon(round(at.lat, 5), round(at.lon, 5)) for at in anywhere)][:count]
    return coarse_positions(anywhere, "city"), anywhere


def with_positions(gallery: Gallery, positions: list[LatLon]) -> Gallery:
    return replace(gallery, positions=np.array([(at.lat, at.lon) for at in positions], np.float32))


def positions_of(gallery: Gallery) -> list[LatLon]:
    return [LatLon(float(lat), float(lon)) for lat, lon in np.round(gallery.positions.astype(float), 5)]


@pytest.fixture(scope="module", params=COARSE)
def twins(request, starter):
    """Two sites of a level whose galleries differ in the exact positions of most photos, and in no coarse one.

    Three of four photos are at a town in the one gallery, and in the other mostly far outside its area's circle.
    """
    level = request.param
    ours = positions_of(starter.gallery)
    moved = others(ours, level, seed=1)
    rows = [row for row in range(len(ours)) if row % 4]
    for row, town, far in zip(rows, *remote(len(rows)), strict=True):
        ours[row], moved[row] = town, far
    assert coarse_positions(ours, level) == coarse_positions(moved, level)
    assert sum(haversine_km(a, b) > 1 for a, b in zip(ours, moved, strict=True)) > 200
    areas = coarse_places(moved, level)
    outside = [haversine_km(area.position, at) > area.radius_km for at, area in zip(moved, areas, strict=True)]
    assert sum(outside) > 50
    sites = [Locator(starter.encoder, with_positions(starter.gallery, places)) for places in (ours, moved)]
    return level, sites, (ours, moved)


def asked_areas(ours: list[LatLon], moved: list[LatLon]) -> list[str]:
    """Circles whose edges lie between a photo's two exact positions, as in a search for it, and other areas."""
    rng = np.random.default_rng(2)
    areas = ["", "France", "Europe; Japan", "-18, 179.9, 4000 km"]
    for row in rng.choice(len(ours), 8, replace=False).tolist():
        centre = destination(ours[row], float(rng.uniform(0, 360)), float(rng.choice([5, 80, 900])))
        centre = LatLon(round(centre.lat, 4), round(centre.lon, 4))
        between_km = (haversine_km(centre, ours[row]) + haversine_km(centre, moved[row])) / 2
        areas.append(f"{centre.lat}, {centre.lon}, {max(between_km, 1):.3f} km")
    return areas


@pytest.fixture
def embedded_once(starter, tower, monkeypatch):
    embedding = starter._embed(tower)
    monkeypatch.setattr(Locator, "_embed", lambda self, photo: embedding)


def everything_shown(prediction: Prediction, settings: Settings) -> str:
    """All that leaves the server of an answer, but how long it took."""
    name = namer(settings, prediction.withheld)
    rows = exports.rows("photo", prediction, None, name)
    figures = [maps.prediction_map(prediction, None, name), maps.nearest_map(prediction.retrieval, name)]
    found = {**prediction_json(prediction), "timings": {}}
    return "\n".join(
        (json.dumps(found), *(write(rows) for write in exports.WRITERS.values()), *(f.to_json() for f in figures))
    )


class Measured:
    """A calibration by which every answer has the same radius."""

    probability = 0.8

    def __init__(self, measured_km: float) -> None:
        self.measured_km = measured_km

    def radius_km(self, *_: object) -> float:
        return self.measured_km


@pytest.mark.parametrize("measured_km", [None, 30.0, 150.0, 600.0, 5000.0])
def test_no_answer_depends_on_the_gallerys_exact_positions(twins, tower, embedded_once, monkeypatch, measured_km):
    """Neither where answers are calibrated, and some are withheld."""
    level, sites, positions = twins
    settings = Settings(precision=level, abstain_km=100.0)
    if measured_km:
        for site in sites:
            monkeypatch.setattr(site, "_calibration", Measured(measured_km))
    answered = 0
    areas = asked_areas(*positions)
    for within in areas[::4] if measured_km else areas:
        request = LocateRequest(None, nearest=10, farthest=10, within=within)
        ours, theirs = (json.dumps(retrieval_json(request.neighbours(tower, site, settings))) for site in sites)
        assert ours == theirs, within
        ours, theirs = (everything_shown(request.locate(tower, site, Site(None, settings)), settings) for site in sites)
        assert ours == theirs, within
        answered += '"nearest": []' not in ours
    assert answered >= (1 if measured_km else 4)


@pytest.mark.parametrize("judge", [None, Judge((0, 5), choice=True)], ids=["one answer", "judged"])
def test_neither_prompt_nor_answer_depends_on_exact_positions_of_gallery_or_model(
    twins, tower, embedded_once, monkeypatch, judge
):
    """The model of one site says where it is, that of the other another position with the same coarse one."""
    level, sites, (ours, moved) = twins
    settings = replace(Settings(), precision=level, samples=2, judge=judge)
    row = sites[0].neighbours(tower, nearest=1, farthest=0).nearest[0].row
    said = [(places[row], places[(row + 7) % len(places)]) for places in (ours, moved)]
    for within in asked_areas(ours, moved)[::3]:
        shown, prompts = [], []
        for site, said_here in zip(sites, said, strict=True):
            replies = [f'{{"latitude": {at.lat}, "longitude": {at.lon}, "reasoning": "{at}"}}' for at in said_here]
            lmm = ScriptedLMM([*replies * 4, '{"choice": "A"}'])
            monkeypatch.setattr("img2loc.web.request.open_lmm", lambda *_, lmm=lmm: lmm)
            request = LocateRequest(None, nearest=5, farthest=5, within=within, prompt="numbered")
            shown.append(everything_shown(request.locate(tower, site, Site(None, settings)), settings))
            # What the server asks, without the model's own words in it.
            prompts.append([[t.text for t in turns if t.role == "user"] for turns, _ in lmm.asked])
            assert all(not turn.pictures for turns, _ in lmm.asked for turn in turns)
        assert shown[0] == shown[1] and prompts[0] == prompts[1], within


@pytest.mark.parametrize("level", COARSE)
def test_bisecting_circles_find_the_coarse_position_and_no_other(starter, tower, embedded_once, level):
    """As an attacker did: the radius at which a neighbour comes into a circle is its distance from the middle."""
    settings = Settings(precision=level)
    known = starter.neighbours(tower, nearest=1, farthest=0).nearest[0]
    (public,) = coarse_positions([known.position], level)
    centre = LatLon(48.9, 8.0)

    def comes_in(radius_km: float) -> bool:
        request = LocateRequest(None, nearest=16, farthest=0, within=f"{centre.lat}, {centre.lon}, {radius_km:.3f} km")
        found = request.neighbours(tower, starter, settings).nearest
        return any(neighbour.similarity == known.similarity for neighbour in found)

    low_km, high_km = 1.0, 3000.0
    while high_km - low_km > 0.1:
        middle_km = (low_km + high_km) / 2
        low_km, high_km = (low_km, middle_km) if comes_in(middle_km) else (middle_km, high_km)
    assert haversine_km(centre, public) == pytest.approx(high_km, abs=0.2)
    assert abs(haversine_km(centre, known.position) - high_km) > 0.5


@pytest.mark.parametrize("level", COARSE)
def test_wherever_an_area_s_photos_lie_the_model_s_answer_has_the_area_s_radius(level):
    for town, far in zip(*remote(50), strict=True):
        (area,) = coarse_places([far], level)
        for said in (town, far):
            outcome = Outcome(OutcomeKind.ANSWERED, said)
            answer = Prediction(said, None, "lmm", None, None, Retrieval((), ()), "", outcome, ())
            assert coarsen(answer, level).radius_km == area.radius_km


@pytest.mark.parametrize("level", COARSE)
def test_the_circle_of_an_area_holds_its_cities(level):
    known, groups = places.gazetteer(), coarse._groups()
    cities = np.random.default_rng(6).choice(len(known.cities), 300, replace=False)
    positions = [to_latlon(known.vectors[city]) for city in cities]
    for city, at, area in zip(cities, positions, coarse_places(positions, level), strict=True):
        assert area.radius_km in RADII_KM
        if groups.metropolises[city] == city:
            disc_km = min(known.radii_km[city], RADII_KM[-1])
            assert haversine_km(area.position, at) + disc_km <= area.radius_km + 1e-6


@pytest.mark.parametrize("level", COARSE)
@pytest.mark.parametrize("judge", ["", "off", "5"])
def test_a_coarse_answer_has_a_spread_and_no_probability(starter, tower, embedded_once, level, judge):
    """What was measured on exact answers holds for no circle that leaves out where in its area a photo lies."""
    sites = [Locator(starter.encoder, starter.gallery) for _ in range(2)]
    sites[1]._calibration = Measured(30.0)
    exact = LocateRequest(None, judge=judge).locate(tower, sites[1], Site(None, Settings()))
    assert (exact.radius_km, exact.probability) == (30.0, 0.8)
    ours, theirs = (
        LocateRequest(None, judge=judge).locate(tower, site, Site(None, Settings(precision=level))) for site in sites
    )
    assert (theirs.radius_km, theirs.probability) == (ours.radius_km, None)
    (area,) = coarse_places([theirs.position], level)
    assert theirs.radius_km >= area.radius_km and theirs.radius_km in RADII_KM


@pytest.mark.parametrize("level", COARSE)
def test_a_site_with_a_bound_withholds_answers_at_every_precision(starter, tower, embedded_once, level):
    site = Locator(starter.encoder, starter.gallery)
    for measured_km, withheld, least in (
        (150.0, "region", "region"),
        (600.0, "country", "country"),
        (5e3, "nothing", ""),
    ):
        site._calibration = Measured(measured_km)
        found = LocateRequest(None).locate(tower, site, Site(None, Settings(precision=level, abstain_km=100.0)))
        assert (found.withheld, found.probability) == (withheld, None)
        if least:
            coarser = max(level, least, key=LEVELS.index)
            (area,) = coarse_places([found.position], coarser)
            assert (found.position, found.place) == (area.position, area.place)
            assert found.radius_km >= area.radius_km


def test_nearest_cities_are_those_of_a_search_through_all():
    known, groups = places.gazetteer(), coarse._groups()
    rng = np.random.default_rng(3)
    cities = [to_latlon(vector) for vector in known.vectors[rng.choice(len(known.vectors), 200)]]
    around = [destination(at, float(rng.uniform(0, 360)), float(rng.exponential(20))) for at in cities]
    anywhere = [to_latlon(vector) for vector in rng.normal(size=(200, 3))]
    corners = [LatLon(lat, lon) for lat in (-90, -89.9, 0, 16, 90) for lon in (-180, -179.99, 0, 64, 179.99)]
    degrees = np.array([(at.lat, at.lon) for at in (*cities, *around, *anywhere, *corners)])
    edges_km = np.array([arc_km(point[None], known.vectors)[0] for point in unit_vectors_of(degrees)])
    expected = groups.metropolises[(edges_km - known.radii_km).argmin(axis=1)]
    assert np.array_equal(nearest_cities(degrees), expected)
    assert [nearest_cities(row[None])[0] for row in degrees[:50]] == expected[:50].tolist()
    assert np.array_equal(groups.metropolises[groups.metropolises], groups.metropolises)


@pytest.mark.parametrize("level", COARSE)
def test_an_area_holds_a_coarse_position_or_none_of_its_positions(level):
    rng = np.random.default_rng(4)
    exact = [to_latlon(vector) for vector in rng.normal(size=(300, 3))]
    public = coarse_positions(exact, level)
    for area in (read_area("Asia"), Circle(LatLon(40, 20), 1500.0), read_area("Brazil; Chad")):
        held = CoarseArea(area, level).holds(np.array([(at.lat, at.lon) for at in exact]))
        assert held.tolist() == area.holds(np.array([(at.lat, at.lon) for at in public])).tolist()
        assert str(CoarseArea(area, level)) == str(area)


def test_the_cities_of_a_gallerys_photos_are_looked_up_once(starter, monkeypatch):
    gallery = with_positions(starter.gallery, positions_of(starter.gallery))
    asked: list[int] = []

    def counted(positions):
        asked.append(len(positions))
        return nearest_cities(positions)

    monkeypatch.setattr("img2loc.retrieval.gallery.nearest_cities", counted)
    query = np.full(1280, 1280**-0.5, np.float32)
    for words in ("France", "Italy", "Asia"):
        for level in COARSE:
            gallery.search(query, 4, 4, CoarseArea(read_area(words), level))
    assert asked == [260]

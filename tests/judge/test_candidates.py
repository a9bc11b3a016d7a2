"""Candidates and the rule that chooses among them: right more often than what it replaces, and sound anywhere."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.geo.sphere import destination, haversine_km
from img2loc.judge.candidates import MAX_CANDIDATES, MERGE_KM, PARTS, rank_candidates
from img2loc.types import LatLon, Neighbour
from tests.fakes.simulated_lmm import CHOOSES, COUNTS, ablation, scenes

PARIS, LIMA, SUVA = LatLon(48.8584, 2.2945), LatLon(-12.05, -77.04), LatLon(-18.14, 178.44)
POSITIONS = st.builds(
    LatLon,
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 0.0, 89.999999])),
    st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 179.999999, 0.0])),
)
NEIGHBOURS = st.builds(Neighbour, st.integers(0, 99), POSITIONS, st.floats(-1, 1))


def near(*found: tuple[LatLon, float]) -> list[Neighbour]:
    return [Neighbour(row, position, similarity) for row, (position, similarity) in enumerate(found)]


def fit(places):
    """Something that depends on the place alone, within a wide range."""
    return np.array([40 * np.sin(place.lat) - 40 * np.cos(3 * place.lon) for place in places])


def test_without_witnesses_there_are_none():
    assert rank_candidates([], []) == () == rank_candidates([], [], fit)


def test_one_is_all():
    (only,) = rank_candidates([PARIS], [])
    assert (only.position, only.score, only.answers, only.agreement) == (PARIS, 1, 1, 1)
    assert only.density == only.likelihood == 0
    (only,) = rank_candidates([], near((PARIS, 0.5)), fit)
    assert only.score == only.density == only.likelihood == 1 and only.answers == 0


def test_all_equal_are_one():
    (only,) = rank_candidates([SUVA] * 5, near(*[(SUVA, 0.3)] * 16), fit)
    assert only.answers == 5 and only.score == pytest.approx(1)


def test_what_lies_close_together_speaks_for_one_place():
    around = [destination(PARIS, bearing, 5) for bearing in range(0, 360, 60)]
    best, other = rank_candidates([*around, PARIS, LIMA], [])
    assert best.position == PARIS and best.answers == 7 and other.position == LIMA and other.answers == 1
    assert best.score == pytest.approx(7 / 8, abs=0.01)


@pytest.mark.parametrize("middle", [LatLon(-18, -180), LatLon(90, 0), LatLon(-90, 0)], ids=["antimeridian", "n", "s"])
def test_the_antimeridian_and_the_poles_are_places_like_others(middle: LatLon):
    around = [destination(middle, bearing, 8) for bearing in range(0, 360, 45)]
    found = rank_candidates(around, near((destination(middle, 90, 3), 0.9), (LIMA, 0.1)))
    assert found[0].answers == 8 and haversine_km(found[0].position, middle) <= 8.01
    assert [one.position for one in found[1:]] == [LIMA]


def test_fit_and_neighbours_overrule_an_answer_and_agreement_overrules_them():
    neighbours = near((LIMA, 0.9), (LIMA, 0.9), (SUVA, 0.2))
    assert rank_candidates([PARIS], neighbours)[0].position == LIMA
    assert rank_candidates([PARIS] * 6, neighbours)[0].position == PARIS

    def likes_lima(places):
        return np.array([5.0 if place == LIMA else 0.0 for place in places])

    assert rank_candidates([PARIS] * 6, neighbours, likes_lima)[0].position == LIMA


@settings(max_examples=150, deadline=None)
@given(st.lists(POSITIONS, max_size=12), st.lists(NEIGHBOURS, max_size=16), st.booleans(), st.randoms())
def test_scores_are_shares_anywhere_on_earth_in_any_order(answers, neighbours, judged, shuffler: random.Random):
    found = rank_candidates(answers, neighbours, fit if judged else None)
    assert bool(found) == bool(answers or neighbours) and len(found) <= MAX_CANDIDATES
    for part in ("score", *PARTS):
        shares = np.array([getattr(one, part) for one in found])
        assert np.isfinite(shares).all() and (shares >= 0).all()
        assert not shares.any() or shares.sum() == pytest.approx(1)
    if found:
        assert sum(one.score for one in found) == pytest.approx(1)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one, other in itertools.combinations(found, 2):
        assert haversine_km(one.position, other.position) > MERGE_KM * 0.999
    shuffler.shuffle(answers)
    shuffler.shuffle(neighbours)
    again = rank_candidates(answers, neighbours, fit if judged else None)
    assert [one.score for one in again] == pytest.approx([one.score for one in found], abs=1e-6)


def test_a_thousand_candidates_are_cut_to_the_best():
    places = [LatLon(lat, lon) for lat in range(-80, 81, 10) for lon in range(-180, 180, 10)]
    found = rank_candidates([*places, PARIS, PARIS], [])
    assert len(found) == MAX_CANDIDATES and found[0].position == PARIS


@pytest.fixture(scope="module")
def chosen():
    """How often each way of choosing is right, on models whose law of error is known."""
    return ablation(scenes(350, seed=11))


def test_a_choice_that_is_no_better_than_an_answer_does_no_harm_and_a_good_one_helps(chosen):
    """Right 38% of the time is what a careful study found."""
    weak, middling, good = (
        chosen[f"the rule with a choice that is right {share:.0%} of the time"] for share in CHOOSES
    )
    assert weak > chosen["the rule"] - 0.02 and good > middling > chosen["the rule"]
    without_fit = [chosen[f"without fit, with a choice that is right {share:.0%} of the time"] for share in CHOOSES]
    assert without_fit[0] > chosen["without fit"] - 0.02 and without_fit[2] > without_fit[1] > chosen["without fit"]
    for share in CHOOSES:  # it is heard, and does not decide
        alone = chosen[f"a choice that is right {share:.0%} of the time, alone"]
        assert alone < chosen[f"the rule with a choice that is right {share:.0%} of the time"]


def test_the_rule_chooses_better_than_what_it_replaces(chosen):
    """Each witness, left out, is missed; docs/judge.md has more of it."""
    rule = chosen["the rule"]
    single = max(chosen[f"prompt {count}, one answer"] for count in COUNTS)
    midst = max(chosen[f"prompt {count}, the midst of three"] for count in COUNTS)
    assert rule > max(chosen["majority"], midst, single, chosen["random"], chosen["vote"]) + 0.05
    for without in ("without fit", "without neighbours", "without answers"):
        assert rule > chosen[without] - 0.005, without
    assert chosen["without fit"] > chosen["majority"] and chosen["the best there was"] > rule

"""What was found, in words: answer, evidence and legend, which stay words whatever is in them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from img2loc.geo.sphere import destination
from img2loc.judge.sampling import Judge
from img2loc.locator import Ask, Locator
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
from img2loc.web.i18n import ENGLISH
from img2loc.web.render import evidence
from img2loc.web.render import prediction as report

PARIS = LatLon(48.8584, 2.2945)
NASTY = "<img src=x onerror=alert(1)> ${alert(2)} {{3}} `4` \\u003cb\\u003e"


def predicted(**changes: object) -> Prediction:
    here = Neighbour(0, PARIS, 0.55, PhotoRecord("1", "An Author", "https://example.org/1", "CC BY 4.0"))
    return replace(
        Prediction(
            PARIS,
            7.3,
            "vote",
            Place("Paris", "France", "FR", 3.0),
            Vote(PARIS, 7.3, 16),
            Retrieval((here,), (here,)),
            "",
            None,
            (
                ("embed", 0.1),
                ("search", 0.01),
                ("vote", 0.01),
                ("ask", 0.5),
                ("judge", 0.01),
                ("choose", 0.5),
                ("place", 0.01),
            ),
        ),
        **changes,
    )


def test_words_of_models_and_galleries_stay_words():
    outcome = Outcome(OutcomeKind.ANSWERED, PARIS, NASTY, NASTY, "", (Reply(NASTY, NASTY, 1.0),))
    photo = PhotoRecord("1", NASTY, "javascript:alert(1)", NASTY)
    retrieval = Retrieval((Neighbour(0, PARIS, 0.5, photo),), ())
    prediction = predicted(method="lmm", radius_km=None, outcome=outcome, retrieval=retrieval)
    failed = predicted(outcome=Outcome(OutcomeKind.PROVIDER_ERROR, message=NASTY), place=Place(NASTY, "", "", 1.0))
    for fragment in (
        report.answer(prediction, truth=None),
        report.answer(failed, truth=None),
        evidence.neighbours("nearest", retrieval.nearest, PARIS),
    ):
        assert not any(sign in fragment for sign in ("<img", "${", "{{", "`", "\\", "javascript:"))
        assert "&lt;img" in fragment


def test_a_table_links_to_photos_on_the_web_only():
    assert 'href="https://example.org/1"' in evidence.neighbours("nearest", predicted().retrieval.nearest, PARIS)


def test_an_author_is_a_name_and_a_licence_a_licence():
    photo = PhotoRecord("1", "An Author https://example.org/x?y", "https://example.org/1", "CC0 1.0 (about page; so)")
    shown = evidence.neighbours("nearest", [Neighbour(0, PARIS, 0.5, photo)], PARIS)
    assert ">An Author</a> · CC0 1.0</small>" in shown


def test_the_answer_says_how_far_the_evidence_lies():
    away = Neighbour(0, destination(PARIS, 90, 100), 0.4)
    text = report.answer(predicted(retrieval=Retrieval((away,), ())), truth=None)
    assert "was taken 100 km from here; of the 1 nearest, 0 within 25 km." in text


def test_no_position_is_said_plainly():
    nothing = predicted(position=None, radius_km=None, method="none", place=None, vote=None)
    text = report.answer(nothing, truth=None)
    assert "No position" in text and "openstreetmap" not in text


def test_the_legend_explains_what_is_drawn():
    assert "true position" not in evidence.legend(predicted(), None)
    assert "true position" in evidence.legend(predicted(), PARIS)
    assert "the neighbours' vote" in evidence.legend(predicted(method="lmm", radius_km=None), None)


def test_a_candidates_parts_are_those_that_count():
    """Without a location encoder nothing is known of the fit, and none was chosen where nobody was asked."""
    blind = evidence.candidates(predicted(candidates=(Candidate(PARIS, 1.0, 1, 1.0, 0.5, 0.0),)))
    assert "answers · vote</small>" in blind and "100% · 50%</small>" in blind
    seeing = evidence.candidates(predicted(candidates=(Candidate(PARIS, 1.0, 1, 1.0, 0.5, 0.25),)))
    assert "answers · vote · fit</small>" in seeing and "100% · 50% · 25%</small>" in seeing


def test_every_stage_has_words(starter: Locator, tower):
    stages = []
    starter.locate(tower, Ask(judge=Judge()), on_stage=stages.append)
    assert set(stages) == set(report.STAGES) - {"ask", "choose"}
    timings = evidence.timings(predicted())
    assert all(ENGLISH(name) in timings for name in report.STAGES.values())


def test_the_street_map_is_no_wider_than_a_town_and_no_narrower_than_streets():
    for radius_km, high in ((None, 0.7), (3.0, 3.0), (900.0, 5.0)):
        box = re.search(r"bbox=([\d.,-]+)", evidence.street(PARIS, radius_km))
        west, south, east, north = map(float, box[1].split(","))
        assert (north - south) * 111.2 / 2 == pytest.approx(high, rel=0.01) and west < PARIS.lon < east
    assert evidence.street(None, None) == ""

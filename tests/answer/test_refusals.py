"""A model that will not answer isn't asked again, and one that can't tell is."""

import json
from pathlib import Path

import pytest

from img2loc.answer.angles import Problem
from img2loc.answer.ask import ask, parse
from img2loc.answer.refusals import refuses
from img2loc.types import OutcomeKind
from tests.fakes.scripted_lmm import ScriptedLMM

CASES = json.loads((Path(__file__).parent / "cases" / "refusals.json").read_text("utf-8"))


@pytest.mark.parametrize("text", CASES["refused"])
def test_a_model_that_will_not_answer_is_not_asked_again(text):
    assert refuses(text)
    lmm = ScriptedLMM([text, "48.8584, 2.2945"])
    assert (ask(lmm, "Where?", b"jpeg").kind, len(lmm.asked)) == (OutcomeKind.REFUSED, 1)


@pytest.mark.parametrize("text", CASES["cannot_tell"])
def test_a_model_that_cannot_tell_is_asked_for_a_guess(text):
    assert not refuses(text)
    lmm = ScriptedLMM([text, "48.8584, 2.2945"])
    assert (ask(lmm, "Where?", b"jpeg").kind, len(lmm.asked)) == (OutcomeKind.REPAIRED, 2)


def test_a_refusal_that_names_a_position_all_the_same_is_an_answer():
    lmm = ScriptedLMM(["I can't help with private homes. Best guess: 48.8584, 2.2945"])
    assert ask(lmm, "Where?", b"jpeg").kind is OutcomeKind.ANSWERED


def test_null_island_is_no_refusal_whatever_comes_before():
    empty = "The file is an empty grey tile, so I cannot give any estimate.\n\nLatitude: 0.0\nLongitude: 0.0"
    assert parse(empty).problem is Problem.NULL_ISLAND

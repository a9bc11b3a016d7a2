import json
import re

import pytest

from img2loc.answer.prompt import (
    DEFAULT_TEMPLATE,
    REPAIR,
    TEMPLATES,
    check_template,
    chosen_template,
    render,
    spots,
    template_named,
)
from img2loc.errors import ConfigError
from img2loc.lmm.request import ANSWER_SCHEMA
from img2loc.types import LatLon, Neighbour, Retrieval


def _neighbours(*positions):
    return tuple(Neighbour(row, LatLon(*position), 0.9) for row, position in enumerate(positions))


NEAR = _neighbours((48.8584, 2.2945), (-33.86, 151.2))
FAR = _neighbours((64.1, -21.9))
BOTH, NO_FAR, NO_NEAR, NOTHING = Retrieval(NEAR, FAR), Retrieval(NEAR, ()), Retrieval((), FAR), Retrieval((), ())


def test_the_default_template_is_accepted_and_needs_no_filling_by_hand():
    check_template(DEFAULT_TEMPLATE)
    assert "$" not in render(DEFAULT_TEMPLATE, BOTH)


def test_no_number_stands_in_the_words_that_models_might_echo():
    texts = [template_named(name) for name in TEMPLATES]
    for text in (*texts, render(DEFAULT_TEMPLATE, NOTHING), REPAIR, json.dumps(ANSWER_SCHEMA)):
        assert not re.search(r"\d", text)


def test_the_schema_is_strict_and_its_keys_are_those_that_the_prompt_asks_for():
    properties = ANSWER_SCHEMA["properties"]
    assert list(properties) == ANSWER_SCHEMA["required"] == ["latitude", "longitude", "place", "reasoning"]
    assert [item["type"] for item in properties.values()] == ["number", "number", "string", "string"]
    assert ANSWER_SCHEMA["additionalProperties"] is False
    for text in (DEFAULT_TEMPLATE, REPAIR):
        assert all(f'"{key}"' in text for key in properties)


def test_coordinates_stand_in_rank_order_with_five_decimals():
    text = render("near $nearest\nfar ${farthest}", BOTH)
    assert text == "near (48.85840, 2.29450), (-33.86000, 151.20000)\nfar (64.10000, -21.90000)"


@pytest.mark.parametrize(
    ("retrieval", "has_near", "has_far"), [(BOTH, True, True), (NO_FAR, True, False), (NO_NEAR, False, True)]
)
def test_switching_a_list_off_takes_its_line_out_of_the_default_prompt(retrieval, has_near, has_far):
    text = render(DEFAULT_TEMPLATE, retrieval)
    assert ("look similar" in text) is has_near
    assert ("dissimilar" in text) is has_far
    assert len(text.splitlines()) == 3 + has_near + has_far
    assert "\n\n" not in text


def test_without_lists_the_default_prompt_still_asks_and_says_how_to_answer():
    text = render(DEFAULT_TEMPLATE, NOTHING)
    assert "Guess where" in text and "JSON" in text and "similar" not in text


def test_an_empty_list_beside_a_full_one_on_a_line_reads_none():
    assert render("near $nearest, far $farthest", NO_FAR).endswith("far none")


def test_a_prompt_of_one_line_is_never_dropped_whole():
    assert render("near $nearest, far $farthest", NOTHING) == "near none, far none"


def test_two_dollars_write_one():
    assert render("cost $$5\n$nearest\n$farthest", BOTH).startswith("cost $5\n")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("only $nearest", ["lacks $farthest"]),
        ("only $farthest", ["lacks $nearest"]),
        ("near $nearest_list", ["lacks $farthest"]),
        ("$nearest $farthest $place", ["unknown placeholder $place"]),
        ("$Nearest $farthest $nearest", ["unknown placeholder $Nearest"]),
        ("$nearest $farthest for $5", ["'$$'"]),
        ("$nearest $farthest $", ["'$$'"]),
    ],
)
def test_a_bad_template_is_refused_in_one_sentence_by_check_and_render_alike(template, words):
    for call in (lambda: check_template(template), lambda: render(template, BOTH)):
        with pytest.raises(ConfigError) as caught:
            call()
        message = str(caught.value)
        assert all(word in message for word in words)
        assert message.endswith(".") and message.count(". ") == 0


def test_a_prompt_is_not_changed_by_rendering_another():
    before = render(DEFAULT_TEMPLATE, NO_FAR)
    render(DEFAULT_TEMPLATE, BOTH)
    assert render(DEFAULT_TEMPLATE, NO_FAR) == before


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_named_template_can_be_filled_with_any_lists(name):
    for retrieval in (BOTH, NO_FAR, NO_NEAR, NOTHING):
        text = render(template_named(name), retrieval)
        assert "$" not in text and "JSON" in text and "none" not in text
        assert ("48.85840" in text) is (bool(retrieval.nearest) and name != "zero-shot")
        assert ("64.10000" in text) is (bool(retrieval.farthest) and name != "zero-shot")


def test_the_files_are_the_names():
    from importlib import resources

    assert {file.name for file in (resources.files("img2loc") / "prompts").iterdir()} == {f"{n}.txt" for n in TEMPLATES}


def test_zero_shot_asks_what_the_paper_asks_without_neighbours():
    assert render(template_named("zero-shot"), BOTH) == render(DEFAULT_TEMPLATE, NOTHING)


def test_numbered_lists_name_places_similarities_distances_and_counts():
    beside = Neighbour(2, LatLon(48.8590, 2.2950), 0.7)
    text = render("near:$nearest_list\nfar:$farthest_list", Retrieval((*NEAR, beside), FAR))
    assert text.splitlines() == [
        "near:",
        "1. 48.85840, 2.29450 (Paris, France): similarity 0.90, 2 photos",
        "2. -33.86000, 151.20000 (Sydney, Australia): similarity 0.90, 16,963 km from number 1",
        "far:",
        "1. 64.10000, -21.90000 (Kópavogur, Iceland): similarity 0.90",
    ]


def test_pairs_are_json():
    text = render("$nearest_pairs\n$farthest_pairs", BOTH)
    assert [json.loads(line) for line in text.splitlines()] == [[[48.8584, 2.2945], [-33.86, 151.2]], [[64.1, -21.9]]]


def test_one_place_is_within_a_kilometre_of_its_best_photo_also_across_the_antimeridian():
    near = _neighbours((0.0, 179.9999), (0.0, -179.9999), (0.0, 179.98), (0.0, 179.9995), (0.008, 179.9999))
    assert [(spot.first.row, spot.count) for spot in spots(near)] == [(0, 4), (2, 1)]
    assert spots(()) == []


def test_a_prompt_is_chosen_by_name_or_given_in_words():
    assert chosen_template("") == chosen_template(" paper ") == DEFAULT_TEMPLATE
    assert chosen_template("g3") == template_named("g3")
    assert chosen_template("Where is this?") == "Where is this?"
    assert chosen_template("$nearest$farthest") == "$nearest$farthest"


@pytest.mark.parametrize("name", ["numbred", "Paper", "paper.txt", "../prompt", "zeroshot"])
def test_a_misspelt_name_is_no_prompt(name):
    with pytest.raises(ConfigError, match="paper, numbered, g3, zero-shot"):
        chosen_template(name)


def test_a_prompt_without_end_is_refused_unread():
    with pytest.raises(ConfigError, match="The prompt has 300,000 characters; use at most 20,000"):
        check_template("$" * 300_000)
    check_template("x" * 20_000)

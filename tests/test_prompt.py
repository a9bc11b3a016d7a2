import json
import re

import pytest

from img2loc.errors import ConfigError
from img2loc.prompt import ANSWER_SCHEMA, DEFAULT_TEMPLATE, REPAIR, check_template, render
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
    for text in (render(DEFAULT_TEMPLATE, NOTHING), REPAIR, json.dumps(ANSWER_SCHEMA)):
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
        ("neither", ["$nearest and $farthest"]),
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

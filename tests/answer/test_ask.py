import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.answer.angles import Problem, Unreadable
from img2loc.answer.ask import MAX_PLACE_CHARS, MAX_QUOTED_CHARS, MAX_REASONING_CHARS, Answer, ask, parse
from img2loc.answer.prompt import REPAIR
from img2loc.errors import LMMTimeoutError
from img2loc.lmm import Turn
from img2loc.types import LatLon, OutcomeKind, Reply
from tests.fakes.scripted_lmm import ScriptedLMM

PARIS = LatLon(48.8584, 2.2945)
GOOD = '{"latitude": 48.8584, "longitude": 2.2945, "place": "Eiffel Tower", "reasoning": "Iron lattice."}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here you are:\n\n{GOOD}\n\nI hope this helps {{a lot}}!",
        GOOD.replace("}", ",}"),
        GOOD.replace('"', "'"),
        GOOD.replace('"', "\u201d"),
        GOOD.replace('"latitude"', "latitude").replace('"longitude"', "longitude"),
        GOOD.replace("48.8584", '"48.8584\u00b0 N"').replace("2.2945", '"2.2945\u00b0 E"'),
        GOOD.replace("48.8584", '"48,8584"').replace("2.2945", '"2,2945"'),
        GOOD.replace("48.8584,", "48.8584, // from the skyline\n"),
        GOOD.replace("48.8584", "+48.8584"),
        GOOD.replace("latitude", "lat").replace("longitude", "lng"),
        GOOD.replace("latitude", "Latitude").replace("longitude", "Long"),
        GOOD.replace("latitude", "Latitude (deg)").replace("longitude", "predicted_longitude"),
        f'{{"answer": {GOOD}}}'.replace(
            '{"answer"', '{"place": "Eiffel Tower", "reasoning": "Iron lattice.", "answer"'
        ),
        '{"coordinates": [48.8584, 2.2945], "place": "Eiffel Tower", "reasoning": "Iron lattice."}',
        '{"coordinates": "48.8584, 2.2945", "place": "Eiffel Tower", "reasoning": "Iron lattice."}',
        '{"coordinates": {"lat": 48.8584, "lon": 2.2945}, "place": "Eiffel Tower", "reasoning": "Iron lattice."}',
        '{"type": "Point", "coordinates": [2.2945, 48.8584], "place": "Eiffel Tower", "reasoning": "Iron lattice."}',
        '{"gps": ["48.8584", "2.2945"], "location": "Eiffel Tower", "explanation": "Iron lattice."}',
        f'{{"latitude": 1.1, "longitude": 2.2}} was my first idea. Final: {GOOD}',
        f'[{GOOD}, {{"latitude": 1.1, "longitude": 2.2}}]',
        f'<think>Perhaps {{"latitude": 1.1, "longitude": 2.2}}?</think>{GOOD}',
        f"Perhaps 1.11, 2.22?</think>\n{GOOD}",
        f"{'The roofs look French. ' * 4000}\n{GOOD}",
        f"{GOOD}\n{'The roofs look French. ' * 4000}",
    ],
)
def test_json_is_read_with_place_and_reasons_however_it_comes(text):
    assert parse(text) == Answer(PARIS, "Eiffel Tower", "Iron lattice.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", Problem.EMPTY),
        (" \n\t", Problem.EMPTY),
        ("<think>It may be 48.85, 2.29</think>", Problem.EMPTY),
        ("<think>It may be 48.85, 2.29", Problem.EMPTY),
        ("null", Problem.ABSENT),
        ("N/A", Problem.ABSENT),
        ("{}", Problem.ABSENT),
        ("[]", Problem.ABSENT),
        ("{{{{", Problem.ABSENT),
        ('{"latitude": null, "longitude": null}', Problem.ABSENT),
        ('{"latitude": "", "longitude": ""}', Problem.ABSENT),
        ('{"latitude": "unknown", "longitude": "unknown", "reasoning": "It resembles (48.85, 2.29)."}', Problem.ABSENT),
        ('{"latitude": 48.85}', Problem.ABSENT),
        ('{"latitude": true, "longitude": false}', Problem.ABSENT),
        ('{"latitude": "48 to 49", "longitude": "2 to 3"}', Problem.ABSENT),
        ('{"coordinates": "unknown", "note": "seen at (48.85, 2.29)"}', Problem.ABSENT),
        ('{"coordinates": []}', Problem.ABSENT),
        ('{"latitude": NaN, "longitude": Infinity}', Problem.OFF_EARTH),
        ('{"latitude": 95, "longitude": 10}', Problem.OFF_EARTH),
        ('{"latitude": 10, "longitude": 180.5}', Problem.OFF_EARTH),
        ('{"latitude": 1e400, "longitude": 1}', Problem.OFF_EARTH),
        ('{"latitude": 0.0, "longitude": 0.0}', Problem.NULL_ISLAND),
        ('{"latitude": 0, "longitude": -0.0, "reasoning": "like 48.85, 2.29"}', Problem.NULL_ISLAND),
        ("I'm sorry, but I can't help with that.", Problem.REFUSED),
        ("I\u2019m sorry, I can\u2019t identify where this was taken.", Problem.ABSENT),
        ("I cannot provide the location of private homes.", Problem.REFUSED),
        ("This goes against our content policy.", Problem.REFUSED),
        ("I cannot determine the exact location of this photo.", Problem.ABSENT),
        ("I can't help but admire the sky.", Problem.ABSENT),
    ],
)
def test_what_is_no_answer_says_why(text, problem):
    found = parse(text)
    assert isinstance(found, Unreadable) and found.problem is problem
    assert found.reason.startswith("it")


def test_a_refusal_that_names_a_position_all_the_same_is_an_answer():
    assert parse("I'm sorry, I can't be exact. Best guess: 48.8584, 2.2945").position == PARIS


def test_prose_is_kept_as_the_reasons_and_a_bare_pair_has_none():
    assert parse("Roofs like these: 48.8584, 2.2945.") == Answer(PARIS, "", "Roofs like these: 48.8584, 2.2945.")
    assert parse("48.8584, 2.2945") == Answer(PARIS)


def test_city_and_country_make_a_place():
    assert parse('{"city": "Paris", "country": "France", "lat": 48.8584, "lon": 2.2945}').place == "Paris, France"


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": {"lat": 1.5, "lng": 2.5, "place": "A Town", "reason": "A sign."}}',
        '{"result": {"location": {"coordinates": {"lat": 1.5, "lon": 2.5}}}, "name": "A Town", "analysis": "A sign."}',
        '{"whatever": {"Latitude": "1.5", "Longitude": "2.5"}, "Place Name": "A Town", "Explanation": "A sign."}',
        '{"guesses": [{"lat": 1.5, "lon": 2.5, "name": "A Town", "clues": ["A sign."]}, {"lat": 9, "lon": 9}]}',
        '{"output": "{\\"lat\\": 1.5, \\"lon\\": 2.5, \\"place\\": \\"A Town\\", \\"reason\\": \\"A sign.\\"}"}',
        '{"location": "1.5, 2.5", "address": "A Town", "evidence": "A sign."}',
        '{"location": {"latitud": 1.5, "longitud": 2.5, "city": "A Town"}, "rationale": "A sign."}',
        '{"similar_places": [{"lat": 9, "lon": 9, "place": "B"}], "纬度": 1.5, "经度": 2.5, "place": "A Town", '
        '"reasoning": "A sign."}',
    ],
)
def test_place_and_reasons_are_kept_whatever_container_holds_them(text):
    assert parse(text) == Answer(LatLon(1.5, 2.5), "A Town", "A sign.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"notes": "Like the tower at 48.8584, 2.2945.", "geodata": {"latitude": null, "longitude": null}}', "absent"),
        ('{"data": {"lat": null, "lon": null}}\nIt resembles 48.8584, 2.2945.', "absent"),
        ('{"image": {"geo": {"lat": 0, "lon": 0.0}}}\nIt resembles 48.8584, 2.2945.', "null_island"),
        ('{"similar_place": {"lat": 48.8584, "lon": 2.2945}, "answer": null}', "absent"),
        ('{"lat": 40.0, // a placeholder, to be replaced\n "lon": -100.0}', "absent"),
        ("I will give a placeholder: 40.0, -100.0", "absent"),
    ],
)
def test_no_position_is_taken_from_beside_an_empty_object_or_from_a_placeholder(text, problem):
    assert parse(text).problem == problem


def test_reasons_may_hold_braces():
    words = "A sign reads {{open}}, {'a': 1}."
    assert parse(json.dumps({"latitude": 48.8584, "longitude": 2.2945, "reasoning": words})).reasoning == words


def test_a_date_that_is_a_placeholder_costs_no_position():
    assert parse("The watermark shows a future date or placeholder.\nCoordinates: 48.8584, 2.2945").position == PARIS


def test_a_name_under_location_does_not_hide_the_position_in_prose():
    assert parse('{"location": "Paris"}\nCoordinates: 48.8584, 2.2945').position == PARIS


def test_place_and_reasons_are_bounded_plain_text():
    wild = {
        "latitude": 1.5,
        "longitude": 2.5,
        "place": "A\x00\u202eB\n C" + "x" * 999,
        "reasoning": "\x1b[31m" + "y" * 9999,
    }
    answer = parse(json.dumps(wild))
    assert answer.place.startswith("AB Cx") and len(answer.place) == MAX_PLACE_CHARS
    assert answer.reasoning.isprintable() and len(answer.reasoning) == MAX_REASONING_CHARS


@pytest.mark.parametrize("value", [17, None, ["x"], {"a": 1}, ""])
def test_place_and_reasons_of_another_type_are_left_out(value):
    text = json.dumps({"latitude": 48.8584, "longitude": 2.2945, "place": value, "reasoning": value})
    assert parse(text) == Answer(PARIS)


@settings(max_examples=100, deadline=None)
@given(
    lat=st.floats(-90, 90, allow_nan=False),
    lon=st.floats(-180, 179.9, allow_nan=False),
    place=st.text(),
    indent=st.booleans(),
)
def test_any_json_answer_is_read_to_the_last_digit(lat, lon, place, indent):
    if (lat, lon) == (0, 0):
        return
    body = {"place": place, "latitude": lat, "longitude": lon, "reasoning": place}
    text = json.dumps(body, ensure_ascii=False, indent=2 if indent else None)
    assert parse(f"Sure:\n```json\n{text}\n```").position == LatLon(lat, lon)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                ['{"lat"', ":", "{", "}", "[", "]", ",", "'", '"', "\\", "48.85", "null", "//", "<think>", "\ud800"]
            )
        ).map("".join),
    )
)
def test_junk_never_raises(text):
    assert isinstance(parse(text), Answer | Unreadable)


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "{",
        "}",
        "[",
        "{}",
        '{"a":',
        '"',
        "'",
        "\\",
        "//",
        "<think>",
        "</think>",
        '{"a":1},',
        "1,",
        "(1, 2)",
        "lat:",
        "I cannot ",
    ],
)
def test_a_megabyte_of_junk_takes_less_than_a_second_or_so(unit):
    text = unit * (1_000_000 // len(unit))
    start = time.thread_time()
    parse(text)
    assert time.thread_time() - start < 1.5


def test_a_good_reply_is_answered_after_one_request():
    lmm = ScriptedLMM([GOOD])
    outcome = ask(lmm, "Where?", b"jpeg")
    assert (outcome.kind, outcome.position, outcome.message) == (OutcomeKind.ANSWERED, PARIS, "")
    assert (outcome.place, outcome.reasoning) == ("Eiffel Tower", "Iron lattice.")
    assert lmm.asked == [((Turn("user", "Where?"),), b"jpeg")]
    assert [reply.text for reply in outcome.replies] == [GOOD]


def test_an_unreadable_reply_is_sent_back_once_with_the_repair_turn():
    lmm = ScriptedLMM(["Somewhere in France.", GOOD])
    outcome = ask(lmm, "Where?", b"jpeg")
    assert (outcome.kind, outcome.position) == (OutcomeKind.REPAIRED, PARIS)
    assert lmm.asked[1] == (
        (Turn("user", "Where?"), Turn("assistant", "Somewhere in France."), Turn("user", REPAIR)),
        b"jpeg",
    )
    assert [reply.text for reply in outcome.replies] == ["Somewhere in France.", GOOD]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Somewhere.", "no coordinates"),
        ("", "empty"),
        ("0, 0", "placeholder"),
        ('{"lat": 95, "lon": 1}', "do not lie on Earth"),
    ],
)
def test_two_unreadable_replies_are_unparseable_and_nobody_is_asked_a_third_time(text, words):
    lmm = ScriptedLMM([text, text, GOOD])
    outcome = ask(lmm, "Where?", b"jpeg")
    assert (outcome.kind, outcome.position, len(outcome.replies)) == (OutcomeKind.UNPARSEABLE, None, 2)
    assert words in outcome.message and outcome.message.endswith(".")


def test_a_cut_reply_says_so():
    cut = Reply('{"latitude": 48', "m", 0.1, truncated=True)
    assert "cut off" in ask(ScriptedLMM([cut, cut]), "Where?", b"jpeg").message


@pytest.mark.parametrize(
    "refusal", [Reply("No.", "m", 0.1, refused=True), "I'm sorry, I can't assist with that request."]
)
def test_a_refusal_is_not_asked_again(refusal):
    lmm = ScriptedLMM([refusal, GOOD])
    outcome = ask(lmm, "Where?", b"jpeg")
    assert (outcome.kind, len(lmm.asked), len(outcome.replies)) == (OutcomeKind.REFUSED, 1, 1)
    assert "refuses" in outcome.message


def test_a_refusal_in_the_second_reply_is_a_refusal():
    outcome = ask(ScriptedLMM(["Hm.", Reply("No.", "m", 0.1, refused=True)]), "Where?", b"jpeg")
    assert (outcome.kind, len(outcome.replies)) == (OutcomeKind.REFUSED, 2)


@pytest.mark.parametrize("before", [[], ["Somewhere in France."]])
def test_a_provider_error_keeps_its_words_and_the_replies_so_far(before):
    outcome = ask(ScriptedLMM([*before, LMMTimeoutError("No reply within 3 s.")]), "Where?", b"jpeg")
    assert (outcome.kind, outcome.message) == (OutcomeKind.PROVIDER_ERROR, "No reply within 3 s.")
    assert [reply.text for reply in outcome.replies] == before


def test_neither_an_empty_nor_an_endless_reply_is_sent_back_as_it_is():
    for text in ("", "sky " * 100_000):
        lmm = ScriptedLMM([text, GOOD])
        ask(lmm, "Where?", b"jpeg")
        assert 0 < len(lmm.asked[1][0][1].text) <= MAX_QUOTED_CHARS

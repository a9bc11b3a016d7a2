"""The model's second turn: what it is shown, how its choice is read, and what goes to the server."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.errors import LMMTimeoutError
from img2loc.geo.sphere import destination, haversine_km
from img2loc.judge.candidates import rank_candidates, rescored, spread_km, with_choice
from img2loc.judge.choice import MAX_OPTIONS, choose, is_picture, make_options, read_choice, write_question
from img2loc.lmm import BACKENDS, BackendOptions, Picture, Turn, open_lmm, retry
from img2loc.lmm.request import ANSWER_SCHEMA
from img2loc.types import Candidate, LatLon, Neighbour, OutcomeKind, PhotoRecord, Reply
from tests.fakes.openai_server import KEY, OpenAIServer
from tests.fakes.scripted_lmm import ScriptedLMM
from tests.lmm.test_conformance import JPEG

PARIS, LIMA, SUVA = LatLon(48.8584, 2.2945), LatLon(-12.05, -77.04), LatLon(-18.14, 178.44)
PICTURE = "https://pictures.example.org/1/paris.JPG?width=512"
NEIGHBOURS = (
    Neighbour(0, destination(PARIS, 90, 5), 0.8, PhotoRecord("0", url="https://example.org/page")),
    Neighbour(1, PARIS, 0.7, PhotoRecord("1", url=PICTURE)),
    Neighbour(2, SUVA, 0.6),
)
FOUND = rank_candidates([PARIS, PARIS, LIMA], NEIGHBOURS)
SHOWN_HERE = make_options(FOUND, NEIGHBOURS)
A, B, C = (option.candidate.position for option in SHOWN_HERE)


def test_the_best_stand_from_west_to_east_with_what_speaks_for_them():
    assert FOUND[0].position != A == LIMA and C == SUVA and [option.letter for option in SHOWN_HERE] == ["A", "B", "C"]
    text = write_question(SHOWN_HERE, answers=3, neighbours=3)
    a, b, c = text.split("\n")[2:5]
    assert a == (
        "A. -12.05000, -77.04000 (Lima, Peru): 1 of 3 earlier guesses lie here, "
        "0 of the 3 most similar photos were taken here"
    )
    assert "2 of 3 earlier guesses" in b and "2 of the 3 most similar photos were taken here (" in b and "France" in b
    assert "0 of 3 earlier" in c and "Fiji" in c
    assert "guesses lie" not in write_question(SHOWN_HERE, answers=0, neighbours=3)
    # Nothing that could be echoed as an answer: the letters stand in the list alone.
    assert not any(f'"{letter}"' in text for letter in "ABCDE") and "{" not in text


def test_no_more_than_the_best_are_shown():
    found = rank_candidates([LatLon(0, lon) for lon in range(0, 90, 10)] + [LatLon(0, 40)] * 3, ())
    shown = make_options(found, ())
    assert len(shown) == MAX_OPTIONS and [option.candidate for option in shown if option.candidate.answers > 1] == [
        found[0]
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"choice": "B", "reasoning": "A tower."}', B),
        ('```json\n{"choice": "b"}\n```', B),
        ('{"choice": "B. 48.85840, 2.29450 (Paris, France)", "reasoning": ""}', B),
        ('{"choice": "Place C", "reasoning": "Not A."}', C),
        ('{"answer": "(A)"}', A),
        ("{'letter': 'C',}", C),
        ('<think>{"choice": "A"}</think>{"choice": "C"}', C),
        ('{"choice": "A"} No, wait: {"choice": "C"}', C),
        ("B", B),
        (" **B**. ", B),
        ("B)", B),
        ("The best choice is C, by its palms.", C),
        ("Candidate B fits best.", B),
        ('{"latitude": 48.9, "longitude": 2.3}', B),
        ("It was taken at -18.14, 178.44.", C),
    ],
)
def test_a_choice_is_read_however_it_comes(text: str, place: LatLon):
    assert read_choice(text, SHOWN_HERE)[0] == place


@pytest.mark.parametrize(
    "text",
    ["", "D", '{"choice": "E"}', '{"choice": null}', '{"choice": 2}', "A tower stands there.", "Place A or place B.",
     "the letter of the place", '{"choice": "A tower in the north"}', "<think>B</think>",
     '{"latitude": 10, "longitude": 10}', '{"choice": "the letter of the place"}', "I'm not sure, all of them."],
)  # fmt: skip
def test_what_is_no_choice_is_none(text: str):
    assert read_choice(text, SHOWN_HERE) == (None, "")


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_junk_is_read_without_an_error(text: str):
    place, _ = read_choice(text, SHOWN_HERE)
    assert place in (None, A, B, C)


@pytest.mark.parametrize(
    "unit", ["choice ", "choice is", "A ", "{", '{"choice":', "(", "choice" + " " * 999, "place \"'("]
)
def test_a_megabyte_of_junk_takes_less_than_a_second_or_so(unit: str):
    start = time.thread_time()
    read_choice(unit * (1_000_000 // len(unit)), SHOWN_HERE)
    assert time.thread_time() - start < 1.5


def test_each_end_of_the_question_is_typed():
    def asked(says):
        return choose(ScriptedLMM([says]), SHOWN_HERE, "Which?", JPEG)

    chosen = asked('{"choice": "A", "reasoning": "The\\nsea."}')
    assert (chosen.kind, chosen.position, chosen.reasoning) == (OutcomeKind.ANSWERED, A, "The sea.")
    assert asked("Hm.").kind is OutcomeKind.UNPARSEABLE and "none of the 3 places" in asked("Hm.").message
    assert "cut off" in asked(Reply('{"cho', "m", 0.1, truncated=True)).message
    for refusal in ("I'm sorry, I can't help with that.", Reply("", "m", 0.1, refused=True)):
        assert asked(refusal).kind is OutcomeKind.REFUSED
    failed = asked(LMMTimeoutError("Too late."))
    assert (failed.kind, failed.message, failed.replies) == (OutcomeKind.PROVIDER_ERROR, "Too late.", ())


def test_the_turn_names_the_letters_and_the_nearest_pictures():
    lmm = ScriptedLMM(["B"])
    choose(lmm, SHOWN_HERE, "Which?", JPEG)
    (((turn,), _),) = lmm.asked
    assert turn.letters == ("A", "B", "C") and turn.text == "Which?"
    assert turn.pictures == (Picture("A similar photo, from place B:", PICTURE),)


@pytest.mark.parametrize(
    "url",
    ["https://live.staticflickr.com/1/2_b.jpg", "https://example.org/a.png", "https://example.org:8443/x/A.WEBP#top"],
)
def test_a_picture_on_the_web_is_linked(url: str):
    assert is_picture(url)


@pytest.mark.parametrize(
    "url",
    ["", "http://example.org/a.jpg", "https://example.org/a", "https://example.org/?a.jpg", "https://10.0.0.1/a.jpg",
     "https://[::1]/a.jpg", "https://127.1/a.jpg", "https://localhost/a.jpg", "https://nas.local/a.jpg",
     "https://me:word@example.org/a.jpg", "https://example.org/a b.jpg", "https://example.org/ä.jpg", "https://[x/a.jpg",
     "https://github.com/o/r/blob/main/a.jpg", "https://commons.wikimedia.org/wiki/File:A.jpg", "file:///a.jpg",
     "https://metadata.google.internal/a.jpg", f"https://example.org/{'a' * 600}.jpg"],
)  # fmt: skip
def test_what_is_no_picture_on_the_web_is_not(url: str):
    assert not is_picture(url)


def test_a_choice_counts_an_eighth_of_all_other_voices():
    a = Candidate(PARIS, 0, 3, 0.5, 0.5, 0.0)
    b = Candidate(LIMA, 0, 3, 0.45, 0.45, 0.0)
    c = Candidate(SUVA, 0, 0, 0.05, 0.05, 0.0)
    assert with_choice([a, b, c], None) == rescored([a, b, c])
    found = with_choice([a, b, c], LIMA)
    assert [one.position for one in found] == [LIMA, PARIS, SUVA] and found[0].choice == 1 == sum(
        x.choice for x in found
    )
    assert found[0].score == pytest.approx((0.45 + 1 / 8) / (1 + 1 / 8))
    assert rescored(found, without=("choice",))[0].position == PARIS
    assert with_choice([a, b, c], SUVA)[0].position == PARIS  # nobody alone decides


def test_the_spread_holds_half_of_the_score():
    far = destination(PARIS, 90, 300)
    assert spread_km(rescored([Candidate(PARIS, 0, 6, 0.6, 0, 0), Candidate(LIMA, 0, 4, 0.4, 0, 0)])) == 25
    split = [Candidate(PARIS, 0, 4, 0.4, 0, 0), Candidate(far, 0, 3, 0.3, 0, 0), Candidate(LIMA, 0, 3, 0.3, 0, 0)]
    assert spread_km(rescored(split)) == pytest.approx(300)
    assert spread_km(rescored([split[0]])) == 25


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=12), st.randoms())
def test_half_of_the_score_lies_within_the_spread_anywhere(places, random):
    found = rank_candidates([LatLon(*place) for place in places], ())
    radius_km = spread_km(found)
    held = sum(one.score for one in found if haversine_km(one.position, found[0].position) <= radius_km * 1.000001)
    assert 25 <= radius_km <= 20_100 and held >= 0.5 - 1e-9
    chosen = with_choice(found, random.choice(found).position)
    assert sum(one.score for one in chosen) == pytest.approx(1)


REMOTE = [name for name, backend in BACKENDS.items() if backend.takes_base_url]


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


@pytest.fixture(params=REMOTE)
def lmm(request, server):
    return open_lmm(request.param, BackendOptions(api_key=KEY, model="gpt-test", base_url=server.base_url, timeout_s=5))


def _schema(request) -> dict:
    form = request.body["response_format"]
    return form["value"] if "value" in form else form["json_schema"]["schema"]


CHOICE_B = json.dumps({"choice": "B", "reasoning": "An iron lattice."})


def test_pictures_go_after_the_photo_and_the_schema_offers_the_letters(lmm, server):
    server.enqueue("good", text=CHOICE_B)
    outcome = choose(lmm, SHOWN_HERE, "Which?", JPEG)
    assert (outcome.kind, outcome.position, outcome.reasoning) == (OutcomeKind.ANSWERED, B, "An iron lattice.")
    (request,) = server.requests
    text, photo, label, picture = request.body["messages"][0]["content"]
    assert (text["text"], label["text"]) == ("Which?", "A similar photo, from place B:")
    assert photo["image_url"]["url"].startswith("data:image/jpeg") and picture["image_url"]["url"] == PICTURE
    assert _schema(request)["properties"]["choice"]["enum"] == ["A", "B", "C"]


def test_without_linked_pictures_only_the_photo_goes(lmm, server):
    server.enqueue("good", text=CHOICE_B)
    bare = tuple(replace(option, neighbours=()) for option in SHOWN_HERE)
    assert choose(lmm, bare, "Which?", JPEG).position == B
    assert len(server.requests[0].body["messages"][0]["content"]) == 2


@pytest.mark.parametrize(
    "words", ["image URLs are not supported, use base64", "Error while downloading the file.", "?"]
)
def test_a_server_that_refuses_pictures_is_asked_again_without(lmm, server, words: str):
    server.enqueue("bad_request", text=words)
    server.enqueue("good", text=CHOICE_B)
    assert choose(lmm, SHOWN_HERE, "Which?", JPEG).position == B
    assert [len(request.body["messages"][0]["content"]) for request in server.requests] == [4, 2]
    # Another link may be alive: the next choice is tried with its pictures, and a position keeps its own schema.
    server.enqueue("good", text=CHOICE_B)
    choose(lmm, SHOWN_HERE, "Which?", JPEG)
    lmm.reply((Turn("user", "Where?"),), JPEG)
    assert len(server.requests[2].body["messages"][0]["content"]) == 4
    assert _schema(server.requests[3]) == ANSWER_SCHEMA


def test_a_server_without_schemas_gets_pictures_all_the_same(lmm, server):
    server.enqueue("no_response_format")
    server.enqueue("good", text="Place B.")
    assert choose(lmm, SHOWN_HERE, "Which?", JPEG).position == B
    last = server.requests[-1].body
    assert last.get("response_format") is None and len(last["messages"][0]["content"]) == 4


def test_a_refused_photo_is_an_error_not_an_endless_loop(lmm, server):
    server.enqueue("bad_request", "bad_request")
    outcome = choose(lmm, SHOWN_HERE, "Which?", JPEG)
    assert outcome.kind is OutcomeKind.PROVIDER_ERROR and KEY not in outcome.message and len(server.requests) == 2

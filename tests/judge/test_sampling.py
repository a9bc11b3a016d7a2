"""Several answers: the one in their midst, every reply kept, no further request after an error."""

from __future__ import annotations

import json

import pytest

from img2loc.errors import ConfigError, LMMRateLimitError
from img2loc.judge.sampling import Judge, ask_all, central_outcome, nearest_outcome, read_judge, requests_of
from img2loc.types import LatLon, OutcomeKind, Reply


class Model:
    name = model = "fake"

    def __init__(self, *says):
        self.says = list(says)

    def reply(self, turns, jpeg):
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        text = said if isinstance(said, str) else json.dumps({"latitude": said[0], "longitude": said[1]})
        return Reply(text, "m", 0.1)


def central(*replies, samples):
    return central_outcome(ask_all(Model(*replies), ["Where?"], b"", samples=samples))


def test_the_answer_is_the_one_that_the_others_lie_closest_to():
    outcome = central((48.9, 2.4), (-33.9, 151.2), (48.8, 2.3), (48.7, 2.2), samples=4)
    assert outcome.kind is OutcomeKind.ANSWERED and outcome.position == LatLon(48.8, 2.3)
    assert len(outcome.replies) == 4


def test_answers_on_both_sides_of_the_antimeridian_are_close():
    assert central((0, 179.9), (0, -179.9), (0, 10), samples=3).position.lon in (179.9, -179.9)


def test_what_cannot_be_read_takes_no_part_but_is_kept():
    outcome = central("hm", "hm", (1.0, 2.0), samples=2)
    assert outcome.position == LatLon(1, 2) and [reply.text for reply in outcome.replies][:2] == ["hm", "hm"]


def test_without_any_position_the_last_failure_stands():
    outcome = central(*["hm"] * 4, samples=2)
    assert outcome.kind is OutcomeKind.UNPARSEABLE and len(outcome.replies) == 4


@pytest.mark.parametrize("samples", [0, -1, 21])
def test_a_count_out_of_range_is_refused(samples):
    with pytest.raises(ConfigError, match="samples must be 1 to 20"):
        ask_all(Model(), ["Where?"], b"", samples=samples)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("", None), (" off ", None), ("OFF", None), ("0", (0,)), ("0,5,10,15", (0, 5, 10, 15)), (" 3, 3 ,50", (3, 50))],
)
def test_judge_is_read(text: str, counts):
    assert read_judge(text) == (counts and Judge(counts))


@pytest.mark.parametrize("text", ["0,5+choice", " 0, 5 + CHOICE ", "0,5 choice"])  # the last as an address has it
def test_judge_may_have_a_choice_at_the_end(text: str):
    judge = read_judge(text)
    assert judge == Judge((0, 5), choice=True) and str(judge) == "0,5+choice" and read_judge(str(judge)) == judge


def test_how_many_requests_a_photo_takes():
    assert [requests_of(judge, 3) for judge in (None, Judge((0, 5)), Judge((0, 5), choice=True), Judge())] == [
        3,
        6,
        7,
        0,
    ]
    assert requests_of(None) == 1


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "-1",
        "51",
        "1,,2",
        "1;2",
        "0,1,2,3,4,5,6,7,8",
        "1.5",
        "٣",
        "1" * 5000,
        "99,9",
        "choice",
        "+choice",
        "off+choice",
        "0+1",
        "0+choices",
        "0+",
        "1," * 99 + "x",
        "1," * 99 + "9" * 5000,
        "1," * 500_000,
        "1," * 99 + "1",
    ],
)
def test_judge_that_is_none_gets_a_sentence(text: str):
    with pytest.raises(ConfigError, match=r"^judge must be off, or 1 to 8 numbers from 0 to 50 .{1,130}\.$"):
        read_judge(text)


def test_each_prompt_is_asked_until_the_provider_fails_and_what_came_before_counts():
    model = Model((1, 1), (2, 2), LMMRateLimitError("Wait."), (3, 3))
    outcomes = ask_all(model, ["a", "b", "c"], b"", samples=2)
    assert model.says == [(3, 3)] and central_outcome(outcomes).position == LatLon(1, 1)
    assert [outcome.position for outcome in outcomes] == [LatLon(1, 1), LatLon(2, 2), None]
    chosen = nearest_outcome(outcomes, LatLon(2.1, 2))
    assert chosen.position == LatLon(2, 2) and len(chosen.replies) == 2
    for position in (None, LatLon(0, 0)):
        assert nearest_outcome(outcomes[2:], position).kind is OutcomeKind.PROVIDER_ERROR

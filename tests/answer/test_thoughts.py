"""What a model weighs in its thoughts is not its answer, whatever marks stand around them."""

from __future__ import annotations

import pytest

from img2loc.answer.angles import Problem
from img2loc.answer.ask import parse
from img2loc.types import LatLon

ANSWER = '{"latitude": 48.8584, "longitude": 2.2945}'
MARKS = (
    ("<think>", "</think>"),
    ("<THINKING>", "</THINKING>"),
    ('<thinking type="x">', "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysisMaybe ", "assistantfinal"),  # the same by a server that leaves out special tokens
)


@pytest.mark.parametrize(("begin", "end"), MARKS)
def test_thoughts_are_no_answer_whole_nested_or_cut(begin, end):
    thoughts = "Rather 1.5, 2.5."
    for reply in (
        f"{begin}{thoughts}{end}{ANSWER}",
        f"{begin}{thoughts}{begin}{thoughts}{end}{thoughts}{end}{ANSWER}",
        f"{begin}{begin}{thoughts}{end}{ANSWER}",
        f"{thoughts}{end}{ANSWER}",  # the server left out the first mark
    ):
        assert parse(reply).position == LatLon(48.8584, 2.2945), reply
    for reply in (begin + thoughts, f"{begin}{thoughts}{end}"):
        unreadable = parse(reply)
        assert unreadable.problem is Problem.EMPTY and "only the model's thoughts" in unreadable.reason, reply


@pytest.mark.parametrize(("begin", "end"), MARKS[:-1])  # the last are marks at the beginning only
def test_an_answer_ahead_of_the_thoughts_counts(begin, end):
    assert parse(f"{ANSWER}\n{begin}Or 1.5, 2.5.{end}").position == LatLon(48.8584, 2.2945)
    assert parse(f"{ANSWER}\n{begin}Or 1.5, 2.5.").position == LatLon(48.8584, 2.2945)


def test_special_tokens_are_not_shown():
    harmony = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
    assert parse(f"{harmony}A tower at 48.8584, 2.2945.<|return|>").reasoning == "A tower at 48.8584, 2.2945."

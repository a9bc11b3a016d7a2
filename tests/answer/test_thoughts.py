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
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|end|><|channel|>final <|constrain|>json<|message|>"),
    ("<|channel|>commentary<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<scratch_pad>", "</scratch_pad>"),
    ("<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"),
    ("[REASONING]", "[/REASONING]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|think|>", "<|/think|>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<internal_thoughts>", "</internal_thoughts>"),
    ("<thought_process>", "</thought_process>"),
    ("<chain_of_thought>", "</chain_of_thought>"),
    ("<Analysis>", "</Analysis>"),
    ("<antThinking>", "</antThinking>"),
    ("< think >", "</ think >"),
    ("<思考>", "</思考>"),
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
    assert parse(f"{begin}1.5, 2.5{begin}3.5, 4.5{end}5.5, 6.5").problem is Problem.EMPTY
    assert parse(f"{begin}Or 1.5, 2.5.{end}{ANSWER}{begin}Or 1.5, 2.5.{end}").position == LatLon(48.8584, 2.2945)


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>I must close the `<think>` tag. 1.5, 2.5</think>{ANSWER}",
        f"<think>Hm.<scratchpad>1.5, 2.5</think>{ANSWER}",
        f"<answer>{ANSWER}</answer><reasoning>Not 1.5, 2.5.</reasoning>",
        f'<details type="reasoning" done="true"><summary>Thought</summary>1.5, 2.5</details>{ANSWER}',
        f"<details><summary>Answer</summary>{ANSWER}</details>",
        f"<think>\n\n</think>\n\n{ANSWER}",
        "48.8584, 2.2945<|end|>",
        "<|begin_of_box|>48.8584, 2.2945<|end_of_box|>",
    ],
)
def test_marks_of_other_kinds_hide_no_answer(reply):
    assert parse(reply).position == LatLon(48.8584, 2.2945)


def test_special_tokens_are_not_shown():
    harmony = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
    assert parse(f"{harmony}A tower at 48.8584, 2.2945.<|return|>").reasoning == "A tower at 48.8584, 2.2945."

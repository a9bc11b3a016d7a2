"""Links: what they set, and what they never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2loc.web.permalink import Preset, read_preset

BACKENDS = ("vote", "openai")


def test_a_link_sets_what_it_names():
    query = {
        "backend": "openai",
        "server": "gemini",
        "model": "m/1:free",
        "nearest": "0",
        "farthest": "50",
        "prompt": "g3",
    }
    assert read_preset(query, BACKENDS) == Preset("openai", "gemini", "m/1:free", 0, 50, "g3")
    assert read_preset({}, BACKENDS) == Preset()
    assert read_preset({"within": "deutschland;fr"}, BACKENDS) == Preset(within="Germany; France")
    assert "as a country" in read_preset({"within": "Nowhereville"}, BACKENDS).problems[0]


@pytest.mark.parametrize(
    ("text", "judge"), [("off", "off"), (" 0, 5", "0,5"), ("0,5+choice", "0,5+choice"), ("0,5 choice", "0,5+choice")]
)
def test_a_link_says_how_often_a_model_is_asked(text: str, judge: str):
    assert read_preset({"judge": text}, BACKENDS) == Preset(judge=judge)


def test_what_is_not_ours_is_left_alone():
    others = {"__theme": "dark", "embed": "true", "key": "sk-1", "photo": "x", "template": "Say $nearest", "logs": "1"}
    assert read_preset(others, BACKENDS) == Preset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "llava"),
        ("backend", "oracle"),
        ("server", "http://10.0.0.1"),
        ("server", "vllm"),
        ("prompt", "Say only: $nearest $farthest"),
        ("nearest", "51"),
        ("nearest", "-1"),
        ("farthest", "1.5"),
        ("farthest", "٣"),
        ("nearest", "9" * 5000),
        ("nearest", "0" * 8 + "51"),
        ("model", "a\nb"),
        ("model", "m" * 201),
    ],
)
def test_what_cannot_be_had_is_named_and_left_out(name: str, value: str):
    preset = read_preset({name: value, "farthest" if name != "farthest" else "nearest": "7"}, BACKENDS)
    assert len(preset.problems) == 1 and preset.problems[0].startswith(f"{name} in this page's address")
    assert getattr(preset, name) is None and 7 in (preset.nearest, preset.farthest)
    assert value not in preset.problems[0]  # a stranger's words are not put on the page


@given(st.dictionaries(st.sampled_from(["backend", "server", "model", "nearest", "farthest", "prompt"]), st.text()))
def test_no_address_breaks_the_page(query: dict[str, str]):
    preset = read_preset(query, BACKENDS)
    assert preset.backend in (None, *BACKENDS) and preset.nearest in (None, *range(51))

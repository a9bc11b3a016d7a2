"""The page's words: whole in every language, and safe where Gradio reads them."""

from __future__ import annotations

import re

import pytest

from img2loc.lmm import BACKENDS
from img2loc.web import i18n
from tests.paths import ROOT

LANGUAGES = i18n.translations()


def test_there_are_six_languages():
    assert list(LANGUAGES) == ["en", "de", "fr", "es", "ja", "zh-CN"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_word(language: str):
    texts = LANGUAGES[language]
    assert texts.keys() == LANGUAGES["en"].keys() and all(texts.values())
    if language != "en":
        long = [name for name, text in LANGUAGES["en"].items() if len(text) > 25]
        assert [name for name in long if texts[name] == LANGUAGES["en"][name]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_fragments_are_no_templates(language: str):
    """gr.HTML reads its value as a JavaScript and a Handlebars template."""
    for name, text in LANGUAGES[language].items():
        assert not re.search(r"[`\\]|\$\{|\{\{", text), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_takes_the_same_values_in_every_language(language: str):
    taken = re.compile(r"\{(\w*)\}")
    for name, text in LANGUAGES[language].items():
        assert sorted(set(taken.findall(text))) == sorted(set(taken.findall(LANGUAGES["en"][name]))), name
        assert ("{" not in taken.sub("", text) and not set('&<>"') & set(text)) or name.startswith("html_"), name


@pytest.mark.parametrize(
    ("asked", "position"),
    [("es", "Posición"), ("es-MX,es;q=0.9,en;q=0.8", "Posición"), ("zh-cn", "位置"), ("DE;q=1", "Position"),
     ("it-IT,de;q=0.5", "Position"), ("", "Position"), (";;,", "Position"), ("x" * 10_000, "Position")],
)  # fmt: skip
def test_the_language_is_the_one_a_browser_asks_for_first(asked: str, position: str):
    assert i18n.translator(asked)("position") == position


def test_values_are_put_into_a_text_and_escaped():
    assert i18n.ENGLISH("apart", distance="<3 km") == "&lt;3 km apart"
    assert i18n.ENGLISH("apart", distance="3 km") == "3 km apart"
    assert i18n.translator("de")("apart", distance="3 km") == "3 km auseinander"


def test_placeholders_survive_translation():
    for texts in LANGUAGES.values():
        assert "$nearest" in texts["template_info"] and "$farthest" in texts["template_info"]


def test_backends_are_called_alike_on_the_page_and_in_the_api():
    named = {name: i18n.ENGLISH(f"backend_{name}") for name in ("vote", "openai", "llava")}
    assert named == {name: BACKENDS[name].label for name in named}


def test_every_word_is_used_and_every_used_word_is_there():
    files = [file for file in (ROOT / "img2loc" / "web").rglob("*.*") if file.suffix in (".py", ".html")]
    named = set(re.findall(r"""["'](\w+)["']""", "".join(file.read_text("utf-8") for file in files)))
    assert {name for name in LANGUAGES["en"].keys() - named if not name.startswith("html_")} == set()
    with pytest.raises(KeyError):
        i18n.marked("no_such_word")

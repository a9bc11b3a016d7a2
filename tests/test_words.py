"""The page's words: whole in every language, and safe where Gradio reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from img2loc import words

UI = Path(words.__file__).parent
LANGUAGES = words.translations()


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
        if name.startswith("html_"):
            assert not re.search(r"[`\\]|\$\{|\{\{", text), name


def test_placeholders_survive_translation():
    for texts in LANGUAGES.values():
        assert "$nearest" in texts["template_info"] and "$farthest" in texts["template_info"]


def test_every_word_is_used_and_every_used_word_is_there():
    source = "".join(file.read_text("utf-8") for file in [*UI.glob("*.py"), *(UI / "ui").glob("*.py")])
    named = set(re.findall(r'"(\w+)"', source)) | set(re.findall(r"\{(\w+)\}", source))
    assert LANGUAGES["en"].keys() - named == set()
    with pytest.raises(KeyError):
        words.word("no_such_word")

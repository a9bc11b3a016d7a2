"""The page's texts in six languages.

What stands there before anybody asks is marked by its name, and Gradio's part in the browser puts the text in; that
works for a component's label and the like, and for the whole value of a gr.HTML. What is made for one visitor, such as
an answer's card, is written here in the language that the browser asks for. Errors are in English.
"""

from __future__ import annotations

import json
from functools import cache, partial
from importlib import resources
from typing import Final, Protocol

import gradio as gr
from gradio.i18n import I18nData
from markupsafe import Markup

from img2loc.web.render.html import render

# Whole pieces of the page, as macros in templates/page.html.
_FRAGMENTS: Final = ("head", "empty", "ready", "cancelled", "compare", "batch", "foot")
_PREFIX: Final = "i2l_"  # a text of Gradio's own, or a visitor's, that equals a name would be taken for it


class Translate(Protocol):
    """Writes the text of a name as HTML in one language, with values put in and escaped."""

    def __call__(self, name: str, **values: object) -> Markup:
        """Write it."""


@cache
def translations() -> dict[str, dict[str, str]]:
    """Every text by language and name, the fragments included."""
    data = resources.files("img2loc") / "data" / "words.json"
    languages: dict[str, dict[str, str]] = json.loads(data.read_text("utf-8"))
    for texts in languages.values():
        texts |= {f"html_{name}": render(f"page.html_{name}", translate=texts.__getitem__) for name in _FRAGMENTS}
    return languages


def gradio_translations() -> gr.I18n:
    """The translations as `launch` takes them."""
    return gr.I18n(
        **{
            language: {_PREFIX + name: text for name, text in texts.items()}
            for language, texts in translations().items()
        }
    )


def marked(name: str) -> str:
    """Mark a text, for the browser to put it in.

    Raises:
        KeyError: There is none of that name.
    """
    translations()["en"][name]
    return str(I18nData(_PREFIX + name))


def without_marks(untrusted: str) -> str:
    """Break up what looks like a marked text in a reply or prompt: the browser would put the translation there."""
    return untrusted.replace("__i18n__", "__ i18n __")


def translator(languages: str) -> Translate:
    """Translate into a visitor's language, the one that Gradio's part in the browser chooses too.

    Args:
        languages: What the browser asks for, as in HTTP's Accept-Language.
    """
    first = languages.split(",")[0].split(";")[0].strip().lower()
    known = {language.lower(): language for language in translations()}
    return partial(_translate, known.get(first) or known.get(first.split("-")[0]) or "en")


def translator_for(http_request: gr.Request | None) -> Translate:
    """Translate into the language of who sent a request."""
    return translator(http_request.headers.get("accept-language", "") if http_request else "")


def _translate(language: str, name: str, **values: object) -> Markup:
    return Markup(translations()[language][name]).format(**values)


ENGLISH: Final = translator("en")

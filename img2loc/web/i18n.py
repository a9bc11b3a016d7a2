"""The page's own words in six languages.

What stands there before anybody asks is marked by its key, and Gradio's part in the browser puts the words in; that
works for a component's label and the like, and for the whole value of a gr.HTML. What is made for one visitor, such as
an answer's card, is written here in the language that the browser asks for. What went wrong is told in English.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from importlib import resources

import gradio as gr
from gradio.i18n import I18nData

_LOGO = (
    '<svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="24" cy="24" r="21"/>'
    '<ellipse cx="24" cy="24" rx="9" ry="21"/>'
    '<path d="M3 24h42M6.5 13h35M6.5 35h35"/><path class="i2l-pin" d="M24 36s-9-9.6-9-16.2a9 9 0 0 1 18 0'
    'C33 26.4 24 36 24 36z"/><circle class="i2l-hole" cx="24" cy="19.6" r="3.4"/></svg>'
)
_IFRAME = (
    '&lt;iframe src="<span data-address></span>?embed=true" '
    'width="100%" height="900" title="Img2Loc"&gt;&lt;/iframe&gt;'
)
_ELEMENT = (
    '&lt;script type="module" src="https://gradio.s3-us-west-2.amazonaws.com/{gradio}/gradio.js"&gt;&lt;/script&gt;\n'
    '&lt;gradio-app src="<span data-address></span>"&gt;&lt;/gradio-app&gt;'
)
# Whole fragments, made of the words by name.
_FRAGMENTS = {
    "html_head": f"{_LOGO}<div><h1>Img2Loc</h1><p>{{tagline}}</p></div>",
    "html_empty": '<section class="i2l-card i2l-empty"><h2>{empty_title}</h2>'
    "<ol><li>{step_photo}</li><li>{step_similar}</li><li>{step_place}</li></ol></section>",
    "html_ready": '<section class="i2l-card i2l-empty"><h2>{ready_title}</h2><p>{ready_text}</p></section>',
    "html_cancelled": '<section class="i2l-card i2l-empty" role="status"><h2>{cancelled_title}</h2>'
    "<p>{cancelled_text}</p></section>",
    "html_compare": '<section class="i2l-card i2l-empty"><h2>{compare_title}</h2><p>{compare_text}</p></section>',
    "html_batch": '<section class="i2l-card i2l-empty"><h2>{batch_title}</h2><p>{batch_text}</p></section>',
    "html_foot": "<p>{foot_use}</p><p>{foot_privacy}</p><details><summary>{embed}</summary>"
    f"<pre>{_IFRAME}</pre><pre>{_ELEMENT.replace('{gradio}', gr.__version__)}</pre></details>",
}
# Writes the text of a name, with values put in; text from elsewhere must have been escaped.
Say = Callable[..., str]

_PREFIX = "i2l_"  # a text of Gradio's own, or a visitor's, that equals a key would be taken for it


@cache
def translations() -> dict[str, dict[str, str]]:
    """Every text by language and name, the fragments included."""
    languages: dict[str, dict[str, str]] = json.loads(
        (resources.files("img2loc") / "data" / "words.json").read_text("utf-8")
    )
    for texts in languages.values():
        texts.update({name: fragment.format(**texts) for name, fragment in _FRAGMENTS.items()})
    return languages


def for_gradio() -> gr.I18n:
    """The translations as `launch` takes them."""
    return gr.I18n(
        **{
            language: {_PREFIX + name: text for name, text in texts.items()}
            for language, texts in translations().items()
        }
    )


def word(name: str) -> I18nData:
    """Mark a text, for a component to be made with.

    Raises:
        KeyError: There is none of that name.
    """
    translations()["en"][name]
    return I18nData(_PREFIX + name)


def told(name: str) -> str:
    """Mark a text, for an event to return."""
    return str(word(name))


def say_in(languages: str) -> Say:
    """Write texts in a visitor's language, the one that Gradio's part in the browser chooses too.

    Args:
        languages: What the browser asks for, as in HTTP's Accept-Language.
    """
    first = languages.split(",")[0].split(";")[0].strip()
    known = {language.lower(): language for language in translations()}
    return partial(_written, known.get(first.lower()) or known.get(first.split("-")[0].lower()) or "en")


def _written(language: str, name: str, **values: object) -> str:
    return translations()[language][name].format(**values)


ENGLISH = say_in("en")


def untold(words: str) -> str:
    """Part the mark of a translation wherever it stands in untrusted words: Gradio would put the translation there."""
    return words.replace("__i18n__", "__ i18n __")

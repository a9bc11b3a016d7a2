"""HTML from the templates in web/templates.

Whatever comes from a model, a gallery or a file's name is untrusted. The templates escape it, and `render` leaves
nothing that Gradio's own templates would read as anything but text.
"""

from __future__ import annotations

from typing import Any, Final

import gradio as gr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape

from img2loc.errors import Img2LocError, page_message
from img2loc.geo.sphere import geodesic_km

NEAR_KM: Final = 25.0  # city level
# gr.HTML reads its content as a JavaScript and a Handlebars template. The others, which go, are signs that turn the
# direction of all that follows them on the line, our own words included.
_INERT: Final = {ord(sign): f"&#{ord(sign)};" for sign in "{$`\\"} | dict.fromkeys(
    (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
)


def render(macro: str, **values: Any) -> str:  # noqa: ANN401
    """Write HTML by a macro of a template.

    Args:
        macro: The template's name without .html, a dot, and the macro's name.
        values: Its arguments; escaped unless they are Markup.
    """
    template, _, name = macro.partition(".")
    write = getattr(_TEMPLATES.get_template(f"{template}.html").module, name)
    return str(write(**values)).translate(_INERT)


def text(words: str) -> str:
    """Escape a text as templates do."""
    return str(escape(words)).translate(_INERT)


def error_html(error: Img2LocError) -> str:
    """Write the message of an error for a visitor of the page."""
    return text(page_message(error))


def shorten(words: str, length: int) -> str:
    """Cut a text to so many characters."""
    return words if len(words) <= length else words[: length - 1].rstrip() + "…"


def km(distance_km: float) -> str:
    """Write a distance as a person would."""
    if distance_km < 1:
        return f"{distance_km * 1000:.0f} m"
    return f"{distance_km:.1f} km" if distance_km < 10 else f"{distance_km:,.0f} km"


def percent(share: float) -> str:
    """Write a share as a person would; what is there is never 0."""
    return f"{share:.0%}" if share >= 0.01 or not share else "<1%"


_TEMPLATES: Final = Environment(
    loader=PackageLoader("img2loc.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"km": km, "shorten": shorten}
_TEMPLATES.globals |= {"distance_km": geodesic_km, "near_km": NEAR_KM, "gradio_version": gr.__version__}

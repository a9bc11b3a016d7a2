"""The smallest pieces of HTML, and how a text becomes one.

Whatever comes from a model, a gallery or a file's name is untrusted and passes through `text`, which leaves nothing
that a browser, or Gradio's own templates, would read as anything but text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from img2loc.errors import Img2LocError, page_message
from img2loc.types import LatLon, PhotoRecord
from img2loc.web.i18n import Say

_ADDRESS = re.compile(r"https?://\S+")
# Signs that turn the direction of all that follows them on the line, our own words included.
_DIRECTIONS = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def text(words: str) -> str:
    """Escape a text for HTML, and for gr.HTML, which reads its content as a JavaScript and a Handlebars template."""
    words = words.translate(_DIRECTIONS)
    return html.escape(words).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;").replace("\\", "&#92;")


def error_html(error: Img2LocError) -> str:
    """What a visitor of the page is told of an error, as HTML."""
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


def coordinates(position: LatLon, say: Say) -> str:
    """A position to read, to copy and to open."""
    at = str(position)
    lat, lon = at.split(", ")
    osm = f"https://www.openstreetmap.org/?mlat={lat}&amp;mlon={lon}#map=13/{lat}/{lon}"
    return (
        f'<code>{at}</code> <button type="button" class="i2l-button" data-copy="{at}" '
        f'data-copied="{say("copied")}" data-failed="{say("press_copy")}" '
        f'aria-label="{say("copy_label")}">{say("copy")}</button> {_link(osm, "OpenStreetMap")}'
    )


def origin(photo: PhotoRecord | None, say: Say) -> str:
    """Whose a gallery's photo is, with a link to it where it is on the web."""
    photo = photo or PhotoRecord(id="")
    # Addresses in an author's name and remarks on a licence are in the files that can be saved.
    short = _ADDRESS.sub("", photo.author).strip(), photo.licence.partition(" (")[0]
    author, licence = (text(shorten(words, 32)) for words in short)
    if _is_web_address(photo.url):
        author = _link(text(photo.url), author or say("its_page"))
    return " · ".join(part for part in (author, licence) if part)


def row_button(label: str, spots: Sequence[str], place: str, say: Say, colour: str = "") -> str:
    """The number that begins a table's row; page.js lights the row's spots on the maps.

    Args:
        label: The number, or a letter.
        spots: "map's id|trace's name|index of the point in it".
        place: Where the spot is, as markup.
        say: In whose language.
        colour: Of the number; empty for the table's own.
    """
    style = f' style="background:{colour};color:white"' if colour else ""
    return (
        f'<button type="button" class="i2l-row" data-spots="{";".join(spots)}"{style} '
        f'aria-label="{say("show_row", label=label, place=place)}">{label}</button>'
    )


def _link(address: str, label: str) -> str:
    return f'<a href="{address}" target="_blank" rel="noopener noreferrer">{label}</a>'


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False

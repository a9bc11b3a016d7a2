"""A prediction in words for the page: fragments of HTML.

Whatever comes from a model or a gallery is untrusted and passes through `_text`, which leaves nothing that a browser,
or Gradio's own templates, would read as anything but text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from urllib.parse import urlsplit

from img2loc.gallery import Manifest
from img2loc.geo import geodesic_km, nearest_place
from img2loc.types import LatLon, Neighbour, Outcome, PhotoRecord, Prediction, Retrieval

EMPTY = """
<section class="i2l-card i2l-empty">
  <h2>Where was it taken?</h2>
  <p>Choose a photo, or the Eiffel tower below it. The answer, and the evidence for it on three maps, appear here.</p>
</section>"""

READY = """
<section class="i2l-card i2l-empty">
  <h2>Ready</h2>
  <p>This backend sends the photo, without its metadata, to the model's provider. Press <b>Locate</b> to do so.</p>
</section>"""

FOOTER = """
<p><b>For</b> checking claims about pictures, for sorting one's own, and for research; <b>not</b> for finding or
following people: every answer is a guess with an error, and proves nothing.</p>
<p>A photo loses its metadata before anything reads it, goes to a model's provider only if you choose one, and is
deleted from this server within two hours; nothing else is kept. More in the README, under Privacy and dual use.</p>"""

NEAR_KM = 25.0  # city level
STAGES = {  # of Locator.locate, in order, and what a visitor is told
    "embed": "Reading the photo",
    "search": "Looking for similar photos",
    "vote": "Letting the neighbours vote",
    "ask": "Asking the model",
    "place": "Naming the place",
}


def banner(manifest: Manifest, notice: str = "") -> str:
    """Say which gallery is loaded and what it can and can't do.

    Args:
        manifest: The gallery's own words.
        notice: What keeps another gallery from answering, if something does.
    """
    warning = f'<p class="i2l-warning" role="alert">{_text(notice)}</p>' if notice else ""
    return (
        f'{warning}<p class="i2l-banner"><b>Gallery: {_text(manifest.name)}</b>, {manifest.count:,} positions. '
        f"{_text(manifest.about)}</p>"
    )


def answer(prediction: Prediction, *, truth: LatLon | None, truth_from_exif: bool) -> str:
    """Lay out the result at a glance.

    Args:
        prediction: What was found.
        truth: Where the photo was really taken, if that is known.
        truth_from_exif: The file itself said so, not the visitor.
    """
    position, outcome = prediction.position, prediction.outcome
    failure = _failure(outcome, prediction) if outcome and not outcome.position else ""
    if position is None:
        body = "<h2>No position</h2><p>Nothing could be said: the gallery gave no neighbours and no model answered.</p>"
        return f'<section class="i2l-card" aria-live="polite">{failure}{body}</section>'
    facts = [("Position", _coordinates(position))]
    if prediction.method == "vote" and prediction.radius_km is not None:
        meaning = "holds half of the vote: its spread, not its certainty"
        facts.append(("Radius", f"{_km(prediction.radius_km)} <small>{meaning}</small>"))
    if truth:
        source = "in the file's EXIF" if truth_from_exif else "you gave"
        facts.append(("Error", f"{_km(geodesic_km(position, truth))} <small>from the position {source}</small>"))
    if prediction.method == "lmm" and (vote := prediction.vote):
        place = _text(str(nearest_place(vote.position)))
        facts.append(("Vote", f"{place} <small>{_km(geodesic_km(position, vote.position))} from this answer</small>"))
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        f'<section class="i2l-card" aria-live="polite">{failure}'
        f'<p class="i2l-who">{_who(prediction)}</p>'
        f"<h2>{_text(str(prediction.place or 'An unnamed place'))}</h2>"
        f'<p class="i2l-why">{_why(prediction, position)}</p>'
        f"<dl>{listed}</dl></section>"
    )


def legend(prediction: Prediction, truth: LatLon | None) -> str:
    """Explain the prediction map's signs; those that are on it."""
    by_model = prediction.method == "lmm"
    signs = [
        (prediction.position, "i2l-red", "★", "the model's answer" if by_model else "the neighbours' answer"),
        (prediction.vote and by_model, "i2l-blue", "◆", "the neighbours' vote"),
        (prediction.vote, "i2l-blue" if by_model else "i2l-red", "○", "half of the vote"),
        (truth, "i2l-green", "✖", "true position"),
        (prediction.retrieval.nearest, "i2l-blue i2l-faint", "●", "nearest neighbours"),
    ]
    shown = "".join(
        f'<li><span class="{colour}" aria-hidden="true">{sign}</span> {label}</li>'
        for present, colour, sign, label in signs
        if present
    )
    return f'<ul class="i2l-legend">{shown}</ul>'


def neighbours(retrieval: Retrieval) -> str:
    """List the neighbours with where they come from."""
    return _table("Nearest: the most similar", retrieval.nearest) + _table(
        "Farthest: the most dissimilar", retrieval.farthest
    )


def timings(prediction: Prediction) -> str:
    """List what each stage took."""
    rows = "".join(f"<tr><td>{STAGES[name]}</td><td>{s:.3f} s</td></tr>" for name, s in prediction.timings)
    total = sum(seconds for _, seconds in prediction.timings)
    return (
        '<div class="i2l-table"><table><thead><tr><th>Stage</th><th>Time</th></tr></thead>'
        f"<tbody>{rows}<tr><td><b>Together</b></td><td>{total:.3f} s</td></tr></tbody></table></div>"
    )


def raw_replies(outcome: Outcome | None) -> str:
    """Join a model's replies as they came, in plain text."""
    replies = outcome.replies if outcome else ()
    if len(replies) < 2:
        return replies[0].text if replies else ""
    return "\n\n".join(f"--- reply {number} ---\n{reply.text}" for number, reply in enumerate(replies, start=1))


def _who(prediction: Prediction) -> str:
    if prediction.method == "lmm":
        return f"{_model(prediction.outcome)} answers"
    return "The nearest neighbours vote"


def _model(outcome: Outcome | None) -> str:
    return _text(outcome.replies[-1].model) if outcome and outcome.replies else "The model"


def _failure(outcome: Outcome, prediction: Prediction) -> str:
    instead = " The position below is the neighbours' vote." if prediction.position else ""
    return (
        f'<p class="i2l-warning" role="alert"><b>The model gave no position.</b> {_text(outcome.message)}{instead}</p>'
    )


def _why(prediction: Prediction, position: LatLon) -> str:
    if prediction.method == "lmm" and prediction.outcome:
        reasoning = prediction.outcome.reasoning.strip()
        return f"“{_text(_shorten(reasoning, 280))}”" if reasoning else "The model gave no reason."
    found = prediction.retrieval.nearest
    if not found:
        return f"{prediction.vote.neighbours if prediction.vote else 0} photos of the gallery voted."
    best = found[0]
    away_km = geodesic_km(position, best.position)
    close = sum(geodesic_km(position, neighbour.position) <= NEAR_KM for neighbour in found)
    where = "here" if away_km < 1 else f"{_km(away_km)} from here"
    return (
        f"The most similar photo of the gallery (similarity {best.similarity:.2f}) was taken {where}; "
        f"{close} of the {len(found)} nearest lie within {NEAR_KM:.0f} km."
    )


def _coordinates(position: LatLon) -> str:
    lat, lon = f"{position.lat:.5f}", f"{position.lon:.5f}"
    osm = f"https://www.openstreetmap.org/?mlat={lat}&amp;mlon={lon}#map=13/{lat}/{lon}"
    return (
        f'<code>{lat}, {lon}</code> <button type="button" class="i2l-copy" data-copy="{lat}, {lon}" '
        f'aria-label="Copy the coordinates">Copy</button> '
        f'<a href="{osm}" target="_blank" rel="noopener noreferrer">OpenStreetMap</a>'
    )


def _table(title: str, listed: Sequence[Neighbour]) -> str:
    if not listed:
        return f"<h3>{title}</h3><p>None were asked for.</p>"
    rows = "".join(_table_row(rank, neighbour) for rank, neighbour in enumerate(listed, start=1))
    columns = "".join(f"<th>{name}</th>" for name in ("", "Similarity", "Place", "Position", "Author", "Licence"))
    return (
        f'<h3>{title}</h3><div class="i2l-table" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _table_row(rank: int, neighbour: Neighbour) -> str:
    photo = neighbour.photo or PhotoRecord(id="")
    author, licence = (_text(_shorten(text, 80)) for text in (photo.author, photo.licence))
    if _is_web_address(photo.url):
        author = f'<a href="{_text(photo.url)}" target="_blank" rel="noopener noreferrer">{author or "its page"}</a>'
    place = _text(str(nearest_place(neighbour.position)))
    cells = (rank, f"{neighbour.similarity:.3f}", place, neighbour.position, author, licence)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def _km(distance_km: float) -> str:
    if distance_km < 1:
        return f"{distance_km * 1000:.0f} m"
    return f"{distance_km:.1f} km" if distance_km < 10 else f"{distance_km:,.0f} km"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _text(text: str) -> str:
    """Escape a text for HTML, and for gr.HTML, which reads its content as a JavaScript and a Handlebars template."""
    return html.escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;").replace("\\", "&#92;")

"""A prediction in words for the page: the banner and the answer's card, as HTML."""

from __future__ import annotations

from img2loc.gallery import Manifest
from img2loc.geo import geodesic_km, nearest_place
from img2loc.maps import Name
from img2loc.markup import coordinates, km, shorten, text
from img2loc.precision import EXACT, Precision
from img2loc.types import LatLon, Outcome, Prediction, Vote

NEAR_KM = 25.0  # city level
STAGES = {  # of Locator.locate, in order, and what a visitor is told
    "embed": "Reading the photo",
    "search": "Looking for similar photos",
    "vote": "Letting the neighbours vote",
    "ask": "Asking the model",
    "place": "Naming the place",
}


def banner(manifest: Manifest, notice: str = "", *, operator: str = "", precision: Precision = EXACT) -> str:
    """Say which gallery is loaded and what it can and can't do.

    Args:
        manifest: The gallery's own words.
        notice: What keeps another gallery from answering, if something does.
        operator: A sentence of the operator's.
        precision: How precisely visitors are answered.
    """
    warning = f'<p class="i2l-warning" role="alert">{text(notice)}</p>' if notice else ""
    own = f'<p class="i2l-operator">{text(operator)}</p>' if operator else ""
    rounded = "" if precision == EXACT else f" Positions are given by {precision} only."
    return (
        f'{warning}{own}<p class="i2l-banner"><b>Gallery: {text(manifest.name)}</b>, {manifest.count:,} positions. '
        f"{text(manifest.about)}{rounded}</p>"
    )


def answer(prediction: Prediction, *, truth: LatLon | None, truth_from_exif: bool, name: Name = nearest_place) -> str:
    """Lay out the result at a glance; a model's answer and the vote side by side.

    Args:
        prediction: What was found.
        truth: Where the photo was really taken, if that is known.
        truth_from_exif: The file itself said so, not the visitor.
        name: How positions are called.
    """
    position, outcome = prediction.position, prediction.outcome
    failure = _failure(outcome, prediction) if outcome and not outcome.position else ""
    if position is None:
        body = "<h2>No position</h2><p>Nothing could be said: the gallery gave no neighbours and no model answered.</p>"
        return _card(f"{failure}{body}")
    facts = [("Position", coordinates(position))]
    if prediction.radius_km is not None:
        by_vote = prediction.method == "vote"
        facts.append(("Radius", _radius(prediction.radius_km) if by_vote else km(prediction.radius_km)))
    if truth:
        source = "in the file's EXIF" if truth_from_exif else "you gave"
        facts.append(("Error", f"{km(geodesic_km(position, truth))} <small>from the position {source}</small>"))
    main = (
        f'<p class="i2l-who"><span class="i2l-red" aria-hidden="true">★</span> {_who(prediction)}</p>'
        f"<h2>{text(str(prediction.place or 'An unnamed place'))}</h2>"
        f'<p class="i2l-why">{_why(prediction, position)}</p>{_list(facts)}'
    )
    if prediction.method == "lmm" and prediction.vote:
        main = f'<div class="i2l-both"><div>{main}</div>{_beside(position, prediction.vote, name)}</div>'
    return _card(f"{failure}{main}")


def raw_replies(outcome: Outcome | None) -> str:
    """Join a model's replies as they came, in plain text."""
    replies = outcome.replies if outcome else ()
    if len(replies) < 2:
        return replies[0].text if replies else ""
    return "\n\n".join(f"--- reply {number} ---\n{reply.text}" for number, reply in enumerate(replies, start=1))


def model_name(outcome: Outcome | None) -> str:
    """What the provider calls the model that answered."""
    return text(outcome.replies[-1].model) if outcome and outcome.replies else "The model"


def _card(body: str) -> str:
    return f'<section class="i2l-card" aria-live="polite">{body}</section>'


def _list(facts: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"


def _radius(radius_km: float) -> str:
    return f"{km(radius_km)} <small>holds half of the vote: its spread, not its certainty</small>"


def _beside(position: LatLon, vote: Vote, name: Name) -> str:
    """The vote, to the right of a model's answer, with the distance between them."""
    apart_km = geodesic_km(position, vote.position)
    close = " i2l-close" if apart_km <= NEAR_KM else ""
    return (
        f'<p class="i2l-apart{close}"><span><b>{km(apart_km)}</b> apart</span></p>'
        '<div><p class="i2l-who"><span class="i2l-blue" aria-hidden="true">◆</span> The neighbours\' vote</p>'
        f"<h3>{text(str(name(vote.position)))}</h3>"
        f"{_list([('Position', f'<code>{vote.position}</code>'), ('Radius', _radius(vote.radius_km))])}</div>"
    )


def _who(prediction: Prediction) -> str:
    if prediction.method == "lmm":
        return f"{model_name(prediction.outcome)} answers"
    return "The nearest neighbours vote"


def _failure(outcome: Outcome, prediction: Prediction) -> str:
    instead = " The position below is the neighbours' vote." if prediction.position else ""
    return (
        f'<p class="i2l-warning" role="alert"><b>The model gave no position.</b> {text(outcome.message)}{instead}</p>'
    )


def _why(prediction: Prediction, position: LatLon) -> str:
    if prediction.method == "lmm" and prediction.outcome:
        reasoning = prediction.outcome.reasoning.strip()
        if reasoning:
            return f"“{text(shorten(reasoning, 280))}”"
        withheld = not any(reply.text for reply in prediction.outcome.replies)
        return "" if withheld else "The model gave no reason."
    found = prediction.retrieval.nearest
    if not found:
        return f"{prediction.vote.neighbours if prediction.vote else 0} photos of the gallery voted."
    best = found[0]
    away_km = geodesic_km(position, best.position)
    close = sum(geodesic_km(position, neighbour.position) <= NEAR_KM for neighbour in found)
    where = "here" if away_km < 1 else f"{km(away_km)} from here"
    return (
        f"The most similar photo of the gallery (similarity {best.similarity:.2f}) was taken {where}; "
        f"{close} of the {len(found)} nearest lie within {NEAR_KM:.0f} km."
    )

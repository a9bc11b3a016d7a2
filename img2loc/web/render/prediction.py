"""A prediction in words for the page: the banner and the answer's card, as HTML."""

from __future__ import annotations

from img2loc.errors import Img2LocError
from img2loc.geo.coarse import EXACT, Precision
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import geodesic_km
from img2loc.maps.figures import Name
from img2loc.retrieval.manifest import Manifest
from img2loc.types import LatLon, Outcome, Prediction, Vote
from img2loc.web.i18n import ENGLISH, Say
from img2loc.web.render.markup import coordinates, error_html, km, percent, shorten, text

NEAR_KM = 25.0  # city level
STAGES = {  # of Locator.locate, in order, and the name of what a visitor is told
    "embed": "stage_embed",
    "search": "stage_search",
    "vote": "stage_vote",
    "ask": "stage_ask",
    "judge": "stage_judge",
    "choose": "stage_choose",
    "place": "stage_place",
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


def answer(
    prediction: Prediction,
    *,
    truth: LatLon | None,
    truth_source: str = "",
    name: Name = nearest_place,
    say: Say = ENGLISH,
) -> str:
    """Lay out the result at a glance; a model's answer and the vote side by side.

    Args:
        prediction: What was found.
        truth: Where the photo was really taken, if that is known.
        truth_source: The name of the text that says where that comes from.
        name: How positions are called.
        say: In whose language.
    """
    position, outcome = prediction.position, prediction.outcome
    failure = _failure(outcome, prediction, say) if outcome and not outcome.position else ""
    if (choice := prediction.choice) and not choice.position:
        failure += f'<p class="i2l-warning"><b>{say("choice_failed")}</b> {text(choice.message)}</p>'
    if position is None:
        title, words = (
            ("withheld_title", "withheld_nothing") if prediction.withheld else ("nowhere_title", "nowhere_text")
        )
        if prediction.within and not prediction.withheld:
            words = "nowhere_within"
        return _card(f"{failure}<h2>{say(title)}</h2><p>{say(words, area=text(prediction.within))}</p>")
    facts = [(say("position"), coordinates(position, say))]
    if prediction.radius_km is not None:
        facts.append((say("radius"), _answers_radius(prediction, prediction.radius_km, say)))
    if prediction.within:
        facts.append((say("within_fact"), text(prediction.within)))
    if truth:
        facts.append((say("error"), f"{km(geodesic_km(position, truth))} <small>{say(truth_source)}</small>"))
    main = (
        f'<p class="i2l-who"><span class="i2l-red" aria-hidden="true">★</span> {_who(prediction, say)}</p>'
        f"<h2>{text(str(prediction.place or say('unnamed')))}</h2>"
        f'<p class="i2l-why">{_withheld(prediction, say)}{_why(prediction, position, say)}</p>{_list(facts)}'
    )
    if prediction.method in ("lmm", "judge") and prediction.vote:
        main = f'<div class="i2l-both"><div>{main}</div>{_beside(position, prediction.vote, name, say)}</div>'
    return _card(f"{failure}{main}")


def failure(error: Img2LocError) -> str:
    """Say in place of an answer why there is none."""
    return _card(f'<p class="i2l-warning" role="alert">{error_html(error)}</p>')


def raw_replies(*outcomes: Outcome | None) -> str:
    """Join a model's replies as they came, in plain text."""
    replies = [reply for outcome in outcomes if outcome for reply in outcome.replies]
    if len(replies) < 2:
        return replies[0].text if replies else ""
    return "\n\n".join(f"--- reply {number} ---\n{reply.text}" for number, reply in enumerate(replies, start=1))


def reasons(*outcomes: Outcome | None) -> str:
    """Join a model's reasons, in plain text."""
    return "\n\n".join(outcome.reasoning for outcome in outcomes if outcome and outcome.reasoning)


def model_name(outcome: Outcome | None, say: Say) -> str:
    """What the provider calls the model that answered."""
    return text(outcome.replies[-1].model) if outcome and outcome.replies else say("the_model")


def _card(body: str) -> str:
    return f'<section class="i2l-card" aria-live="polite">{body}</section>'


def _list(facts: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"


def _answers_radius(prediction: Prediction, radius_km: float, say: Say) -> str:
    if prediction.probability is not None:
        words = say("calibrated", probability=percent(prediction.probability))
        return f"{km(radius_km)} <small>{text(words)}</small>"
    if prediction.method == "judge":
        return f"{km(radius_km)} <small>{say('spread_judged')}</small>"
    return _radius(radius_km, say) if prediction.method == "vote" else km(radius_km)


def _radius(radius_km: float, say: Say) -> str:
    return f"{km(radius_km)} <small>{say('spread')}</small>"


def _beside(position: LatLon, vote: Vote, name: Name, say: Say) -> str:
    """The vote, to the right of a model's answer, with the distance between them."""
    apart_km = geodesic_km(position, vote.position)
    facts = [(say("position"), f"<code>{vote.position}</code>"), (say("radius"), _radius(vote.radius_km, say))]
    close = " i2l-close" if apart_km <= NEAR_KM else ""
    return (
        f'<p class="i2l-apart{close}"><span>{say("apart", distance=f"<b>{km(apart_km)}</b>")}</span></p>'
        f'<div><p class="i2l-who"><span class="i2l-blue" aria-hidden="true">◆</span> {say("the_vote")}</p>'
        f"<h3>{text(str(name(vote.position)))}</h3>"
        f"{_list(facts)}</div>"
    )


def _who(prediction: Prediction, say: Say) -> str:
    if prediction.method == "judge":
        return say("who_judge", count=len(prediction.candidates))
    if prediction.method == "lmm":
        return say("who_model", model=model_name(prediction.outcome, say))
    return say("who_vote")


def _failure(outcome: Outcome, prediction: Prediction, say: Say) -> str:
    instead = f" {say('failed_instead')}" if prediction.method == "vote" else ""
    return f'<p class="i2l-warning" role="alert"><b>{say("failed_title")}</b> {text(outcome.message)}{instead}</p>'


def _withheld(prediction: Prediction, say: Say) -> str:
    names = {"region": "withheld_region", "country": "withheld_country"}
    name = names.get(prediction.withheld, "")
    return f"<b>{say(name)}</b> " if name else ""


def _why(prediction: Prediction, position: LatLon, say: Say) -> str:
    if prediction.method == "judge":
        return _judgement(prediction, say)
    if prediction.method == "lmm" and prediction.outcome:
        reasoning = prediction.outcome.reasoning.strip()
        if reasoning:
            return f"“{text(shorten(reasoning, 280))}”"
        withheld = not any(reply.text for reply in prediction.outcome.replies)
        return "" if withheld else say("no_reason")
    found = prediction.retrieval.nearest
    if not found:
        return say("why_voted", count=prediction.vote.neighbours if prediction.vote else 0)
    best = found[0]
    away_km = geodesic_km(position, best.position)
    close = sum(geodesic_km(position, neighbour.position) <= NEAR_KM for neighbour in found)
    return say(
        "why_here" if away_km < 1 else "why_away",
        similarity=f"{best.similarity:.2f}",
        away=km(away_km),
        close=close,
        count=len(found),
        radius=f"{NEAR_KM:.0f} km",
    )


def _judgement(prediction: Prediction, say: Say) -> str:
    """What decided for the first candidate."""
    judged = prediction.candidates
    best, asked = judged[0], sum(one.answers for one in judged)
    parts = [say("why_score", share=percent(best.score))]
    parts += [say("why_answers", answers=best.answers, asked=asked)] if asked else []
    for name, share in (("why_density", best.density), ("why_fit", best.likelihood)):
        parts += [say(name, share=percent(share))] if share else []
    if any(one.choice for one in judged):
        parts.append(say("why_choice" if best.choice else "why_other"))
    return text(" ".join([*parts, say("no_probability")]))

"""A prediction in words: the card with the answer, and what the model said."""

from __future__ import annotations

from markupsafe import Markup

from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import geodesic_km
from img2loc.maps.figures import Name
from img2loc.types import LatLon, Outcome, Prediction
from img2loc.web.i18n import ENGLISH, Translate
from img2loc.web.render.html import NEAR_KM, km, percent, render, shorten

STAGES = {  # of Locator.locate, in order, and the name of the text that says what happens
    "embed": "stage_embed",
    "search": "stage_search",
    "vote": "stage_vote",
    "ask": "stage_ask",
    "judge": "stage_judge",
    "choose": "stage_choose",
    "place": "stage_place",
}


def answer(
    prediction: Prediction,
    *,
    truth: LatLon | None,
    truth_source: str = "",
    name: Name = nearest_place,
    translate: Translate = ENGLISH,
) -> str:
    """Lay out the result at a glance; a model's answer and the vote side by side.

    If the true position is known, `truth_source` names the text that says where that comes from.
    """
    return render(
        "answer.card",
        prediction=prediction,
        truth=truth,
        truth_source=truth_source,
        who=_who(prediction, translate),
        why=_why(prediction, translate),
        radius_note=_radius_note(prediction, translate),
        name=name,
        translate=translate,
    )


def raw_replies(*outcomes: Outcome | None) -> str:
    """Join a model's replies as they came, in plain text."""
    replies = [reply for outcome in outcomes if outcome for reply in outcome.replies]
    if len(replies) < 2:
        return replies[0].text if replies else ""
    return "\n\n".join(f"--- reply {number} ---\n{reply.text}" for number, reply in enumerate(replies, start=1))


def reasons(*outcomes: Outcome | None) -> str:
    """Join a model's reasons, in plain text."""
    return "\n\n".join(outcome.reasoning for outcome in outcomes if outcome and outcome.reasoning)


def _who(prediction: Prediction, translate: Translate) -> str:
    if prediction.method == "judge":
        return translate("who_judge", count=len(prediction.candidates))
    if prediction.method == "lmm":
        replies = prediction.outcome.replies if prediction.outcome else ()
        return translate("who_model", model=replies[-1].model if replies else translate("the_model"))
    return translate("who_vote")


def _radius_note(prediction: Prediction, translate: Translate) -> str:
    if prediction.probability is not None:
        return translate("calibrated", probability=percent(prediction.probability))
    note = {"judge": "spread_judged", "vote": "spread"}.get(prediction.method)
    return translate(note) if note else ""


def _why(prediction: Prediction, translate: Translate) -> str:
    if prediction.position is None:
        return ""
    if prediction.method == "judge":
        return _why_judged(prediction, translate)
    if prediction.method == "lmm" and prediction.outcome:
        if reasoning := prediction.outcome.reasoning.strip():
            return f"“{shorten(reasoning, 280)}”"
        withheld = not any(reply.text for reply in prediction.outcome.replies)
        return "" if withheld else translate("no_reason")
    nearest = prediction.retrieval.nearest
    if not nearest:
        return translate("why_voted", count=prediction.vote.neighbours if prediction.vote else 0)
    away_km = [geodesic_km(prediction.position, neighbour.position) for neighbour in nearest]
    return translate(
        "why_here" if away_km[0] < 1 else "why_away",
        similarity=f"{nearest[0].similarity:.2f}",
        away=km(away_km[0]),
        close=sum(distance_km <= NEAR_KM for distance_km in away_km),
        count=len(nearest),
        radius=f"{NEAR_KM:.0f} km",
    )


def _why_judged(prediction: Prediction, translate: Translate) -> str:
    """What decided for the first candidate."""
    candidates = prediction.candidates
    best, answers = candidates[0], sum(candidate.answers for candidate in candidates)
    parts = [translate("why_score", share=percent(best.score))]
    if answers:
        parts.append(translate("why_answers", answers=best.answers, asked=answers))
    if best.density:
        parts.append(translate("why_density", share=percent(best.density)))
    if best.likelihood:
        parts.append(translate("why_fit", share=percent(best.likelihood)))
    if any(candidate.choice for candidate in candidates):
        parts.append(translate("why_choice" if best.choice else "why_other"))
    return Markup(" ").join([*parts, translate("no_probability")])

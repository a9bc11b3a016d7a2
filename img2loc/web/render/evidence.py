"""What an answer rests on, as HTML: legend, neighbours, files to take away, street map, timings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import EARTH_RADIUS_KM, geodesic_km
from img2loc.maps.figures import NUMBERED, Name
from img2loc.output.exports import WRITERS, Row, data_url
from img2loc.types import Candidate, LatLon, Neighbour, Prediction
from img2loc.web.i18n import ENGLISH, Say
from img2loc.web.render.markup import km, origin, percent, row_button, text
from img2loc.web.render.prediction import STAGES

STREET_KM = (0.7, 5.0)  # half of the street map's height: streets, and at most a town


def legend(prediction: Prediction, truth: LatLon | None, say: Say = ENGLISH) -> str:
    """Explain the prediction map's signs; those that are on it."""
    by_model = prediction.method in ("lmm", "judge")
    circle = say(_circle_of(prediction), probability=percent(prediction.probability or 0))
    signs = [
        (prediction.position, "i2l-red", "★", say(_sign_of(prediction))),
        (prediction.position and prediction.radius_km is not None, "i2l-red", "○", circle),
        (prediction.candidates, "i2l-red", "●", say("candidate")),
        (prediction.vote and by_model, "i2l-blue", "◆", say("sign_vote")),
        (prediction.vote and by_model, "i2l-blue", "○", say("sign_half")),
        (truth, "i2l-green", "✖", say("sign_truth")),
        (prediction.retrieval.nearest, "i2l-blue i2l-faint", "●", say("sign_nearest")),
    ]
    shown = "".join(
        f'<li><span class="{colour}" aria-hidden="true">{sign}</span> {label}</li>'
        for present, colour, sign, label in signs
        if present
    )
    return f'<ul class="i2l-legend">{shown}</ul>'


def _sign_of(prediction: Prediction) -> str:
    return {"lmm": "sign_model", "judge": "sign_judge"}.get(prediction.method, "sign_neighbours")


def _circle_of(prediction: Prediction) -> str:
    """What the answer's circle means."""
    if prediction.probability is not None:
        return "sign_sure"
    return {"vote": "sign_half", "judge": "sign_spread"}.get(prediction.method, "sign_area")


def neighbours(
    kind: str,
    listed: Sequence[Neighbour],
    answer: LatLon | None,
    name: Name = nearest_place,
    say: Say = ENGLISH,
) -> str:
    """List neighbours; a row that is pointed at, or whose number has the focus, is lit on the maps (page.js).

    Args:
        kind: "nearest" or "farthest".
        listed: The neighbours, the first of them first.
        answer: From where distances are taken; None where there is no answer.
        name: How positions are called.
        say: In whose language.
    """
    near = kind == "nearest"
    if not listed:
        return f'<p class="i2l-none">{say("none_nearest" if near else "none_farthest")}</p>'
    rows = "".join(
        _neighbour_row(kind, rank, neighbour, answer, name, say) for rank, neighbour in enumerate(listed, start=1)
    )
    columns = (
        f'<th scope="col">{say("rank")}</th><th scope="col">{say("place")}<small>{say("of_photo")}</small></th>'
        f'<th scope="col" class="i2l-number">{say("distance")}<small>{say("similarity")}</small></th>'
    )
    label = say("table_nearest" if near else "table_farthest")
    return (
        f'<div class="i2l-table" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def candidates(prediction: Prediction, name: Name = nearest_place, say: Say = ENGLISH) -> str:
    """List the candidates that were judged, with the parts of their scores; nothing where none were.

    Args:
        prediction: What was found.
        name: How positions are called.
        say: In whose language.
    """
    if not prediction.candidates:
        return ""
    fits = any(one.likelihood for one in prediction.candidates)  # else the gallery can't tell
    chose = prediction.choice is not None
    rows = "".join(
        _candidate_row(rank, one, name, say, fits=fits, chose=chose)
        for rank, one in enumerate(prediction.candidates, start=1)
    )
    parts = " · ".join(say(part) for part in ("of_answers", "of_votes", *["of_fit"] * fits, *["of_choice"] * chose))
    return (
        f'<div class="i2l-table" tabindex="0" role="region" aria-label="{say("table_candidates")}"><table><thead><tr>'
        f'<th scope="col">{say("rank")}</th><th scope="col">{say("place")}</th>'
        f'<th scope="col" class="i2l-number">{say("score")}<small>{parts}</small></th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _candidate_row(rank: int, one: Candidate, name: Name, say: Say, *, fits: bool, chose: bool) -> str:
    place = text(str(name(one.position)))
    button = row_button(str(rank), [f"prediction-map|candidate {rank}|0"], place, say)
    shares = (one.agreement, one.density, *[one.likelihood] * fits)
    parts = text(" · ".join([*map(percent, shares), *["✓" if one.choice else "0%"] * chose]))
    score = text(percent(one.score))
    return f'<tr><td>{button}</td><td>{place}</td><td class="i2l-number">{score}<small>{parts}</small></td></tr>'


def files(rows: Sequence[Row], say: Say = ENGLISH) -> str:
    """Links that save the result; the files are in the page itself, so that the server keeps none."""
    links = "".join(
        f'<a class="i2l-button" download="img2loc.{suffix}" href="{data_url(write(rows), suffix)}">{label}</a>'
        for (suffix, write), label in zip(WRITERS.items(), ("GeoJSON", "KML", "CSV"), strict=True)
    )
    return f'<p class="i2l-files"><span>{say("save_as")}</span> {links}</p>'


def street(position: LatLon | None, radius_km: float | None, say: Say = ENGLISH) -> str:
    """Offer a street map of the answer; nothing is fetched before it is asked for (page.js)."""
    if position is None:
        return ""
    half_km = min(max(radius_km or 0, STREET_KM[0]), STREET_KM[1])
    high = math.degrees(half_km / EARTH_RADIUS_KM)
    wide = 2 * high / max(math.cos(math.radians(position.lat)), 0.01)
    lat, lon = position.lat, position.lon
    box = ",".join(f"{edge:.5f}" for edge in (lon - wide, lat - high, lon + wide, lat + high))
    address = (
        f"https://www.openstreetmap.org/export/embed.html?bbox={box}&amp;layer=mapnik&amp;marker={lat:.5f},{lon:.5f}"
    )
    return (
        f'<div class="i2l-street"><button type="button" class="i2l-button" data-street="{address}">'
        f"{say('streets')}</button> <small>{say('streets_note')}</small></div>"
    )


def timings(prediction: Prediction, say: Say = ENGLISH) -> str:
    """List what each stage took."""
    rows = "".join(f"<tr><td>{say(STAGES[name])}</td><td>{s:.3f} s</td></tr>" for name, s in prediction.timings)
    total = sum(seconds for _, seconds in prediction.timings)
    return (
        f'<div class="i2l-table"><table><thead><tr><th scope="col">{say("stage")}</th>'
        f'<th scope="col">{say("time")}</th></tr></thead>'
        f"<tbody>{rows}<tr><td><b>{say('together')}</b></td><td>{total:.3f} s</td></tr></tbody></table></div>"
    )


def _neighbour_row(kind: str, rank: int, neighbour: Neighbour, answer: LatLon | None, name: Name, say: Say) -> str:
    spots = [f"{kind}-map|rank {rank}|0" if rank <= NUMBERED else f"{kind}-map|others|{rank - NUMBERED - 1}"]
    if kind == "nearest":
        spots.append(f"prediction-map|neighbours|{rank - 1}")
    place = text(str(name(neighbour.position)))
    away = km(geodesic_km(answer, neighbour.position)) if answer else ""
    whose = f"<small>{found}</small>" if (found := origin(neighbour.photo, say)) else ""
    return (
        f'<tr><td>{row_button(str(rank), spots, place, say)}</td><td>{place}{whose}</td><td class="i2l-number">{away}'
        f"<small>{neighbour.similarity:.3f}</small></td></tr>"
    )

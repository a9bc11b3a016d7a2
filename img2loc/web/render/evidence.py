"""What an answer rests on: legend, neighbours, candidates, files to take away, street map, timings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import EARTH_RADIUS_KM, geodesic_km
from img2loc.maps.figures import NUMBERED, Name
from img2loc.output.exports import WRITERS, Row, data_url
from img2loc.types import LatLon, Neighbour, PhotoRecord, Prediction
from img2loc.web.i18n import ENGLISH, Translate
from img2loc.web.render.html import km, percent, render, shorten
from img2loc.web.render.prediction import STAGES

STREET_KM: Final = (0.7, 5.0)  # half of the street map's height: streets, and at most a town
_ADDRESS: Final = re.compile(r"https?://\S+")


def legend(prediction: Prediction, truth: LatLon | None, translate: Translate = ENGLISH) -> str:
    """Explain the signs that are on the prediction map."""
    method = prediction.method
    by_model = prediction.vote and method in ("lmm", "judge")
    star = {"lmm": "sign_model", "judge": "sign_judge"}.get(method, "sign_neighbours")
    circle = {"vote": "sign_half", "judge": "sign_spread"}.get(method, "sign_area")
    if prediction.probability is not None:
        circle = "sign_sure"
    signs = [
        (prediction.position, "i2l-red", "★", translate(star)),
        (
            prediction.position and prediction.radius_km is not None,
            "i2l-red",
            "○",
            translate(circle, probability=percent(prediction.probability or 0)),
        ),
        (prediction.candidates, "i2l-red", "●", translate("candidate")),
        (by_model, "i2l-blue", "◆", translate("sign_vote")),
        (by_model, "i2l-blue", "○", translate("sign_half")),
        (truth, "i2l-green", "✖", translate("sign_truth")),
        (prediction.retrieval.nearest, "i2l-blue i2l-faint", "●", translate("sign_nearest")),
    ]
    return render("evidence.legend", signs=[sign[1:] for sign in signs if sign[0]])


def neighbours(
    kind: str,
    listed: Sequence[Neighbour],
    answer: LatLon | None,
    name: Name = nearest_place,
    translate: Translate = ENGLISH,
) -> str:
    """List neighbours of a kind, "nearest" or "farthest", with their distances from the answer, if there is one.

    A row that is pointed at, or whose number has the focus, is lit on the maps (page.js).
    """
    rows = []
    for rank, neighbour in enumerate(listed, start=1):
        spots = [f"{kind}-map|rank {rank}|0" if rank <= NUMBERED else f"{kind}-map|others|{rank - NUMBERED - 1}"]
        if kind == "nearest":
            spots.append(f"prediction-map|neighbours|{rank - 1}")
        row = {
            "place": str(name(neighbour.position)),
            "spots": spots,
            "away": km(geodesic_km(answer, neighbour.position)) if answer else "",
            "similarity": f"{neighbour.similarity:.3f}",
        }
        rows.append(row | _origin(neighbour.photo or PhotoRecord(id="")))
    return render("evidence.neighbours", kind=kind, rows=rows, translate=translate)


def _origin(photo: PhotoRecord) -> dict[str, str]:
    """Whose a photo is. Addresses in an author's name and remarks on a licence are in the files that can be saved."""
    return {
        "author": shorten(_ADDRESS.sub("", photo.author).strip(), 32),
        "licence": shorten(photo.licence.partition(" (")[0], 32),
        "url": photo.url if _is_web_address(photo.url) else "",
    }


def _is_web_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def candidates(prediction: Prediction, name: Name = nearest_place, translate: Translate = ENGLISH) -> str:
    """List the candidates that were judged, with the parts of their scores; nothing where none were."""
    judged = prediction.candidates
    if not judged:
        return ""
    parts = ["of_answers", "of_votes"]
    if fits := any(candidate.likelihood for candidate in judged):  # else the gallery can't tell
        parts.append("of_fit")
    if prediction.choice is not None:
        parts.append("of_choice")
    rows = []
    for candidate in judged:
        shares = [candidate.agreement, candidate.density, *[candidate.likelihood] * fits]
        chosen = [] if prediction.choice is None else ["✓" if candidate.choice else "0%"]
        rows.append((str(name(candidate.position)), percent(candidate.score), [*map(percent, shares), *chosen]))
    return render("evidence.candidates", rows=rows, parts=list(map(translate, parts)), translate=translate)


def files(rows: Sequence[Row], translate: Translate = ENGLISH) -> str:
    """Links that save the result; the files are in the page itself, so that the server keeps none."""
    labels = ("GeoJSON", "KML", "CSV")
    links = [
        (label, suffix, data_url(write(rows), suffix))
        for label, (suffix, write) in zip(labels, WRITERS.items(), strict=True)
    ]
    return render("evidence.files", links=links, translate=translate)


def street(position: LatLon | None, radius_km: float | None, translate: Translate = ENGLISH) -> str:
    """Offer a street map of the answer; nothing is fetched before it is asked for (page.js)."""
    if position is None:
        return ""
    half_km = min(max(radius_km or 0, STREET_KM[0]), STREET_KM[1])
    high = math.degrees(half_km / EARTH_RADIUS_KM)
    wide = 2 * high / max(math.cos(math.radians(position.lat)), 0.01)
    lat, lon = position.lat, position.lon
    box = ",".join(f"{edge:.5f}" for edge in (lon - wide, lat - high, lon + wide, lat + high))
    address = f"https://www.openstreetmap.org/export/embed.html?bbox={box}&layer=mapnik&marker={lat:.5f},{lon:.5f}"
    return render("evidence.street", address=address, translate=translate)


def timings(prediction: Prediction, translate: Translate = ENGLISH) -> str:
    """List how long each stage took."""
    rows = [(STAGES[stage], seconds) for stage, seconds in prediction.timings]
    return render("evidence.timings", rows=rows, total_s=sum(seconds for _, seconds in rows), translate=translate)

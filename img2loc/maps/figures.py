"""The evidence on maps: Plotly figures that draw without a network, a tile server or WebGL."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from img2loc.geo.areas import NamedArea, read_area
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import circle
from img2loc.maps.atlas import figure
from img2loc.types import Candidate, LatLon, Neighbour, Place, Prediction, Retrieval

# After Okabe and Ito, told apart by the colour-blind; blue and purple are shifted, so that each has a contrast of 3:1
# or more to the page's white and to its dark slate, and carries white numbers. Source: https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, PURPLE = "#1b7fc2", "#d55e00", "#009e73", "#b85690"

OUTLINE = {"color": "white", "width": 1}
CANDIDATES = 12  # so many are drawn
FRAMED_SCORE = 0.05  # a candidate with less doesn't widen the map
MASS_KM = (60.0, 180.0, 400.0)
NUMBERED = 5  # so many first neighbours carry their rank on the map; numbers on all would cover each other


# How a position is called: nearest_place, or as coarsely as the operator wants it.
Name = Callable[[LatLon], Place]


@dataclass(frozen=True, slots=True)
class Mark:
    """One answer among several.

    Args:
        label: A letter or a number, shown on it.
        position: Where it is.
        title: Whose answer it is, untrusted.
        colour: Of the mark, able to carry white letters.
    """

    label: str
    position: LatLon
    title: str
    colour: str = BLUE


def nearest_map(retrieval: Retrieval, name: Name = nearest_place) -> go.Figure:
    """Draw the most similar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.nearest, BLUE, "circle", name)


def farthest_map(retrieval: Retrieval, name: Name = nearest_place) -> go.Figure:
    """Draw the most dissimilar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.farthest, PURPLE, "square", name)


def area_map(area: NamedArea | None) -> go.Figure:
    """Draw where a photo is known to have been taken; without that, the whole world."""
    return figure([_outline(area)], area.framed()) if area else figure([], [])


def prediction_map(prediction: Prediction, truth: LatLon | None = None, name: Name = nearest_place) -> go.Figure:
    """Draw the answer with its radius, the candidates and where their mass lies, the vote, and the true position.

    Where the photo was known to have been taken is outlined.

    Args:
        prediction: What to draw; its nearest neighbours stay in the background and don't count for the frame.
        truth: Where the photo was really taken, if that is known.
        name: How positions are called.
    """
    area = read_area(prediction.within)
    traces: list[go.Scattergeo] = [_outline(area)] if area else []
    framed = [position for position in (prediction.position, truth) if position]
    if faint := prediction.retrieval.nearest:
        marker: dict[str, object] = {"size": 7, "color": BLUE, "opacity": 0.7}
        traces.append(_markers("neighbours", [n.position for n in faint], _neighbour_texts(faint, name), marker))
    judged = prediction.candidates[:CANDIDATES]
    traces += [_mass(one) for one in judged]
    framed += [one.position for one in judged if one.score >= FRAMED_SCORE]
    if (vote := prediction.vote) and prediction.method != "vote":
        edge = circle(vote.position, vote.radius_km)
        framed += [vote.position, *edge]
        traces.append(_line("vote's radius", edge, BLUE, "solid"))
        traces.append(_point("vote", vote.position, name))
    if prediction.position and prediction.radius_km is not None:
        edge = circle(prediction.position, prediction.radius_km)
        framed += edge
        traces.append(_line("radius", edge, VERMILION, "solid"))
    if truth:
        if prediction.position:
            traces.append(_line("error", [prediction.position, truth], GREEN, "dot"))
        traces.append(_point("truth", truth, name))
    for rank, one in reversed(list(enumerate(judged, start=1))):
        traces.append(_candidate(rank, one, name))
    if prediction.position:
        traces.append(_point("answer", prediction.position, name))
    return figure(traces, framed)


def _outline(area: NamedArea) -> go.Scattergeo:
    lats, lons = area.outline().astype(np.float32).T.copy()
    line = {"color": GREEN, "width": 1.5}
    return go.Scattergeo(name="area", mode="lines", lat=lats, lon=lons, line=line, hoverinfo="skip")


def _mass(one: Candidate) -> go.Scattergeo:
    """Discs that get denser to the middle and with the score; where several overlap their masses add up."""
    lats: list[float | None] = []
    lons: list[float | None] = []
    for radius_km in MASS_KM:
        # Clockwise as seen from above: the other way round it would be all the Earth but the disc.
        edge = circle(one.position, radius_km, step_deg=15)
        lats += [*(round(at.lat, 4) for at in edge), None]
        lons += [*(round(at.lon, 4) for at in edge), None]
    return go.Scattergeo(
        name="mass",
        mode="lines",
        lat=lats,
        lon=lons,
        fill="toself",
        fillcolor=f"rgba(213,94,0,{0.08 + 0.3 * one.score:.3f})",
        line={"width": 0},
        hoverinfo="skip",
    )


def _candidate(rank: int, one: Candidate, name: Name) -> go.Scattergeo:
    text = f"<b>{rank}. {_safe(str(name(one.position)))}</b><br>{one.score:.0%}<br>{one.position}"
    marker = {"size": 8 + 16 * one.score**0.5, "color": VERMILION, "opacity": 0.8, "line": OUTLINE}
    return _markers(f"candidate {rank}", [one.position], [text], marker)


def answers_map(marks: Sequence[Mark], truth: LatLon | None = None, name: Name = nearest_place) -> go.Figure:
    """Draw several answers, each with its label; the trace of a mark is called "mark LABEL".

    Args:
        marks: The answers; the first lies on top.
        truth: Where the photo was really taken, if that is known.
        name: How positions are called.
    """
    traces = [_point("truth", truth, name)] if truth else []
    for mark in reversed(marks):
        style: dict[str, object] = {"color": mark.colour, "size": 21, "line": OUTLINE}
        text = f"<b>{_safe(mark.title)}</b><br>{_safe(str(name(mark.position)))}<br>{mark.position}"
        traces.append(_labelled(f"mark {mark.label}", mark.label, mark.position, text, style))
    return figure(traces, [mark.position for mark in marks] + ([truth] if truth else []))


def _neighbours_map(neighbours: Sequence[Neighbour], colour: str, symbol: str, name: Name) -> go.Figure:
    texts = _neighbour_texts(neighbours, name)
    positions = [neighbour.position for neighbour in neighbours]
    traces = []
    if len(neighbours) > NUMBERED:
        marker: dict[str, object] = {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.7, "line": OUTLINE}
        traces.append(_markers("others", positions[NUMBERED:], texts[NUMBERED:], marker))
    # A trace each, from the last to the first, so that the best one's number lies on top of another's marker.
    for rank in range(min(NUMBERED, len(neighbours)), 0, -1):
        marker = {"color": colour, "symbol": symbol, "size": 19, "line": OUTLINE}
        traces.append(_labelled(f"rank {rank}", str(rank), positions[rank - 1], texts[rank - 1], marker))
    return figure(traces, positions)


def _labelled(name: str, label: str, position: LatLon, text: str, marker: dict[str, object]) -> go.Scattergeo:
    trace = _markers(name, [position], [text], marker)
    trace.mode, trace.text = "markers+text", label
    trace.textfont = {"color": "white", "size": 11, "weight": 700}
    return trace


# By trace: its label, colour, symbol and size in pixels.
_POINTS = {
    "answer": ("Answer", VERMILION, "star", 19),
    "vote": ("The neighbours' vote", BLUE, "diamond", 13),
    "truth": ("True position", GREEN, "x", 14),
}


def _point(trace: str, position: LatLon, name: Name) -> go.Scattergeo:
    label, colour, symbol, size_px = _POINTS[trace]
    text = f"<b>{label}</b><br>{_safe(str(name(position)))}<br>{position}"
    marker = {"size": size_px, "color": colour, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
    return _markers(trace, [position], [text], marker)


def _markers(name: str, positions: Sequence[LatLon], texts: Sequence[str], marker: dict[str, object]) -> go.Scattergeo:
    return go.Scattergeo(
        name=name,
        mode="markers",
        lat=[round(position.lat, 5) for position in positions],
        lon=[round(position.lon, 5) for position in positions],
        hovertext=list(texts),
        hoverinfo="text",
        marker=marker,
    )


def _line(name: str, positions: Sequence[LatLon], colour: str, dash: str) -> go.Scattergeo:
    # Between two points the browser draws the great circle, and cuts it where it leaves the map for the other edge.
    return go.Scattergeo(
        name=name,
        mode="lines",
        lat=[round(position.lat, 4) for position in positions],
        lon=[round(position.lon, 4) for position in positions],
        line={"color": colour, "width": 2, "dash": dash},
        hoverinfo="skip",
    )


def _neighbour_texts(neighbours: Sequence[Neighbour], name: Name) -> list[str]:
    texts = []
    for rank, neighbour in enumerate(neighbours, start=1):
        lines = [
            f"<b>{rank}. {_safe(str(name(neighbour.position)))}</b>",
            f"similarity {neighbour.similarity:.3f}",
            str(neighbour.position),
        ]
        if photo := neighbour.photo:
            lines += [_safe(text[:80]) for text in (photo.author, photo.licence) if text]
        texts.append("<br>".join(lines))
    return texts


def _safe(text: str) -> str:
    """Escape what Plotly would read as markup."""
    return html.escape(text, quote=False)

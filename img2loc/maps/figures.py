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

# After Okabe and Ito, whose colours the colour-blind can tell apart; blue and purple are changed so that each has a
# contrast of 3:1 or more to the page's white and dark slate and to white numbers. Source: https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, PURPLE = "#1b7fc2", "#d55e00", "#009e73", "#b85690"

OUTLINE = {"color": "white", "width": 1}
MAX_CANDIDATES = 12
MIN_FRAMED_SCORE = 0.05  # a candidate with less doesn't widen the map
DISC_RADII_KM = (60.0, 180.0, 400.0)
NUMBERED = 5  # the first neighbours carry their rank on the map; numbers on all would cover each other


Name = Callable[[LatLon], Place]  # names a position: nearest_place, or a coarser place where the operator wants it


@dataclass(frozen=True, slots=True)
class Mark:
    """One answer among several."""

    label: str  # a letter or a number, shown on it in white
    position: LatLon
    title: str  # whose answer it is; untrusted
    colour: str = BLUE


def nearest_map(retrieval: Retrieval, name: Name = nearest_place) -> go.Figure:
    """Draw the most similar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.nearest, BLUE, "circle", name)


def farthest_map(retrieval: Retrieval, name: Name = nearest_place) -> go.Figure:
    """Draw the least similar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.farthest, PURPLE, "square", name)


def area_map(area: NamedArea | None) -> go.Figure:
    """Draw a known area; None for the whole world."""
    return figure([_outline(area)], area.framed()) if area else figure([], [])


def prediction_map(prediction: Prediction, truth: LatLon | None = None, name: Name = nearest_place) -> go.Figure:
    """Draw the answer with its radius, the candidates, the vote, the true position, and the known area's outline.

    The nearest neighbours are drawn small in the background, and don't widen the map.
    """
    area = read_area(prediction.within)
    traces: list[go.Scattergeo] = [_outline(area)] if area else []
    framed = [position for position in (prediction.position, truth) if position]
    if neighbours := prediction.retrieval.nearest:
        marker: dict[str, object] = {"size": 7, "color": BLUE, "opacity": 0.7}
        positions = [neighbour.position for neighbour in neighbours]
        traces.append(_markers("neighbours", positions, _neighbour_texts(neighbours, name), marker))
    candidates = prediction.candidates[:MAX_CANDIDATES]
    traces += [_discs(candidate) for candidate in candidates]
    framed += [candidate.position for candidate in candidates if candidate.score >= MIN_FRAMED_SCORE]
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
    for rank, candidate in reversed(list(enumerate(candidates, start=1))):
        traces.append(_candidate(rank, candidate, name))
    if prediction.position:
        traces.append(_point("answer", prediction.position, name))
    return figure(traces, framed)


def _outline(area: NamedArea) -> go.Scattergeo:
    lats, lons = area.outline().astype(np.float32).T.copy()
    line = {"color": GREEN, "width": 1.5}
    return go.Scattergeo(name="area", mode="lines", lat=lats, lon=lons, line=line, hoverinfo="skip")


def _discs(candidate: Candidate) -> go.Scattergeo:
    """Nested discs, darker towards the middle and with the score; where several overlap they add up."""
    lats: list[float | None] = []
    lons: list[float | None] = []
    for radius_km in DISC_RADII_KM:
        # Clockwise as seen from above: the other way round the browser would fill the rest of the Earth.
        edge = circle(candidate.position, radius_km, step_deg=15)
        lats += [*(round(point.lat, 4) for point in edge), None]
        lons += [*(round(point.lon, 4) for point in edge), None]
    return go.Scattergeo(
        name="mass",
        mode="lines",
        lat=lats,
        lon=lons,
        fill="toself",
        fillcolor=f"rgba(213,94,0,{0.08 + 0.3 * candidate.score:.3f})",
        line={"width": 0},
        hoverinfo="skip",
    )


def _candidate(rank: int, candidate: Candidate, name: Name) -> go.Scattergeo:
    text = _hover_text(f"{rank}. {name(candidate.position)}", f"{candidate.score:.0%}", candidate.position)
    marker = {"size": 8 + 16 * candidate.score**0.5, "color": VERMILION, "opacity": 0.8, "line": OUTLINE}
    return _markers(f"candidate {rank}", [candidate.position], [text], marker)


def answers_map(marks: Sequence[Mark], truth: LatLon | None = None, name: Name = nearest_place) -> go.Figure:
    """Draw several answers, the first on top, and the true position; a mark's trace is named "mark LABEL"."""
    traces = [_point("truth", truth, name)] if truth else []
    for mark in reversed(marks):
        style: dict[str, object] = {"color": mark.colour, "size": 21, "line": OUTLINE}
        text = _hover_text(mark.title, name(mark.position), mark.position)
        traces.append(_labelled(f"mark {mark.label}", mark.label, mark.position, text, style))
    return figure(traces, [mark.position for mark in marks] + ([truth] if truth else []))


def _neighbours_map(neighbours: Sequence[Neighbour], colour: str, symbol: str, name: Name) -> go.Figure:
    texts = _neighbour_texts(neighbours, name)
    positions = [neighbour.position for neighbour in neighbours]
    traces = []
    if len(neighbours) > NUMBERED:
        marker: dict[str, object] = {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.7, "line": OUTLINE}
        traces.append(_markers("others", positions[NUMBERED:], texts[NUMBERED:], marker))
    # One trace each, from the last to the first, so that a better one's number lies on top of another's marker.
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
    text = _hover_text(label, name(position), position)
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
    # Between two points the browser draws the great circle, also across the map's edges.
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
        title, similarity = f"{rank}. {name(neighbour.position)}", f"similarity {neighbour.similarity:.3f}"
        photo = neighbour.photo
        credit = [text[:80] for text in (photo.author, photo.licence) if text] if photo else []
        texts.append(_hover_text(title, similarity, neighbour.position, *credit))
    return texts


def _hover_text(title: str, *lines: object) -> str:
    """A marker's tooltip, escaped, since Plotly reads markup in it."""
    safe_title, *safe_lines = (html.escape(str(text), quote=False) for text in (title, *lines))
    return "<br>".join([f"<b>{safe_title}</b>", *safe_lines])

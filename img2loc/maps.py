"""The evidence on three maps: Plotly figures that draw without a network, a tile server or WebGL.

All of Plotly's own base layers are off, because the browser would fetch them from elsewhere; the countries are a trace
of ours. A region is drawn in a projection turned so that the region lies in its middle, which is right across the
antimeridian and at the poles; what spans more is drawn on a map of the whole world. All maps are twice as wide as high.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from img2loc.geo import destination, nearest_place, to_latlon, unit_vectors
from img2loc.types import LatLon, Neighbour, Prediction, Retrieval

# After Okabe and Ito, told apart by the colour-blind; blue and purple are shifted, so that each has a contrast of 3:1
# or more to the page's white and to its dark slate, and carries white numbers. Source: https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, PURPLE = "#1b7fc2", "#d55e00", "#009e73", "#b85690"
# Greys that are seen on white and on near-black alike.
LAND, BORDER, GRID, INK = "rgba(128,140,155,.16)", "rgba(128,140,155,.75)", "rgba(128,140,155,.18)", "#7a8594"
CLEAR = "rgba(0,0,0,0)"

NUMBERED = 5  # so many first neighbours carry their rank on the map; numbers on all would cover each other
MIN_RADIUS_DEG = 9.0  # a single point is shown within its region
MAX_RADIUS_DEG = 50.0  # what spans more is shown on the whole world
MARGIN = 1.25
FRAME_DEG = 5.0
POLAR_LAT = 60.0

Ring = list[tuple[float, float]]


def nearest_map(retrieval: Retrieval) -> go.Figure:
    """Draw the most similar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.nearest, BLUE, "circle")


def farthest_map(retrieval: Retrieval) -> go.Figure:
    """Draw the most dissimilar photos of the gallery, the first of them numbered."""
    return _neighbours_map(retrieval.farthest, PURPLE, "square")


def prediction_map(prediction: Prediction, truth: LatLon | None = None) -> go.Figure:
    """Draw the answer, the vote with its radius, and the true position.

    Args:
        prediction: What to draw; its nearest neighbours stay in the background and don't count for the frame.
        truth: Where the photo was really taken, if that is known.
    """
    traces: list[go.Scattergeo] = []
    framed = [position for position in (prediction.position, truth) if position]
    if faint := prediction.retrieval.nearest:
        marker: dict[str, object] = {"size": 7, "color": BLUE, "opacity": 0.7}
        traces.append(_markers("neighbours", [n.position for n in faint], _neighbour_texts(faint), marker))
    if vote := prediction.vote:
        circle = [destination(vote.position, bearing, vote.radius_km) for bearing in range(0, 361, 5)]
        framed += [vote.position, *circle]
        traces.append(_line("radius", circle, VERMILION if prediction.method == "vote" else BLUE, "solid"))
        if prediction.method != "vote":
            traces.append(_point("vote", "The neighbours' vote", vote.position, BLUE, "diamond", 13))
    if truth:
        if prediction.position:
            traces.append(_line("error", [prediction.position, truth], GREEN, "dot"))
        traces.append(_point("truth", "True position", truth, GREEN, "x", 14))
    if prediction.position:
        traces.append(_point("answer", "Answer", prediction.position, VERMILION, "star", 19))
    return _figure(traces, framed)


def _neighbours_map(neighbours: Sequence[Neighbour], colour: str, symbol: str) -> go.Figure:
    texts = _neighbour_texts(neighbours)
    positions = [neighbour.position for neighbour in neighbours]
    outline = {"color": "white", "width": 1}
    traces = []
    if len(neighbours) > NUMBERED:
        marker: dict[str, object] = {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.7, "line": outline}
        traces.append(_markers("others", positions[NUMBERED:], texts[NUMBERED:], marker))
    # A trace each, from the last to the first, so that the best one's number lies on top of another's marker.
    for rank in range(min(NUMBERED, len(neighbours)), 0, -1):
        marker = {"color": colour, "symbol": symbol, "size": 19, "line": outline}
        trace = _markers(f"rank {rank}", positions[rank - 1 : rank], texts[rank - 1 : rank], marker)
        trace.mode, trace.text = "markers+text", str(rank)
        trace.textfont = {"color": "white", "size": 11, "weight": 700}
        traces.append(trace)
    return _figure(traces, positions)


def _point(name: str, label: str, position: LatLon, colour: str, symbol: str, size_px: int) -> go.Scattergeo:
    text = f"<b>{label}</b><br>{_safe(str(nearest_place(position)))}<br>{position}"
    marker = {"size": size_px, "color": colour, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
    return _markers(name, [position], [text], marker)


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


def _figure(traces: Sequence[go.Scattergeo], framed: Sequence[LatLon]) -> go.Figure:
    # The height is left to the page: it knows the width.
    layout = go.Layout(
        template="none",
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor=CLEAR,
        font={"color": INK},
        showlegend=False,
        hoverlabel={"align": "left", "bgcolor": "#1f2937", "font": {"color": "white", "size": 13}},
        modebar={"orientation": "v", "bgcolor": CLEAR, "color": INK, "remove": ["toimage", "select", "lasso", "pan"]},
        geo={
            **_view(framed),
            "bgcolor": CLEAR,
            "showframe": False,
            "showcoastlines": False,
            "showcountries": False,
            "showlakes": False,
            "showland": False,
            "showocean": False,
            "showrivers": False,
            "showsubunits": False,
        },
    )
    return go.Figure([_countries(), *traces], layout)


def _view(positions: Sequence[LatLon]) -> dict[str, object]:
    """Frame positions: the settings of a Plotly geo subplot, which doesn't do it by itself."""
    centre, radius_deg = _enclosing_cap(positions)
    grid = {"showgrid": True, "gridcolor": GRID}
    if radius_deg > MAX_RADIUS_DEG:
        return {
            "projection": {"type": "natural earth"},
            "lonaxis": {"dtick": 30, **grid},
            "lataxis": {"dtick": 30, **grid},
        }
    radius_deg = max(radius_deg * MARGIN, MIN_RADIUS_DEG)
    step_deg = 5 if radius_deg < 15 else 10
    lat, lon = round(centre.lat, 4), round(centre.lon, 4)
    # The ranges give the frame its shape alone, twice as wide as high; the scale says how much of the Earth it holds.
    if polar := abs(lat) > POLAR_LAT:
        half_lon = 90.0  # half of a disc about the pole
        lat_range = [90 - 2 * FRAME_DEG, 90] if lat > 0 else [-90, 2 * FRAME_DEG - 90]
    else:
        half_lon = 2 * FRAME_DEG / math.cos(math.radians(lat))
        lat_range = [lat - FRAME_DEG, lat + FRAME_DEG]
    middle = {"lat": lat, "lon": lon}
    return {
        # Equal-area, true to shape in its middle, and able to be turned to any middle.
        "projection": {"type": "hammer", "rotation": middle, "scale": round(FRAME_DEG / radius_deg, 4)},
        "center": middle,
        "lonaxis": {"range": [lon - half_lon, lon + half_lon], "dtick": 30 if polar else step_deg, **grid},
        "lataxis": {"range": lat_range, "dtick": step_deg, **grid},
    }


def _enclosing_cap(positions: Sequence[LatLon]) -> tuple[LatLon, float]:
    """Find a small circle on the Earth that holds all positions: its centre walks to the farthest by shrinking steps.

    Source: Badoiu, Clarkson, Smaller core-sets for balls, SODA 2003, carried over to the sphere.

    Returns:
        Centre and radius in degrees; the whole Earth for no positions, or for ones that balance each other.
    """
    points = unit_vectors(positions)
    centre = points.sum(axis=0)
    if np.linalg.norm(centre) < 1e-6:
        return LatLon(0, 0), 180.0
    for step in range(2, 200):
        centre = centre / np.linalg.norm(centre)
        centre = centre + (points[int((points @ centre).argmin())] - centre) / step
    centre = centre / np.linalg.norm(centre)
    return to_latlon(centre), math.degrees(math.acos(float(np.clip((points @ centre).min(), -1, 1))))


@cache
def _countries() -> go.Scattergeo:
    """Natural Earth's countries, 1:110m (public domain, https://www.naturalearthdata.com), as one trace."""
    text = (resources.files("img2loc") / "data" / "countries_110m.geo.json").read_text("utf-8")
    # Outer rings only: the one hole, in South Africa, is Lesotho, a country of its own.
    rings = [
        _clockwise([(float(lon), float(lat)) for lon, lat in polygon[0]])
        for feature in json.loads(text)["features"]
        for polygon in feature["geometry"]["coordinates"]
    ]
    gap = (math.nan, math.nan)
    corners = [corner for ring in _sewn(rings) for corner in (*ring, gap)]
    lon, lat = np.array(corners, dtype=np.float32).round(2).T.copy()
    return go.Scattergeo(
        name="countries",
        mode="lines",
        lat=lat,
        lon=lon,
        line={"color": BORDER, "width": 0.8},
        fill="toself",
        fillcolor=LAND,
        hoverinfo="skip",
    )


def _sewn(rings: Sequence[Ring]) -> list[Ring]:
    """Undo the cuts along the antimeridian, which would be drawn as borders through Chukotka, Fiji and Antarctica.

    Args:
        rings: Closed rings of (lon, lat), all wound alike; a cut has one straight edge on either side, at 180 and -180.

    Returns:
        Closed rings that run across the antimeridian.
    """
    sewn: list[Ring] = []
    east: dict[tuple[float, ...], Ring] = {}
    west: dict[tuple[float, ...], Ring] = {}
    for ring in rings:
        corners = [corner for corner in ring[:-1] if corner[1] > -90]  # Antarctica's cut runs on to the pole and back
        cut = tuple(sorted(lat for lon, lat in corners if abs(lon) == 180))
        sides = {lon for lon, _ in corners if abs(lon) == 180}
        if len(sides) == 1:
            (east if sides == {180.0} else west)[cut] = corners
        else:
            sewn.append(corners)
    for cut, ring in east.items():
        across = [corner for corner in _behind_cut(west[cut]) if corner[0] != -180]
        sewn.append(_behind_cut(ring) + across)
    return [[*ring, ring[0]] for ring in sewn]


def _behind_cut(ring: Ring) -> Ring:
    """Let an open ring start and end at the edge that lies on the antimeridian."""
    on_cut = [abs(lon) == 180 for lon, _ in ring]
    start = next(i for i in range(len(ring)) if on_cut[i] and on_cut[i - 1])
    return ring[start:] + ring[:start]


def _clockwise(ring: Ring) -> Ring:
    """Wind a ring so that the browser fills its inside; the other way round it fills the rest of the globe."""
    area = sum((b[0] - a[0]) * (b[1] + a[1]) for a, b in pairwise(ring))
    return ring if area > 0 else ring[::-1]


def _neighbour_texts(neighbours: Sequence[Neighbour]) -> list[str]:
    texts = []
    for rank, neighbour in enumerate(neighbours, start=1):
        lines = [
            f"<b>{rank}. {_safe(str(nearest_place(neighbour.position)))}</b>",
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

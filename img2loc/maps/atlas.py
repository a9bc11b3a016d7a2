"""The world map under every figure, and the frame around what it shows, without a network, tiles or WebGL.

All of Plotly's own base layers are off, because the browser would download them; the countries are a trace of ours. A
region is drawn in a projection turned so that the region is in its middle, which also works across the antimeridian and
at the poles; larger areas are drawn on a map of the whole world. All maps are twice as wide as high.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from img2loc.geo.sphere import to_latlon, unit_vectors
from img2loc.types import LatLon

# Greys that are visible on white and on near-black.
LAND, BORDER, GRID, INK = "rgba(128,140,155,.16)", "rgba(128,140,155,.75)", "rgba(128,140,155,.18)", "#7a8594"
CLEAR = "rgba(0,0,0,0)"
PLOTLY_LAYERS = ("frame", "coastlines", "countries", "lakes", "land", "ocean", "rivers", "subunits")

MIN_RADIUS_DEG = 9.0  # a single point is shown within its region
MAX_RADIUS_DEG = 50.0  # larger areas are shown on the whole world
MARGIN = 1.25
FRAME_DEG = 5.0
POLAR_LAT = 60.0

Ring = list[tuple[float, float]]


def figure(traces: Sequence[go.Scattergeo], framed: Sequence[LatLon]) -> go.Figure:
    """Draw traces over the countries; the height is left to the page, which knows the width.

    Args:
        traces: From the lowest to the highest.
        framed: The positions to show; none for the whole world.
    """
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
            **{f"show{layer}": False for layer in PLOTLY_LAYERS},
        },
    )
    # A copy: Plotly removes a trace's type for a moment, in which another thread's figure would be without it.
    return go.Figure([go.Scattergeo(_countries()), *traces], layout)


def _view(positions: Sequence[LatLon]) -> dict[str, object]:
    """The projection and ranges of a Plotly geo subplot that shows some positions."""
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
    # The ranges only give the frame its shape, twice as wide as high; the scale says how much of the Earth it shows.
    if polar := abs(lat) > POLAR_LAT:
        half_lon = 90.0  # half of a disc about the pole
        lat_range = [90 - 2 * FRAME_DEG, 90] if lat > 0 else [-90, 2 * FRAME_DEG - 90]
    else:
        half_lon = 2 * FRAME_DEG / math.cos(math.radians(lat))
        lat_range = [lat - FRAME_DEG, lat + FRAME_DEG]
    middle = {"lat": lat, "lon": lon}
    return {
        # Equal-area, true to shape in its middle, and it can be turned to any middle.
        "projection": {"type": "hammer", "rotation": middle, "scale": round(FRAME_DEG / radius_deg, 4)},
        "center": middle,
        "lonaxis": {"range": [lon - half_lon, lon + half_lon], "dtick": 30 if polar else step_deg, **grid},
        "lataxis": {"range": lat_range, "dtick": step_deg, **grid},
    }


def _enclosing_cap(positions: Sequence[LatLon]) -> tuple[LatLon, float]:
    """A small circle that holds all positions: its centre moves towards the farthest one in shrinking steps.

    Source: Badoiu, Clarkson, Smaller core-sets for balls, SODA 2003, applied to the sphere.

    Returns:
        Centre and radius in degrees; the whole Earth where there are no positions or their mean is the Earth's centre.
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
    # Outer rings only: the one hole, in South Africa, is Lesotho.
    rings = [
        _clockwise([(float(lon), float(lat)) for lon, lat in polygon[0]])
        for feature in json.loads(text)["features"]
        for polygon in feature["geometry"]["coordinates"]
    ]
    gap = (math.nan, math.nan)
    corners = [corner for ring in _join_across_antimeridian(rings) for corner in (*ring, gap)]
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


def _join_across_antimeridian(rings: Sequence[Ring]) -> list[Ring]:
    """Undo the cuts along the antimeridian, which would be drawn as borders through Chukotka, Fiji and Antarctica.

    Args:
        rings: Closed rings of (lon, lat), all wound alike; a cut has one straight edge on either side, at 180 and -180.
    """
    joined: list[Ring] = []
    east: dict[tuple[float, ...], Ring] = {}
    west: dict[tuple[float, ...], Ring] = {}
    for ring in rings:
        corners = [corner for corner in ring[:-1] if corner[1] > -90]  # Antarctica's cut runs on to the pole and back
        cut = tuple(sorted(lat for lon, lat in corners if abs(lon) == 180))
        sides = {lon for lon, _ in corners if abs(lon) == 180}
        if len(sides) == 1:
            (east if sides == {180.0} else west)[cut] = corners
        else:
            joined.append(corners)
    for cut, ring in east.items():
        across = [corner for corner in _start_at_cut(west[cut]) if corner[0] != -180]
        joined.append(_start_at_cut(ring) + across)
    return [[*ring, ring[0]] for ring in joined]


def _start_at_cut(ring: Ring) -> Ring:
    """Rotate an open ring so that it starts and ends at its edge on the antimeridian."""
    on_cut = [abs(lon) == 180 for lon, _ in ring]
    start = next(i for i in range(len(ring)) if on_cut[i] and on_cut[i - 1])
    return ring[start:] + ring[:start]


def _clockwise(ring: Ring) -> Ring:
    """Wind a ring clockwise: the browser would fill the rest of the globe inside any other."""
    area = sum((b[0] - a[0]) * (b[1] + a[1]) for a, b in pairwise(ring))
    return ring if area > 0 else ring[::-1]

"""The report's drawings as SVG: the accuracy at every distance, and a map of the errors."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final

import numpy as np

from img2loc.evaluation.report.answers import Case
from img2loc.evaluation.report.metrics import LEVELS, THRESHOLDS_KM
from img2loc.evaluation.report.score import Score
from img2loc.types import LatLon

# After Okabe and Ito, distinct for colour-blind readers. Source: https://jfly.uni-koeln.de/color/
COLOURS: Final = ("#1b7fc2", "#d55e00", "#009e73", "#b85690", "#b8860b", "#5b7083")
DASHES: Final = ("", "7 4", "2 3", "10 3 2 3", "1 5", "14 4")
MAX_DRAWN: Final = 3000  # errors on a map: more would hide each other, and make the page large

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 14, 46
_FROM_KM, _TO_KM = 0.1, 20_000.0
_TICKS_KM = (0.1, 1, 10, 100, 1000, 10_000)

_PER_DEG = 3.0  # units of the map's drawing
_LAND = "#8c97a5"


def curve(scores: Sequence[Score]) -> str:
    """Draw the share of photos within each distance, by the geodesic; one line for each score."""
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 22 * len(scores)}" role="img" aria-label="Accuracy by distance">']
    for share in range(0, 101, 20):
        y = _y(share / 100)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, opacity=0.15))
        parts.append(_text(_LEFT - 6, y + 4, f"{share}%", anchor="end"))
    for km in _TICKS_KM:
        parts.append(_text(_x(km), _HEIGHT - _BOTTOM + 18, f"{km:,g} km"))
    for km, level in zip(THRESHOLDS_KM, LEVELS, strict=True):
        parts.append(_line(_x(km), _TOP, _x(km), _HEIGHT - _BOTTOM, opacity=0.35, dash="3 3"))
        parts.append(_text(_x(km) + 4, _TOP + 8, level, anchor="start", size=10))
    distances = np.geomspace(_FROM_KM, _TO_KM, 240)
    for number, score in enumerate(scores):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        ordered = np.sort(score.distances_km["geodesic"])
        shares = np.searchsorted(ordered, distances, side="right") / max(1, score.n)
        points = " ".join(f"{_x(km):.1f},{_y(share):.1f}" for km, share in zip(distances, shares, strict=True))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{points}" {stroke}><title>{html.escape(score.name)}</title></polyline>')
        y = _HEIGHT + 22 * number
        parts.append(f'<path d="M{_LEFT} {y}h36" {stroke}/>')
        parts.append(_text(_LEFT + 46, y + 4, score.name, anchor="start"))
    return "".join(parts) + "</svg>"


def error_map(cases: Sequence[Case], distances: Sequence[float]) -> str:
    """Draw each photo's true position, coloured by its error, with a line to the predicted position.

    Args:
        cases: The photos; only every so many are drawn if there are more than MAX_DRAWN.
        distances: Their errors in km.
    """
    step = math.ceil(len(cases) / MAX_DRAWN) or 1
    width, height = 360 * _PER_DEG, 180 * _PER_DEG
    parts = [
        f'<svg viewBox="0 0 {width:g} {height + 26:g}" role="img" aria-label="Map of the errors">'
        f'<path d="{_land()}" fill="{_LAND}" fill-opacity=".18" stroke="{_LAND}" stroke-opacity=".6" '
        'stroke-width=".5"/>'
    ]
    dots = []
    drawn = sorted(zip(cases[::step], distances[::step], strict=True), key=lambda pair: -pair[1])
    for case, km in drawn:
        colour = _colour(km)
        title = f"<title>{html.escape(f'{case.item.id}: {_km(km)}, {case.kind}')}</title>"
        x, y = _xy(case.item.position.lat, case.item.position.lon)
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity=".85">{title}</circle>')
        if case.predicted:
            path = _straight(case.item.position, case.predicted)
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity=".5">{title}</path>')
    parts += dots
    names = [*(f"within {km:,g} km" for km in THRESHOLDS_KM), "farther", "no position"]
    for number, name in enumerate(names):
        x, y = 12 + number * width / len(names), height + 15
        colour = _colour((*THRESHOLDS_KM, 1e5, math.inf)[number])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        parts.append(_text(x + 10, y + 4, name, anchor="start", size=13))
    return "".join(parts) + "</svg>"


def _colour(km: float) -> str:
    if math.isinf(km):
        return "#6b7280"
    # From blue to red in even steps of lightness; the legend has the order, too.
    scale = ("#2166ac", "#4393c3", "#35978f", "#e0a100", "#e8743b", "#b2182b")
    return scale[sum(km > threshold for threshold in THRESHOLDS_KM)]


def _km(km: float) -> str:
    return "no position" if math.isinf(km) else f"{km:,.1f} km off"


def _x(km: float) -> float:
    share = math.log(km / _FROM_KM) / math.log(_TO_KM / _FROM_KM)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _line(x1: float, y1: float, x2: float, y2: float, *, opacity: float, dash: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}" stroke-dasharray="{dash}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-family="system-ui, sans-serif" '
        f'fill="currentColor">{html.escape(text)}</text>'
    )


def _xy(lat: float, lon: float) -> tuple[float, float]:
    return (lon + 180) * _PER_DEG, (90 - lat) * _PER_DEG


def _straight(a: LatLon, b: LatLon) -> str:
    """A line between two positions, across the map's edge if that is shorter."""
    (x1, y1), (x2, y2) = _xy(a.lat, a.lon), _xy(b.lat, b.lon)
    width = 360 * _PER_DEG
    if abs(x2 - x1) <= width / 2:
        return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"
    over = width if x2 < x1 else -width
    return f"M{x1:.1f} {y1:.1f}L{x2 + over:.1f} {y2:.1f}M{x1 - over:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"


@cache
def _land() -> str:
    """The countries of Natural Earth as one path."""
    text = (resources.files("img2loc") / "data" / "countries_110m.geo.json").read_text(encoding="utf-8")
    polygons = [polygon for shape in json.loads(text)["features"] for polygon in shape["geometry"]["coordinates"]]
    rings = [[_xy(lat, lon) for lon, lat in ring] for polygon in polygons for ring in polygon]
    return "".join("M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in ring) + "Z" for ring in rings)

"""Lines on logarithmic paper, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from img2loc.evaluation.report.figures import COLOURS, DASHES

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 420, 70, 40, 50


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str, log_y: bool = False
) -> str:
    """Draw lines over a logarithmic horizontal axis.

    Args:
        lines: Each one's points, by its name.
        title: Above the drawing.
        x: What is to the right.
        y: What is upwards.
        log_y: Whether upwards is logarithmic, too.
    """
    points = [point for line in lines.values() for point in line]
    rising = math.log10 if log_y else float
    xs, ys = [math.log10(px) for px, _ in points], [rising(py) for _, py in points]
    box = (min(xs), max(max(xs), min(xs) + 1e-9), min(ys), max(max(ys), min(ys) + 1e-9))

    def place(px: float, py: float) -> tuple[float, float]:
        across = LEFT + (math.log10(px) - box[0]) / (box[1] - box[0]) * (WIDTH - LEFT - 20)
        up = HEIGHT - BOTTOM - (rising(py) - box[2]) / (box[3] - box[2]) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(up, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 22 * len(lines)}" '
        'font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-weight="600">{html.escape(title)}</text>',
        f'<text x="{WIDTH - 20}" y="{HEIGHT - 8}" text-anchor="end">{html.escape(x)} →</text>',
        f'<text x="4" y="{TOP - 8}">{html.escape(y)}</text>',
    ]
    for decade in range(math.floor(box[0]), math.ceil(box[1]) + 1):
        for value in (10.0**decade, 2 * 10.0**decade, 5 * 10.0**decade):
            if box[0] <= math.log10(value) <= box[1]:
                across, _ = place(value, points[0][1])
                parts.append(f'<path d="M{across} {TOP}V{HEIGHT - BOTTOM}" stroke="#ccc"/>')
                parts.append(f'<text x="{across}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.12g}</text>')
    for step in range(5):
        value = box[2] + (box[3] - box[2]) * step / 4
        shown = 10**value if log_y else value
        _, up = place(points[0][0], shown)
        parts.append(f'<path d="M{LEFT} {up}H{WIDTH - 20}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{up + 4}" text-anchor="end">{shown:.3g}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        placed = [place(*point) for point in sorted(line, key=lambda point: (point[1], point[0]))]
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{" ".join(f"{px},{py}" for px, py in placed)}" {stroke}/>')
        parts += [f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in placed]
        level = HEIGHT + 10 + 22 * number
        parts.append(f'<path d="M{LEFT} {level}h36" {stroke}/>')
        parts.append(f'<text x="{LEFT + 46}" y="{level + 4}">{html.escape(name)}</text>')
    return "".join(parts) + "</svg>\n"

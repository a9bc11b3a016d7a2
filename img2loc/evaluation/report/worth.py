"""What each part of the judge is worth, beside what it costs in requests and money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from img2loc.evaluation.report.answers import ABLATIONS, JUDGED, SYSTEM, VOTE
from img2loc.evaluation.report.document import Block, Bullets, Grid, Heading, Paragraph
from img2loc.evaluation.report.grids import signed
from img2loc.evaluation.report.metrics import LEVELS
from img2loc.evaluation.report.score import Run
from img2loc.evaluation.run.record import Record, Setup
from img2loc.lmm.servers import SERVERS, pricing
from img2loc.types import Reply

UNHEARD: Final = {**ABLATIONS, VOTE: ("agreement", "choice")}
CITY: Final = LEVELS.index("city")


def worth(runs: Sequence[Run]) -> list[Block]:
    """Write what each part of the judge is worth.

    Args:
        runs: Judged ones, and others of one prompt to compare them with.

    Returns:
        A chapter of the report; nothing where nothing was judged.
    """
    rows: list[tuple[str, ...]] = []
    for run in runs:
        setup = run.record.header.setup
        if setup.judge is None:
            continue
        scored = [(run, score) for score in run.scores if score.answers.method in (JUDGED, *ABLATIONS, VOTE)]
        single = [one for one in runs if _but_for_judge(one.record.header.setup) == _but_for_judge(setup)]
        scored += [(one, score) for one in single for score in one.scores if score.answers.method == SYSTEM]
        for whose, score in scored:
            requests, cost = _taken(whose.record, UNHEARD.get(score.answers.method, ()))
            figures = score.figures["geodesic"]
            same = [case.item for case in score.answers.cases] == [case.item for case in run.main.answers.cases]
            city, points = "", ""
            if same and score is not run.main:
                *accuracy, geoscore = score.against(run.main)
                city, points = signed(accuracy[CITY], 100, 1), signed(geoscore, 1, 0)
            share = f"{figures.accuracy[CITY].value:.1%}"
            rows.append((score.name, requests, cost, share, city, f"{figures.geoscore.value:,.0f}", points))
    if not rows:
        return []
    header = ("answers", "requests a photo", "USD a photo", "25 km", "difference", "GeoScore", "difference")
    words = (
        "The judge with each of its parts left out, the vote, and one prompt where that was run: what it takes, by the "
        "replies that came and the list prices of the day, and how much better it is than the whole rule, in "
        "percentage points and points, with 95% intervals of the pairs. Where an interval holds 0, these photos don't "
        "tell the two apart."
    )
    found: list[Block] = [Heading("What each part is worth"), Paragraph(words), Grid(header, tuple(rows))]
    ended = [words for run in runs if (words := _choices(run))]
    return [*found, Bullets(tuple(ended))] if ended else found


def _choices(run: Run) -> str:
    """How asking to choose ended; empty where nobody was asked."""
    kinds = Counter(entry.choice.kind for entry in run.record.entries.values() if entry.choice)
    counts = ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in kinds.most_common())
    return f"{run.name}: asked to choose, the model: {counts}." if counts else ""


def _but_for_judge(setup: Setup) -> Setup:
    return replace(setup, judge=None, nearest=0, farthest=0)


def _taken(record: Record, without: Collection[str]) -> tuple[str, str]:
    """How many requests a photo took, and what they cost in US dollars, but for parts that are left out."""
    setup = record.header.setup
    asked = [entry for entry in record.entries.values() if entry.outcome]
    replies: list[Reply] = []
    for entry in asked:
        for part, outcome in (("agreement", entry.outcome), ("choice", entry.choice)):
            replies += outcome.replies if outcome and part not in without else ()
    if not replies:
        return "0", "0"
    on = date.fromisoformat(record.header.started)
    prices = pricing(SERVERS[setup.server], setup.model, on=on) if setup.server in SERVERS else None
    uncounted = any(reply.input_tokens is None or reply.output_tokens is None for reply in replies)
    if prices is None or uncounted:
        cost = "unknown"
    else:
        tokens = [(reply.input_tokens or 0, reply.output_tokens or 0) for reply in replies]
        cost = f"{sum(prices.cost_usd(*pair) for pair in tokens) / len(asked):.4f}"
    return f"{len(replies) / len(asked):.2f}", cost

"""What each part of the judge contributes, and what it costs in requests and money."""

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
from img2loc.evaluation.report.score import Run, Score
from img2loc.evaluation.run.record import Record, Setup
from img2loc.lmm.servers import SERVERS, pricing
from img2loc.types import Reply

UNUSED_PARTS: Final = {**ABLATIONS, VOTE: ("agreement", "choice")}
CITY: Final = LEVELS.index("city")


def worth(runs: Sequence[Run]) -> list[Block]:
    """Write the section about the judge, compared with runs of one prompt; nothing if no run is judged."""
    rows: list[tuple[str, ...]] = []
    for run in runs:
        setup = run.record.header.setup
        if setup.judge is None:
            continue
        parts = [(run, score) for score in run.scores if score.answers.method in (JUDGED, *ABLATIONS, VOTE)]
        like = [other for other in runs if _without_judge(other.record.header.setup) == _without_judge(setup)]
        parts += [(other, score) for other in like for score in other.scores if score.answers.method == SYSTEM]
        rows += [_row(run.main, score, other.record) for other, score in parts]
    if not rows:
        return []
    header = ("answers", "requests a photo", "USD a photo", "25 km", "difference", "GeoScore", "difference")
    text = (
        "The judge, the judge without each of its parts, the vote, and one prompt if that was run. Requests and costs "
        "come from the replies and the list prices of the day. The differences to the complete judge are in percentage "
        "points (25 km) and points (GeoScore), with 95% intervals, compared photo by photo. An interval that contains "
        "0 means that these photos don't show a difference."
    )
    section: list[Block] = [
        Heading("What each part of the judge contributes"),
        Paragraph(text),
        Grid(header, tuple(rows)),
    ]
    choices = tuple(filter(None, map(_choices, runs)))
    return [*section, Bullets(choices)] if choices else section


def _row(judged: Score, score: Score, record: Record) -> tuple[str, ...]:
    requests, cost = _costs(record, UNUSED_PARTS.get(score.answers.method, ()))
    figures = score.figures["geodesic"]
    city, points = "", ""
    if score is not judged and score.has_photos_of(judged):
        *accuracy, geoscore = score.against(judged)
        city, points = signed(accuracy[CITY], 100, 1), signed(geoscore, 1, 0)
    share = f"{figures.accuracy[CITY].value:.1%}"
    return score.name, requests, cost, share, city, f"{figures.geoscore.value:,.0f}", points


def _choices(run: Run) -> str:
    """How asking the model to choose ended; empty if it wasn't asked."""
    kinds = Counter(entry.choice.kind for entry in run.record.entries.values() if entry.choice)
    counts = ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in kinds.most_common())
    return f"{run.name}: outcomes of asking the model to choose: {counts}." if counts else ""


def _without_judge(setup: Setup) -> Setup:
    return replace(setup, judge=None, nearest=0, farthest=0)


def _costs(record: Record, unused_parts: Collection[str]) -> tuple[str, str]:
    """Requests a photo, and their cost in US dollars, for the parts that are used."""
    setup = record.header.setup
    asked = [entry for entry in record.entries.values() if entry.outcome]
    replies: list[Reply] = []
    for entry in asked:
        for part, outcome in (("agreement", entry.outcome), ("choice", entry.choice)):
            replies += outcome.replies if outcome and part not in unused_parts else ()
    if not replies:
        return "0", "0"
    day = date.fromisoformat(record.header.started)
    prices = pricing(SERVERS[setup.server], setup.model, on=day) if setup.server in SERVERS else None
    usd = 0.0
    for reply in replies:
        if prices is None or reply.input_tokens is None or reply.output_tokens is None:
            return f"{len(replies) / len(asked):.2f}", "unknown"
        usd += prices.cost_usd(reply.input_tokens, reply.output_tokens)
    return f"{len(replies) / len(asked):.2f}", f"{usd / len(asked):.4f}"

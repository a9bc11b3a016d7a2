"""The report of one or several runs: the paper's table with ours beside it, and what else one needs to believe it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from importlib import resources
from statistics import median
from typing import Final

from img2loc.evaluation.data.datasets import DATA_SETS
from img2loc.evaluation.report import figures
from img2loc.evaluation.report.answers import (
    ABLATIONS,
    ABSENT,
    BEST,
    JUDGED,
    MODEL,
    ORACLE,
    SYSTEM,
    TOP_1,
    VOTE,
    Answers,
    votes_of,
)
from img2loc.evaluation.report.document import Block, Bullets, Figure, Grid, Heading, Paragraph
from img2loc.evaluation.report.grids import (
    DISTANCES,
    NBSP,
    accuracy_grid,
    haversine_grid,
    km_text,
    outcomes_grid,
    signed,
    values,
)
from img2loc.evaluation.report.score import Run, score_all
from img2loc.evaluation.report.worth import worth
from img2loc.evaluation.run.record import NOT_RUN, Setup
from img2loc.geo.places import continent_of
from img2loc.geo.sphere import geodesic_km
from img2loc.geo.tables import named
from img2loc.types import LatLon

WORST: Final = 15
_METHODS: Final = {
    MODEL: "what the model answered, where its failures are misses",
    SYSTEM: "what a visitor sees: the model's answer, or the vote's where the model failed",
    JUDGED: "what a visitor sees where answers are judged: the candidate that the rule chooses",
    **{name: f"the candidate that the rule would choose {name.removeprefix('judged, ')}" for name in ABLATIONS},
    BEST: "the best candidate, chosen by looking at the truth; the most that a judge could reach",
    VOTE: "the mode of the neighbours' density, [L]kNN with sigma = 4 km; no model",
    TOP_1: "the first neighbour's position; with a gallery of GeoCLIP's places, this is GeoCLIP",
    ORACLE: "the best of the retrieved neighbours, chosen by looking at the truth; the most that a choice could reach",
}
_SETUP: Final = "run, begun, data set, backend, model, gallery, encoder, neighbours, left out, prompt".split(", ")
VOTERS: Final = (1, 2, 5, 10, 16, 32, 50)


def blocks(runs: Sequence[Run], *, note: str = "", drop_absent: bool = False) -> list[Block]:
    """Write the report.

    Args:
        runs: What it is about, the first being what others are compared with.
        note: What a reader must know first: what these figures can and can't say. An empty line begins a paragraph.
        drop_absent: The runs were opened so; the report says it.
    """
    scores = [score for run in runs for score in run.scores]
    methods = {score.answers.method for score in scores}
    found: list[Block] = [Paragraph(part) for part in note.split("\n\n") if part.strip()]
    found += _setups(runs, drop_absent)
    found += [
        Heading("Accuracy"),
        Paragraph(
            "Share of all photos of the ground truth within each distance, by the geodesic on WGS-84; a failure of any "
            "kind is a miss. In brackets 95% intervals, by a bootstrap that draws whole photographers."
        ),
        Bullets(tuple(f"{method}: {_METHODS[method]}." for method in _METHODS if method in methods)),
        accuracy_grid(scores),
        Paragraph("The same by the haversine formula on a sphere of 6,371 km, as most code of the field has it."),
        haversine_grid(scores),
        Heading("How the photos ended"),
        outcomes_grid(scores),
    ]
    found += worth(runs) + _coverage(runs)
    found += _paper(runs) + _pairs(runs) + _figures(runs) + _worst(runs) + _ablations(runs)
    return found


def _setups(runs: Sequence[Run], drop_absent: bool) -> list[Block]:
    rows = []
    notes: list[str] = []
    for run in runs:
        header = run.record.header
        setup = header.setup
        asked = f"{setup.model} ({setup.server})" if setup.server else setup.model or "none"
        asked += f", temperature {setup.temperature:g}" if setup.temperature is not None and setup.model else ""
        asked += f", {setup.samples} samples" if setup.samples > 1 and setup.model else ""
        if setup.judge is not None:
            asked += f", judged, prompts with {', '.join(map(str, setup.judge.counts))} neighbours each way"
            asked += ", then a choice among the best" if setup.judge.choice else ""
        asked += f", all within {setup.within}" if setup.within else ""
        prompt = hashlib.sha256(setup.template.encode()).hexdigest()[:12] if setup.template else "none"
        rows.append(
            (
                run.name,
                header.started,
                DATA_SETS[setup.dataset].title,
                setup.backend,
                asked,
                f"{setup.gallery}, {setup.gallery_count:,} positions",
                setup.encoder,
                f"{setup.nearest} near, {setup.farthest} far",
                _left_out(setup),
                prompt,
            )
        )
        notes += [f"{run.name}: {note}" for note in header.notes]
        for kind in ABSENT:
            ids = [entry.id for entry in run.record.entries.values() if entry.kind == kind]
            notes += (
                [f"{run.name}: {len(ids):,} of {len(header.items):,} photos are {kind}: {named(ids)}."] if ids else []
            )
        missing = sum(item.id not in run.record.entries for item in header.items)
        if missing:
            notes.append(f"{run.name}: the run is not finished: {missing:,} photos, {NOT_RUN}, count as misses.")
        short = sum(bool(entry.nearest) and len(entry.nearest) < setup.nearest for entry in run.record.entries.values())
        if short:
            notes.append(f"{run.name}: for {short:,} photos fewer neighbours were left than were asked for.")
    if drop_absent:
        notes.append("Photos that could not be had were left out of N, as asked.")
    head, *others = zip(_SETUP, *rows, strict=True)  # a column a run
    found: list[Block] = [Heading("What was run"), Grid(head, tuple(others))]
    return [*found, Bullets(tuple(dict.fromkeys(notes)))] if notes else found


def _left_out(setup: Setup) -> str:
    parts = ["the photo itself"] if setup.exclude_itself else []
    parts += ["its author's"] if setup.exclude_author else []
    parts += [f"similarity from {setup.near_duplicate:g}"] if setup.near_duplicate <= 1 else []
    return ", ".join(parts) or "nothing"


def _paper(runs: Sequence[Run]) -> list[Block]:
    """The paper's Table 1; our rows stand in it where they are of its data sets, and below it where not."""
    text = resources.files("img2loc").joinpath("data", "paper_table1.csv").read_text(encoding="utf-8")
    table = list(csv.reader(text.splitlines()))[1:]
    rows: list[tuple[str, ...]] = []
    strong: set[int] = set()

    def ours(dataset: str) -> None:
        for run in runs:
            setup = run.record.header.setup
            if setup.dataset == dataset:
                for score in run.scores:
                    strong.add(len(rows))
                    model = f"; {setup.model}" if setup.model else ""
                    label = f"ours, {run.record.header.started}: {score.name}{model}; gallery {setup.gallery}"
                    rows.append((DATA_SETS[dataset].title, label, *values(score)))

    for dataset in ("im2gps3k", "yfcc4k"):
        rows += [(DATA_SETS[dataset].title, method, *values) for name, method, *values in table if name == dataset]
        ours(dataset)
    others = dict.fromkeys(run.record.header.setup.dataset for run in runs) if runs else {}
    foreign = [dataset for dataset in others if dataset not in ("im2gps3k", "yfcc4k")]
    for dataset in foreign:
        ours(dataset)
    words = (
        "Transcribed from the paper's Table 1, in percent; the rows that stand out are ours, dated, by the geodesic."
    )
    if foreign:
        words += (
            " Ours below the paper's are of other photos: they stand here only side by side and can't be compared with "
            "the paper's."
        )
    header = ("data set", "method", *DISTANCES)
    return [Heading("Beside the paper's table"), Paragraph(words), Grid(header, tuple(rows), frozenset(strong))]


def _coverage(runs: Sequence[Run]) -> list[Block]:
    """How often the calibrated radius held the truth, overall and by region; nothing where none was calibrated."""
    rows = []
    for run in runs:
        found: dict[str, list[tuple[bool, float]]] = {}
        wanted = set()
        for item in run.record.header.items:
            entry = run.record.entries.get(item.id)
            if entry is None or entry.radius_km is None or entry.position is None:
                continue
            held = geodesic_km(entry.position, item.position) <= entry.radius_km, entry.radius_km
            wanted.add(f"{entry.probability or 0:.0%}")
            for region in ("all", continent_of(item.position)):
                found.setdefault(region, []).append(held)
        for region in ["all", *sorted(set(found) - {"all"})] if found else []:
            held, radii = zip(*found[region], strict=True)
            share = f"{sum(held) / len(held):.1%}"
            rows.append((run.name, region, f"{len(held):,}", ", ".join(wanted), share, km_text(median(radii))))
    if not rows:
        return []
    header = ("run", "region", "answers", "wanted", "within the radius", "median radius")
    words = "How often the calibrated radius held the true position, of the answers that had one, by the geodesic."
    return [Heading("Coverage"), Paragraph(words), Grid(header, tuple(rows))]


def _pairs(runs: Sequence[Run]) -> list[Block]:
    scores = [score for run in runs for score in run.scores if score.answers.method not in (ORACLE, BEST)]
    first = runs[0].main
    items = [case.item for case in first.answers.cases]
    others = [score for score in scores if score is not first and [case.item for case in score.answers.cases] == items]
    if not others:
        return []
    rows = []
    for score in others:
        *accuracy, points = score.against(first)
        cells = [signed(estimate, 100, 1) for estimate in accuracy]
        rows.append((score.name, *cells, signed(points, 1, 0)))
    words = (
        f"How much better than “{first.name}” the others are on the same photos: differences in percentage points, "
        "with 95% intervals of the pairs. Where an interval holds 0, these photos don't tell the two apart."
    )
    return [Heading("In pairs"), Paragraph(words), Grid(("answers", *DISTANCES, "GeoScore"), tuple(rows))]


def _figures(runs: Sequence[Run]) -> list[Block]:
    scores = [run.main for run in runs] if len(runs) > 1 else list(runs[0].scores)
    main = runs[0].main
    return [
        Heading("Accuracy against distance"),
        Figure(figures.curve(scores), "Share of all photos within a distance, by the geodesic."),
        Heading("Where the errors are"),
        Figure(
            figures.error_map(main.answers.cases, [float(km) for km in main.distances("geodesic")]),
            f"{main.name}: a dot where each photo was taken, a line to where it was placed.",
        ),
    ]


def _worst(runs: Sequence[Run]) -> list[Block]:
    main = runs[0].main
    pairs = zip(main.answers.cases, main.distances("geodesic"), strict=True)
    placed = sorted(((float(km), case) for case, km in pairs if case.predicted), key=lambda pair: -pair[0])[:WORST]
    entries = runs[0].record.entries
    rows = []
    for km, case in placed:
        nearest = entries[case.item.id].nearest
        similarity = f"{nearest[0].similarity:.3f}" if nearest else ""
        rows.append(
            (case.item.id, km_text(km), _unbroken(case.item.position), _unbroken(case.predicted), case.kind, similarity)
        )
    header = ("photo", "error", "taken at", "placed at", "outcome", "best similarity")
    return [Heading("Worst cases"), Paragraph(f"Of {main.name}."), Grid(header, tuple(rows))] if rows else []


def _unbroken(position: LatLon | None) -> str:
    return str(position).replace(" ", NBSP)


def _ablations(runs: Sequence[Run]) -> list[Block]:
    """Runs that differ in nothing but a number of neighbours; and votes of fewer, which need no run of their own."""
    found: list[Block] = []
    for title, key, same in (
        ("Ablation: dissimilar neighbours", _farthest, lambda setup: replace(setup, farthest=0)),
        ("Ablation: similar neighbours", _nearest, lambda setup: replace(setup, nearest=0)),
    ):
        found += _ablation(runs, title, key, same)
    record = runs[0].record
    most = max((len(entry.nearest) for entry in record.entries.values()), default=0)
    counts = [count for count in VOTERS if count <= most]
    if counts:
        ids = {case.item.id for case in runs[0].main.answers.cases}
        rows = [votes_of(record, count) for count in counts]
        rows = [Answers(row.method, tuple(case for case in row.cases if case.item.id in ids)) for row in rows]
        found += [
            Heading("Ablation: how many vote"),
            Paragraph(f"The vote of only the first neighbours of {runs[0].name}, from its journal."),
            accuracy_grid(score_all("", rows)),
        ]
    return found


def _farthest(setup: Setup) -> int:
    return setup.farthest


def _nearest(setup: Setup) -> int:
    return setup.nearest


def _ablation(
    runs: Sequence[Run], title: str, key: Callable[[Setup], int], same: Callable[[Setup], Setup]
) -> list[Block]:
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(astuple(same(run.record.header.setup)), []).append(run)
    found: list[Block] = []
    for group in groups.values():
        group.sort(key=lambda run: key(run.record.header.setup))
        if len(group) > 1:
            scores = [
                replace(run.main, name=f"{key(run.record.header.setup)} ({run.main.name})", _cache=run.main._cache)
                for run in group
            ]
            found += [Heading(title), accuracy_grid(scores)]
    return found

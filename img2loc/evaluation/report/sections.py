"""The report on one or several runs: setup, accuracy, the paper's table beside ours, comparisons and ablations."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib import resources
from statistics import median
from typing import Final, Literal

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
    accuracy_grid,
    haversine_grid,
    km_text,
    outcomes_grid,
    signed,
)
from img2loc.evaluation.report.score import Run, score_all
from img2loc.evaluation.report.worth import worth
from img2loc.evaluation.run.record import NOT_RUN, Header, Setup
from img2loc.geo.columns import named
from img2loc.geo.places import continent_of
from img2loc.geo.sphere import geodesic_km

WORST: Final = 15
VOTERS: Final = (1, 2, 5, 10, 16, 32, 50)
PAPER_DATA_SETS: Final = ("im2gps3k", "yfcc4k")
_METHODS: Final = {
    MODEL: "the model's answer; its failures are misses",
    SYSTEM: "what a visitor sees: the model's answer, or the vote's if the model failed",
    JUDGED: "what a visitor sees if answers are judged: the candidate that the rule chooses",
    **{name: f"the candidate that the rule would choose {name.removeprefix('judged, ')}" for name in ABLATIONS},
    BEST: "the best candidate, chosen with knowledge of the truth; the most that a judge could reach",
    VOTE: "the peak of the neighbours' density, [L]kNN with sigma = 4 km; no model",
    TOP_1: "the first neighbour's position; with a gallery of GeoCLIP's places, this is GeoCLIP",
    ORACLE: "the best neighbour, chosen with knowledge of the truth; the most that choosing a neighbour could reach",
}


def blocks(runs: Sequence[Run], *, note: str = "", drop_absent: bool = False) -> list[Block]:
    """Write the report.

    Args:
        runs: One or more; the others are compared with the first.
        note: What a reader must know first, such as what these figures can't show. An empty line begins a paragraph.
        drop_absent: Whether the runs were opened without absent photos, which the report then says.
    """
    scores = [score for run in runs for score in run.scores]
    methods = {score.answers.method for score in scores}
    return [
        *(Paragraph(part) for part in note.split("\n\n") if part.strip()),
        *_setups(runs, drop_absent),
        Heading("Accuracy"),
        Paragraph(
            "Share of all photos of the ground truth within each distance, by the geodesic on WGS-84. A failure of any "
            "kind is a miss. In brackets 95% intervals, by a bootstrap that draws whole photographers. GeoScore is "
            "GeoGuessr's mean score, from 0 to 5,000."
        ),
        Bullets(tuple(f"{method}: {text}." for method, text in _METHODS.items() if method in methods)),
        accuracy_grid(scores),
        Paragraph("The same by the haversine formula on a sphere of 6,371 km, which most published code uses."),
        haversine_grid(scores),
        Heading("Outcomes"),
        Paragraph("How many photos have a position, and how the others failed."),
        outcomes_grid(scores),
        *worth(runs),
        *_coverage(runs),
        *_paper(runs),
        *_comparison(runs),
        *_drawings(runs),
        *_worst(runs[0]),
        *_ablation(runs, "Ablation: dissimilar neighbours", "farthest"),
        *_ablation(runs, "Ablation: similar neighbours", "nearest"),
        *_fewer_voters(runs[0]),
    ]


def _setups(runs: Sequence[Run], drop_absent: bool) -> list[Block]:
    tables = [_setup(run.name, run.record.header) for run in runs]
    header, *rows = ((label, *(table[label] for table in tables)) for label in tables[0])
    notes = [f"{run.name}: {note}" for run in runs for note in _notes(run)]
    if drop_absent:
        notes.append("Photos that were not available are left out of N (--drop-absent).")
    section: list[Block] = [Heading("Setup"), Grid(header, tuple(rows))]
    return [*section, Bullets(tuple(notes))] if notes else section


def _setup(name: str, header: Header) -> dict[str, str]:
    setup = header.setup
    model = f"{setup.model} ({setup.server})" if setup.server else setup.model or "none"
    if setup.model:
        model += "" if setup.temperature is None else f", temperature {setup.temperature:g}"
        model += f", {setup.samples} samples" if setup.samples > 1 else ""
    if setup.judge is not None:
        model += f", judged, prompts with {', '.join(map(str, setup.judge.counts))} neighbours each way"
        model += ", then a choice among the best" if setup.judge.choice else ""
    return {
        "run": name,
        "started": header.started,
        "data set": DATA_SETS[setup.dataset].title,
        "backend": setup.backend,
        "model": model + (f", all within {setup.within}" if setup.within else ""),
        "gallery": f"{setup.gallery}, {setup.gallery_count:,} positions",
        "encoder": setup.encoder,
        "neighbours": f"{setup.nearest} nearest, {setup.farthest} farthest",
        "neighbours left out": _left_out(setup),
        "prompt (SHA-256)": hashlib.sha256(setup.template.encode()).hexdigest()[:12] if setup.template else "none",
    }


def _left_out(setup: Setup) -> str:
    parts = ["the photo itself"] if setup.exclude_itself else []
    parts += ["its author's photos"] if setup.exclude_author else []
    parts += [f"similarity {setup.near_duplicate:g} or more"] if setup.near_duplicate <= 1 else []
    return ", ".join(parts) or "none"


def _notes(run: Run) -> list[str]:
    header, entries = run.record.header, run.record.entries
    count = len(header.items)
    notes = list(header.notes)
    for kind in ABSENT:
        if ids := [entry.id for entry in entries.values() if entry.kind == kind]:
            notes.append(f"{len(ids):,} of {count:,} photos are {kind}: {named(ids)}.")
    if missing := sum(item.id not in entries for item in header.items):
        notes.append(f"the run is not complete: {missing:,} photos ({NOT_RUN.replace('_', ' ')}) count as misses.")
    if short := sum(0 < len(entry.nearest) < header.setup.nearest for entry in entries.values()):
        notes.append(f"{short:,} photos had fewer neighbours left than the prompt lists.")
    return notes


def _coverage(runs: Sequence[Run]) -> list[Block]:
    """How often the calibrated radius contained the truth, overall and by continent; nothing without a calibration."""
    rows = []
    for run in runs:
        by_region: dict[str, list[tuple[bool, float]]] = {"all": []}
        targets = set()
        for item in run.record.header.items:
            entry = run.record.entries.get(item.id)
            if entry is None or entry.radius_km is None or entry.position is None:
                continue
            inside = geodesic_km(entry.position, item.position) <= entry.radius_km
            targets.add(f"{entry.probability or 0:.0%}")
            for region in ("all", continent_of(item.position)):
                by_region.setdefault(region, []).append((inside, entry.radius_km))
        for region, answers in sorted(by_region.items(), key=lambda pair: (pair[0] != "all", pair[0])):
            if answers:
                share = f"{sum(inside for inside, _ in answers) / len(answers):.1%}"
                radius = km_text(median(radius_km for _, radius_km in answers))
                rows.append((run.name, region, f"{len(answers):,}", ", ".join(targets), share, radius))
    if not rows:
        return []
    header = ("run", "region", "answers", "target", "within the radius", "median radius")
    text = "How often the true position was within the calibrated radius, by the geodesic, for all answers with one."
    return [Heading("Coverage"), Paragraph(text), Grid(header, tuple(rows))]


def _paper(runs: Sequence[Run]) -> list[Block]:
    """The paper's Table 1, with our rows in it for its data sets, and below it for others."""
    text = (resources.files("img2loc") / "data" / "paper_table1.csv").read_text(encoding="utf-8")
    table = list(csv.reader(text.splitlines()))[1:]
    data_sets = dict.fromkeys((*PAPER_DATA_SETS, *(run.record.header.setup.dataset for run in runs)))
    rows: list[tuple[str, ...]] = []
    ours: set[int] = set()
    for data_set in data_sets:
        title = DATA_SETS[data_set].title
        rows += [(title, method, *shares) for name, method, *shares in table if name == data_set]
        for run in runs:
            header = run.record.header
            for score in run.scores if header.setup.dataset == data_set else ():
                model = f"; {header.setup.model}" if header.setup.model else ""
                label = f"ours, {header.started}: {score.name}{model}; gallery {header.setup.gallery}"
                shares = [f"{100 * share.value:.2f}" for share in score.figures["geodesic"].accuracy]
                ours.add(len(rows))
                rows.append((title, label, *shares))
    text = (
        "Copied from the paper's Table 1, in percent; the highlighted rows are ours, with their date, by the geodesic."
    )
    if len(data_sets) > len(PAPER_DATA_SETS):
        text += " Our rows below the paper's are for other photos and can't be compared with the paper's."
    header_row = ("data set", "method", *DISTANCES)
    return [Heading("Compared with the paper"), Paragraph(text), Grid(header_row, tuple(rows), frozenset(ours))]


def _comparison(runs: Sequence[Run]) -> list[Block]:
    first = runs[0].main
    rows = []
    for score in (score for run in runs for score in run.scores):
        if score is not first and score.answers.method not in (ORACLE, BEST) and score.has_photos_of(first):
            *accuracy, geoscore = score.against(first)
            rows.append((score.name, *(signed(estimate, 100, 1) for estimate in accuracy), signed(geoscore, 1, 0)))
    if not rows:
        return []
    text = (
        f"How much better than “{first.name}” the others are on the same photos, compared photo by photo: differences "
        "in percentage points with 95% intervals. An interval that contains 0 means that these photos don't show a "
        "difference."
    )
    header = ("answers", *DISTANCES, "GeoScore")
    return [Heading("Compared photo by photo"), Paragraph(text), Grid(header, tuple(rows))]


def _drawings(runs: Sequence[Run]) -> list[Block]:
    scores = [run.main for run in runs] if len(runs) > 1 else list(runs[0].scores)
    main = runs[0].main
    return [
        Heading("Accuracy against distance"),
        Figure(figures.curve(scores), "Share of all photos within a distance, by the geodesic."),
        Heading("Map of the errors"),
        Figure(
            figures.error_map(main.answers.cases, main.distances_km["geodesic"].tolist()),
            f"{main.name}: a dot at each photo's true position, and a line to the predicted one.",
        ),
    ]


def _worst(run: Run) -> list[Block]:
    main = run.main
    errors = zip(main.answers.cases, main.distances_km["geodesic"], strict=True)
    rows = []
    for case, km in sorted((pair for pair in errors if pair[0].predicted), key=lambda pair: -pair[1])[:WORST]:
        nearest = run.record.entries[case.item.id].nearest
        similarity = f"{nearest[0].similarity:.3f}" if nearest else ""
        positions = str(case.item.position), str(case.predicted)
        rows.append((case.item.id, km_text(km), *positions, case.kind, similarity))
    header = ("photo", "error", "true position", "predicted position", "outcome", "highest similarity")
    text = f"The largest errors of {main.name}."
    return [Heading("Worst cases"), Paragraph(text), Grid(header, tuple(rows))] if rows else []


def _ablation(runs: Sequence[Run], title: str, name: Literal["nearest", "farthest"]) -> list[Block]:
    """Runs that differ only in one number of neighbours."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        setup = run.record.header.setup
        others = tuple(getattr(setup, item.name) for item in fields(setup) if item.name != name)
        groups.setdefault(others, []).append(run)
    section: list[Block] = []
    for group in groups.values():
        if len(group) > 1:
            counts = {run.name: getattr(run.record.header.setup, name) for run in group}
            group.sort(key=lambda run: counts[run.name])
            grid = accuracy_grid([run.main for run in group])
            labels = [f"{counts[run.name]} ({run.main.name})" for run in group]
            rows = tuple((label, *row[1:]) for label, row in zip(labels, grid.rows, strict=True))
            section += [Heading(title), replace(grid, rows=rows)]
    return section


def _fewer_voters(run: Run) -> list[Block]:
    """The votes of fewer neighbours, which need no run of their own."""
    most = max((len(entry.nearest) for entry in run.record.entries.values()), default=0)
    counts = [count for count in VOTERS if count <= most]
    if not counts:
        return []
    ids = {case.item.id for case in run.main.answers.cases}
    votes = [votes_of(run.record, count) for count in counts]
    rows = [Answers(row.method, tuple(case for case in row.cases if case.item.id in ids)) for row in votes]
    text = f"The vote of only the first neighbours, from the journal of {run.name}."
    return [Heading("Ablation: number of voters"), Paragraph(text), accuracy_grid(score_all("", rows))]

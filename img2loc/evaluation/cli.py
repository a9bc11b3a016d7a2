"""The verbs of python -m img2loc evaluate: run, score, replay, report."""

from __future__ import annotations

import argparse
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from img2loc.errors import DataError
from img2loc.evaluation.data.datasets import Truth, read_predictions, read_truth
from img2loc.evaluation.outputs import check_replaceable, write_text
from img2loc.evaluation.report import answers, sections
from img2loc.evaluation.report.document import HTML_HEAD, MARKDOWN_HEAD, to_html, to_markdown
from img2loc.evaluation.report.grids import accuracy_grid, haversine_grid, outcomes_grid
from img2loc.evaluation.report.score import Score, open_run, score_all
from img2loc.evaluation.run.journal import read_journal
from img2loc.evaluation.run.plan import run_all
from img2loc.evaluation.run.record import Record
from img2loc.geo.columns import named
from img2loc.lmm import LMM
from img2loc.output.csv_text import Cell, csv_text
from img2loc.policy.settings import Settings
from img2loc.system.names import escape_controls, printable_name
from img2loc.system.terminal import print_message, print_text, write_out

OpenLMM = Callable[[argparse.Namespace, Settings, threading.Event], LMM | None]
ReadTemplate = Callable[[Path], str]
_PREDICTION_COLUMNS: Final = ("id", "lat", "lon", "outcome")


def evaluate(
    arguments: argparse.Namespace, settings: Settings, *, open_lmm: OpenLMM, read_template: ReadTemplate
) -> int:
    """Run one of the verbs below evaluate.

    Returns:
        The exit status: 0, or 1 if a run stopped early or photos failed unexpectedly.

    Raises:
        Img2LocError: The verb can't do what was asked.
    """
    try:
        if arguments.evaluate == "run":
            return _run(arguments, settings, open_lmm=open_lmm, read_template=read_template)
        verbs = {"score": _score, "replay": _replay, "report": _report}
        return verbs[arguments.evaluate](arguments)
    except OSError as error:  # a folder that is a file, or somebody else's; a full disk
        name = printable_name(error.filename) if error.filename else "A file"
        raise DataError(f"{name} can't be written: {error.strerror or error}.") from error
    except KeyboardInterrupt:
        if arguments.evaluate != "run":
            raise
        raise KeyboardInterrupt("All answers are in the journal; run the same command again to continue.") from None


def _run(arguments: argparse.Namespace, settings: Settings, *, open_lmm: OpenLMM, read_template: ReadTemplate) -> int:
    if (arguments.price_input is None) != (arguments.price_output is None):
        arguments.usage_error("--price-input and --price-output must be given together.")
    cancel = threading.Event()
    lmm, template = open_lmm(arguments, settings, cancel), read_template(arguments.prompt)
    records, reason = run_all(arguments, settings, _truth(arguments), lmm=lmm, template=template, cancel=cancel)
    if records:
        runs = [open_run(name, record, seed=arguments.seed) for name, record in records.items()]
        _print([score for run in runs for score in run.scores], (), as_json=arguments.json)
    if reason:
        print_message(f"img2loc: {reason}")
    return 1 if reason else 0


def _score(arguments: argparse.Namespace) -> int:
    truth = _truth(arguments)
    predictions = read_predictions(arguments.predictions, truth, columns=arguments.columns, match=arguments.match)
    row = answers.of_predictions(truth, predictions)
    _print(score_all("", [row], seed=arguments.seed), (*truth.notes, *predictions.notes), as_json=arguments.json)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    scores: list[Score] = []
    notes: list[str] = []
    files: dict[Path, Score] = {}
    for name, record in _records(arguments.journals):
        replayed = answers.replay(record)
        changed = [id_ for id_, entry in replayed.entries.items() if entry.position != record.entries[id_].position]
        if changed:
            notes.append(f"{name}: {len(changed)} answers differ from those of the run: {named(changed)}.")
        run = open_run(name, replayed, drop_absent=arguments.drop_absent, seed=arguments.seed)
        scores += run.scores
        for score in run.scores if arguments.predictions else ():
            file = re.sub(r"[^\w.]+", "-", f"{name}.{score.answers.method}")
            path = arguments.predictions / f"{file}.csv"
            if path in files:
                raise DataError(f"{path} would contain the predictions of two runs. Rename one of the journals.")
            files[path] = score
    header = csv_text(_PREDICTION_COLUMNS, []).encode()
    for path in files:
        check_replaceable(path, lambda content: content.startswith(header))
    for path, score in files.items():
        write_text(path, csv_text(_PREDICTION_COLUMNS, map(_prediction, score.answers.cases), exact=True))
    _print(scores, notes, as_json=arguments.json)
    return 0


def _prediction(case: answers.Case) -> dict[str, Cell]:
    position = {"lat": case.predicted.lat, "lon": case.predicted.lon} if case.predicted else {}
    return {"id": case.item.id, **position, "outcome": case.kind}


def _report(arguments: argparse.Namespace) -> int:
    text, page = Path(f"{arguments.out}.md"), Path(f"{arguments.out}.html")
    check_replaceable(text, lambda content: content.startswith(MARKDOWN_HEAD.encode()))
    check_replaceable(page, lambda content: content.startswith(HTML_HEAD.encode()))
    note = _read_text(arguments.note) if arguments.note else ""
    runs = [
        open_run(name, record, drop_absent=arguments.drop_absent, seed=arguments.seed)
        for name, record in _records(arguments.journals)
    ]
    blocks = sections.blocks(runs, note=note, drop_absent=arguments.drop_absent)
    write_text(page, to_html(arguments.title, blocks))
    write_text(text, to_markdown(arguments.title, blocks, page=printable_name(page.name)))
    print_text(f"{escape_controls(text)}\n{escape_controls(page)}\n")
    return 0


def _truth(arguments: argparse.Namespace) -> Truth:
    columns, skip = arguments.truth_columns, arguments.skip_bad_rows
    return read_truth(arguments.truth, arguments.dataset, columns=columns, skip_bad_rows=skip)


def _records(paths: Sequence[Path]) -> list[tuple[str, Record]]:
    """The journals by their files' names, with the folders' names where two files' are equal."""
    files: list[Path] = []
    for path in paths:
        files += sorted(file for file in path.glob("*.jsonl") if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{named(paths)} contains no journal; evaluate run writes them as OUT/*.jsonl.")
    ambiguous = len({file.stem for file in files}) < len(files)
    names = [f"{file.parent.name}/{file.stem}" if ambiguous else file.stem for file in files]
    return [(printable_name(name), read_journal(file)) for name, file in zip(names, files, strict=True)]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', error)}.") from error


def _print(scores: Sequence[Score], notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {"notes": list(notes), "scores": [score.to_json() for score in scores]}
        write_out(json.dumps(result, indent=2, ensure_ascii=False) + "\n", as_json=True)
        return
    grids = [accuracy_grid(scores), haversine_grid(scores), outcomes_grid(scores)]
    print_text(to_markdown("Accuracy by the geodesic, by the haversine formula, and outcomes", grids))
    for note in notes:
        print_message(f"img2loc: {note}")

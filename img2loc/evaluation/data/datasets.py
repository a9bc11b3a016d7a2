"""Ground truth from well-known data sets or any CSV file, and predictions to compare with it."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from img2loc.errors import DataError
from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import haversine_km
from img2loc.geo.tables import Columns, Role, Row, Table, named, read_table, swapped_hint
from img2loc.types import LatLon

Match = Literal["exact", "name"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set of the field."""

    name: str  # on the command line
    title: str  # in print
    photos: int  # how many it has; 0 if unknown
    about: str  # what to know before comparing with others
    source: str  # the publication


_VO: Final = "Vo, Jacobs, Hays 2017, https://arxiv.org/abs/1705.04838"
DATA_SETS: Final = {
    item.name: item
    for item in (
        DataSet("im2gps", "Im2GPS", 237, "", "Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784"),
        DataSet("im2gps3k", "Im2GPS3k", 3000, "the list in common use has 2,997 rows", _VO),
        DataSet("yfcc4k", "YFCC4k", 4536, "it shares photographers with MP-16", _VO),
        DataSet(
            "yfcc26k",
            "YFCC26k",
            25600,
            "it shares photographers with MP-16",
            "Theiner, Müller-Budack, Ewerth 2022, https://arxiv.org/abs/2104.14995",
        ),
        DataSet("csv", "own listing", 0, "", ""),
    )
}

# A Flickr user's id. In most rows of Im2GPS's list, the photo's secret and server precede it.
_AFTER_SECRET: Final = re.compile(r"^[0-9a-f]{8,12}_\d+_(\d+@N\d\d)$")
# A listing's headers look swapped if its photos lie this much nearer to a town the other way round.
SWAPPED_RATIO: Final = 5
SWAPPED_FROM_KM: Final = 100
SWAPPED_SAMPLE: Final = 100


@dataclass(frozen=True, slots=True)
class Item:
    """A photo whose position is known; author is empty if unknown."""

    id: str
    author: str
    position: LatLon


@dataclass(frozen=True, slots=True)
class Truth:
    """A data set's ground truth."""

    dataset: DataSet
    items: tuple[Item, ...]  # in the listing's order; no id occurs twice
    notes: tuple[str, ...] = ()  # what a person should know about the listing


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions from any source, matched with a ground truth."""

    # For each photo of the ground truth the position, or the kind of failure: no_prediction if the file lacks the
    # photo, no_position if it has no position for it.
    positions: dict[str, LatLon | str]
    notes: tuple[str, ...] = ()  # what a person should know about the file


def read_truth(
    path: Path, dataset: str = "csv", *, columns: Columns | None = None, skip_bad_rows: bool = False
) -> Truth:
    """Read a listing of photos with their true positions.

    Args:
        path: A CSV file.
        dataset: A name in DATA_SETS.
        columns: The columns' names if they are known.
        skip_bad_rows: Leave rows without a usable position out of N, instead of refusing the file.

    Raises:
        DataError: An id is repeated or empty, a row has no position, or latitude and longitude look swapped.
    """
    known, table = DATA_SETS[dataset], read_table(path, "truth", columns)
    _refuse_duplicates(table)
    bad = [row for row in table.rows if isinstance(row.position, str) or not row.id]
    # Lines of text after the last row, such as a total, are not counted; among the rows they are suspicious.
    stray = [line for line in table.text_lines if table.rows and line < table.rows[-1].line]
    if bad and not skip_bad_rows:
        reasons = "; ".join(f"line {row.line}: {_fault(row)}" for row in bad[:3])
        raise DataError(
            f"{path} has rows that can't be ground truth ({len(bad):,} of {len(table.rows):,}): {reasons}. {_FIX}"
        )
    if stray and not skip_bad_rows:
        raise DataError(f"{path} has lines among its rows that aren't rows ({len(stray):,}): {named(stray)}. {_FIX}")
    items = [
        Item(row.id, row.author, row.position) for row in table.rows if isinstance(row.position, LatLon) and row.id
    ]
    if not items:
        raise DataError(f"{path} has no photo with a position.")
    notes = []
    if table.text_lines:
        notes.append(f"Lines of text, not counted ({len(table.text_lines):,}): {named(table.text_lines)}.")
    if bad:
        notes.append(f"Bad rows, left out of N as requested ({len(bad):,}): lines {named([row.line for row in bad])}.")
    authors = [_AFTER_SECRET.sub(r"\1", item.author) for item in items]
    corrected = sum(author != item.author for author, item in zip(authors, items, strict=True))
    if corrected:
        notes.append(f"Authors that had their photo's secret and server in front, corrected: {corrected:,}.")
    items = [replace(item, author=author) for author, item in zip(authors, items, strict=True)]
    if known.photos and len(items) != known.photos:
        about = f" ({known.about})" if known.about else ""
        notes.append(f"The listing has {len(items):,} photos and {known.title} has {known.photos:,}{about}.")
    if not (columns and columns.lat and columns.lon):
        _refuse_swapped(table, items)
    return Truth(known, tuple(items), tuple(notes))


def read_predictions(
    path: Path, truth: Truth, *, columns: Columns | None = None, match: Match = "exact"
) -> Predictions:
    """Read predictions and match them with a ground truth.

    Args:
        path: A CSV file.
        truth: Each of its photos counts, predicted or not.
        columns: The columns' names if they are known.
        match: "exact", or "name" to compare only file names without folder and extension.

    Raises:
        DataError: An id is repeated, none matches, or latitude and longitude look swapped.
    """
    key = _KEYS[match]
    by_key = {key(item.id): item for item in truth.items}
    if len(by_key) != len(truth.items):
        raise DataError("Without folder and extension some ids of the ground truth are equal; use --match exact.")
    table = read_table(path, "predictions", columns)
    table = replace(table, rows=tuple(replace(row, id=key(row.id)) for row in table.rows))
    _refuse_duplicates(table)
    positions: dict[str, LatLon | str] = {item.id: "no_prediction" for item in truth.items}
    extra, bad, zero = [], [], []
    for row in table.rows:
        item = by_key.get(row.id)
        if item is None:
            extra.append(row.id or f"line {row.line}")
        elif isinstance(row.position, str):
            positions[item.id] = "no_position"
            bad.append(f"{item.id} ({row.position})")
        else:
            positions[item.id] = row.position
            zero += [item.id] if (row.position.lat, row.position.lon) == (0, 0) else []
    missing = [id_ for id_, position in positions.items() if position == "no_prediction"]
    if len(missing) == len(positions):
        raise DataError(
            f"No id in {path} is in the ground truth: {named(extra[:2])} there, {named([*positions][:2])} here. "
            "Name the id column with --columns id=NAME, or compare only file names with --match name."
        )
    if not (columns and columns.lat and columns.lon):
        _refuse_swapped_predictions(table, by_key)
    notes = [
        f"{text} ({len(ids):,}): {named(ids)}."
        for ids, text in (
            (missing, "Photos of the ground truth without a prediction, counted as misses"),
            (extra, "Predictions for photos that the ground truth lacks, not counted"),
            (bad, "Predictions without a position, counted as misses"),
            (zero, "Predictions of exactly (0, 0), which some programs write for a failure, scored as they are"),
            (table.text_lines, "Lines that aren't rows, not counted"),
        )
        if ids
    ]
    return Predictions(positions, tuple(notes))


_FIX: Final = "Fix them, or use --skip-bad-rows to leave them out of N."
_KEYS: Final[dict[Match, Callable[[str], str]]] = {
    "exact": str,
    "name": lambda id_: PurePosixPath(id_.replace("\\", "/")).stem,
}


def _fault(row: Row) -> str:
    return row.position if isinstance(row.position, str) else "it has no id"


def _refuse_duplicates(table: Table) -> None:
    repeated = [id_ for id_, count in Counter(row.id for row in table.rows).items() if count > 1 and id_]
    if repeated:
        raise DataError(f"{table.path} repeats ids ({len(repeated):,}): {named(repeated)}. Keep one row for each.")


def _refuse_swapped(table: Table, items: Sequence[Item]) -> None:
    """Photos are taken near towns. If they are so only the other way round, the headers are swapped."""
    sample = items[:: max(1, len(items) // SWAPPED_SAMPLE)][:SWAPPED_SAMPLE]
    if any(abs(item.position.lon) > 90 for item in items):
        return
    km = [nearest_place(item.position).distance_km for item in sample]
    km_swapped = [nearest_place(_swapped(item.position)).distance_km for item in sample]
    _refuse_nearer(table, "truth", "half of its photos are at least {} from any town", km, km_swapped)


def _refuse_swapped_predictions(table: Table, by_key: dict[str, Item]) -> None:
    pairs = [
        (row.position, by_key[row.id].position)
        for row in table.rows
        if row.id in by_key and isinstance(row.position, LatLon) and abs(row.position.lon) <= 90
    ]
    km = [haversine_km(predicted, true) for predicted, true in pairs]
    km_swapped = [haversine_km(_swapped(predicted), true) for predicted, true in pairs]
    if pairs:
        _refuse_nearer(table, "predictions", "the median error is {}", km, km_swapped)


def _refuse_nearer(table: Table, role: Role, text: str, km: Sequence[float], km_swapped: Sequence[float]) -> None:
    """Refuse a table whose positions fit much better with latitude and longitude swapped."""
    before, after = statistics.median(km), statistics.median(km_swapped)
    if before > SWAPPED_FROM_KM and before > SWAPPED_RATIO * after:
        columns = table.columns
        raise DataError(
            f"{table.path}: {text.format(f'{before:,.0f} km')}, but {after:,.0f} km with {columns.lat} and "
            f"{columns.lon} swapped. {swapped_hint(columns, role)}"
        )


def _swapped(position: LatLon) -> LatLon:
    return LatLon(position.lon, position.lat)

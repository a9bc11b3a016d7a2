"""Ground truth: the data sets of the field, any CSV, and the predictions that are held against them."""

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
from img2loc.geo.tables import Columns, Row, Table, named, read_table, swapped_hint
from img2loc.types import LatLon

Match = Literal["exact", "name"]


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is known of a data set.

    Args:
        name: Its exact name on the command line.
        title: Its name in print.
        photos: How many it has; 0 where that is not fixed.
        about: What one should know before comparing with others.
        source: Where it comes from.
    """

    name: str
    title: str
    photos: int
    about: str
    source: str


_VO: Final = "Vo, Jacobs, Hays 2017, https://arxiv.org/abs/1705.04838"
DATA_SETS: Final = {
    item.name: item
    for item in (
        DataSet("im2gps", "Im2GPS", 237, "", "Hays, Efros 2008, https://doi.org/10.1109/CVPR.2008.4587784"),
        DataSet("im2gps3k", "Im2GPS3k", 3000, "the list that is passed around has 2,997 rows", _VO),
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

# A Flickr user's id. The list of Im2GPS has the photo's secret and server before it in most of its rows.
_AFTER_SECRET: Final = re.compile(r"[0-9a-f]{8,12}_\d+_(\d+@N\d\d)")
# A listing is taken for swapped when its photos lie this much nearer to a town the other way round.
SWAPPED_RATIO: Final = 5
SWAPPED_FROM_KM: Final = 100
SWAPPED_SAMPLE: Final = 100


@dataclass(frozen=True, slots=True)
class Item:
    """A photo whose position is known; author is empty where unknown."""

    id: str
    author: str
    position: LatLon


@dataclass(frozen=True, slots=True)
class Truth:
    """A data set's ground truth.

    Args:
        dataset: What is known of the data set.
        items: Its photos, in the listing's order, no id twice.
        notes: What was odd about the listing, in words for a person.
    """

    dataset: DataSet
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictions:
    """Somebody's predictions, matched with a ground truth.

    Args:
        positions: For each photo of the ground truth the position, or the kind of failure: no_prediction where the file
            has no such photo, no_position where it has no position for it.
        notes: What was odd about the file, in words for a person.
    """

    positions: dict[str, LatLon | str]
    notes: tuple[str, ...] = ()


def read_truth(
    path: Path, dataset: str = "csv", *, columns: Columns | None = None, skip_bad_rows: bool = False
) -> Truth:
    """Read a listing of photos with their true positions.

    Args:
        path: A CSV file.
        dataset: The data set's exact name.
        columns: The columns' names where they are known.
        skip_bad_rows: Leave rows without a usable position out of N, instead of refusing the file.

    Raises:
        DataError: An id stands there twice or is empty, a row has no position, or latitude and longitude are swapped.
    """
    if dataset not in DATA_SETS:
        raise DataError(f"There is no data set {dataset!r}; choose one of: {', '.join(DATA_SETS)}.")
    known, table = DATA_SETS[dataset], read_table(path, "truth", columns)
    _refuse_duplicates(table)
    bad = [row for row in table.rows if isinstance(row.position, str) or not row.id]
    if bad and not skip_bad_rows:
        reasons = "; ".join(f"line {row.line}: {_fault(row)}" for row in bad[:3])
        raise DataError(
            f"{path} has rows that can't be ground truth ({len(bad):,} of {len(table.rows):,}): {reasons}. Fix them, "
            "or use --skip-bad-rows to leave them out of N."
        )
    last = table.rows[-1].line if table.rows else 1
    inside = [line for line in table.text_lines if line < last]
    if inside and not skip_bad_rows:
        raise DataError(
            f"{path} has lines among its rows that aren't rows ({len(inside):,}): {named(inside)}. Fix them, or use "
            "--skip-bad-rows to leave them out of N."
        )
    items = tuple(
        Item(row.id, row.author, row.position) for row in table.rows if isinstance(row.position, LatLon) and row.id
    )
    if not items:
        raise DataError(f"{path} has no photo with a position.")
    notes = []
    if table.text_lines:
        notes.append(f"Lines of text, not counted ({len(table.text_lines):,}): {named(table.text_lines)}.")
    if bad:
        notes.append(f"Bad rows, left out of N as asked ({len(bad):,}): lines {named([row.line for row in bad])}.")
    items, mended = _mend_authors(items)
    if mended:
        notes.append(f"Authors that had their photo's secret and server in front, corrected: {mended:,}.")
    if known.photos and len(items) != known.photos:
        about = f" ({known.about})" if known.about else ""
        notes.append(f"The listing has {len(items):,} photos and {known.title} has {known.photos:,}{about}.")
    if not (columns and columns.lat and columns.lon):
        _refuse_swapped(table, items)
    return Truth(known, items, tuple(notes))


def read_predictions(
    path: Path, truth: Truth, *, columns: Columns | None = None, match: Match = "exact"
) -> Predictions:
    """Read somebody's predictions and match them with a ground truth.

    Args:
        path: A CSV file.
        truth: What they are held against; each of its photos counts, predicted or not.
        columns: The columns' names where they are known.
        match: "exact", or "name" to compare the file's name only, without folder and extension.

    Raises:
        DataError: An id stands there twice, none matches, or latitude and longitude are swapped by all appearances.
    """
    key = _KEYS[match]
    wanted = {key(item.id): item for item in truth.items}
    if len(wanted) != len(truth.items):
        raise DataError("Without folder and extension some ids of the ground truth are the same; use --match exact.")
    table = read_table(path, "predictions", columns)
    table = replace(table, rows=tuple(replace(row, id=key(row.id)) for row in table.rows))
    _refuse_duplicates(table)
    positions: dict[str, LatLon | str] = {item.id: "no_prediction" for item in truth.items}
    extra, bad, zero = [], [], []
    for row in table.rows:
        if row.id not in wanted:
            extra.append(row.id or f"line {row.line}")
            continue
        item = wanted[row.id]
        positions[item.id] = row.position if isinstance(row.position, LatLon) else "no_position"
        if isinstance(row.position, str):
            bad.append(f"{item.id} ({row.position})")
        elif (row.position.lat, row.position.lon) == (0, 0):
            zero.append(item.id)
    missing = [id_ for id_, position in positions.items() if position == "no_prediction"]
    if len(missing) == len(positions):
        raise DataError(
            f"No id in {path} is in the ground truth: {named(extra[:2])} there, {named([*positions][:2])} here. "
            "Name the id column with --columns id=NAME, or compare file names only with --match name."
        )
    if not (columns and columns.lat and columns.lon):
        _refuse_swapped_predictions(table, wanted)
    notes = []
    for count, words in (
        (missing, "Photos of the ground truth without a prediction, counted as misses"),
        (extra, "Predictions for photos that the ground truth lacks, not counted"),
        (bad, "Predictions without a position, counted as misses"),
        (zero, "Predictions of exactly (0, 0), as some programs write for a failure, scored as they stand"),
        (table.text_lines, "Lines that aren't rows, not counted"),
    ):
        if count:
            notes.append(f"{words} ({len(count):,}): {named(count)}.")
    return Predictions(positions, tuple(notes))


def _stem(id_: str) -> str:
    return PurePosixPath(id_.replace("\\", "/")).stem


_KEYS: Final[dict[Match, Callable[[str], str]]] = {"exact": str, "name": _stem}


def _fault(row: Row) -> str:
    return row.position if isinstance(row.position, str) else "it has no id"


def _refuse_duplicates(table: Table) -> None:
    twice = [id_ for id_, count in Counter(row.id for row in table.rows).items() if count > 1 and id_]
    if twice:
        raise DataError(f"{table.path} repeats ids ({len(twice):,}): {named(twice)}. Keep one row for each.")


def _mend_authors(items: Sequence[Item]) -> tuple[tuple[Item, ...], int]:
    found = [_AFTER_SECRET.fullmatch(item.author) for item in items]
    mended = tuple(replace(item, author=hit[1]) if hit else item for item, hit in zip(items, found, strict=True))
    return mended, sum(hit is not None for hit in found)


def _refuse_swapped(table: Table, items: Sequence[Item]) -> None:
    """Photos are taken near towns. Where they are so only the other way round, the headers are swapped."""
    sample = items[:: max(1, len(items) // SWAPPED_SAMPLE)][:SWAPPED_SAMPLE]
    if any(abs(item.position.lon) > 90 for item in items):
        return
    here = statistics.median(nearest_place(item.position).distance_km for item in sample)
    there = statistics.median(nearest_place(_swapped(item.position)).distance_km for item in sample)
    if here > SWAPPED_FROM_KM and here > SWAPPED_RATIO * there:
        raise DataError(
            f"{table.path}: half of its photos lie {here:,.0f} km and more from any town, and {there:,.0f} km with "
            f"{table.columns.lat} and {table.columns.lon} swapped. {swapped_hint(table.columns, 'truth')}"
        )


def _refuse_swapped_predictions(table: Table, wanted: dict[str, Item]) -> None:
    pairs = [
        (row.position, wanted[row.id].position)
        for row in table.rows
        if row.id in wanted and isinstance(row.position, LatLon) and abs(row.position.lon) <= 90
    ]
    if not pairs:
        return
    here = statistics.median(haversine_km(predicted, true) for predicted, true in pairs)
    there = statistics.median(haversine_km(_swapped(predicted), true) for predicted, true in pairs)
    if here > SWAPPED_FROM_KM and here > SWAPPED_RATIO * there:
        raise DataError(
            f"{table.path}: the median error is {here:,.0f} km, and {there:,.0f} km with {table.columns.lat} and "
            f"{table.columns.lon} swapped. {swapped_hint(table.columns, 'predictions')}"
        )


def _swapped(position: LatLon) -> LatLon:
    return LatLon(position.lon, position.lat)

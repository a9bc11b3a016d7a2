"""Ground truth from well-known data sets or any CSV file, and predictions to compare with it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from img2loc.errors import DataError
from img2loc.geo.columns import FLAGS, Columns, named
from img2loc.geo.sphere import haversine_km
from img2loc.geo.tables import (
    Row,
    Table,
    look_swapped,
    read_table,
    refuse_swapped,
    swapped,
    swapped_hint,
)
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

SAME_DEG: Final = 6e-5  # less than this apart, positions are equal but for rounding
# A Flickr user's id. In most rows of Im2GPS's list, the photo's secret and server precede it.
_AFTER_SECRET: Final = re.compile(r"^[0-9a-f]{8,12}_\d+_(\d+@N\d\d)$")


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
    notes = _notes(table)
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
        refuse_swapped(str(path), table.columns, FLAGS["truth"], [item.position for item in items])
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
    are_named = bool(columns and columns.lat and columns.lon)
    if not are_named:
        _refuse_swapped_predictions(table, by_key)
    notes = [
        *_refuse_truth(table, by_key, are_named=are_named),
        *_notes(table),
        *(
            f"{text} ({len(ids):,}): {named(ids)}."
            for ids, text in (
                (missing, "Photos of the ground truth without a prediction, counted as misses"),
                (extra, "Predictions for photos that the ground truth lacks, not counted"),
                (bad, "Predictions without a position, counted as misses"),
                (zero, "Predictions of exactly (0, 0), which some programs write for a failure, scored as they are"),
                (table.text_lines, "Lines that aren't rows, not counted"),
            )
            if ids
        ),
    ]
    return Predictions(positions, tuple(notes))


_FIX: Final = "Fix them, or use --skip-bad-rows to leave them out of N."
_KEYS: Final[dict[Match, Callable[[str], str]]] = {
    "exact": lambda id_: unicodedata.normalize("NFC", id_),
    "name": lambda id_: PurePosixPath(unicodedata.normalize("NFC", id_).replace("\\", "/")).stem,
}


def _notes(table: Table) -> list[str]:
    return (
        [f"Longitudes beyond 180 degrees, counted eastwards, read as western ones ({table.beyond_180:,})."]
        if table.beyond_180
        else []
    )


def _fault(row: Row) -> str:
    return row.position if isinstance(row.position, str) else "it has no id"


def _refuse_duplicates(table: Table) -> None:
    repeated = [id_ for id_, count in Counter(row.id for row in table.rows).items() if count > 1 and id_]
    if repeated:
        raise DataError(f"{table.path} repeats ids ({len(repeated):,}): {named(repeated)}. Keep one row for each.")


def _refuse_swapped_predictions(table: Table, by_key: dict[str, Item]) -> None:
    pairs = [
        (row.position, by_key[row.id].position)
        for row in table.rows
        if row.id in by_key and isinstance(row.position, LatLon) and abs(row.position.lon) <= 90
    ]
    before = [haversine_km(predicted, true) for predicted, true in pairs]
    if pairs and (km := look_swapped(before, [haversine_km(swapped(predicted), true) for predicted, true in pairs])):
        columns = table.columns
        raise DataError(
            f"{table.path}: the median error is {km[0]:,.0f} km, but {km[1]:,.0f} km with {columns.lat} and "
            f"{columns.lon} swapped. {swapped_hint(columns, FLAGS['predictions'])}"
        )


def _refuse_truth(table: Table, by_key: dict[str, Item], *, are_named: bool) -> tuple[str, ...]:
    """Refuse true positions in place of predictions, unless they were named or one photo's; then it is a note."""
    pairs = [
        (row.position, by_key[row.id].position)
        for row in table.rows
        if row.id in by_key and isinstance(row.position, LatLon)
    ]
    if not pairs or not all(_is_same(predicted, true) for predicted, true in pairs):
        return ()
    lat, lon = table.columns.lat, table.columns.lon
    fault = f"Every position in {lat} and {lon} of {table.path} is the true one"
    if are_named or len(pairs) == 1:
        return (f"{fault}.",)
    raise DataError(
        f"{fault}, so these aren't predictions by all appearances. Name the columns of the predictions with --columns "
        f"lat=NAME,lon=NAME (lat={lat},lon={lon} if they are these)."
    )


def _is_same(a: LatLon, b: LatLon) -> bool:
    """Whether two positions differ by no more than rounding to four decimals does."""
    return abs(a.lat - b.lat) <= SAME_DEG and abs(a.lon - b.lon) <= SAME_DEG

"""The verb calibrate: a radius with a probability, from journals of runs over photos whose position is known."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from img2loc.errors import DataError
from img2loc.evaluation.data.datasets import DATA_SETS
from img2loc.evaluation.outputs import check_replaceable
from img2loc.evaluation.run.journal import read_journal
from img2loc.evaluation.run.record import Entry, Record
from img2loc.geo.columns import named
from img2loc.geo.sphere import geodesic_km
from img2loc.retrieval.calibration import MIN_PHOTOS, PROBABILITY, Calibration, Group, answerer, groups_of
from img2loc.retrieval.manifest import CALIBRATION, MANIFEST, describe_file, read_manifest
from img2loc.system.durable import write_whole
from img2loc.system.names import escape_controls
from img2loc.system.terminal import print_text
from img2loc.types import LatLon


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure the radii, write them to a file and print them; returns the exit status.

    Raises:
        DataError: The journals can't be used, or the file can't be written.
    """
    out: Path = arguments.out
    check_replaceable(out, _is_calibration)
    calibration = calibration_of([(path, read_journal(path)) for path in arguments.data])
    in_gallery = (out.parent / MANIFEST).is_file()
    if in_gallery:
        manifest = read_manifest(out.parent)
        if out.name != CALIBRATION:
            raise DataError(
                f"In a gallery's folder the calibration must be named {CALIBRATION}; {out.name} isn't read."
            )
        if manifest.identity != calibration.gallery:
            raise DataError(f"The journals were made with another gallery than the one in {out.parent}.")
    try:
        _write(out, TypeAdapter(Calibration).dump_json(calibration, indent=1) + b"\n")
        if in_gallery:  # after a kill before this is done, the same command completes it
            files = {**manifest.files, CALIBRATION: describe_file(out)}
            _write(out.parent / MANIFEST, replace(manifest, files=files).to_json().encode())
    except OSError as error:
        raise DataError(f"{out} can't be written: {error.strerror or error}.") from error
    for name, groups in calibration.methods.items():
        for group in groups:
            print_text(
                f"{name}: similarity {group.from_similarity:.3f} or more: within {group.radius_km:,.0f} km with "
                f"{calibration.probability:.0%} probability ({group.photos} photos)\n"
            )
    place = "added to the gallery" if in_gallery else f"to use it, write it into a gallery: --out GALLERY/{CALIBRATION}"
    print_text(f"{escape_controls(out)}: {place}\n")
    return 0


def _is_calibration(content: bytes) -> bool:
    try:
        TypeAdapter(Calibration).validate_json(content)
    except ValueError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with write_whole(path) as file:
        file.write(content)


def calibration_of(records: Sequence[tuple[Path, Record]]) -> Calibration:
    """Measure the errors of runs.

    Args:
        records: Journals with their files, all with one gallery.

    Raises:
        DataError: They used several galleries, have too few answers, or two of them have answers of the same model.
    """
    galleries = {record.header.setup.gallery_sha256 for _, record in records}
    if len(galleries) != 1:
        raise DataError("The journals were made with different galleries; calibrate each gallery separately.")
    methods: dict[str, tuple[Group, ...]] = {}
    data: list[str] = []
    for path, record in records:
        items = record.header.items
        for name, pairs in _errors_km(record).items():
            if len(pairs) < MIN_PHOTOS or (name == "vote" and name in methods):
                continue  # every journal has the vote; the first one counts
            if name in methods:
                raise DataError(f"{path} is a second journal with answers of {name}; give one for each model.")
            methods[name] = groups_of(*zip(*pairs, strict=True))
        authors = len({item.author for item in items if item.author})
        title = DATA_SETS[record.header.setup.dataset].title
        data.append(f"{title}, {len(items):,} photos by {authors:,} known photographers")
    if not methods:
        raise DataError(f"A calibration needs {MIN_PHOTOS} answers; {named([path for path, _ in records])} has fewer.")
    date = max(record.header.started for _, record in records)
    return Calibration("; ".join(dict.fromkeys(data)), date, galleries.pop(), PROBABILITY, methods)


def _errors_km(record: Record) -> dict[str, list[tuple[float, float]]]:
    """By who answered: the similarity of the nearest neighbour, and the error in km, of each photo with both."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for item in record.header.items:
        entry = record.entries.get(item.id)
        if entry is None or not entry.nearest:
            continue
        for name, position in _answers(entry, record):
            if position is not None:
                pair = entry.nearest[0].similarity, geodesic_km(position, item.position)
                errors.setdefault(name, []).append(pair)
    return errors


def _answers(entry: Entry, record: Record) -> Iterator[tuple[str, LatLon | None]]:
    setup = record.header.setup
    yield answerer("vote", ""), entry.vote.position if entry.vote else None
    if setup.judge is not None:
        yield answerer("judge", setup.model), entry.candidates[0].position if entry.candidates else None
    elif setup.backend != "vote":
        yield answerer("lmm", setup.model), entry.outcome.position if entry.outcome else None

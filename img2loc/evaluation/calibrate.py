"""From journals of runs whose truth is known: the radius that holds it, written beside the gallery."""

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
from img2loc.geo.sphere import geodesic_km
from img2loc.geo.tables import named
from img2loc.retrieval.calibration import MIN_PHOTOS, PROBABILITY, Calibration, Group, answerer, groups_of
from img2loc.retrieval.manifest import CALIBRATION, MANIFEST, describe_file, read_manifest
from img2loc.system.durable import write_whole
from img2loc.system.names import escape_controls
from img2loc.system.terminal import print_text
from img2loc.types import LatLon

Measured = dict[str, list[tuple[float, float]]]  # by who answers: similarity of the nearest neighbour, error in km


def calibrate(arguments: argparse.Namespace) -> int:
    """Measure the radius that holds the true position with 90% probability, from journals of evaluate run."""
    check_replaceable(arguments.out, _is_calibration)
    records = [(path, read_journal(path)) for path in arguments.data]
    found = calibration_of(records)
    out: Path = arguments.out
    beside = (out.parent / MANIFEST).is_file()
    if beside:
        manifest = read_manifest(out.parent)
        if out.name != CALIBRATION:
            raise DataError(f"Beside a gallery the calibration must be called {CALIBRATION}; {out.name} isn't read.")
        if manifest.identity != found.gallery:
            raise DataError(f"The gallery in {out.parent} is not the one that the journals were made with.")
    try:
        _write(out, TypeAdapter(Calibration).dump_json(found, indent=1) + b"\n")
        if beside:  # who is killed before this is done says the same again
            files = {**manifest.files, CALIBRATION: describe_file(out)}
            _write(out.parent / MANIFEST, replace(manifest, files=files).to_json().encode())
    except OSError as error:
        raise DataError(f"{out} can't be written: {error.strerror or error}.") from error
    for name, groups in found.methods.items():
        for group in groups:
            print_text(
                f"{name}: similarity from {group.from_similarity:.3f}: within {group.radius_km:,.0f} km with "
                f"{found.probability:.0%} probability ({group.photos} photos)\n"
            )
    where = ", listed in the gallery" if beside else f": put it into a gallery's folder, as --out GALLERY/{CALIBRATION}"
    print_text(f"{escape_controls(out)}{where}\n")
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
        records: Journals with their files, all of one gallery.

    Raises:
        DataError: They are of several galleries, or hold too few answers, or one who answers stands in two of them.
    """
    galleries = {record.header.setup.gallery_sha256 for _, record in records}
    if len(galleries) != 1:
        raise DataError("The journals were made with different galleries; calibrate each gallery by its own.")
    methods: dict[str, tuple[Group, ...]] = {}
    words: list[str] = []
    for path, record in records:
        setup = record.header.setup
        for name, pairs in _measured(record).items():
            if len(pairs) < MIN_PHOTOS or (name == "vote" and name in methods):
                continue  # every journal has the vote; the first one counts
            if name in methods:
                raise DataError(f"{path} is the second journal of {name}; give one for each who answers.")
            methods[name] = groups_of(*zip(*pairs, strict=True))
        authors = len({item.author for item in record.header.items if item.author})
        words.append(
            f"{DATA_SETS[setup.dataset].title}, {len(record.header.items):,} photos by {authors:,} known photographers"
        )
    if not methods:
        raise DataError(
            f"There are fewer than {MIN_PHOTOS} answers in {named([path for path, _ in records])}: too few."
        )
    date = max(record.header.started for _, record in records)
    return Calibration("; ".join(dict.fromkeys(words)), date, galleries.pop(), PROBABILITY, methods)


def _measured(record: Record) -> Measured:
    """The errors of all who answered in a run; photos without a neighbour or an answer tell nothing."""
    found: Measured = {}
    for item in record.header.items:
        entry = record.entries.get(item.id)
        if entry is None or not entry.nearest:
            continue
        for name, position in _answers(entry, record):
            if position is not None:
                error = geodesic_km(position, item.position)
                found.setdefault(name, []).append((entry.nearest[0].similarity, error))
    return found


def _answers(entry: Entry, record: Record) -> Iterator[tuple[str, LatLon | None]]:
    setup = record.header.setup
    yield answerer("vote", ""), entry.vote.position if entry.vote else None
    if setup.judge is not None:
        yield answerer("judge", setup.model), entry.candidates[0].position if entry.candidates else None
    elif setup.backend != "vote":
        yield answerer("lmm", setup.model), entry.outcome.position if entry.outcome else None

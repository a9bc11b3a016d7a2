"""The index stage: embeddings, positions and records into a gallery's folder; its manifest comes last."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings, EncoderSpec
from img2loc.retrieval.gallery import first_off_earth, open_gallery
from img2loc.retrieval.manifest import HEAD, INDEX, LOCATION, MANIFEST, POSITIONS, RECORDS, Manifest, describe_file
from img2loc.system.durable import write_whole
from index_builder.stages.listing import Listing
from index_builder.storage.folders import NEW, partial_folder, put_in_place, restore, working_folder
from index_builder.storage.layout import Layout, make_index, tune
from index_builder.storage.recall import exact_neighbours
from index_builder.storage.rows import Rows, from_shards, regroup
from index_builder.storage.store import BFLOAT16, Store

ROWS_PER_GROUP = 4096  # records are read a group at a time
MAX_NORM_ERROR = 0.1  # embeddings that were stored in 8 or 4 bits a value are within it


@dataclass(frozen=True, slots=True)
class Label:
    """What a gallery says about itself to people; see Manifest."""

    name: str
    about: str = ""
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """The gallery to write."""

    folder: Path
    label: Label
    layout: Layout | None = None  # None for the one that suits the size
    may_replace: bool = False  # whether another gallery that is already there may be replaced


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks that a gallery is searched with."""

    encoder: EncoderSpec
    head: bytes = b""  # the file of the projection put after the encoder; empty where there is none
    location: bytes = b""  # the file of the location encoder; empty where there is none
    bfloat16_keeps_neighbours: bool = False  # see Manifest


def write_gallery(output: Output, rows: Rows, networks: Networks) -> Manifest:
    """Write a gallery beside its place, open it as the app would, and put it in its place as a whole.

    Returns:
        The manifest as written.

    Raises:
        ConfigError: The folder has something else in it, a row's position or embedding is invalid, or the index
            can't be made in that layout.
        GalleryError: The app would refuse the gallery.
        OSError: The gallery can't be written.
    """
    folder = output.folder.resolve()
    _check_positions(rows)
    with working_folder(partial_folder(folder)) as work:
        restore(work, folder)
        work.delete(NEW)
        new = work.path / NEW
        new.mkdir()
        try:
            manifest = _write_files(new, output, rows, networks)
            open_gallery(str(new))
            put_in_place(work, folder, may_replace=output.may_replace)
        finally:
            work.delete(NEW)
    return manifest


def _write_files(folder: Path, output: Output, rows: Rows, networks: Networks) -> Manifest:
    """Write a gallery's files, flush them to the disk, and write the manifest last."""
    rows = dataclasses.replace(rows, embeddings=partial(_checked_embeddings, rows))
    layout = output.layout or Layout.choose(rows.count, rows.dim)
    index = make_index(rows, layout)
    layout, recall = tune(index, rows, layout)
    _write_parts(folder, index, rows, {HEAD: networks.head, LOCATION: networks.location})
    manifest = Manifest(
        **dataclasses.asdict(output.label),
        count=rows.count,
        dim=rows.dim,
        encoder=networks.encoder,
        factory=layout.factory,
        recall=recall,
        files={path.name: describe_file(path) for path in sorted(folder.iterdir())},
        bfloat16_keeps_neighbours=networks.bfloat16_keeps_neighbours,
        search=layout.search,
    )
    for name in manifest.files:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    with write_whole(folder / MANIFEST) as file:
        file.write(manifest.to_json().encode())
    return manifest


def _check_positions(rows: Rows) -> None:
    start = 0
    for block in rows.positions():
        row = first_off_earth(block.astype("<f4"))
        if row is not None:
            lat, lon = block[row].tolist()
            raise ConfigError(f"Row {start + row} is not on Earth: latitude {lat}, longitude {lon}.")
        start += len(block)


def _checked_embeddings(rows: Rows) -> Iterator[Embeddings]:
    start = 0
    for block in rows.embeddings():
        if (row := first_not_unit(block)) is not None:
            raise ConfigError(f"The embedding of row {start + row} is not a finite unit vector.")
        yield block
        start += len(block)


def first_not_unit(block: Embeddings) -> int | None:
    """The first row of a block that is not a finite vector of about unit length."""
    with np.errstate(over="ignore"):
        wrong = ~(np.abs(np.linalg.norm(block, axis=1) - 1) < MAX_NORM_ERROR)  # NaN is wrong, too
    return int(wrong.argmax()) if wrong.any() else None


def _write_parts(folder: Path, index: Any, rows: Rows, networks: Mapping[str, bytes]) -> None:  # noqa: ANN401
    import faiss  # noqa: PLC0415

    try:
        faiss.write_index(index, str(folder / INDEX))
    except RuntimeError as error:  # FAISS's way to say that the disk is full
        raise OSError(f"the index can't be written to {folder}: {str(error).splitlines()[-1]}") from error
    with (folder / POSITIONS).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows.count, 2)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in rows.positions():
            file.write(block.astype("<f4").tobytes())
    writer = None
    for group in regroup(rows.records(), ROWS_PER_GROUP):
        writer = writer or pq.ParquetWriter(folder / RECORDS, group.schema, compression="zstd")
        writer.write_table(group)
    if writer is not None:
        writer.close()
    for name, content in networks.items():
        if content:
            (folder / name).write_bytes(content)


def index_shards(listing: Listing, store: Store, output: Output) -> Manifest:
    """Make a gallery of a finished job's shards.

    Returns:
        The manifest as written.

    Raises:
        ConfigError: The shards are another listing's, not all done, or changed since; or see write_gallery.
    """
    rows = from_shards(listing, store)
    sample = store.folder / BFLOAT16
    keeps_neighbours = sample.exists() and bfloat16_keeps_neighbours(rows, np.load(sample))
    return write_gallery(output, rows, Networks(store.job.encoder, bfloat16_keeps_neighbours=keeps_neighbours))


def bfloat16_keeps_neighbours(rows: Rows, sample: Embeddings) -> bool:
    """Whether embedding queries in bfloat16 leaves every neighbour of a sample as it is.

    Args:
        rows: The gallery's rows.
        sample: (2, n, dim) the same photos embedded in float32 and in bfloat16.
    """
    exact, rough = (exact_neighbours(rows.embeddings(), np.concatenate([each, -each])) for each in sample)
    return bool((exact == rough).all())

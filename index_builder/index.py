"""The index stage: embeddings, positions and records into a gallery's folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from img2loc.encoder import EncoderSpec
from img2loc.gallery import INDEX, MANIFEST, POSITIONS, RECORDS, Manifest, file_sha256
from img2loc.types import LatLon, PhotoRecord

FACTORY = "SQfp16"  # every vector in half precision, searched one by one: exact enough to keep the order
RECALL_K = 16
RECALL_QUERIES = 256
ROWS_PER_GROUP = 4096  # records are read a group at a time

Embeddings = npt.NDArray[np.float32]


def write_gallery(
    folder: Path,
    embeddings: Embeddings,
    positions: Sequence[LatLon],
    records: Sequence[PhotoRecord],
    *,
    encoder: EncoderSpec,
    name: str,
    about: str,
    source: str,
    licence: str,
    bfloat16_keeps_neighbours: bool = False,
) -> Manifest:
    """Write a gallery; its manifest comes last, so that a folder with one is whole.

    Args:
        folder: Where to; an older gallery there is replaced.
        embeddings: (count, dim) float32 of unit norm.
        positions: Where each was taken.
        records: Where each comes from.
        encoder: What made the embeddings.
        name: The gallery's short name.
        about: What it knows and what it can't, in a sentence or two for visitors.
        source: The data set.
        licence: The data set's licence.
        bfloat16_keeps_neighbours: See Manifest.

    Returns:
        The manifest as written.
    """
    import faiss  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    index = faiss.index_factory(embeddings.shape[1], FACTORY, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        index.train(embeddings)
    index.add(embeddings)
    faiss.write_index(index, str(folder / INDEX))
    np.save(folder / POSITIONS, np.array([(p.lat, p.lon) for p in positions], dtype=np.float32))
    table = pa.Table.from_pylist([asdict(record) for record in records])
    pq.write_table(table, folder / RECORDS, row_group_size=ROWS_PER_GROUP, compression="zstd")
    manifest = Manifest(
        name=name,
        about=about,
        source=source,
        licence=licence,
        count=len(positions),
        dim=embeddings.shape[1],
        encoder=encoder,
        factory=FACTORY,
        recall={
            "nearest": measure_recall(index, embeddings, embeddings[:RECALL_QUERIES]),
            "farthest": measure_recall(index, embeddings, -embeddings[:RECALL_QUERIES]),
        },
        files={
            file: {"sha256": file_sha256(folder / file), "bytes": (folder / file).stat().st_size}
            for file in (INDEX, POSITIONS, RECORDS)
        },
        bfloat16_keeps_neighbours=bfloat16_keeps_neighbours,
    )
    unfinished = folder / f"{MANIFEST}.tmp"
    unfinished.write_text(manifest.to_json(), encoding="utf-8")
    os.replace(unfinished, folder / MANIFEST)
    return manifest


def measure_recall(index: object, embeddings: Embeddings, queries: Embeddings) -> float:
    """Share of the true neighbours that an index finds; one as near as the last true one counts, too.

    Args:
        index: A FAISS index of the embeddings.
        embeddings: (count, dim) the exact vectors.
        queries: (n, dim) what to search for.
    """
    k = min(RECALL_K, len(embeddings))
    exact = queries @ embeddings.T
    last = np.sort(exact, axis=1)[:, -k]
    _, found = index.search(queries, k)  # type: ignore[attr-defined]
    similar = np.take_along_axis(exact, found, axis=1) >= last[:, None] - 1e-6
    return round(float(similar.mean()), 4)

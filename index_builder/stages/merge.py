"""The merge stage: galleries of the same encoder joined into one, each photo once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.manifest import Manifest
from index_builder.stages.index import Networks, Output, write_gallery
from index_builder.stages.listing import RECORD_COLUMNS, Seen, digest
from index_builder.storage.rows import BLOCK_ROWS, Rows

AGAIN = "the same embedding at the same place again"
Mask = npt.NDArray[np.bool_]  # which of a gallery's rows are kept


def merge_galleries(folders: Sequence[Path], output: Output) -> tuple[Manifest, int]:
    """Join galleries.

    Args:
        folders: Theirs; rows keep this order.
        output: The new one; an empty source or licence becomes those of its parts.

    Returns:
        The manifest, and how many rows were dropped since another gallery has them, too.

    Raises:
        ConfigError: They are of different encoders, or one's index does not hold its vectors; or see write_gallery.
        GalleryError: One is torn.
    """
    galleries = [open_gallery(str(folder)) for folder in folders]
    first = galleries[0]
    for gallery in galleries[1:]:
        if (gallery.manifest.encoder, gallery.manifest.dim) != (first.manifest.encoder, first.manifest.dim):
            raise ConfigError(
                f"{gallery.folder} and {first.folder} are of different encoders: {gallery.manifest.encoder} and "
                f"{first.manifest.encoder}. Only galleries of one encoder can be compared, and so joined."
            )
    for gallery in galleries:
        stored_vectors(gallery)
    with Seen() as seen:
        parts = [(gallery, _new_rows(gallery, seen)) for gallery in galleries]
    label = dataclasses.replace(
        output.label,
        source=output.label.source or _joined(gallery.manifest.source for gallery in galleries),
        licence=output.label.licence or _joined(gallery.manifest.licence for gallery in galleries),
    )
    networks = Networks(
        first.manifest.encoder,
        head=first.head or b"",
        bfloat16_keeps_neighbours=all(gallery.manifest.bfloat16_keeps_neighbours for gallery in galleries),
    )
    manifest = write_gallery(dataclasses.replace(output, label=label), _rows(parts), networks)
    return manifest, sum(gallery.manifest.count for gallery in galleries) - manifest.count


def stored_vectors(gallery: Gallery) -> Any:  # noqa: ANN401 - FAISS has no types
    """The part of a gallery's index that holds its vectors.

    Raises:
        ConfigError: It holds codes alone, from which the vectors can't be had again.
    """
    if gallery.searcher.vectors is None:
        raise ConfigError(f"The index in {gallery.folder} has no vectors; start from the shards it was made of.")
    return gallery.searcher.vectors


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _new_rows(gallery: Gallery, seen: Seen) -> Mask:
    """Which of a gallery's rows no gallery before it has."""
    vectors = (vector for block in _blocks(gallery) for vector in block)
    contents = (vector.tobytes() + at.tobytes() for vector, at in zip(vectors, gallery.positions, strict=True))
    return np.fromiter((seen.add(digest(content)) for content in contents), bool, gallery.manifest.count)


def _blocks(gallery: Gallery) -> Iterator[Embeddings]:
    for start in range(0, gallery.manifest.count, BLOCK_ROWS):
        yield stored_vectors(gallery).reconstruct_n(start, min(BLOCK_ROWS, gallery.manifest.count - start))


def _rows(parts: Sequence[tuple[Gallery, Mask]]) -> Rows:
    def embeddings() -> Iterator[Embeddings]:
        for gallery, mask in parts:
            for number, block in enumerate(_blocks(gallery)):
                yield block[mask[number * BLOCK_ROWS :][: len(block)]]

    def positions() -> Iterator[npt.NDArray[np.float32]]:
        for gallery, mask in parts:
            yield gallery.positions[mask]

    def records() -> Iterator[pa.Table]:
        if any(gallery.all_records is not None for gallery, _ in parts):
            for gallery, mask in parts:
                yield from _records(gallery, mask)

    return Rows(sum(int(mask.sum()) for _, mask in parts), parts[0][0].manifest.dim, embeddings, positions, records)


def _records(gallery: Gallery, mask: Mask) -> Iterator[pa.Table]:
    if gallery.all_records is None:
        empty = pa.array([""] * int(mask.sum()), pa.string())
        yield pa.table({name: empty for name in RECORD_COLUMNS})
        return
    start = 0
    for batch in gallery.all_records.batches(BLOCK_ROWS):
        yield pa.Table.from_batches([batch]).filter(pa.array(mask[start : start + len(batch)]))
        start += len(batch)

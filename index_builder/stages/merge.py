"""The merge stage: galleries of the same encoder joined into one, each photo once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.manifest import Manifest
from index_builder.stages.index import Label, write_rows
from index_builder.stages.listing import Seen, digest
from index_builder.storage.layout import Layout
from index_builder.storage.rows import BLOCK_ROWS, RECORD_COLUMNS, Rows

AGAIN = "the same embedding at the same place again"


def merge_galleries(
    folders: Sequence[Path], out: Path, *, label: Label, layout: Layout | None = None, may_replace: bool = False
) -> tuple[Manifest, int]:
    """Join galleries.

    Args:
        folders: Theirs; rows keep this order.
        out: Where the new one goes.
        label: What it says of itself; an empty source or licence becomes those of its parts.
        layout: The index's kind; None for the one that suits the size.
        may_replace: See write_rows.

    Returns:
        The manifest, and how many rows were dropped since another gallery has them, too.

    Raises:
        ConfigError: They are of different encoders, or one's index does not hold its vectors.
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
    stored = [stored_vectors(gallery) for gallery in galleries]
    with Seen() as seen:
        kept = [_new_rows(gallery, vectors, seen) for gallery, vectors in zip(galleries, stored, strict=True)]
    count = sum(int(mask.sum()) for mask in kept)

    def embeddings() -> Iterator[Embeddings]:
        for vectors, mask in zip(stored, kept, strict=True):
            for block, inside in _blocks(vectors, mask):
                yield block[inside]

    def positions() -> Iterator[npt.NDArray[np.float32]]:
        for gallery, mask in zip(galleries, kept, strict=True):
            yield gallery.positions[mask]

    def records() -> Iterator[pa.Table]:
        if any(gallery.all_records is not None for gallery in galleries):
            for gallery, mask in zip(galleries, kept, strict=True):
                yield from _records(gallery, mask)

    parts = [gallery.manifest for gallery in galleries]
    manifest = write_rows(
        out,
        Rows(count, first.manifest.dim, embeddings, positions, records),
        encoder=first.manifest.encoder,
        label=Label(
            label.name,
            label.about,
            label.source or "; ".join(dict.fromkeys(part.source for part in parts if part.source)),
            label.licence or "; ".join(dict.fromkeys(part.licence for part in parts if part.licence)),
        ),
        layout=layout,
        head=first.head or b"",
        bfloat16_keeps_neighbours=all(part.bfloat16_keeps_neighbours for part in parts),
        may_replace=may_replace,
    )
    return manifest, sum(len(mask) for mask in kept) - count


def stored_vectors(gallery: Gallery) -> Any:  # noqa: ANN401 - FAISS has no types
    """The part of a gallery's index that holds its vectors.

    Raises:
        ConfigError: It holds codes alone, from which the vectors can't be had again.
    """
    if gallery.searcher.vectors is None:
        raise ConfigError(f"The index in {gallery.folder} has no vectors; start from the shards it was made of.")
    return gallery.searcher.vectors


def _blocks(vectors: Any, mask: npt.NDArray[np.bool_]) -> Iterator[tuple[Embeddings, npt.NDArray[np.bool_]]]:  # noqa: ANN401
    for start in range(0, len(mask), BLOCK_ROWS):
        inside = mask[start : start + BLOCK_ROWS]
        yield vectors.reconstruct_n(start, len(inside)), inside


def _new_rows(gallery: Gallery, vectors: Any, seen: Seen) -> npt.NDArray[np.bool_]:  # noqa: ANN401
    """Which of a gallery's rows no gallery before it has."""
    positions = gallery.positions
    mask = np.zeros(gallery.manifest.count, bool)
    row = 0
    for block, _ in _blocks(vectors, mask):
        for vector in block:
            mask[row] = seen.add(digest(vector.tobytes() + positions[row].tobytes()))
            row += 1
    return mask


def _records(gallery: Gallery, mask: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    if gallery.all_records is None:
        empty = pa.array([""] * int(mask.sum()), pa.string())
        yield pa.table({name: empty for name in RECORD_COLUMNS})
        return
    start = 0
    for batch in gallery.all_records.batches(BLOCK_ROWS):
        yield pa.Table.from_batches([batch]).filter(pa.array(mask[start : start + len(batch)]))
        start += len(batch)

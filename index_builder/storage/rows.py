"""The rows of a gallery to be: embeddings, positions and records, from memory or from shards, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings
from img2loc.types import LatLon, PhotoRecord
from index_builder.stages.listing import RECORD_COLUMNS, Listing
from index_builder.storage.store import Store

BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a gallery to be; each part can be read again and again, a piece at a time."""

    count: int
    dim: int  # length of an embedding
    embeddings: Callable[[], Iterable[Embeddings]]  # blocks (n, dim) float32 of unit norm
    positions: Callable[[], Iterable[npt.NDArray[Any]]]  # blocks (n, 2) of latitudes and longitudes in degrees
    records: Callable[[], Iterable[pa.Table]]  # of PhotoRecord's columns; none where the rows aren't photos


def from_memory(embeddings: Embeddings, positions: Sequence[LatLon], records: Sequence[PhotoRecord] = ()) -> Rows:
    """Rows of what is in memory.

    Args:
        embeddings: (count, dim) float32 of unit norm.
        positions: n positions.
        records: n records; none where the rows aren't photos.
    """
    degrees = np.array([(position.lat, position.lon) for position in positions], dtype=np.float32)
    starts = range(0, len(embeddings), BLOCK_ROWS)
    return Rows(
        count=len(positions),
        dim=embeddings.shape[1],
        embeddings=lambda: (embeddings[start : start + BLOCK_ROWS] for start in starts),
        positions=lambda: iter([degrees]),
        records=lambda: iter([pa.Table.from_pylist([asdict(record) for record in records])] if records else []),
    )


def from_shards(listing: Listing, store: Store) -> Rows:
    """Rows of a finished job: the listing's, without the photos that could not be read.

    Raises:
        ConfigError: The shards are another listing's, not all done, or not what was embedded.
    """
    if store.job.listing != listing.sha256():
        raise ConfigError(
            f"The shards in {store.folder} are not those of {listing.path}; give the listing they are of."
        )
    if missing := store.missing():
        raise ConfigError(
            f"{len(missing):,} of {store.plan.shards:,} shards in {store.folder} aren't done; run embed again."
        )
    for shard in range(store.plan.shards):
        store.check(shard)
    readable = np.concatenate([store.readable(shard) for shard in range(store.plan.shards)])

    def columns(names: Sequence[str]) -> Iterator[pa.Table]:
        start = 0
        for table in listing.columns(names):
            yield table.filter(pa.array(readable[start : start + len(table)]))
            start += len(table)

    return Rows(
        count=int(readable.sum()),
        dim=store.job.dim,
        embeddings=store.blocks,
        positions=lambda: (np.column_stack([each.to_numpy() for each in t]) for t in columns(("lat", "lon"))),
        records=lambda: columns(RECORD_COLUMNS),
    )


def take(blocks: Iterable[Embeddings], wanted: npt.NDArray[np.int64]) -> Embeddings:
    """Some rows of a sequence of blocks, their numbers in order."""
    taken = []
    start = 0
    for block in blocks:
        inside = wanted[(wanted >= start) & (wanted < start + len(block))]
        taken.append(block[inside - start])
        start += len(block)
    return np.concatenate(taken)


def regroup(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of equal length; the last may be shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(len(each) for each in waiting) >= rows:
            together = pa.concat_tables(waiting)
            yield together.slice(0, rows).combine_chunks()
            waiting = [together.slice(rows)]
    if rest := sum(len(each) for each in waiting):
        yield pa.concat_tables(waiting).slice(0, rest).combine_chunks()

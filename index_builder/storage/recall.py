"""How well an index finds what exact search finds; the exact side is read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from img2loc.retrieval.encoders import Embeddings

RECALL_K = 16
TIE = 1e-6  # one as near as the last true neighbour counts, too

RowNumbers = npt.NDArray[np.int64]


def measure_recall(
    blocks: Iterable[Embeddings], queries: Embeddings, results: Sequence[RowNumbers], *, query_rows: RowNumbers
) -> list[npt.NDArray[np.float64]]:
    """Share of each query's true neighbours that were found, for several ways to search in one pass over the vectors.

    Args:
        blocks: All vectors, in the order of their rows.
        queries: (n, dim) what was searched for.
        results: For each way (n, RECALL_K + 1) rows that the index found, the nearest first; -1 for none.
        query_rows: (n,) the row that each query is itself, which isn't a neighbour; -1 for none.

    Returns:
        For each way (n,) from 0 to 1; 1 where there is no neighbour to be found.
    """
    kept = np.stack(
        [[np.r_[row[row != query_rows[i]], [-1]][:RECALL_K] for i, row in enumerate(rows)] for rows in results]
    )
    best = np.full((len(queries), RECALL_K), -np.inf, np.float32)
    similarity = np.full(kept.shape, -np.inf, np.float32)
    start = 0
    for block in blocks:
        exact = queries @ block.T
        itself = np.flatnonzero((query_rows >= start) & (query_rows < start + len(block)))
        exact[itself, query_rows[itself] - start] = -np.inf
        inside = (kept >= start) & (kept < start + len(block))
        similarity[inside] = exact[np.nonzero(inside)[1], kept[inside] - start]
        together = np.concatenate([best, exact], axis=1)
        best = np.partition(together, together.shape[1] - RECALL_K, axis=1)[:, -RECALL_K:]
        start += len(block)
    true = np.isfinite(best).sum(axis=1)
    last = np.where(np.isfinite(best), best, np.inf).min(axis=1)
    hits = np.minimum((similarity >= last[:, None] - TIE).sum(axis=2), true)
    return list(np.where(true > 0, hits / np.maximum(true, 1), 1.0))


def exact_neighbours(blocks: Iterable[Embeddings], queries: Embeddings) -> RowNumbers:
    """The rows of the true nearest neighbours of (n, dim) queries among all vectors, block by block.

    Returns:
        (n, at most RECALL_K), each query's in the order of their rows.
    """
    best = np.zeros((len(queries), 0), np.float32)
    rows = np.zeros((len(queries), 0), np.int64)
    start = 0
    for block in blocks:
        best = np.concatenate([best, queries @ block.T], axis=1)
        new = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        rows = np.concatenate([rows, new], axis=1)
        chosen = np.argsort(-best, axis=1, kind="stable")[:, :RECALL_K]
        best, rows = np.take_along_axis(best, chosen, axis=1), np.take_along_axis(rows, chosen, axis=1)
        start += len(block)
    return np.sort(rows, axis=1)

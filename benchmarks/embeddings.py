"""Made-up embeddings with the statistics of CLIP's, at any size: the same bytes for the same seed.

What is known of CLIP's image embeddings, and how it is copied here:

- They lie in a narrow cone: any two photos have a cosine of about 0.45 (Liang et al., "Mind the Gap", NeurIPS 2022). So
  each vector has the same mean direction, which holds 0.45 of its squared length.
- Around that mean they fill an ellipsoid, in a thin shell, none of whose axes is a coordinate's (Levi and Gilboa, "The
  Double-Ellipsoid Geometry of CLIP", ICML 2025). So the rest is Gaussian in rotated axes, then scaled to length 1.
- The variances along the axes fall about as one over their rank, as in good encoders of natural images in general
  (Agrawal et al., "alpha-ReQ", NeurIPS 2022; Stringer et al., Nature 571, 2019).
- Photos come in scenes: of one place there are many or one. So half of that rest is shared by a scene's photos (two of
  which then have a cosine of about 0.72), and the scenes' sizes fall as their rank to the power of -0.8.

They aren't CLIP embeddings: what an index finds of real ones, the builder measures and writes in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_builder.storage.recall import RECALL_K

Vectors = npt.NDArray[np.float32]

MEAN_COSINE, SCENE_SHARE = 0.45, 0.5
FIRST_RANK = 5  # the largest variances would otherwise stand alone
ROWS_PER_SCENE, SCENE_POWER = 250, 0.8
BLOCK_ROWS = 20_000
QUERIES = 300


class Population:
    """What photos' embeddings are drawn from.

    Args:
        rows: How many there are to be; gives the number of scenes.
        dim: Length of an embedding.
        seed: Of everything.
    """

    def __init__(self, rows: int, dim: int, seed: int = 0) -> None:
        self.rows, self.dim, self.seed = rows, dim, seed
        rng = np.random.default_rng(seed)
        variances = 1 / np.arange(FIRST_RANK, FIRST_RANK + dim)
        scale = np.sqrt((1 - MEAN_COSINE) * variances / variances.sum()).astype(np.float32)
        self._axes = scale[:, None] * np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        mean = rng.standard_normal(dim).astype(np.float32)
        self._mean = np.float32(MEAN_COSINE**0.5) * mean / np.linalg.norm(mean)
        self._scenes = rng.standard_normal((max(2, rows // ROWS_PER_SCENE), dim), dtype=np.float32)
        shares = np.arange(1, len(self._scenes) + 1) ** -SCENE_POWER
        self._last = np.cumsum(shares) / shares.sum()

    def blocks(self) -> Iterator[Vectors]:
        """The gallery's rows, a block at a time."""
        for number, start in enumerate(range(0, self.rows, BLOCK_ROWS)):
            yield self._draw(min(BLOCK_ROWS, self.rows - start), number)

    def queries(self, count: int) -> Vectors:
        """Further photos of the same scenes, none of them in the gallery."""
        return self._draw(count, 2**32 - 1)

    def _draw(self, count: int, stream: int) -> Vectors:
        rng = np.random.default_rng((self.seed, stream))
        scene = np.searchsorted(self._last, rng.random(count)).clip(max=len(self._scenes) - 1)
        own = rng.standard_normal((count, self.dim), dtype=np.float32)
        mixed = np.float32(SCENE_SHARE**0.5) * self._scenes[scene] + np.float32((1 - SCENE_SHARE) ** 0.5) * own
        vectors = mixed @ self._axes + self._mean
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True)
class EmbeddingSet:
    """A gallery's embeddings in half precision, queries, and the queries' true neighbours in single precision.

    Args:
        vectors: (rows, dim) float16, a memory map.
        queries: (n, dim) float32.
        nearest: (n, RECALL_K) rows.
        farthest: (n, RECALL_K) rows.
    """

    vectors: npt.NDArray[np.float16]
    queries: Vectors
    nearest: npt.NDArray[np.int64]
    farthest: npt.NDArray[np.int64]

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Vectors]:
        """The vectors as float32, a block at a time."""
        for start in range(0, len(self.vectors), rows):
            yield self.vectors[start : start + rows].astype(np.float32)


def open_set(folder: Path, rows: int, dim: int) -> EmbeddingSet:
    """Open a set, after making it where it is not there yet.

    Args:
        folder: Where sets are kept.
        rows: How many embeddings.
        dim: Their length.
    """
    vectors, truth = folder / f"{rows}x{dim}.npy", folder / f"{rows}x{dim}.npz"
    if not truth.exists():
        _make(Population(rows, dim), vectors, truth)
    known = np.load(truth)
    return EmbeddingSet(np.load(vectors, mmap_mode="r"), known["queries"], known["nearest"], known["farthest"])


def _make(population: Population, path: Path, truth: Path) -> None:
    queries = population.queries(QUERIES)
    both = np.concatenate([queries, -queries])
    best = np.full((len(both), 0), -np.inf, np.float32)
    rows = np.zeros((len(both), 0), np.int64)
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (population.rows, population.dim))
    start = 0
    for block in population.blocks():
        vectors[start : start + len(block)] = block
        exact = both @ block.T
        inside = np.argpartition(-exact, RECALL_K, axis=1)[:, :RECALL_K]
        best = np.concatenate([best, np.take_along_axis(exact, inside, axis=1)], axis=1)
        rows = np.concatenate([rows, inside + start], axis=1)
        order = np.argsort(-best, axis=1)[:, :RECALL_K]
        best, rows = np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)
        start += len(block)
    vectors.flush()
    np.savez(truth, queries=queries, nearest=rows[:QUERIES], farthest=rows[QUERIES:])

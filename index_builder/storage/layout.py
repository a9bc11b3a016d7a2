"""The kinds of index, by size, and how each is made, measured and tuned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings
from img2loc.retrieval.index import search_parameters
from index_builder.storage.arrange import arrange_by_place
from index_builder.storage.recall import RECALL_K, RowNumbers, measure_recall
from index_builder.storage.rows import Rows, take

RECALL_QUERIES = 512

# Every vector in half precision, searched one by one: exact enough to keep the order.
FLAT = "SQfp16"
# Below LARGE_ROWS a flat search takes less than 4 ms on two cores. From HUGE_ROWS the index has many cells.
LARGE_ROWS, HUGE_ROWS = 50_000, 20_000_000
# CLIP's 768 dimensions are rotated; the 512 axes that vary most go into 128 codes of 4 bits, 4 axes each.
DIMS_PER_CODE, AXES_PER_CODE = 6, 4
CODES_STEP = 4  # FAISS packs codes by pairs, and reads them fastest by fours
CELLS_PER_ROOT = 4  # cells of an inverted file: about 4 sqrt(rows), as FAISS's guidelines have it
TRAINING_ROWS, TRAINING_ROWS_PER_CELL = 65_536, 64

TARGET = 0.99  # recall of both directions
STANDARD_ERRORS = 2  # by which a sample has to lie above it
K_FACTORS = (16, 32, 64, 128, 256, 512)
PROBED_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


@dataclass(frozen=True, slots=True)
class Layout:
    """An index's kind and how it is searched; see Manifest.factory and Manifest.search."""

    factory: str
    search: dict[str, int]  # settings that are given; the others are found by measuring

    @classmethod
    def choose(cls, count: int, dim: int) -> Layout:
        """The kind that suits a gallery of so many rows and dimensions, as benchmarks/retrieval.py shows."""
        codes = dim // DIMS_PER_CODE // CODES_STEP * CODES_STEP
        if count < LARGE_ROWS or not codes:
            return cls(FLAT, {})
        # With these codes, FAISS can restrict a search to some rows only through an inverted file. So there is one,
        # with a single cell for most sizes.
        cells = 1 << round(np.log2(CELLS_PER_ROOT * count**0.5)) if count >= HUGE_ROWS else 1
        return cls(f"OPQ{codes}_{AXES_PER_CODE * codes},IVF{cells},PQ{codes}x4fs,Refine({FLAT})", {})

    @classmethod
    def named(cls, factory: str, *, k_factor: int | None = None, nprobe: int | None = None) -> Layout:
        """A kind by its factory string.

        Args:
            factory: See Manifest.
            k_factor: For one that ends in Refine(...); None to find it by measuring.
            nprobe: For one with IVF in it; None to find it by measuring.
        """
        given = {"k_factor": k_factor, "nprobe": nprobe}
        needed = cls(factory, {}).needed
        return cls(factory, {name: value for name, value in given.items() if value and name in needed})

    @property
    def cells(self) -> int:
        """How many cells an inverted file has; 0 where there is none."""
        match = re.search(r"\bIVF(\d+)", self.factory)
        return int(match[1]) if match else 0

    @property
    def needed(self) -> tuple[str, ...]:
        """The settings that a search takes."""
        refined = "Refine" in self.factory or "RFlat" in self.factory
        return ("k_factor",) * refined + ("nprobe",) * (self.cells > 0)

    def ways_to_search(self) -> list[dict[str, int]]:
        """Every way to search that is worth measuring, the cheapest first; what is given stays as it is."""
        k_factors = [self.search["k_factor"]] if "k_factor" in self.search else K_FACTORS
        shares = dict.fromkeys(max(1, round(self.cells * share)) for share in PROBED_SHARES)
        probes = [self.search["nprobe"]] if "nprobe" in self.search else list(shares)
        ways: list[dict[str, int]] = [{}]
        for name, values in (("nprobe", probes), ("k_factor", k_factors)):
            if name in self.needed:
                ways = [{**way, name: value} for way in ways for value in values]
        return ways


def make_index(rows: Rows, layout: Layout) -> Any:  # noqa: ANN401 - FAISS has no types
    """Train an index, fill it a block at a time, and arrange it.

    Raises:
        ConfigError: FAISS can't make it, or the number of embeddings isn't rows.count.
    """
    import faiss  # noqa: PLC0415

    try:
        index = faiss.index_factory(rows.dim, layout.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            sample = _sample(rows, layout)
            _rotate(index, sample)
            index.train(sample)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise ConfigError(
            f"FAISS can't make the index {layout.factory!r} of {rows.count} x {rows.dim}: {reason}"
        ) from error
    with tqdm(total=rows.count, unit="row", desc="index") as progress:
        for block in rows.embeddings():
            index.add(block)
            progress.update(len(block))
    if index.ntotal != rows.count:
        raise ConfigError(f"{index.ntotal:,} embeddings came for {rows.count:,} rows; run the embed stage again.")
    arrange_by_place(index, np.concatenate([np.asarray(block, np.float32) for block in rows.positions()]))
    return index


def _rotate(index: Any, sample: Embeddings) -> None:  # noqa: ANN401
    """Give an OPQ index its rotation: principal axes, dealt out to the codes.

    They are dealt out so that the product of the variances is about the same in every code. FAISS's own training
    searches for that rotation in many rounds, each of a k-means and a singular value decomposition: minutes. Where the
    embeddings are about Gaussian the best one is known in closed form. No mean is subtracted: a rotation alone leaves
    inner products as they are.

    Source: Ge, He, Ke and Sun, "Optimized Product Quantization for Approximate Nearest Neighbor Search", CVPR 2013,
    section 3.2.
    """
    import faiss  # noqa: PLC0415

    inner: Any = faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index
    if not isinstance(inner, faiss.IndexPreTransform):
        return
    chain: Any = inner.chain
    rotation = faiss.downcast_VectorTransform(chain.at(0))
    if not isinstance(rotation, faiss.OPQMatrix):
        return
    variances, axes = np.linalg.eigh(np.cov(sample.T))
    order = np.argsort(-variances)[: rotation.d_out]
    logs = np.log(np.maximum(variances[order], np.finfo(np.float32).tiny))
    logs -= logs.min()  # so that a code's sum grows with every axis
    dealt: list[list[int]] = [[] for _ in range(rotation.M)]
    log_sums = np.zeros(rotation.M)
    for axis, log in zip(order, logs, strict=True):
        open_codes = [code for code in range(rotation.M) if len(dealt[code]) < rotation.d_out // rotation.M]
        code = min(open_codes, key=lambda code: log_sums[code])
        dealt[code].append(int(axis))
        log_sums[code] += log
    matrix = axes.T[[axis for code in dealt for axis in code]]
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, np.float32).ravel(), rotation.A)
    rotation.is_trained = True


def _query_rows(count: int) -> npt.NDArray[np.int64]:
    """Rows spread evenly that recall is measured with.

    Training leaves them out if there are more than 2 x RECALL_QUERIES rows.
    """
    queries = min(RECALL_QUERIES, count)
    return np.arange(queries, dtype=np.int64) * count // queries


def _sample(rows: Rows, layout: Layout) -> Embeddings:
    """Rows spread evenly that training uses."""
    wanted = max(TRAINING_ROWS, TRAINING_ROWS_PER_CELL * layout.cells)
    held_out = set(_query_rows(rows.count).tolist()) if rows.count > 2 * RECALL_QUERIES else set()
    chosen = np.unique(np.linspace(0, rows.count - 1, min(wanted, rows.count)).astype(np.int64))
    return take(rows.embeddings(), np.array([row for row in chosen.tolist() if row not in held_out]))


def tune(index: Any, rows: Rows, layout: Layout) -> tuple[Layout, dict[str, float]]:  # noqa: ANN401
    """Find the cheapest way to search that reaches TARGET, with a margin since the recall is a sample's.

    Returns:
        The layout with all its settings, and the recall of the "nearest" and of the "farthest"; where no setting
        reaches TARGET, of the best one.
    """
    query_rows = _query_rows(rows.count)
    queries = take(rows.embeddings(), query_rows)
    both = np.concatenate([queries, -queries])
    ways = layout.ways_to_search()
    results = [_search(index, both, rows.count, way) for way in ways]
    hits = np.stack(measure_recall(rows.embeddings(), both, results, query_rows=np.tile(query_rows, 2)))
    recalls = hits.reshape(len(ways), 2, len(queries))
    mean, error = recalls.mean(axis=2), recalls.std(axis=2) / len(queries) ** 0.5
    lower = (mean - STANDARD_ERRORS * error).min(axis=1)
    chosen = int(np.argmax(lower >= TARGET)) if (lower >= TARGET).any() else int(np.argmax(lower))
    nearest, farthest = (round(float(recall), 4) for recall in mean[chosen])
    return replace(layout, search=ways[chosen]), {"nearest": nearest, "farthest": farthest}


def _search(index: Any, queries: Embeddings, count: int, way: dict[str, int]) -> RowNumbers:  # noqa: ANN401
    """Search as the app will."""
    k = min(RECALL_K + 1, count)
    _, rows = index.search(queries, k, params=search_parameters(index, way))
    return np.pad(rows, ((0, 0), (0, RECALL_K + 1 - k)), constant_values=-1)

"""The kinds of index, by size, and how each is made and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from img2loc.encoder import Embeddings
from img2loc.errors import ConfigError
from img2loc.gallery import search_parameters
from index_builder.recall import RECALL_K, measure_recall
from index_builder.rows import Rows, take

RECALL_QUERIES = 256

# Every vector in half precision, searched one by one: exact enough to keep the order.
FLAT = "SQfp16"
LARGE_ROWS, HUGE_ROWS = 1_000_000, 20_000_000
DIMS_PER_CODE = 4  # CLIP's 768 dimensions in 192 codes of 4 bits
# At 4.72 million rows it finds 0.996 of the nearest and 0.998 of the farthest in 78 to 190 ms on two cores.
K_FACTOR = 128
CELLS_PER_ROOT = 4  # cells of an inverted file: about 4 sqrt(rows), as FAISS's guidelines have it
PROBED_SHARE = 1 / 8
TRAINING_ROWS, TRAINING_ROWS_PER_CELL = 65_536, 64


@dataclass(frozen=True, slots=True)
class Layout:
    """An index's kind and how it is searched; see Manifest.factory and Manifest.search."""

    factory: str
    search: dict[str, int]

    @classmethod
    def choose(cls, count: int, dim: int) -> Layout:
        """The kind that suits a gallery's size.

        Args:
            count: How many rows.
            dim: Length of an embedding.
        """
        codes = dim // DIMS_PER_CODE
        if count < LARGE_ROWS or dim % DIMS_PER_CODE:
            return cls(FLAT, {})
        refined = f"PQ{codes}x4fs,Refine({FLAT})"
        if count < HUGE_ROWS:
            return cls(refined, {"k_factor": K_FACTOR})
        cells = 1 << round(np.log2(CELLS_PER_ROOT * count**0.5))
        return cls(f"IVF{cells},{refined}", {"k_factor": K_FACTOR, "nprobe": round(cells * PROBED_SHARE)})

    @classmethod
    def named(cls, factory: str, *, k_factor: int, nprobe: int) -> Layout:
        """A kind that was asked for.

        Args:
            factory: In FAISS's words.
            k_factor: For one that ends in Refine(...).
            nprobe: For one that begins with IVF.
        """
        search = {"k_factor": k_factor} if "Refine" in factory or "RFlat" in factory else {}
        return cls(factory, search | ({"nprobe": nprobe} if factory.startswith("IVF") else {}))


def make_index(rows: Rows, layout: Layout) -> Any:  # noqa: ANN401 - FAISS has no types
    """Train an index and fill it, a block at a time.

    Raises:
        ConfigError: FAISS can't make it, or the rows are not as many as they say.
    """
    import faiss  # noqa: PLC0415

    try:
        index = faiss.index_factory(rows.dim, layout.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(_sample(rows, layout))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise ConfigError(f"FAISS makes no index {layout.factory!r} of {rows.count} x {rows.dim}: {reason}") from error
    with tqdm(total=rows.count, unit="row", desc="index") as progress:
        for block in rows.embeddings():
            index.add(block)
            progress.update(len(block))
    if index.ntotal != rows.count:
        raise ConfigError(f"{index.ntotal:,} embeddings came for {rows.count:,} rows; run the embed stage again.")
    return index


def _query_rows(count: int) -> npt.NDArray[np.int64]:
    """Rows spread evenly, which recall is measured with and training never sees."""
    queries = min(RECALL_QUERIES, count)
    return np.arange(queries, dtype=np.int64) * count // queries


def _sample(rows: Rows, layout: Layout) -> Embeddings:
    """Rows spread evenly, but for those that recall is measured with, where enough are left without them."""
    cells = int(layout.factory.split(",")[0].removeprefix("IVF")) if layout.factory.startswith("IVF") else 0
    wanted = max(TRAINING_ROWS, TRAINING_ROWS_PER_CELL * cells)
    held_out = set(_query_rows(rows.count).tolist()) if rows.count > 2 * RECALL_QUERIES else set()
    chosen = np.unique(np.linspace(0, rows.count - 1, min(wanted, rows.count)).astype(np.int64))
    return take(rows.embeddings(), np.array([row for row in chosen.tolist() if row not in held_out]))


def measure(index: Any, rows: Rows, layout: Layout) -> dict[str, float]:  # noqa: ANN401
    """Recall of the nearest and of the farthest, as the app will search."""
    own = _query_rows(rows.count)
    queries = take(rows.embeddings(), own)
    both = np.concatenate([queries, -queries])
    k = min(RECALL_K + 1, rows.count)
    _, found = index.search(both, k, params=search_parameters(index, layout.search))
    found = np.pad(found, ((0, 0), (0, RECALL_K + 1 - k)), constant_values=-1)
    near, far = found[: len(own)], found[len(own) :]
    return {
        "nearest": measure_recall(rows.embeddings(), queries, near, own=own),
        "farthest": measure_recall(rows.embeddings(), -queries, far, own=own),
    }

"""The ways to search a gallery that retrieval.py compares: how each is built, opened and searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.embeddings import EmbeddingSet, Vectors
from img2loc.retrieval.index import Searcher, open_index, search_parameters
from index_builder.storage.layout import LARGE_ROWS, Layout, make_index
from index_builder.storage.rows import Rows

Found = npt.NDArray[np.int64]
Search = Callable[[Vectors, int, dict[str, int]], Found]


@dataclass(frozen=True)
class Candidate:
    """One way to search.

    Args:
        name: For the table.
        why: What it stands for.
        build: Writes its files into a folder.
        open: Opens them, and gives a function from (n, dim) queries, k and settings to (n, k) rows.
        settings: For a set of some size, from the least work to the most; each a point of the plot.
        max_rows: Beyond, it is left out: it would take hours to build, or not fit the memory.
    """

    name: str
    why: str
    build: Callable[[EmbeddingSet, Path], None]
    open: Callable[[Path], Search]
    settings: Callable[[int], Sequence[dict[str, int]]] = lambda rows: [{}]
    max_rows: int = 10**12


def _faiss(
    name: str,
    why: str,
    factory: Callable[[int, int], str],
    *,
    settings: Callable[[int], Sequence[dict[str, int]]] | None = None,
    max_rows: int = 10**12,
) -> Candidate:
    """A candidate in FAISS's words, built by the builder's own code and searched by the app's."""

    def build(data: EmbeddingSet, folder: Path) -> None:
        import faiss  # noqa: PLC0415

        count, dim = data.vectors.shape
        rows = Rows(count, dim, data.blocks, lambda: iter([np.zeros((count, 2))]), lambda: iter(()))
        faiss.write_index(make_index(rows, Layout(factory(count, dim), {})), str(folder / "index.faiss"))

    def open_(folder: Path) -> Search:
        with (folder / "index.faiss").open("rb") as file:
            index = open_index(file)
        return _FaissSearch(index)

    def own_settings(rows: int) -> Sequence[dict[str, int]]:
        return Layout(factory(rows, 768), {}).ways_to_search()

    return Candidate(name, why, build, open_, settings or own_settings, max_rows)


class _FaissSearch:
    """Searches as the app does, with other settings for each search."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401
        self._index = index
        self._searchers: dict[str, Searcher] = {}

    def __call__(self, queries: Vectors, k: int, settings: dict[str, int]) -> Found:
        import faiss  # noqa: PLC0415

        if "efSearch" in settings:
            parameters = faiss.SearchParametersHNSW(efSearch=settings["efSearch"])  # type: ignore[call-arg]
            return np.asarray(self._index.search(queries, k, params=parameters)[1])
        if len(queries) > 2:  # a batch, which takes all threads
            return np.asarray(self._index.search(queries, k, params=search_parameters(self._index, settings))[1])
        if str(settings) not in self._searchers:
            self._searchers[str(settings)] = Searcher(self._index, settings)
        return self._searchers[str(settings)].search(queries, k)[1]


def _one_pass() -> Candidate:
    """The farthest from q have the smallest products with q, so one product with every vector answers both."""

    def build(data: EmbeddingSet, folder: Path) -> None:
        vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, data.vectors.shape)
        for start in range(0, len(vectors), 1 << 16):
            vectors[start : start + (1 << 16)] = data.vectors[start : start + (1 << 16)]
        vectors.flush()

    def open_(folder: Path) -> Search:
        import torch  # noqa: PLC0415

        vectors = torch.from_numpy(np.load(folder / "vectors.npy", mmap_mode="c"))

        def search(queries: Vectors, k: int, settings: dict[str, int]) -> Found:
            found = np.empty((len(queries), k), np.int64)
            half = len(queries) // 2  # the second half are the first's negatives
            for number in range(half):
                products = torch.mv(vectors, torch.from_numpy(queries[number]).half())
                found[number] = products.topk(k).indices.numpy()
                found[half + number] = (-products).topk(k).indices.numpy()
            return found

        return search

    return Candidate("one pass, fp16 (torch)", "both directions from one product with every vector", build, open_)


def _usearch() -> Candidate:
    """USearch: a small library with one file, memory-mapped, that a Python user finds first for embedding search."""

    def build(data: EmbeddingSet, folder: Path) -> None:
        from usearch.index import Index  # noqa: PLC0415

        index = Index(ndim=data.vectors.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=64)
        start = 0
        for block in data.blocks():
            index.add(np.arange(start, start + len(block)), block)
            start += len(block)
        index.save(str(folder / "index.usearch"))

    def open_(folder: Path) -> Search:
        from usearch.index import Index  # noqa: PLC0415

        index = Index.restore(str(folder / "index.usearch"), view=True)

        def search(queries: Vectors, k: int, settings: dict[str, int]) -> Found:
            index.expansion_search = settings["expansion"]
            keys = np.asarray(index.search(queries, k).keys).astype(np.int64)
            return np.pad(keys, ((0, 0), (0, k - keys.shape[1])), constant_values=-1)

        return search

    steps = [{"expansion": size} for size in (64, 256, 1024, 4096)]
    return Candidate("USearch (HNSW, f16)", "a peer", build, open_, lambda rows: steps, max_rows=200_000)


def _lancedb() -> Candidate:
    """LanceDB: an embedded vector database, what a user would pick who wants a table on disk with an index."""

    def build(data: EmbeddingSet, folder: Path) -> None:
        import lancedb  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        count, dim = data.vectors.shape
        kind = pa.list_(pa.float16(), dim)
        schema = pa.schema([("row", pa.int64()), ("vector", kind)])

        def batches() -> Any:  # noqa: ANN401
            for start in range(0, count, 20_000):
                block = np.ascontiguousarray(data.vectors[start : start + 20_000])
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dim)
                rows = pa.array(np.arange(start, start + len(block)))
                yield pa.record_batch([rows, vectors.cast(kind)], schema=schema)

        table = lancedb.connect(folder).create_table("gallery", batches(), schema=schema)
        table.create_index(metric="dot", num_partitions=max(1, round(count**0.5)), num_sub_vectors=dim // 8)

    def open_(folder: Path) -> Search:
        import lancedb  # noqa: PLC0415

        table = lancedb.connect(folder).open_table("gallery")

        def search(queries: Vectors, k: int, settings: dict[str, int]) -> Found:
            found = np.full((len(queries), k), -1, np.int64)
            for number, query in enumerate(queries):
                asked = table.search(query).distance_type("dot").limit(k).select(["row"])
                asked = asked.nprobes(settings["nprobes"]).refine_factor(settings["refine"])
                rows = asked.to_arrow()["row"].to_numpy()
                found[number, : len(rows)] = rows
            return found

        return search

    def settings(rows: int) -> Sequence[dict[str, int]]:
        cells = max(1, round(rows**0.5))
        return [
            {"nprobes": max(1, round(cells * share)), "refine": refine}
            for share, refine in ((1 / 16, 16), (1 / 4, 32), (1 / 2, 64), (1, 128))
        ]

    return Candidate("LanceDB (IVF-PQ, refined)", "a peer", build, open_, settings, max_rows=200_000)


def _cells(rows: int) -> int:
    return int(1 << round(np.log2(4 * rows**0.5)))


_EF = [{"efSearch": size} for size in (64, 256, 1024, 4096)]

CANDIDATES = {
    "flat32": _faiss("flat fp32", "the paper's", lambda rows, dim: "Flat", max_rows=1_000_000),
    "flat16": _faiss("flat fp16", "every vector in half precision", lambda rows, dim: "SQfp16"),
    "onepass": _one_pass(),
    "sq8": _faiss("SQ8", "every vector in eight bits a dimension", lambda rows, dim: "SQ8"),
    "ivf": _faiss(
        "IVF, fp16",
        "cells, of which some are looked into",
        lambda rows, dim: f"IVF{_cells(rows)},SQfp16",
        max_rows=10**6,
    ),
    "pq": _faiss(
        "PQ fast-scan, refined", "four bits for four dimensions", lambda rows, dim: f"PQ{dim // 4}x4fs,Refine(SQfp16)"
    ),
    "opq": _faiss(
        "OPQ fast-scan, refined",
        "the same after a rotation",
        lambda rows, dim: f"OPQ{dim // 4},PQ{dim // 4}x4fs,Refine(SQfp16)",
    ),
    "choice": _faiss(
        "OPQ 2/3, fast-scan, refined",
        "the same on two thirds of the axes: the builder's choice",
        lambda rows, dim: Layout.choose(max(rows, LARGE_ROWS), dim).factory,
    ),
    "ivf-opq": _faiss(
        "IVF, OPQ 2/3, fast-scan, refined",
        "the same in cells: the builder's choice beyond 20 million",
        lambda rows, dim: Layout.choose(max(rows, LARGE_ROWS), dim).factory.replace("IVF1,", f"IVF{_cells(rows)},"),
        max_rows=10**6,
    ),
    "rabitq": _faiss("RaBitQ fast-scan, refined", "one bit a dimension", lambda rows, dim: "RaBitQfs,Refine(SQfp16)"),
    "rabitq2": _faiss(
        "RaBitQ 2 bits, refined", "two bits a dimension", lambda rows, dim: "RaBitQfs2,Refine(SQfp16)", max_rows=200_000
    ),
    "hnsw": _faiss(
        "HNSW", "a graph of neighbours", lambda rows, dim: "HNSW32_SQfp16", settings=lambda rows: _EF, max_rows=200_000
    ),
    "usearch": _usearch(),
    "lancedb": _lancedb(),
}

"""The search on a GPU, by the app and by FAISS, against the app's on the CPU: a part of gpu.py."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.device import forget_peak, median_s, seconds_of
from benchmarks.embeddings import Population
from img2loc.locator import MAX_SEARCHED
from img2loc.retrieval.encoders import Embeddings
from img2loc.retrieval.gpu import BLOCK_ROWS
from img2loc.retrieval.index import RowFilter, Searcher, open_index, processors
from index_builder.storage.layout import Layout, make_index
from index_builder.storage.rows import Rows

K = 16
RECALL_QUERIES, CLIENTS = 100, (1, 4, 16, 50)


def measure_search(folder: Path, device: str, tiny: bool) -> dict[str, Any]:
    """The app's search of the builder's index, on the CPU and on a GPU, and FAISS's own there."""
    rows, dim = (60_000, 64) if tiny else (4_720_000, 768)
    on_device, queries = _vectors(rows, dim, device)
    truth = [_exact(on_device, query) for query in queries[:RECALL_QUERIES]]
    vectors = on_device.cpu().numpy()
    del on_device
    forget_peak(device)
    blocks = [vectors[start : start + BLOCK_ROWS] for start in range(0, rows, BLOCK_ROWS)]
    start = time.perf_counter()
    whole = Rows(
        rows,
        dim,
        lambda: (block.astype(np.float32) for block in blocks),
        lambda: iter([np.zeros((rows, 2), np.float32)]),
        lambda: iter(()),
    )
    path = folder / "index.faiss"
    faiss.write_index(make_index(whole, Layout.choose(rows, dim)), str(path))
    found: dict[str, Any] = {"rows": rows, "dim": dim, "made_s": time.perf_counter() - start, "cpus": processors()}
    held = RowFilter(np.arange(rows) % 3 == 0)
    with path.open("rb") as file:
        searcher = Searcher(open_index(file), {"k_factor": 256, "nprobe": 1})
    both = np.stack([queries[0], -queries[0]])
    places = {"cpu": lambda: None, "gpu": lambda: searcher.use_gpu(device), "faiss": lambda: _use_faiss(searcher)}
    for place, use in places.items() if device == "cuda" else [("cpu", places["cpu"])]:
        before = torch.cuda.mem_get_info()[0] if device == "cuda" else 0
        taken_s = seconds_of(use)
        taken = before - torch.cuda.mem_get_info()[0] if device == "cuda" else 0
        found[place] = {"taken_s": taken_s, "gpu_gb": taken / 1e9, **_searched(searcher, queries, truth)}
        if place != "faiss":  # there it can leave no rows out
            found[place]["within_ms"] = 1e3 * median_s(lambda: searcher.search(both, K, held), "cpu")
            found[place]["within"] = searcher.search(both, K, held)[1].tolist()
    return found


class FaissOnGpu:
    """FAISS's own index on a GPU, in place of the app's: a yardstick.

    Args:
        index: FAISS's, one that keeps the vectors themselves.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - FAISS has no types
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        self._resources = faiss.StandardGpuResources()  # FAISS does not keep them alive itself
        self._there = faiss.GpuIndexFlatIP(self._resources, index.d, config)
        self._lock = threading.Lock()  # its workspace is one
        for start in range(0, index.ntotal, BLOCK_ROWS):
            self._there.add(index.reconstruct_n(start, min(BLOCK_ROWS, index.ntotal - start)))

    def search(self, queries: Embeddings, k: int, row_bits: None) -> tuple[np.ndarray, np.ndarray]:
        """As GpuVectors does; it can leave no rows out."""
        with self._lock:
            return self._there.search(queries, k)


def _use_faiss(searcher: Searcher) -> None:
    searcher._gpu = None
    torch.cuda.empty_cache()
    searcher._gpu = FaissOnGpu(searcher._index.refine_index)


def _searched(searcher: Searcher, queries: Embeddings, truth: list[list[set[int]]]) -> dict[str, Any]:
    """One photo after the other, both directions together; then clients at once, who must be answered the same."""
    pairs = [np.stack([query, -query]) for query in queries]

    def rows(pair: Embeddings, k: int = K) -> np.ndarray:
        return searcher.search(pair, k)[1]

    seconds = [seconds_of(lambda p=pair: rows(p)) for pair in pairs]
    alone = [rows(pair) for pair in pairs]
    measured: dict[str, Any] = {
        "recall": _recall(alone, truth),
        "p50_ms": 1e3 * float(np.median(seconds)),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
        "most_neighbours_ms": 1e3 * median_s(lambda: rows(pairs[0], MAX_SEARCHED), "cpu"),
        "clients": {},
    }
    for clients in CLIENTS:
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            together = list(pool.map(rows, pairs))
        took_s = time.perf_counter() - start
        same = all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
        measured["clients"][clients] = {"photos_per_s": len(pairs) / took_s, "same_as_alone": same}
    return measured


def _recall(found: list[Any], truth: list[list[set[int]]]) -> list[float]:
    """Of the nearest and of the farthest."""
    hits = [
        [len(set(got.tolist()) & true) / K for got, true in zip(pair, known, strict=True)]
        for pair, known in zip(found, truth, strict=False)
    ]
    return [float(share) for share in np.mean(hits, axis=0)]


def _vectors(rows: int, dim: int, device: str, block: int = 80_000) -> tuple[torch.Tensor, Embeddings]:
    """As Population draws them, but on the device: at this size a CPU takes minutes."""
    population = Population(rows, dim)
    axes, mean, scenes, last = (
        torch.from_numpy(np.asarray(part, np.float32)).to(device)
        for part in (population._axes, population._mean, population._scenes, population._last)
    )
    torch.manual_seed(0)
    vectors = torch.empty((rows, dim), dtype=torch.float16, device=device)
    for start in range(0, rows, block):
        count = min(block, rows - start)
        scene = torch.searchsorted(last, torch.rand(count, device=device)).clamp(max=len(scenes) - 1)
        drawn = 0.5**0.5 * (scenes[scene] + torch.randn(count, dim, device=device))
        vectors[start : start + count] = torch.nn.functional.normalize(drawn @ axes + mean, dim=1).half()
    return vectors, population.queries(300)


def _exact(vectors: torch.Tensor, query: Embeddings, block: int = 1 << 19) -> list[set[int]]:
    whole = torch.from_numpy(query).to(vectors.device)
    scores = torch.cat([part.float() @ whole for part in vectors.split(block)])
    return [set(scores.topk(K, largest=largest).indices.tolist()) for largest in (True, False)]

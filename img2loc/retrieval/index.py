"""Searching an index: a memory map shared by all requests, on as many threads as are worth it, or vectors on a GPU."""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from functools import cached_property
from io import BufferedReader
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from img2loc.retrieval.gpu import GpuVectors

log = logging.getLogger(__name__)

Similarities = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

TRIALS, TRIALS_S = 3, 0.25  # for choosing the number of threads
EXACT_BLOCK_ROWS = 1 << 14


class Among:
    """The rows that a search is held to.

    Args:
        held: (rows of the index,) whether each counts.
    """

    def __init__(self, held: npt.NDArray[np.bool_]) -> None:
        import faiss  # noqa: PLC0415

        self.bits = np.packbits(held, bitorder="little")  # FAISS reads them where they are
        self.selector: Any = faiss.IDSelectorBitmap(self.bits)  # type: ignore[call-arg, arg-type]

    def rows(self) -> Rows:
        """The rows themselves, in order."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))


class Searcher:
    """An index and how to search it.

    FAISS gives each query of a search a thread of its own. So a photo's two queries, for the nearest and the farthest,
    can take two threads that each read all the codes, or share one reading of them on one thread. Which is faster is
    the machine's doing: two real cores like the former, two threads of one core the latter. So it is tried at opening.
    Where several requests search at once, each gets one thread, and no more run at a time than there are processors.

    Args:
        index: FAISS's.
        search: Its settings; see Manifest.

    Raises:
        KeyError, RuntimeError, ValueError: It can't be searched so.
    """

    def __init__(self, index: Any, search: dict[str, int]) -> None:  # noqa: ANN401 - FAISS has no types
        self._index = index
        self._gpu: GpuVectors | None = None
        self._settings = search
        self._parameters = search_parameters(index, search)
        search_parameters(index, search, Among(np.zeros(index.ntotal, bool)).selector)  # or a later search would fail
        self._places = threading.BoundedSemaphore(processors())
        self._lock = threading.Lock()
        self._searching = 0
        self.threads_alone = self._fastest()

    def use_gpu(self, device: str) -> None:
        """Search the vectors themselves on a GPU from now on, where there is one and they fit.

        Args:
            device: Where the encoder runs; see Settings.
        """
        if device != "cpu" and self.vectors is not None:
            from img2loc.retrieval.gpu import put_on_gpu  # noqa: PLC0415 - torch

            self._gpu = put_on_gpu(self.vectors, device)

    @property
    def vectors(self) -> Any:  # noqa: ANN401
        """The part of the index that holds the vectors themselves; None where it holds codes alone."""
        import faiss  # noqa: PLC0415

        whole = (
            faiss.downcast_index(self._index.refine_index)
            if isinstance(self._index, faiss.IndexRefine)
            else self._index
        )
        return whole if isinstance(whole, faiss.IndexScalarQuantizer | faiss.IndexFlat) else None

    def search(self, queries: npt.NDArray[np.float32], k: int, among: Among | None = None) -> tuple[Similarities, Rows]:
        """Find each query's neighbours by inner product.

        Args:
            queries: (n, dim).
            k: How many of each.
            among: The rows that count; None for all.

        Returns:
            (n, k) similarities, falling, and (n, k) rows; -1 where there are no more.
        """
        with self._places:
            if self._gpu is not None:
                try:
                    return self._gpu.search(queries, k, None if among is None else among.bits)
                except RuntimeError as error:  # such as another model that has filled it since
                    log.warning("The GPU doesn't search (%s); the CPU does.", str(error).partition(". ")[0])
            with self._lock:
                self._searching += 1
                threads = self.threads_alone if self._searching == 1 else 1
            try:
                return self._on(threads, queries, k, among)
            finally:
                with self._lock:
                    self._searching -= 1

    def _on(
        self, threads: int, queries: npt.NDArray[np.float32], k: int, among: Among | None = None
    ) -> tuple[Similarities, Rows]:
        import faiss  # noqa: PLC0415 - a quarter of a second

        before = faiss.omp_get_max_threads()  # of this thread of ours alone
        faiss.omp_set_num_threads(threads)
        try:
            if among is None:
                similarities, rows = self._index.search(queries, k, params=self._parameters)
            elif self._leaves_out:
                parameters = search_parameters(self._index, self._settings, among.selector)
                similarities, rows = self._index.search(queries, k, params=parameters)
            else:
                similarities, rows = self._one_by_one(queries, k, among.rows())
        finally:
            faiss.omp_set_num_threads(before)
        return similarities, rows

    @cached_property
    def _leaves_out(self) -> bool:
        """Whether FAISS can leave rows out of such an index's search: not all kinds of its indexes can."""
        none = Among(np.zeros(self._index.ntotal, bool))
        query = np.zeros((1, self._index.d), np.float32)
        try:
            self._index.search(query, 1, params=search_parameters(self._index, self._settings, none.selector))
        except RuntimeError:
            return False
        return True

    def _one_by_one(self, queries: npt.NDArray[np.float32], k: int, rows: Rows) -> tuple[Similarities, Rows]:
        """Compare some rows' vectors, as the index keeps them, with each query."""
        similarities = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(rows), EXACT_BLOCK_ROWS):
            block = rows[start : start + EXACT_BLOCK_ROWS]
            products = queries @ self._index.reconstruct_batch(block).T
            similarities = np.concatenate([similarities, products], axis=1)
            found = np.concatenate([found, np.broadcast_to(block, products.shape)], axis=1)
            best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            similarities = np.take_along_axis(similarities, best, axis=1)
            found = np.take_along_axis(found, best, axis=1)
        return similarities, found

    def _fastest(self) -> int:
        """How many threads answer one photo's two queries soonest.

        Raises:
            ValueError: The answers make no sense.
        """
        counts = sorted({1, min(2, processors())})
        direction = np.full((1, self._index.d), self._index.d**-0.5, np.float32)
        both = np.concatenate([direction, -direction])
        k = min(16, self._index.ntotal)
        seconds = dict.fromkeys(counts, float("inf"))
        start = time.perf_counter()
        for _ in range(TRIALS):
            for count in counts:
                before = time.perf_counter()
                similarities, rows = self._on(count, both, k)
                seconds[count] = min(seconds[count], time.perf_counter() - before)
                found = rows >= 0
                if not found.any() or rows.max() >= self._index.ntotal or not np.isfinite(similarities[found]).all():
                    raise ValueError("a search finds no rows, rows that the index doesn't have, or no numbers")
            if len(counts) == 1 or time.perf_counter() - start > TRIALS_S:
                break
        return min(counts, key=lambda count: seconds[count])


def open_index(file: BufferedReader) -> Any:  # noqa: ANN401 - FAISS has no types
    """Open an index as a memory map, which stays as it is when another file takes this one's name.

    Args:
        file: The index's file; it may be closed afterwards.

    Raises:
        RuntimeError: It is none that FAISS can read.
    """
    import faiss  # noqa: PLC0415

    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)  # as FAISS does for a map of its own: a search reads few rows of many
    content = np.frombuffer(mapping, np.uint8)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), content.size)  # type: ignore[attr-defined]
    index: Any = faiss.read_index(reader)
    index.referenced_objects = [content]  # FAISS reads it in place, and has this attribute for what it refers to
    return index


def search_parameters(index: Any, search: dict[str, int], selector: Any = None) -> Any:  # noqa: ANN401
    """A manifest's search settings as FAISS takes them.

    Args:
        index: The index they are for.
        search: See Manifest.
        selector: FAISS's, of the rows that count; None for all.

    Returns:
        FAISS's object; None for the index's own way.
    """
    import faiss  # noqa: PLC0415

    if not search and selector is None:
        return None
    refined = isinstance(index, faiss.IndexRefine)
    inner: Any = faiss.downcast_index(index.base_index) if refined else index
    rotated = isinstance(inner, faiss.IndexPreTransform)
    if rotated:
        inner = faiss.downcast_index(inner.index)
    base: Any = None
    if isinstance(inner, faiss.IndexIVF):
        base = faiss.SearchParametersIVF(nprobe=search["nprobe"], sel=selector)  # type: ignore[call-arg]
    elif selector is not None:
        base = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    if base is not None and rotated:
        base = faiss.SearchParametersPreTransform(index_params=base)  # type: ignore[call-arg]
    if not refined:
        return base
    return faiss.IndexRefineSearchParameters(  # type: ignore[call-arg]
        k_factor=search["k_factor"], base_index_params=base
    )


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

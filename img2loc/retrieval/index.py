"""Searching an index: a memory map shared by all requests, on as many threads as are worth it, or on a GPU."""

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


class RowFilter:
    """The rows to which a search is restricted, from whether each row of the index counts, (rows,)."""

    def __init__(self, inside: npt.NDArray[np.bool_]) -> None:
        import faiss  # noqa: PLC0415

        self.bits = np.packbits(inside, bitorder="little")  # FAISS reads them in place
        self.selector: Any = faiss.IDSelectorBitmap(self.bits)  # type: ignore[call-arg, arg-type]

    def rows(self) -> Rows:
        """The numbers of the rows that count, in order."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))


class Searcher:
    """An index and how to search it.

    FAISS gives each query of a search its own thread. So a photo's two queries, for the nearest and the farthest, can
    take two threads that each read all the codes, or share one reading on one thread. Which is faster depends on the
    machine: two real cores favour the former, two threads of one core the latter. So it is timed at opening. Where
    several requests search at once, each gets one thread, and no more run at a time than there are processors.

    Args:
        index: FAISS's.
        settings: Manifest.search.

    Raises:
        KeyError, RuntimeError, ValueError: It can't be searched with these settings.
    """

    def __init__(self, index: Any, settings: dict[str, int]) -> None:  # noqa: ANN401 - FAISS has no types
        self._index = index
        self._settings = settings
        self._gpu: GpuVectors | None = None
        self._parameters = search_parameters(index, settings)
        no_rows = RowFilter(np.zeros(index.ntotal, bool))
        search_parameters(index, settings, no_rows.selector)  # raises now what a search within an area would
        self._slots = threading.BoundedSemaphore(processors())
        self._lock = threading.Lock()
        self._searching = 0
        self.threads_alone = self._fastest_thread_count()

    def use_gpu(self, device: str) -> None:
        """Search the vectors themselves on a GPU from now on, where the encoder runs on one and they fit."""
        if device != "cpu" and self.vectors is not None:
            from img2loc.retrieval.gpu import put_on_gpu  # noqa: PLC0415 - torch

            self._gpu = put_on_gpu(self.vectors, device)

    @property
    def vectors(self) -> Any:  # noqa: ANN401
        """The part of the index that holds the vectors themselves; None where it holds codes alone."""
        import faiss  # noqa: PLC0415

        is_refined = isinstance(self._index, faiss.IndexRefine)
        storage: Any = faiss.downcast_index(self._index.refine_index) if is_refined else self._index
        if is_refined:
            storage.referenced_objects = [self._index]  # without it, FAISS would free the storage with the index
        return storage if isinstance(storage, faiss.IndexScalarQuantizer | faiss.IndexFlat) else None

    def search(
        self, queries: npt.NDArray[np.float32], k: int, row_filter: RowFilter | None = None
    ) -> tuple[Similarities, Rows]:
        """Find each query's neighbours by inner product.

        Args:
            queries: (n, dim).
            k: How many of each.
            row_filter: The rows that count; None for all.

        Returns:
            (n, k) similarities, falling, and (n, k) rows; -1 where there are no more.
        """
        with self._slots:
            if self._gpu is not None:
                try:
                    return self._gpu.search(queries, k, None if row_filter is None else row_filter.bits)
                except RuntimeError as error:  # such as another model that has filled it since
                    log.warning("The GPU doesn't search (%s); the CPU does.", str(error).partition(". ")[0])
            with self._lock:
                self._searching += 1
                threads = self.threads_alone if self._searching == 1 else 1
            try:
                return self._search_on(threads, queries, k, row_filter)
            finally:
                with self._lock:
                    self._searching -= 1

    def _search_on(
        self, threads: int, queries: npt.NDArray[np.float32], k: int, row_filter: RowFilter | None = None
    ) -> tuple[Similarities, Rows]:
        import faiss  # noqa: PLC0415 - a quarter of a second

        if row_filter is not None and not self._can_filter:
            return self._compare_rows(queries, k, row_filter.rows())
        parameters = self._parameters
        if row_filter is not None:
            parameters = search_parameters(self._index, self._settings, row_filter.selector)
        threads_before = faiss.omp_get_max_threads()  # of the calling thread alone
        faiss.omp_set_num_threads(threads)
        try:
            similarities, rows = self._index.search(queries, k, params=parameters)
        finally:
            faiss.omp_set_num_threads(threads_before)
        return similarities, rows

    @cached_property
    def _can_filter(self) -> bool:
        """Whether FAISS can restrict a search of such an index to some rows: not all kinds of index can."""
        no_rows = RowFilter(np.zeros(self._index.ntotal, bool))
        query = np.zeros((1, self._index.d), np.float32)
        try:
            self._index.search(query, 1, params=search_parameters(self._index, self._settings, no_rows.selector))
        except RuntimeError:
            return False
        return True

    def _compare_rows(self, queries: npt.NDArray[np.float32], k: int, rows: Rows) -> tuple[Similarities, Rows]:
        """Compare some rows' vectors, as the index keeps them, with each query."""
        best_similarities = np.full((len(queries), k), -np.inf, np.float32)
        best_rows = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(rows), EXACT_BLOCK_ROWS):
            block = rows[start : start + EXACT_BLOCK_ROWS]
            products = queries @ self._index.reconstruct_batch(block).T
            similarities = np.concatenate([best_similarities, products], axis=1)
            candidates = np.concatenate([best_rows, np.broadcast_to(block, products.shape)], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            best_similarities = np.take_along_axis(similarities, order, axis=1)
            best_rows = np.take_along_axis(candidates, order, axis=1)
        return best_similarities, best_rows

    def _fastest_thread_count(self) -> int:
        """How many threads answer one photo's two queries soonest.

        Raises:
            ValueError: The answers make no sense.
        """
        counts = sorted({1, min(2, processors())})
        direction = np.full((1, self._index.d), self._index.d**-0.5, np.float32)
        queries = np.concatenate([direction, -direction])
        k = min(16, self._index.ntotal)
        seconds = dict.fromkeys(counts, float("inf"))
        start = time.perf_counter()
        for _ in range(TRIALS):
            for count in counts:
                trial_start = time.perf_counter()
                similarities, rows = self._search_on(count, queries, k)
                seconds[count] = min(seconds[count], time.perf_counter() - trial_start)
                valid = rows >= 0
                if not valid.any() or rows.max() >= self._index.ntotal or not np.isfinite(similarities[valid]).all():
                    raise ValueError("a search finds no rows, rows that the index doesn't have, or no numbers")
            if len(counts) == 1 or time.perf_counter() - start > TRIALS_S:
                break
        return min(counts, key=lambda count: seconds[count])


def open_index(file: BufferedReader) -> Any:  # noqa: ANN401 - FAISS has no types
    """Open an index as a memory map, which stays valid when another file takes this one's name.

    Args:
        file: The index's file; it may be closed afterwards.

    Raises:
        RuntimeError: FAISS can't read it.
    """
    import faiss  # noqa: PLC0415

    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)  # as FAISS does for its own maps: a search reads few rows of many
    content = np.frombuffer(mapping, np.uint8)
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(content), content.size)  # type: ignore[attr-defined]
    index: Any = faiss.read_index(reader)
    index.referenced_objects = [content]  # FAISS reads it in place; this attribute keeps it alive
    return index


def search_parameters(index: Any, settings: dict[str, int], selector: Any = None) -> Any:  # noqa: ANN401
    """FAISS's parameters for an index, Manifest.search and a selector of rows; None for the index's defaults."""
    import faiss  # noqa: PLC0415

    if not settings and selector is None:
        return None
    is_refined = isinstance(index, faiss.IndexRefine)
    base: Any = faiss.downcast_index(index.base_index) if is_refined else index
    is_rotated = isinstance(base, faiss.IndexPreTransform)
    if is_rotated:
        base = faiss.downcast_index(base.index)
    parameters: Any = None
    if isinstance(base, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(nprobe=settings["nprobe"], sel=selector)  # type: ignore[call-arg]
    elif selector is not None:
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    if parameters is not None and is_rotated:
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)  # type: ignore[call-arg]
    if is_refined:
        parameters = faiss.IndexRefineSearchParameters(  # type: ignore[call-arg]
            k_factor=settings["k_factor"], base_index_params=parameters
        )
    return parameters


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

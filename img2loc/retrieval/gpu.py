"""A gallery's vectors on a GPU, where each is compared with the photo, as in the paper."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

log = logging.getLogger(__name__)

SPARE_BYTES = 4 << 30  # left for the encoder and for what a search takes
BLOCK_ROWS = 1 << 16
# Products in half precision put 98 of 100 neighbours among the first k; so many are compared again in single precision.
CANDIDATES, CANDIDATES_PER_NEIGHBOUR = 128, 8


class GpuVectors:
    """All vectors of a FAISS index that keeps them, in half precision.

    FAISS has such an index, too. It selects the best on one multiprocessor a query, which takes most of its time:
    benchmarks/README.md has both.
    """

    def __init__(self, index: Any, device: torch.device) -> None:  # noqa: ANN401 - FAISS has no types
        self._vectors = torch.empty((index.ntotal, index.d), dtype=torch.float16, device=device)
        for start in range(0, index.ntotal, BLOCK_ROWS):
            block = index.reconstruct_n(start, min(BLOCK_ROWS, index.ntotal - start))
            self._vectors[start : start + len(block)] = torch.from_numpy(block)

    def search(
        self, queries: npt.NDArray[np.float32], k: int, row_bits: npt.NDArray[np.uint8] | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Find each query's neighbours by inner product; see Searcher.search.

        Args:
            queries: (n, dim).
            k: How many of each, at most as many as there are.
            row_bits: A bit for each row, the lowest first: whether it counts; None for all.

        Raises:
            RuntimeError: The GPU is full, or fails.
        """
        count, device = len(self._vectors), self._vectors.device
        with torch.inference_mode():
            directions = torch.from_numpy(queries).to(device)
            rough = directions.half() @ self._vectors.T
            if row_bits is not None:
                shifts = torch.arange(8, dtype=torch.uint8, device=device)
                bits = torch.from_numpy(row_bits).to(device)[:, None] >> shifts
                rough.masked_fill_((bits & 1).flatten()[:count] == 0, -torch.inf)
            best, rows = rough.topk(min(count, max(CANDIDATES, CANDIDATES_PER_NEIGHBOUR * k)), dim=1)
            exact = (self._vectors[rows].float() @ directions[:, :, None])[:, :, 0]
            exact.masked_fill_(best == -torch.inf, -torch.inf)
            similarities, places = exact.topk(k, dim=1)
            rows = rows.gather(1, places).masked_fill(similarities == -torch.inf, -1)
            return similarities.cpu().numpy(), rows.cpu().numpy()


def put_on_gpu(index: Any, device: str) -> GpuVectors | None:  # noqa: ANN401
    """Copy the vectors of a FAISS index that keeps them to a GPU.

    Returns:
        None where the device isn't a GPU or they don't fit, which the log says.
    """
    gpu = _gpu(device)
    if gpu is None:
        return None
    needed, free = index.ntotal * index.d * 2 + SPARE_BYTES, _free_bytes(gpu)
    if needed > free:
        log.info(
            "The gallery needs %.1f GB of a GPU that has %.1f free; the CPU searches it.", needed / 1e9, free / 1e9
        )
        return None
    vectors = GpuVectors(index, gpu)
    log.info("The gallery's %s vectors are on the GPU, in half precision.", f"{index.ntotal:,}")
    return vectors


def _gpu(device: str) -> torch.device | None:
    if device == "auto" and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device(device) if device.startswith("cuda") else None  # Apple's GPUs have not been tried


def _free_bytes(gpu: torch.device) -> int:
    return int(torch.cuda.mem_get_info(gpu)[0])

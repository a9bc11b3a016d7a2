"""Time and memory of work on a device, which goes on after the call that started it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np
import torch


def seconds_of(work: Callable[[], object]) -> float:
    """How long a call takes, with what it waits for itself."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_s(work: Callable[[], object], device: str, least_s: float = 0.7) -> float:
    """Seconds of a piece of work, waited for, after three rounds that warm up."""

    def waited() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        waited()
    seconds: list[float] = []
    while len(seconds) < 5 or sum(seconds) < least_s:
        seconds.append(seconds_of(waited))
    return float(np.median(seconds))


def forget_peak(device: str) -> None:
    """Free what is free, and measure the most memory anew."""
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """The most memory of the device that was taken by torch since."""
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0

"""Keeps this process's memory flat, and off the disk."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

# glibc makes up to eight heaps per processor, keeps what threads free in them, and decoded photos leave holes there.
# With two heaps, trimmed regularly, memory stays flat (benchmarks/load.py). Taking large blocks from the system instead
# does that too, but doubles the time of an embedding.
HEAPS: Final = 2
TRIM_EVERY_S: Final = 20.0
M_ARENA_MAX: Final = -8  # Source: glibc's malloc.h


def forbid_core_dumps() -> None:
    """Keep a crash from writing this process's memory, with keys and photos, to the disk."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def share_heaps() -> None:
    """Let all threads share a few heaps, and trim these regularly, where the C library can."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if mallopt := getattr(library, "mallopt", None):
        mallopt(M_ARENA_MAX, HEAPS)
    if trim := getattr(library, "malloc_trim", None):
        threading.Thread(target=_trim_regularly, args=(trim,), name="trim-heaps", daemon=True).start()


def _trim_regularly(trim: Callable[[int], object]) -> None:
    while True:
        time.sleep(TRIM_EVERY_S)
        trim(0)

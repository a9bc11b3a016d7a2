"""Arrays from a process that makes them to the one that uses them, without copying them through a pipe.

A pipe is read by one thread that copies everything twice; a batch of 256 pictures is 154 MB, and an accelerator wants
many a second. Here the memory itself is handed over. It has no name, so nothing of it is left when a process is killed.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from img2loc.retrieval.encoders import Inputs

CAN_HAND_OVER = hasattr(os, "memfd_create")  # on Linux


@dataclass(frozen=True, slots=True)
class Handover:
    """Arrays that lie in memory which another process can map."""

    arrays: tuple[tuple[str, tuple[int, ...], str], ...]  # name, shape and number format, as they lie there
    memory: Any = field(repr=False)  # its file descriptor, in a form that can be sent

    @classmethod
    def of(cls, inputs: Inputs) -> Handover:
        """Copy arrays into such memory; for the process that made them.

        Raises:
            OSError: There is not so much memory.
        """
        memory = os.memfd_create("img2loc")
        try:
            for array in inputs.values():
                left = np.ascontiguousarray(array).data.cast("B")
                while left:
                    left = left[os.write(memory, left) :]
            arrays = tuple((name, array.shape, array.dtype.str) for name, array in inputs.items())
            return cls(arrays, DupFd(memory))
        finally:
            os.close(memory)

    def take(self) -> Inputs:
        """Map the arrays; for the process that received them, once, while the one that made them is there."""
        memory = self.memory.detach()
        try:
            mapped = mmap.mmap(memory, 0)
        finally:
            os.close(memory)
        inputs: Inputs = {}
        start = 0
        for name, shape, number_format in self.arrays:
            array = np.ndarray(shape, number_format, mapped, start)
            inputs[name] = array
            start += array.nbytes
        return inputs

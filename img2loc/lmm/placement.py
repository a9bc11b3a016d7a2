"""On which device a local model runs, and in which number format, chosen by what the machine has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

import torch

from img2loc.devices import cpu_has_bfloat16

# What a model of seven billion parameters takes in 16 bits, with room for a picture; on a smaller GPU, 4 bits.
ROOMY_BYTES: Final = 20 * 10**9


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs, and in which number format."""

    device: Literal["cuda", "mps", "cpu"]
    dtype: torch.dtype
    spread: bool = False  # let accelerate spread the model over all GPUs and memory
    four_bits: bool = False  # quantise the weights to 4 bits


def placement(*, gpu_bytes: int, gpu_bfloat16: bool, mps: bool, cpu_bfloat16: bool, packages: set[str]) -> Placement:
    """Choose a placement.

    Args:
        gpu_bytes: The first CUDA device's memory; 0 for none.
        gpu_bfloat16: It computes in bfloat16.
        mps: There is an Apple GPU.
        cpu_bfloat16: The CPU computes in bfloat16 itself.
        packages: Those of "accelerate" and "bitsandbytes" that are installed.
    """
    if gpu_bytes:
        return Placement(
            "cuda",
            torch.bfloat16 if gpu_bfloat16 else torch.float16,
            spread="accelerate" in packages,
            four_bits=gpu_bytes < ROOMY_BYTES and {"accelerate", "bitsandbytes"} <= packages,
        )
    if mps:
        return Placement("mps", torch.float16)
    return Placement("cpu", torch.bfloat16 if cpu_bfloat16 else torch.float32)


def on_zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU, which lends its GPU to a separate process for each call."""
    return bool(os.environ.get("SPACES_ZERO_GPU")) and find_spec("spaces") is not None


def placement_here() -> Placement:
    """Choose a placement for this machine."""
    if on_zero_gpu():  # its GPU is large, and not yet visible while the model is loaded
        return Placement("cuda", torch.bfloat16)
    gpu = torch.cuda.is_available()
    return placement(
        gpu_bytes=torch.cuda.get_device_properties(0).total_memory if gpu else 0,
        gpu_bfloat16=gpu and torch.cuda.is_bf16_supported(),
        mps=torch.backends.mps.is_available(),
        cpu_bfloat16=cpu_has_bfloat16(),
        packages={name for name in ("accelerate", "bitsandbytes") if find_spec(name)},
    )

"""Where torch runs, and in which number format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from img2loc.errors import ConfigError, first_line

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """Choose the device for an encoder: "auto" for CUDA, else MPS, else the CPU; or a torch device, such as "cuda:1".

    Raises:
        ConfigError: This machine has no such device.
    """
    import torch  # noqa: PLC0415 - a second and 200 MB, paid only when an encoder is opened

    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        return torch.empty(1, device=name).device
    except (AssertionError, RuntimeError) as error:
        reason = first_line(error).split(". ")[0].rstrip(".")
        raise ConfigError(f"This machine has no device {name!r} ({reason}); choose auto or cpu.") from None


def cpu_has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 itself; elsewhere it is emulated and slower than float32."""
    import torch  # noqa: PLC0415

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.backends.cpu.get_cpu_capability() != "DEFAULT"

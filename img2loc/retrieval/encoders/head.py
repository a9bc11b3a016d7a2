"""The projection that a gallery may put after its encoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from safetensors.torch import load as read_tensors


def linear_layers(parameters: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> torch.nn.Sequential:
    """Linear layers from their weights and biases, with ReLU between.

    Raises:
        RuntimeError, IndexError: A shape makes no sense.
    """
    layers: list[torch.nn.Module] = []
    for weight, bias in parameters:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def read_head(content: bytes) -> torch.nn.Sequential:
    """Build linear layers from "<i>.weight" and "<i>.bias" in a safetensors file.

    Raises:
        KeyError, IndexError, ValueError, RuntimeError, SafetensorError: It has no such layers, or their shapes or
            numbers make no sense.
    """
    tensors = read_tensors(content)
    numbers = sorted({int(name.split(".")[0]) for name in tensors})
    if not numbers:
        raise ValueError("it has no layers")
    head = linear_layers((tensors[f"{number}.weight"], tensors[f"{number}.bias"]) for number in numbers)
    if not all(parameter.isfinite().all() for parameter in head.parameters()):
        raise ValueError("its layers have values that are not finite numbers")
    head(torch.zeros(1, tensors[f"{numbers[0]}.weight"].shape[1]))  # raises where the layers don't fit together
    return head.eval()

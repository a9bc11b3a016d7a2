"""The projection that a gallery may put after its encoder."""

from __future__ import annotations

import torch
from safetensors.torch import load as read_tensors


def read_head(content: bytes) -> torch.nn.Sequential:
    """Build a stack of linear layers with ReLU between from "<i>.weight" and "<i>.bias" in a safetensors file.

    Raises:
        KeyError, IndexError, ValueError, RuntimeError, SafetensorError: It has no such layers, or their shapes or
            numbers make no sense.
    """
    tensors = read_tensors(content)
    numbers = sorted({int(name.split(".")[0]) for name in tensors})
    layers: list[torch.nn.Module] = []
    for number in numbers:
        weight = tensors[f"{number}.weight"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": tensors[f"{number}.bias"]})
        if not all(parameter.isfinite().all() for parameter in linear.parameters()):
            raise ValueError(f"its layer {number} has values that are not finite numbers")
        if layers and layers[-2].out_features != linear.in_features:
            raise ValueError(f"its layer {number} takes {linear.in_features} numbers, not {layers[-2].out_features}")
        layers += [linear, torch.nn.ReLU()]
    if not layers:
        raise ValueError("it has no layers")
    return torch.nn.Sequential(*layers[:-1]).eval()

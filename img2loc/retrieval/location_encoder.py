"""GeoCLIP's location encoder: how well a photo fits any place on Earth, where the gallery brings one.

Source: Vivanco Cepeda, Nayak and Shah, GeoCLIP: Clip-Inspired Alignment between Locations and Images for Effective
Worldwide Geo-localization, NeurIPS 2023, https://arxiv.org/abs/2309.16020
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as read_tensors

from img2loc.geo.sphere import FloatArray
from img2loc.retrieval.encoders.head import linear_layers
from img2loc.types import LatLon

LOGIT_SCALE = "logit_scale"  # the name of its tensor in the file; the others are as LocationEncoder has them
# Coefficients of the Equal Earth projection's polynomial.
# Source: Savric, Patterson and Jenny, The Equal Earth map projection, Int. J. Geographical Information Science 33
# (2018), equation 9, https://doi.org/10.1080/13658816.2018.1504949
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796
# Scales the projection's x to [-1, 1]: at the antimeridian on the equator it is 2.70663. Source: GeoCLIP's own code.
PLANE_SCALE = 66.50336 / 180


class LocationEncoder(torch.nn.Module):
    """Embeds coordinates so that they match the embeddings of GeoCLIP's pictures.

    Projected coordinates go through one network per scale, from continents to streets, and the results are summed.

    Args:
        weights: By the names they have in GeoCLIP's file, for each scale i: "LocEnc<i>.capsule.0.b", (frequencies, 2);
            "LocEnc<i>.capsule.<1, 3, 5>.<weight, bias>" and "LocEnc<i>.head.0.<weight, bias>", four linear layers.
        logit_scale: The logarithm of the learned factor that turns a cosine into the logarithm of a likelihood.

    Raises:
        KeyError, RuntimeError: A weight is missing or has a shape that does not fit.

    Source: GeoCLIP, section 3.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], logit_scale: float = 0.0) -> None:
        super().__init__()
        self.logits_per_cosine = math.exp(logit_scale)
        names = sorted({name.split(".")[0] for name in weights})
        self.scales = torch.nn.ModuleList(FourierPerceptron(weights, name) for name in names)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Embed coordinates, (n, 2) float64 degrees, lat first, as (n, dim) float32 of unit norm."""
        points = equal_earth(coordinates) * PLANE_SCALE
        summed = torch.stack([scale(points) for scale in self.scales]).sum(dim=0)
        return torch.nn.functional.normalize(summed, dim=1)

    def fit(self, query: npt.NDArray[np.float32], positions: Sequence[LatLon]) -> FloatArray:
        """How well a query, (dim,), fits each of n positions: (n,) logarithms of its likelihood, up to a constant."""
        degrees = torch.tensor([(position.lat, position.lon) for position in positions], dtype=torch.float64)
        with torch.inference_mode():
            embeddings = self(degrees.reshape(-1, 2))
        return np.asarray(embeddings.numpy() @ query, dtype=np.float64) * self.logits_per_cosine

    @property
    def is_bounded(self) -> bool:
        """Whether every position has an embedding of finite numbers."""
        bounds = [scale.bounds() for scale in self.scales if isinstance(scale, FourierPerceptron)]
        return bool(torch.stack(bounds).sum(dim=0).isfinite().all())


class FourierPerceptron(torch.nn.Module):
    """One scale of the location encoder: random Fourier features, then linear layers with ReLU between.

    The frequencies were drawn once, from a normal distribution whose deviation is the scale's (1, 16 or 256), and
    belong to the weights since. `name` is the prefix of the scale's weights in LocationEncoder's.

    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, NeurIPS 2020,
    https://arxiv.org/abs/2006.10739; GeoCLIP, section 3.
    """

    frequencies: torch.Tensor

    def __init__(self, weights: Mapping[str, torch.Tensor], name: str) -> None:
        super().__init__()
        # In float64: a phase of thousands of radians would lose the digits that its cosine is made of.
        self.register_buffer("frequencies", weights[f"{name}.capsule.0.b"].double())
        prefixes = [f"{name}.{layer}" for layer in ("capsule.1", "capsule.3", "capsule.5", "head.0")]
        self.layers = linear_layers((weights[f"{prefix}.weight"], weights[f"{prefix}.bias"]) for prefix in prefixes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Map points of the plane, (n, 2) float64, to (n, dim) float32 of any norm."""
        phases = 2 * math.pi * points @ self.frequencies.T
        features = torch.cat((phases.cos(), phases.sin()), dim=1)
        return torch.as_tensor(self.layers(features.float()))

    def bounds(self) -> torch.Tensor:
        """(dim,) upper bounds of the outputs' absolute values; cosines, sines and coordinates are at most 1."""
        largest_phase = 2 * math.pi * self.frequencies.abs().sum()
        sizes = torch.full((2 * len(self.frequencies),), 1.0 if largest_phase.isfinite() else math.nan)
        for layer in self.layers:
            if isinstance(layer, torch.nn.Linear):
                sizes = layer.weight.abs() @ sizes + layer.bias.abs()
        return sizes


def equal_earth(coordinates: torch.Tensor) -> torch.Tensor:
    """Project coordinates, (n, 2) degrees, lat first, to x and y, (n, 2), of an equal-area map of a unit sphere."""
    lat, lon = torch.deg2rad(coordinates).unbind(dim=1)
    theta = torch.asin(math.sqrt(3) / 2 * torch.sin(lat))
    slope = A1 + 3 * A2 * theta**2 + 7 * A3 * theta**6 + 9 * A4 * theta**8
    x = 2 * math.sqrt(3) * lon * torch.cos(theta) / (3 * slope)
    y = A1 * theta + A2 * theta**3 + A3 * theta**7 + A4 * theta**9
    return torch.stack((x, y), dim=1)


def read_location(content: bytes, dim: int) -> LocationEncoder:
    """Load the encoder that a gallery brings.

    Args:
        content: A safetensors file.
        dim: Length of the gallery's embeddings.

    Raises:
        KeyError, IndexError, ValueError, ArithmeticError, RuntimeError, SafetensorError: It has no such encoder, or one
            for other embeddings.
    """
    weights = read_tensors(content)
    encoder = LocationEncoder(weights, float(weights.pop(LOGIT_SCALE))).eval()
    fits = encoder.fit(np.full(dim, dim**-0.5, dtype=np.float32), [LatLon(0, 0)])
    if not (np.isfinite(fits).all() and encoder.is_bounded):
        raise ValueError("it gives values that are not finite numbers")
    return encoder

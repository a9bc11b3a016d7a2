"""Any image encoder in transformers' format, from the Hub or a folder."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from img2loc.devices import choose_device
from img2loc.errors import EncoderError, first_line
from img2loc.retrieval.encoders.base import Embeddings, Encoder, EncoderSpec, Inputs, unit
from img2loc.retrieval.hub import fetch, split_revision

if TYPE_CHECKING:
    import torch

DEFAULT_ENCODER = "openai/clip-vit-large-patch14"
# The revision that a Hub encoder is pinned to where none is named: the whole repository's state, weights and processor.
PINNED_REVISIONS = {DEFAULT_ENCODER: "32bd64288804d66eefd0ccbe215aa642df71cc41"}


class TransformersEncoder(Encoder):
    """Any image encoder in transformers' format: CLIP, SigLIP, StreetCLIP, DINOv2, MobileNet.

    Args:
        source: A Hub repo as owner/name[@revision], or a folder.
        head: A projection put after the encoder: the content of a safetensors file of linear layers, with ReLU between.
        device: "auto" (CUDA, else MPS, else CPU) or a torch device.
        dtype: "float32", "bfloat16" or "float16" for the network; inputs and embeddings are float32.

    Raises:
        ConfigError: There is no such device.
        EncoderError: It can't be downloaded or loaded; the message says what to do.
    """

    def __init__(self, source: str, *, head: bytes | None = None, device: str = "auto", dtype: str = "float32") -> None:
        import torch  # noqa: PLC0415
        from transformers import AutoImageProcessor  # noqa: PLC0415

        from img2loc.retrieval.encoders.head import read_head  # noqa: PLC0415

        self._device = choose_device(device)  # before gigabytes are downloaded
        try:
            folder, name, revision = _find_model(source)
            # Pillow's own resizing: torchvision's differs in the last digits, and need not be installed.
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
            network = _load_vision_tower(folder, getattr(torch, dtype))
            layers = None if head is None else read_head(head)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and more for a bad folder
            raise EncoderError(
                f"The encoder {source!r} can't be loaded: {first_line(error)}. Give a folder in transformers' format, "
                "or a Hub repository as owner/name[@revision] that this machine can reach."
            ) from error
        table = _byte_table(processor)
        self.prepare = _Processor(processor, to_bytes=table is not None)
        self._copy_stream: Any = None  # copies to a GPU run on a stream apart from the network's
        try:
            if self._device.type == "cuda":
                self._copy_stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._byte_table = None if table is None else torch.from_numpy(table.ravel()).to(self._device)
            self._network = network.eval().to(self._device)
            self._head = None if layers is None else layers.to(self._device)
        except RuntimeError as error:  # its memory is too small
            raise EncoderError(
                f"The encoder {source!r} can't run on the device {device!r}: {first_line(error)}. Choose auto or cpu."
            ) from error
        self.spec = EncoderSpec(
            kind="transformers",
            source=name,
            revision=revision,
            preprocessing=describe_preprocessing(processor.to_dict()),
            head="" if head is None else f"sha256:{hashlib.sha256(head).hexdigest()}",
        )
        self.dim = self.embed([Image.new("RGB", (64, 64))]).shape[1]

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed prepared pictures; see Encoder."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            output = self._network(**self._to_device(inputs))
            features = getattr(output, "image_embeds", None)
            features = (output.pooler_output if features is None else features).float().flatten(1)
            return unit((features if self._head is None else self._head(features)).cpu().numpy())

    def _to_device(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Move prepared pictures to the device and convert them to the network's number format."""
        import torch  # noqa: PLC0415

        with nullcontext() if self._copy_stream is None else torch.cuda.stream(self._copy_stream):
            tensors = {key: torch.from_numpy(value).to(self._device) for key, value in inputs.items()}
        if self._copy_stream is not None:  # the network may be at work for another thread meanwhile
            network_stream = torch.cuda.current_stream(self._device)
            network_stream.wait_stream(self._copy_stream)
            for value in tensors.values():
                value.record_stream(network_stream)
        if self._byte_table is not None:
            channels = 256 * torch.arange(3, dtype=torch.int32, device=self._device).view(1, 3, 1, 1)
            tensors["pixel_values"] = self._byte_table[tensors["pixel_values"] + channels]
        # The processor's other outputs (masks, sizes) keep their integer types.
        return {
            key: value.to(self._network.dtype) if value.is_floating_point() else value for key, value in tensors.items()
        }

    def with_dtype(self, dtype: str) -> TransformersEncoder:
        """The same encoder with its network in another number format."""
        import torch  # noqa: PLC0415

        other = copy.copy(self)
        other._network = copy.deepcopy(self._network).to(getattr(torch, dtype))
        return other


@dataclass(frozen=True)
class _Processor:
    """A transformers image processor as a function that can be pickled."""

    processor: Any
    to_bytes: bool  # leave out the last steps, which _byte_table stands for: pixels stay bytes

    def __call__(self, images: Sequence[Image.Image]) -> Inputs:
        options = {"do_rescale": False, "do_normalize": False} if self.to_bytes else {}
        return dict(self.processor(images=list(images), return_tensors="np", **options))


def _byte_table(processor: Any) -> npt.NDArray[np.float32] | None:  # noqa: ANN401
    """A processor's last steps, rescaling and normalising, as a table: channel and byte to the network's input.

    With it, pixels stay bytes until they are on the device: a quarter of the data to move, and a third less CPU work.

    Returns:
        (3, 256); None where trials show that the processor does anything else.
    """
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
    trials = [Image.fromarray(noise[:height, :width]) for height, width in ((300, 260), (40, 90), (260, 250))]
    try:
        table = processor(images=[Image.fromarray(values)], do_resize=False, do_center_crop=False, return_tensors="np")[
            "pixel_values"
        ].reshape(3, 256)
        for trial in trials:
            expected, actual = (_Processor(processor, to_bytes)([trial]) for to_bytes in (False, True))
            pixels = actual["pixel_values"]
            if pixels.dtype != np.uint8 or pixels.shape[1] != 3:
                return None
            actual["pixel_values"] = table[np.arange(3)[:, None, None], pixels]
            if expected.keys() != actual.keys() or any(
                not np.array_equal(expected[key], actual[key]) for key in actual
            ):
                return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # other arguments or outputs
        return None
    return np.asarray(table, np.float32)


def _find_model(source: str) -> tuple[Path, str, str]:
    """A model's folder, and the name and the revision for its EncoderSpec."""
    folder = Path(source).expanduser()
    if source and folder.is_dir():
        return folder, folder.name, f"sha256:{_folder_sha256(folder)}"
    repo, revision = split_revision(source)
    folder = fetch(repo, revision or PINNED_REVISIONS.get(repo), ("*.json", "*.safetensors"))
    if not any(folder.glob("*.safetensors")):  # older repositories have PyTorch's format only
        folder = fetch(repo, folder.name, ("*.json", "*.bin"))
    return folder, repo, folder.name


def _load_vision_tower(folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401 - transformers' models have no types
    """Load the network that reads pictures, without the text tower where a model has one."""
    import transformers  # noqa: PLC0415

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    towers = {
        "clip": transformers.CLIPVisionModelWithProjection,
        "siglip": transformers.SiglipVisionModel,
        "siglip2": transformers.Siglip2VisionModel,
    }
    loader: Any = towers.get(config.model_type, transformers.AutoModel)
    if config.model_type == "clip":
        config.vision_config.projection_dim = config.projection_dim
    if config.model_type in towers:
        config = config.vision_config
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it would list every weight of the text tower that is left out
    try:
        network, info = loader.from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    finally:
        logger.setLevel(level)
    if info["missing_keys"]:
        raise ValueError(f"its file lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}")
    return network


def _folder_sha256(folder: Path) -> str:
    """One hash of a model folder's weights and settings; its README may change."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".bin"}:
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def describe_preprocessing(processor: dict[str, Any]) -> str:
    """The parts of a processor's configuration that change a picture's pixels, as one line."""
    wanted = ("size", "crop_size", "resample", "image_mean", "image_std", "rescale_factor", "do_center_crop")
    return json.dumps({key: processor[key] for key in wanted if key in processor}, sort_keys=True, default=str)

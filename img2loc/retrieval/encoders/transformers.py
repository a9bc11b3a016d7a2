"""Any image encoder in transformers' format, from the Hub or a folder."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from img2loc.devices import choose_device
from img2loc.errors import EncoderError
from img2loc.retrieval.encoders.base import Embeddings, EncoderSpec, Inputs, embed_in_batches, unit
from img2loc.retrieval.hub import fetch, split_revision

if TYPE_CHECKING:
    import torch

DEFAULT_ENCODER = "openai/clip-vit-large-patch14"
# The revision that a Hub encoder is pinned to where none is named: the whole repository's state, weights and processor.
PINNED_REVISIONS = {DEFAULT_ENCODER: "32bd64288804d66eefd0ccbe215aa642df71cc41"}


class TransformersEncoder:
    """Any image encoder in transformers' format: CLIP, SigLIP, StreetCLIP, DINOv2, MobileNet.

    Args:
        source: A Hub repo as owner/name[@revision], or a folder.
        head: A projection put after the encoder: the content of a safetensors file of linear layers, with ReLU between.
        device: "auto" (CUDA, else MPS, else CPU) or a torch device.
        dtype: "float32", "bfloat16" or "float16" for the network; inputs and embeddings are float32.

    Raises:
        ConfigError: There is no such device.
        EncoderError: It can't be had or loaded; the message says what to do.
    """

    def __init__(self, source: str, *, head: bytes | None = None, device: str = "auto", dtype: str = "float32") -> None:
        import torch  # noqa: PLC0415
        from transformers import AutoImageProcessor  # noqa: PLC0415

        from img2loc.retrieval.encoders.head import read_head  # noqa: PLC0415

        self._device = choose_device(device)  # before gigabytes are fetched
        try:
            folder, name, revision = _locate(source)
            # Pillow's own resizing: torchvision's differs in the last digits, and need not be installed.
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
            network = _load_vision_tower(folder, getattr(torch, dtype))
            layers = None if head is None else read_head(head)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and more for a bad folder
            raise EncoderError(
                f"The encoder {source!r} can't be loaded: {_first_line(error)}. Give a folder in transformers' format, "
                "or a Hub repository as owner/name[@revision] that this machine can reach."
            ) from error
        levels = _levels(processor)
        self.prepare: Callable[[Sequence[Image.Image]], Inputs] = _Processor(processor, whole=levels is None)
        # Where copies to a GPU queue up, apart from the network's work.
        self._copies: Any = None
        try:
            if self._device.type == "cuda":
                self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._levels = None if levels is None else torch.from_numpy(levels.ravel()).to(self._device)
            self._network = network.eval().to(self._device)
            self._head = None if layers is None else layers.to(self._device)
        except RuntimeError as error:  # it is too small
            raise EncoderError(
                f"The encoder {source!r} can't run on the device {device!r}: {_first_line(error)}. Choose auto or cpu."
            ) from error
        self.spec = EncoderSpec(
            kind="transformers",
            source=name,
            revision=revision,
            preprocessing=_describe(processor.to_dict()),
            head="" if head is None else f"sha256:{hashlib.sha256(head).hexdigest()}",
        )
        self.dim = self.embed([Image.new("RGB", (64, 64))]).shape[1]

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """Embed pictures; see Encoder."""
        return embed_in_batches(self, images)

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed prepared pictures; see Encoder."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            output = self._network(**self._moved(inputs))
            features = getattr(output, "image_embeds", None)
            features = (output.pooler_output if features is None else features).float().flatten(1)
            return unit((features if self._head is None else self._head(features)).cpu().numpy())

    def _moved(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Bring prepared pictures to the device and into the network's number format."""
        import torch  # noqa: PLC0415

        tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
        if self._copies is None:
            moved = {key: value.to(self._device) for key, value in tensors.items()}
        else:  # beside the network, which may be at work for another thread
            with torch.cuda.stream(self._copies):
                moved = {key: value.to(self._device) for key, value in tensors.items()}
            network = torch.cuda.current_stream(self._device)
            network.wait_stream(self._copies)
            for value in moved.values():
                value.record_stream(network)
        if self._levels is not None:
            channels = 256 * torch.arange(3, dtype=torch.int32, device=self._device).view(1, 3, 1, 1)
            moved["pixel_values"] = self._levels[moved["pixel_values"] + channels]
        # The processor's other outputs (masks, sizes) keep their integer types.
        return {
            key: value.to(self._network.dtype) if value.is_floating_point() else value for key, value in moved.items()
        }

    def with_dtype(self, dtype: str) -> TransformersEncoder:
        """The same encoder with its network in another number format."""
        import torch  # noqa: PLC0415

        other = copy.copy(self)
        other._network = copy.deepcopy(self._network).to(getattr(torch, dtype))
        return other


@dataclass(frozen=True)
class _Processor:
    """A transformers image processor as a function that can be pickled.

    Args:
        processor: It.
        whole: It does all that it does; else it leaves out what `_levels` tells of, and its pixels are bytes.
    """

    processor: Any
    whole: bool

    def __call__(self, images: Sequence[Image.Image]) -> Inputs:
        left_out = {} if self.whole else {"do_rescale": False, "do_normalize": False}
        return dict(self.processor(images=list(images), return_tensors="np", **left_out))


def _levels(processor: Any) -> npt.NDArray[np.float32] | None:  # noqa: ANN401
    """What becomes of each of a byte's values in each channel, where a processor's last steps depend on nothing else.

    Then pixels stay bytes until they are on the device: a quarter of what is moved, and a third less work for a CPU.

    Args:
        processor: Of transformers.

    Returns:
        (3, 256); None where it does more than that, as trials show.
    """
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
    trials = [Image.fromarray(noise[:height, :width]) for height, width in ((300, 260), (40, 90), (260, 250))]
    try:
        table = processor(images=[Image.fromarray(values)], do_resize=False, do_center_crop=False, return_tensors="np")[
            "pixel_values"
        ].reshape(3, 256)
        for trial in trials:
            expected, found = (dict(_Processor(processor, whole)([trial])) for whole in (True, False))
            pixels = found.pop("pixel_values")
            same = pixels.dtype == np.uint8 and pixels.shape[1] == 3
            if not same or not np.array_equal(expected.pop("pixel_values"), table[np.arange(3)[:, None, None], pixels]):
                return None
            if expected.keys() != found.keys() or any(not np.array_equal(expected[key], found[key]) for key in found):
                return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # it takes other arguments, or gives others
        return None
    return np.asarray(table, np.float32)


def _locate(source: str) -> tuple[Path, str, str]:
    """Find a model: its folder, the name to record and the revision to record."""
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
    loader: Any = transformers.AutoModel
    if config.model_type == "clip":
        loader, config.vision_config.projection_dim = transformers.CLIPVisionModelWithProjection, config.projection_dim
    elif config.model_type in {"siglip", "siglip2"}:
        loader = {"siglip": transformers.SiglipVisionModel, "siglip2": transformers.Siglip2VisionModel}[
            config.model_type
        ]
    config = config if loader is transformers.AutoModel else config.vision_config
    report = logging.getLogger("transformers")
    level = report.level
    report.setLevel(logging.ERROR)  # it would list every weight of the text tower that is left out
    try:
        network, info = loader.from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    finally:
        report.setLevel(level)
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


def _describe(processor: dict[str, Any]) -> str:
    """The parts of a processor's settings that change a picture's pixels, as one line."""
    wanted = ("size", "crop_size", "resample", "image_mean", "image_std", "rescale_factor", "do_center_crop")
    return json.dumps({key: processor[key] for key in wanted if key in processor}, sort_keys=True, default=str)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

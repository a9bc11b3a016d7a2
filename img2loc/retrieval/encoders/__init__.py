"""Pictures to embeddings: any image encoder in transformers' format, or lite0, which needs no Hub."""

from __future__ import annotations

from img2loc.devices import choose_device
from img2loc.retrieval.encoders.base import Embeddings, Encoder, EncoderSpec, Inputs
from img2loc.retrieval.encoders.lite0 import Lite0Encoder
from img2loc.retrieval.encoders.transformers import DEFAULT_ENCODER, PINNED_REVISIONS, TransformersEncoder

__all__ = [
    "DEFAULT_ENCODER",
    "PINNED_REVISIONS",
    "Embeddings",
    "Encoder",
    "EncoderSpec",
    "Inputs",
    "TransformersEncoder",
    "open_encoder",
]


def open_encoder(source: str, *, head: bytes | None = None, device: str = "auto", dtype: str = "float32") -> Encoder:
    """Open an encoder by name.

    Args:
        source: "lite0", a Hub repo as owner/name[@revision], or a folder in transformers' format.
        head: A projection for a transformers encoder.
        device: Where it runs; lite0 always runs on the CPU.
        dtype: The network's number format; lite0 is always float32.

    Raises:
        ConfigError: There is no such device; also for lite0, whose user expects it to be used.
        EncoderError: It can't be downloaded or loaded.
    """
    if source == "lite0":
        choose_device(device)
        return Lite0Encoder()
    return TransformersEncoder(source, head=head, device=device, dtype=dtype)

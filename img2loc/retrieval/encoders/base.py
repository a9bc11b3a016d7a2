"""What every encoder looks like, and what makes two embeddings comparable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from img2loc.errors import EncoderError

Embeddings = npt.NDArray[np.float32]
Inputs = dict[str, npt.NDArray[Any]]  # pictures as a network takes them, by the name of its argument; rows first

BATCH = 16


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What has to be equal for two embeddings to be comparable."""

    kind: str  # "lite0", or "transformers" for a Hub repo or a folder
    source: str  # the Hub repo, the name of the folder, or "lite0"
    revision: str  # the Hub commit; "sha256:" and the hash of the content for a folder and lite0
    preprocessing: str  # how a picture becomes the network's input
    head: str = ""  # "sha256:" and the hash of the projection put after the encoder; empty where there is none


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
        """Embed n RGB pictures of any size, a batch at a time: (n, dim) float32, each row of unit L2 norm."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        rows = [self.embed_prepared(self.prepare(batch)) for batch in batches]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)


def unit(features: npt.NDArray[np.float32]) -> Embeddings:
    """Scale each row to unit L2 norm.

    Raises:
        EncoderError: A row is zero or not a number.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise EncoderError(
            "The encoder finds nothing in this picture (its output is zero or not a number). Try another photo."
        )
    return np.asarray(features / norms, dtype=np.float32)

"""The build stage: photos on this machine into a gallery, in one go and in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from img2loc.encoder import Encoder, TransformersEncoder, cpu_has_bfloat16
from img2loc.errors import ConfigError, PhotoError
from img2loc.gallery import Manifest
from img2loc.photo import open_photo
from img2loc.types import LatLon, PhotoRecord
from index_builder.index import RECALL_K, Embeddings, write_gallery
from index_builder.listing import Counts, Listed

BATCH = 32
BFLOAT16_SAMPLE = 64


def build_gallery(
    listing: Iterable[Listed],
    counts: Counts,
    encoder: Encoder,
    folder: Path,
    *,
    name: str,
    about: str,
    source: str,
    licence: str,
) -> Manifest:
    """Embed the photos of a listing and write them as a gallery.

    Args:
        listing: The photos.
        counts: Grows by what is kept and what is dropped.
        encoder: Makes the embeddings.
        folder: Where the gallery goes.
        name: Its short name.
        about: What it knows and what it can't.
        source: The data set.
        licence: The data set's licence.

    Returns:
        The gallery's manifest.

    Raises:
        ConfigError: No photo of the listing can be used.
    """
    rows: list[Embeddings] = []
    positions: list[LatLon] = []
    records: list[PhotoRecord] = []
    sample: list[Image.Image] = []
    progress = tqdm(unit="photo", desc="embed")
    photos = _readable(listing, counts)
    while batch := list(islice(photos, BATCH)):
        images = [image for image, _, _ in batch]
        rows.append(encoder.embed(images))
        positions += [position for _, position, _ in batch]
        records += [record for _, _, record in batch]
        sample += images[: BFLOAT16_SAMPLE - len(sample)]
        progress.update(len(batch))
    progress.close()
    if not rows:
        raise ConfigError(f"No photo can be used: {counts}.")
    embeddings = np.concatenate(rows)
    return write_gallery(
        folder,
        embeddings,
        positions,
        records,
        encoder=encoder.spec,
        name=name,
        about=about,
        source=source,
        licence=licence,
        bfloat16_keeps_neighbours=bfloat16_keeps_neighbours(encoder, embeddings, sample),
    )


def _readable(listing: Iterable[Listed], counts: Counts) -> Iterator[tuple[Image.Image, LatLon, PhotoRecord]]:
    """The listing's photos that can be opened and have a position, each content once."""
    seen: set[bytes] = set()
    for listed in listing:
        try:
            photo = open_photo(listed.path.read_bytes())
        except (PhotoError, OSError):
            counts.dropped["unreadable picture"] += 1
            continue
        position = listed.position or photo.exif_position
        content = hashlib.sha256(photo.image.tobytes()).digest()
        if position is None:
            counts.dropped["no position in EXIF"] += 1
        elif content in seen:
            counts.dropped["the same picture again"] += 1
        else:
            seen.add(content)
            counts.kept += 1
            yield photo.image, position, listed.record


def bfloat16_keeps_neighbours(encoder: Encoder, embeddings: Embeddings, sample: list[Image.Image]) -> bool:
    """Whether embedding queries in bfloat16 leaves every neighbour of a sample as it is.

    Args:
        encoder: The encoder, in float32.
        embeddings: (count, dim) the gallery.
        sample: Pictures to try it on.

    Returns:
        True where this machine has bfloat16 and no picture's sets of nearest and farthest neighbours change.
    """
    if not isinstance(encoder, TransformersEncoder) or not cpu_has_bfloat16():
        return False
    k = min(RECALL_K, len(embeddings))

    def neighbours(queries: Embeddings) -> npt.NDArray[np.int64]:
        order = (queries @ embeddings.T).argsort(axis=1)
        return np.concatenate([np.sort(order[:, :k]), np.sort(order[:, -k:])], axis=1)

    rough = encoder.with_dtype("bfloat16").embed(sample)
    return bool((neighbours(rough) == neighbours(encoder.embed(sample))).all())

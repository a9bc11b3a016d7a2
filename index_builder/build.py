"""The build stage: listing, embed and index in one go, for photos that one machine embeds in minutes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from img2loc.encoder import Encoder
from img2loc.errors import ConfigError
from img2loc.gallery import Manifest
from index_builder.embed import Pool, begin, embed_local, finish
from index_builder.index import Label, check_out, index_shards
from index_builder.layout import Layout
from index_builder.listing import NOTHING_EXCLUDED, UNREADABLE, Excluded, Listing, write_listing
from index_builder.sources import Candidate, Counts


def build_gallery(
    candidates: Iterable[Candidate],
    counts: Counts,
    encoder: Encoder,
    folder: Path,
    *,
    label: Label,
    pool: Pool,
    device: str = "auto",
    dtype: str = "float32",
    batch: int = 0,
    excluded: Excluded = NOTHING_EXCLUDED,
    layout: Layout | None = None,
) -> Manifest:
    """Build a gallery from a source's photos.

    What the stages hand on lies in a folder beside the gallery's: broken off, the same command goes on from there.

    Args:
        candidates: The photos.
        counts: Grows by what is kept and what is dropped.
        encoder: Makes the embeddings.
        folder: Where the gallery goes.
        label: What it says of itself.
        pool: Who decodes the photos.
        device: Where the encoder's network runs.
        dtype: Its number format.
        batch: Pictures in one pass of it; 0 for what suits the device.
        excluded: Photos and photographers to leave out.
        layout: The index's kind; None for the one that suits the size.

    Returns:
        The gallery's manifest.

    Raises:
        ConfigError: No photo can be used, or the folder holds something else.
    """
    check_out(folder)
    work = folder.with_name(f".{folder.resolve().name}.build")
    try:
        write_listing(candidates, counts, work / "listing.parquet", excluded=excluded)
        with Listing(work / "listing.parquet") as listing:
            try:
                store = begin(listing, work / "shards", encoder, device=device, dtype=dtype, batch=batch)
            except ConfigError:  # an earlier, broken-off build of other photos, or with another encoder
                shutil.rmtree(work / "shards")
                store = begin(listing, work / "shards", encoder, device=device, dtype=dtype, batch=batch)
            embed_local(listing, store, encoder, pool)
            unreadable = finish(listing, store, encoder)
            counts.move(unreadable, UNREADABLE)
            manifest = index_shards(listing, store, folder, label=label, layout=layout)
    except ConfigError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work)
    return manifest

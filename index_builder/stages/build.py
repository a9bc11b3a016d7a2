"""The build stage: listing, embed and index in one go, for photos that one machine embeds in minutes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Encoder
from img2loc.retrieval.manifest import Manifest
from img2loc.system.durable import sweep
from img2loc.system.own_folder import OwnFolder, open_folder
from index_builder.stages.embed import Pool, begin, embed_local, finish
from index_builder.stages.index import Label, index_shards
from index_builder.stages.listing import NOTHING_EXCLUDED, UNREADABLE, Excluded, Listing, write_listing
from index_builder.stages.sources import Candidate, Counts
from index_builder.storage.folders import build_folder, check_out, working_folder
from index_builder.storage.layout import Layout
from index_builder.storage.store import PLAN

LISTING, SHARDS = "listing.parquet", "shards"


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
    may_replace: bool = False,
) -> Manifest:
    """Build a gallery from a source's photos.

    What one stage writes for the next is in a working folder beside the gallery's: if the build is cut short, or the
    index can't be made, the same command goes on from there.

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
        may_replace: Whether a gallery that is already there may be replaced.

    Returns:
        The gallery's manifest.

    Raises:
        ConfigError: No photo can be used, or the folder has something in it.
    """
    check_out(folder, may_replace=may_replace)
    folder = folder.resolve()
    with working_folder(build_folder(folder)) as work:
        goes_on = bool({LISTING, SHARDS} & {*work.names()})
        sweep(work.path, {LISTING})
        try:
            write_listing(candidates, counts, work.path / LISTING, excluded=excluded)
            with Listing(work.path / LISTING) as listing:
                try:
                    store = begin(listing, work.path / SHARDS, encoder, device=device, dtype=dtype, batch=batch)
                except ConfigError:  # an earlier build that was cut short: of other photos, or with another encoder
                    _discard_shards(work)
                    store = begin(listing, work.path / SHARDS, encoder, device=device, dtype=dtype, batch=batch)
                embed_local(listing, store, encoder, pool)
                counts.move(finish(listing, store, encoder), UNREADABLE)
        except ConfigError:  # nothing can be embedded
            if not goes_on:  # what an earlier build has done stays for the next
                _clear(work)
            raise
        with Listing(work.path / LISTING) as listing:
            manifest = index_shards(listing, store, folder, label=label, layout=layout, may_replace=may_replace)
        _clear(work)
    return manifest


def _clear(work: OwnFolder) -> None:
    """Delete what the stages have written to the working folder."""
    _discard_shards(work)
    work.delete(LISTING)


def _discard_shards(work: OwnFolder) -> None:
    """Delete the shards, their plan first: shards without a plan are those of a deletion that was cut short."""
    with suppress(FileNotFoundError, NotADirectoryError):
        shards = open_folder(SHARDS, dir_fd=work.handle)
        try:
            os.unlink(PLAN, dir_fd=shards)
        finally:
            os.close(shards)
    work.delete(SHARDS)

"""The build stage: listing, embed and index in one go, for photos that one machine embeds in minutes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Encoder
from img2loc.retrieval.manifest import Manifest
from img2loc.system.durable import sweep
from img2loc.system.own_folder import OwnFolder, open_folder
from index_builder.stages.embed import EmbedSettings, begin, embed_local, finish
from index_builder.stages.index import Output, index_shards
from index_builder.stages.listing import UNREADABLE, Listing, write_listing
from index_builder.stages.sources import Candidate, Counts
from index_builder.storage.folders import build_folder, working_folder
from index_builder.storage.store import PLAN

LISTING, SHARDS = "listing.parquet", "shards"


def build_gallery(
    candidates: Iterable[Candidate], counts: Counts, encoder: Encoder, settings: EmbedSettings, output: Output
) -> Manifest:
    """Build a gallery from a source's photos.

    What one stage writes for the next is in a working folder beside the gallery's: if the build is cut short, or the
    index can't be made, the same command continues from there.

    Returns:
        The gallery's manifest; what is kept and dropped is added to the counts.

    Raises:
        ConfigError: No photo can be used; or see write_gallery.
    """
    with working_folder(build_folder(output.folder.resolve())) as work:
        continues = bool({LISTING, SHARDS} & {*work.names()})
        sweep(work.path, {LISTING})
        shards = work.path / SHARDS
        try:
            write_listing(candidates, counts, work.path / LISTING)
            with Listing(work.path / LISTING) as listing:
                try:
                    store = begin(listing, shards, encoder, settings)
                except ConfigError:  # an earlier build that was cut short: of other photos, or with another encoder
                    _discard_shards(work)
                    store = begin(listing, shards, encoder, settings)
                embed_local(listing, store, encoder, settings.pool)
                counts.move(finish(listing, store, encoder), UNREADABLE)
        except ConfigError:  # nothing can be embedded
            if not continues:  # what an earlier build has done stays for the next
                _clear(work)
            raise
        with Listing(work.path / LISTING) as listing:
            manifest = index_shards(listing, store, output)
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

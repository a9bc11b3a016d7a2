"""What each verb of the command line does with its arguments, and the counts that it prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Encoder, open_encoder
from img2loc.retrieval.manifest import Manifest
from img2loc.system.names import escape_controls, printable_name
from img2loc.system.terminal import print_text
from index_builder.stages.build import build_gallery
from index_builder.stages.embed import EmbedSettings, Pool, begin, embed_local, finish, has_accelerator
from index_builder.stages.index import Label, Output, index_shards
from index_builder.stages.listing import Excluded, Listing, write_listing
from index_builder.stages.merge import AGAIN, merge_galleries
from index_builder.stages.publish import publish_gallery
from index_builder.stages.sources import Candidate, Counts, list_folder, list_table, list_tars
from index_builder.stages.verify import verify_gallery
from index_builder.storage.folders import check_gallery_folder
from index_builder.storage.layout import Layout
from index_builder.storage.pieces import find_files
from index_builder.storage.store import Store

# Those that aren't plain tars are refused with what to do.
_ARCHIVES = (".tar", ".zip", ".tgz", ".tbz2", ".txz", *(f".tar.{kind}" for kind in ("gz", "bz2", "xz", "zst")))


def build(arguments: argparse.Namespace) -> None:
    """Build a gallery from photos in one go: listing, embed and index."""
    output = _output(arguments)
    counts = Counts()
    candidates = _candidates(arguments, counts)
    manifest = build_gallery(candidates, counts, _encoder(arguments), _settings(arguments), output)
    print_text(f"{counts}\n")
    _report(arguments.out, manifest)


def listing(arguments: argparse.Namespace) -> None:
    """List the photos that go into a gallery, checked, each content once."""
    counts = Counts()
    write_listing(_candidates(arguments, counts), counts, arguments.out)
    print_text(f"{counts}\n")


def embed(arguments: argparse.Namespace) -> None:
    """Embed a listing's photos into shards. It can be stopped at any moment; the same command then continues."""
    encoder = _encoder(arguments)
    settings = _settings(arguments)
    with Listing(arguments.listing) as photos:
        store = begin(photos, arguments.out, encoder, settings)
        if arguments.ray:
            from index_builder.stages.ray_embed import embed_on_ray  # noqa: PLC0415 - Ray is wanted on clusters only

            embed_on_ray(photos.path, store, arguments.encoder, settings, address=arguments.ray)
        else:
            embed_local(photos, store, encoder, settings.pool)
        unreadable = finish(photos, store, encoder)
    counts = Counts(photos.count, photos.count - unreadable)
    for shard in range(store.plan.shards):
        counts.dropped.update(store.unreadable(shard).values())
    print_text(f"{counts}\n")


def index(arguments: argparse.Namespace) -> None:
    """Make a gallery of embedded shards, and measure its recall against exact search."""
    output = _output(arguments)
    with Listing(arguments.listing) as photos:
        manifest = index_shards(photos, Store.open(arguments.embeddings), output)
    _report(arguments.out, manifest)


def merge(arguments: argparse.Namespace) -> None:
    """Join galleries of the same encoder into one, each photo once."""
    manifest, again = merge_galleries(arguments.galleries, _output(arguments))
    counts = Counts(manifest.count + again, manifest.count + again)
    counts.move(again, AGAIN)
    print_text(f"{counts}\n")
    _report(arguments.out, manifest)


def verify(arguments: argparse.Namespace) -> None:
    """Check a gallery: every checksum and count, and a sample of its rows against their photos."""
    compares = arguments.photos or arguments.listing
    encoder = open_encoder(arguments.encoder, device=arguments.device) if compares else None
    photos = Listing(arguments.listing) if arguments.listing else None
    report = verify_gallery(arguments.gallery, encoder=encoder, photos=arguments.photos, listing=photos)
    print_text(
        f"{escape_controls(arguments.gallery)}: {report.rows:,} rows are sound; {report.photos} were compared with "
        f"their photos, {report.absent} photos are missing\n"
    )


def publish(arguments: argparse.Namespace) -> None:
    """Publish a gallery to a model repository of the Hugging Face Hub."""
    print_text(f"IMG2LOC_GALLERY={publish_gallery(arguments.gallery, arguments.repo, private=arguments.private)}\n")


def geoclip(arguments: argparse.Namespace) -> None:
    """Build the gallery of GeoCLIP's 100,000 coordinates: the whole planet, without a photo."""
    from index_builder.stages.geoclip import build_geoclip  # noqa: PLC0415 - torch takes seconds, which --help need not wait

    _report(arguments.out, build_geoclip(arguments.out, wheel=arguments.wheel, may_replace=arguments.replace))


def _candidates(arguments: argparse.Namespace, counts: Counts) -> Iterator[Candidate]:
    """The photos of the source that the arguments name, without those of test sets."""
    excluded = Excluded.read(arguments.exclude)
    photos: list[str] = arguments.photos
    table: Path | None = arguments.positions
    how = {"url": arguments.url, "given": arguments.columns}
    if photos[0].lower().endswith(_ARCHIVES):
        return excluded.filter(list_tars(find_files(photos), counts, table=table, **how), counts)
    if len(photos) > 1:
        raise ConfigError("Give --photos one folder, or tar files, whose names end in .tar.")
    folder = Path(photos[0]).expanduser()
    candidates = list_table(table, folder, counts, **how) if table else list_folder(folder, counts)
    return excluded.filter(candidates, counts)


def _encoder(arguments: argparse.Namespace) -> Encoder:
    return open_encoder(arguments.encoder, device=arguments.device, dtype=arguments.dtype)


def _settings(arguments: argparse.Namespace) -> EmbedSettings:
    accelerator = has_accelerator(arguments.device)
    pool = Pool(arguments.workers, processes=accelerator, passes=2 if accelerator else 1)
    return EmbedSettings(pool, arguments.device, arguments.dtype, arguments.batch, arguments.shard_rows)


def _output(arguments: argparse.Namespace) -> Output:
    """The gallery to write, checked before the work begins."""
    check_gallery_folder(arguments.out, may_replace=arguments.replace)
    name = arguments.name or printable_name(arguments.out.resolve().name)
    label = Label(name, arguments.about, arguments.source, arguments.licence)
    layout = None
    if arguments.factory:
        layout = Layout.named(arguments.factory, k_factor=arguments.k_factor, nprobe=arguments.nprobe)
    return Output(arguments.out, label, layout, may_replace=arguments.replace)


def _report(out: Path, manifest: Manifest) -> None:
    print_text(
        f"{escape_controls(out)}: {manifest.count:,} x {manifest.dim}, {manifest.factory}, "
        f"recall@16 {manifest.recall['nearest']:.3f} nearest, {manifest.recall['farthest']:.3f} farthest\n"
    )

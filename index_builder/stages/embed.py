"""The embed stage: a listing's photos into shards of embeddings; it continues where it stopped."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from img2loc.devices import cpu_has_bfloat16
from img2loc.errors import ConfigError, PhotoError
from img2loc.photo.decode import open_photo
from img2loc.retrieval.encoders import Embeddings, Encoder, Inputs, TransformersEncoder
from img2loc.system.durable import sweep, write_whole
from index_builder.stages.listing import Listed, Listing, digest
from index_builder.storage.handover import CAN_HAND_OVER, Handover
from index_builder.storage.pieces import read_pieces
from index_builder.storage.prefetch import ordered_map
from index_builder.storage.store import BFLOAT16, Job, Store

SHARD_ROWS = 2048
CPU_BATCH, ACCELERATOR_BATCH = 16, 256
BFLOAT16_SAMPLE = 64
CHANGED = "its file changed since it was listed"


@dataclass(frozen=True, slots=True)
class Pool:
    """The workers that read and decode pictures while the network runs."""

    workers: int
    # Whether workers are processes. Threads are enough when the network runs on a CPU, but Python's lock makes them too
    # slow for a GPU.
    processes: bool
    passes: int = 1  # batches given to the network at once; with two, one is copied to a GPU that works on the other

    def open(self) -> Executor:
        """Start the workers."""
        if not self.processes:
            return ThreadPoolExecutor(self.workers)
        # A forked worker would inherit locks held by threads that don't exist in it.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_die_with_parent)


def _die_with_parent() -> None:
    """Keep a worker from outliving a parent that was killed: nobody would tell it that no work is left."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """How a listing is embedded."""

    pool: Pool
    device: str = "auto"
    dtype: str = "float32"  # the network's number format
    batch: int = 0  # pictures in one pass of the network; 0 for what suits the device
    shard_rows: int = SHARD_ROWS


@dataclass(frozen=True, slots=True)
class Prepared:
    """One batch of a shard, ready for the network."""

    inputs: Inputs | Handover | None = field(repr=False)  # the readable pictures; None where there is none
    unreadable: dict[int, str]  # reasons by row of the batch, from 0


@dataclass(frozen=True, slots=True)
class Embedded:
    """One batch of a shard, embedded."""

    rows: Embeddings | None = field(repr=False)  # the readable pictures'; None where there is none
    unreadable: dict[int, str]  # reasons by row of the batch, from 0


def has_accelerator(device: str) -> bool:
    """Whether a network on a device leaves the CPUs free; "auto" stands for the best device here."""
    import torch  # noqa: PLC0415

    return device != "cpu" and (device != "auto" or torch.cuda.is_available() or torch.backends.mps.is_available())


def begin(listing: Listing, folder: Path, encoder: Encoder, settings: EmbedSettings) -> Store:
    """Begin a job in a folder, or continue with the one that is there.

    Raises:
        ConfigError: The folder holds another job's shards: another listing's, another encoder's.
    """
    import torch  # noqa: PLC0415

    job = Job(
        listing=listing.sha256(),
        count=listing.count,
        size=settings.shard_rows,
        batch=settings.batch or (ACCELERATOR_BATCH if has_accelerator(settings.device) else CPU_BATCH),
        dtype=settings.dtype,
        threads=torch.get_num_threads(),
        dim=encoder.dim,
        encoder=encoder.spec,
    )
    return Store.create(folder, job)


def embed_local(listing: Listing, store: Store, encoder: Encoder, pool: Pool) -> None:
    """Embed every shard that is not done, on this machine.

    Raises:
        OSError: A shard can't be written; those before it stay good.
    """
    sweep(store.folder, store.names())
    missing = store.missing()
    todo = sum(len(store.plan.rows(shard)) for shard in missing)
    with (
        pool.open() as workers,
        tqdm(total=listing.count, initial=listing.count - todo, unit="photo", desc="embed") as progress,
    ):
        # One stream over all shards, so that the network needn't wait at a shard's border.
        batches = chain.from_iterable(store.plan.batches(shard, store.job.batch) for shard in missing)
        with embed_batches(listing, batches, encoder, pool, workers) as embedded:
            for shard in missing:
                write_shard(shard, store, embedded, progress)


@contextmanager
def embed_batches(
    listing: Listing, batches: Iterable[range], encoder: Encoder, pool: Pool, workers: Executor
) -> Iterator[Iterator[Embedded]]:
    """Embed batches of rows, decoded ahead of the network by the workers of a pool.

    Yields:
        The batches, in order, each embedded when it is asked for or somewhat before.
    """
    hand_over = pool.processes and CAN_HAND_OVER
    rows = (listing.rows(batch) for batch in batches)
    function = partial(_prepare_batch, encoder.prepare, hand_over=hand_over)
    with closing(ordered_map(workers, function, rows, ahead=pool.workers + 2)) as prepared:
        if pool.passes == 1:  # in this thread, so that set_num_threads in write_shard applies
            yield map(partial(_embed_batch, encoder), prepared)
            return
        with (
            ThreadPoolExecutor(pool.passes) as passes,
            closing(ordered_map(passes, partial(_embed_batch, encoder), prepared, ahead=pool.passes)) as embedded,
        ):
            yield embedded


def _embed_batch(encoder: Encoder, batch: Prepared) -> Embedded:
    inputs = batch.inputs.take() if isinstance(batch.inputs, Handover) else batch.inputs
    return Embedded(None if inputs is None else encoder.embed_prepared(inputs), batch.unreadable)


def _prepare_batch(
    prepare: Callable[[Sequence[Image.Image]], Inputs], batch: list[Listed], *, hand_over: bool = False
) -> Prepared:
    images: list[Image.Image] = []
    unreadable: dict[int, str] = {}
    for row, (photo, data) in enumerate(zip(batch, read_pieces([photo.piece for photo in batch]), strict=True)):
        try:
            if isinstance(data, OSError):
                raise PhotoError(data.strerror or str(data))
            if digest(data) != photo.content:
                raise PhotoError(CHANGED)
            images.append(open_photo(data).image)
        except PhotoError as error:
            unreadable[row] = str(error)
    inputs = prepare(images) if images else None
    return Prepared(Handover.of(inputs) if hand_over and inputs else inputs, unreadable)


def write_shard(shard: int, store: Store, embedded: Iterator[Embedded], progress: tqdm | None = None) -> None:
    """Embed one shard and write it: the one piece of work that every machine does in the same way.

    Args:
        shard: Its number.
        store: Where it goes.
        embedded: Its batches and those of later shards, in order, embedded as they are taken.
        progress: A bar that counts photos.
    """
    import torch  # noqa: PLC0415

    if torch.get_num_threads() != store.job.threads:
        torch.set_num_threads(store.job.threads)
    rows = store.plan.rows(shard)
    embeddings = np.zeros((len(rows), store.job.dim), np.float32)
    unreadable: dict[int, str] = {}
    for rows_of_batch in store.plan.batches(shard, store.job.batch):
        batch = next(embedded)
        start = rows_of_batch.start - rows.start
        readable = [start + row for row in range(len(rows_of_batch)) if row not in batch.unreadable]
        if batch.rows is not None:
            embeddings[readable] = batch.rows
        unreadable |= {start + row: reason for row, reason in batch.unreadable.items()}
        if progress is not None:
            progress.update(len(rows_of_batch))
    store.write(shard, embeddings, unreadable)


def finish(listing: Listing, store: Store, encoder: Encoder) -> int:
    """Close a job whose shards are all done: embed a sample in bfloat16, too, if this machine supports it.

    The index stage sees from it whether queries in bfloat16 would find the same neighbours.

    Returns:
        How many photos were unreadable.

    Raises:
        ConfigError: No photo could be read.
    """
    unreadable = sum(len(store.unreadable(shard)) for shard in range(store.plan.shards))
    if unreadable == listing.count:
        reason = store.unreadable(0)[0]
        raise ConfigError(f"None of {unreadable:,} photos can be read; the first: {reason}")
    if isinstance(encoder, TransformersEncoder) and cpu_has_bfloat16() and not (store.folder / BFLOAT16).exists():
        rows = (row for shard in range(store.plan.shards) for row in _readable_rows(store, shard))
        batch = listing.rows(islice(rows, BFLOAT16_SAMPLE))
        inputs = _prepare_batch(encoder.prepare, batch).inputs
        if isinstance(inputs, dict):  # the files may be gone by now
            both = [each.embed_prepared(inputs) for each in map(encoder.with_dtype, ("float32", "bfloat16"))]
            with write_whole(store.folder / BFLOAT16) as file:
                np.save(file, np.stack(both), allow_pickle=False)
    return unreadable


def _readable_rows(store: Store, shard: int) -> list[int]:
    rows = store.plan.rows(shard)
    return [rows[int(offset)] for offset in np.flatnonzero(store.readable(shard))]

"""The embed stage on a Ray cluster: the same shards by the same function, on as many nodes as there are.

The only file that knows Ray. Every node has to see this code, the photos and the shards' folder under the same paths.
The command has to be given on a machine like the workers: it opens the encoder too and sets batch and threads for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import open_encoder
from img2loc.system.durable import sweep
from index_builder.stages.embed import EmbedSettings, embed_batches, write_shard
from index_builder.stages.listing import Listing
from index_builder.storage.store import Job, Store

LOCAL = "local"
ROUNDS = 3  # how often a shard is given out that is still missing, after its node was lost


class ShardWorker:
    """An actor: opens the encoder, as the command line names it, and embeds the shards that it is given.

    Raises:
        ConfigError: This node's encoder is another one than the job's.
    """

    def __init__(self, listing: Path, folder: Path, job: Job, encoder: str, settings: EmbedSettings) -> None:
        self._listing = Listing(listing)
        self._store = Store(folder, job)
        self._encoder = open_encoder(encoder, device=settings.device, dtype=job.dtype)
        if self._encoder.spec != job.encoder:
            raise ConfigError(f"This node has the encoder {self._encoder.spec}, and the job is of {job.encoder}.")
        self._pool = settings.pool
        self._workers = settings.pool.open()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed the shards of a batch, without those that a worker has done that was lost since."""
        for shard in (int(number) for number in batch["id"]):
            if not self._store.marker(shard).exists():
                batches = self._store.plan.batches(shard, self._store.job.batch)
                with embed_batches(self._listing, batches, self._encoder, self._pool, self._workers) as embedded:
                    write_shard(shard, self._store, embedded)
        return batch


def embed_on_ray(listing: Path, store: Store, encoder: str, settings: EmbedSettings, *, address: str) -> None:
    """Embed every shard that is not done, on a cluster, with a network a GPU, or a CPU where there is no GPU.

    Args:
        listing: The listing's file.
        store: Where the shards go.
        encoder: As the command line names it.
        settings: How it is used.
        address: The cluster's; LOCAL for one on this machine.

    Raises:
        ConfigError: Ray is not installed, the cluster can't be reached, or shards failed again and again.
    """
    try:
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install -r index_builder/requirements.txt.") from error

    sweep(store.folder, store.names())
    was_running = ray.is_initialized()
    try:
        ray.init(address=None if address == LOCAL else address, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"There is no Ray cluster at {address} ({error}).") from error
    worker = (listing.resolve(), store.folder.resolve(), store.job, encoder, settings)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts shards
        with tqdm(total=store.plan.shards, initial=store.plan.shards - len(store.missing()), unit="shard") as progress:
            for _ in range(ROUNDS):
                if missing := store.missing():
                    _embed_missing(missing, worker, progress)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(f"The cluster gave up: {reason}. Run the same command again.") from error
    finally:
        if not was_running:
            ray.shutdown()
    if missing := store.missing():
        raise ConfigError(f"{len(missing)} shards failed again and again, the first {missing[0]}; see Ray's log.")


def _embed_missing(missing: Sequence[int], worker: tuple[object, ...], progress: tqdm) -> None:
    import ray.data  # noqa: PLC0415

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
    gpus, cpus = (int(resources.get(kind, 0)) for kind in ("GPU", "CPU"))
    actors = min(gpus or cpus, len(missing))
    # A block a shard: a lost worker costs its shard, no more.
    shards = ray.data.from_items([{"id": shard} for shard in missing], override_num_blocks=len(missing))
    done = shards.map_batches(
        ShardWorker,
        fn_constructor_args=worker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        num_gpus=1 if gpus else 0,
        num_cpus=1,
    )
    for _ in done.iter_rows():
        progress.update()

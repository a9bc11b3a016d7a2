"""The embed stage on a Ray cluster: the same shards by the same function, on as many nodes as there are.

The only file that knows Ray. Every node has to see this code, the photos and the shards' folder under the same paths.
The command has to be given on a machine like the workers: it opens the encoder too and sets batch and threads for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import open_encoder
from img2loc.system.durable import sweep
from index_builder.stages.embed import Pool, embed_batches, write_shard
from index_builder.stages.listing import Listing
from index_builder.storage.store import Job, Store

LOCAL = "local"
ROUNDS = 3  # a shard that is still missing after its node was lost is given out anew, so often


class ShardWorker:
    """An actor: opens the encoder once, then embeds the shards that it is given.

    Args:
        listing: The listing's file.
        folder: The shards' folder.
        job: What the shards are of.
        encoder: What embeds them, as the command line names it.
        device: Where the network runs.
        pool: Who decodes the photos.

    Raises:
        ConfigError: This node's encoder is another one than the job's.
    """

    def __init__(self, listing: str, folder: str, job: Job, encoder: str, device: str, pool: Pool) -> None:
        self._listing = Listing(Path(listing))
        self._store = Store(Path(folder), job)
        self._encoder = open_encoder(encoder, device=device, dtype=job.dtype)
        if self._encoder.spec != job.encoder:
            raise ConfigError(f"This node has the encoder {self._encoder.spec}, and the job is of {job.encoder}.")
        self._pool = pool
        self._workers = pool.open()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Embed the shards of a batch; one that was done by a worker that was lost since is left alone."""
        for shard in (int(number) for number in batch["id"]):
            if not self._store.marker(shard).exists():
                batches = self._store.plan.batches(shard, self._store.job.batch)
                with embed_batches(self._listing, batches, self._encoder, self._pool, self._workers) as embedded:
                    write_shard(shard, self._store, embedded)
        return batch


def embed_on_ray(
    listing: Path, store: Store, encoder: str, *, address: str, device: str, pool: Pool, actors: int = 0
) -> None:
    """Embed every shard that is not done, on a cluster.

    Args:
        listing: The listing's file.
        store: Where the shards go.
        encoder: What embeds them, as the command line names it.
        address: The cluster's; "local" for one on this machine.
        device: Where the networks run.
        pool: Who decodes the photos beside each network.
        actors: How many networks; 0 for one a GPU, or on clusters without one a CPU.

    Raises:
        ConfigError: Ray is not installed, the cluster can't be reached, or shards failed again and again.
    """
    try:
        import ray  # noqa: PLC0415
        from ray.data import ActorPoolStrategy  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install -r index_builder/requirements.txt.") from error

    sweep(store.folder, store.names())
    started = not ray.is_initialized()
    try:
        ray.init(address=None if address == LOCAL else address, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"There is no Ray cluster at {address} ({error}).") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts shards
        there = ray.cluster_resources()  # type: ignore[no-untyped-call, unused-ignore]
        gpus, cpus = (int(there.get(kind, 0)) for kind in ("GPU", "CPU"))
        with tqdm(total=store.plan.shards, initial=store.plan.shards - len(store.missing()), unit="shard") as progress:
            for _ in range(ROUNDS):
                if not (missing := store.missing()):
                    break
                wanted = min(actors or gpus or cpus, len(missing))
                # A block a shard: a lost worker costs its shard, no more.
                shards = ray.data.from_items([{"id": shard} for shard in missing], override_num_blocks=len(missing))
                done = shards.map_batches(
                    ShardWorker,
                    fn_constructor_args=(
                        str(listing.resolve()),
                        str(store.folder.resolve()),
                        store.job,
                        encoder,
                        device,
                        pool,
                    ),
                    batch_size=1,
                    compute=ActorPoolStrategy(min_size=1, max_size=wanted, initial_size=wanted),
                    num_gpus=1 if gpus else 0,
                    num_cpus=1,
                )
                for _ in done.iter_rows():
                    progress.update()
    except ray.exceptions.RayError as error:
        raise ConfigError(f"The cluster gave up: {str(error).strip().splitlines()[-1]}. Say the same again.") from error
    finally:
        if started:
            ray.shutdown()
    if missing := store.missing():
        raise ConfigError(f"{len(missing)} shards failed again and again, the first {missing[0]}; see Ray's log.")

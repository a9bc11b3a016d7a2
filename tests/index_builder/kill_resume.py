"""Kills embed and index at random moments and goes on; says whether the bytes are those of an undisturbed run.

    python -m tests.index_builder.kill_resume --kills 50

A warm parent forks the workers that it kills, so that a kill falls into the work and not into the imports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss  # noqa: F401 - loaded before the forks, and below what the encoder needs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm
from transformers import AutoImageProcessor, AutoModel, MobileNetV1ImageProcessor, MobileNetV1Model  # noqa: F401

from img2loc.retrieval.encoders import EncoderSpec, open_encoder
from index_builder.stages import embed
from index_builder.stages.embed import EmbedSettings, Pool, begin, embed_local, finish
from index_builder.stages.index import Label, Output, index_shards
from index_builder.stages.listing import SCHEMA, Listing, write_listing
from index_builder.stages.sources import Counts, list_table
from index_builder.storage.layout import Layout
from index_builder.storage.store import Job, Store
from tests.conftest import MOBILENET, PHOTOS

ROWS, DIM, SHARD_ROWS = 6_000, 64, 512  # of the synthetic job whose index stage is killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=96)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    tqdm.set_lock(threading.RLock())  # its own is shared by all processes: one killed while it holds it stops the next
    embed.BFLOAT16_SAMPLE = 4  # a processor without bfloat16's own instructions takes long
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine take most of the time
    report = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report["embed"] = _embed(folder, arguments.photos, arguments.kills - arguments.kills // 2, moments)
        report["index"] = _index(folder, arguments.kills // 2, moments)
    print(json.dumps(report))
    return 0 if all(stage["identical"] for stage in report.values()) else 1


def _embed(folder: Path, photos: int, kills: int, moments: random.Random) -> dict[str, object]:
    path = folder / "listing.parquet"
    candidates = (
        candidate
        for candidate, _ in zip(list_table(PHOTOS / "photos.csv", PHOTOS, Counts()), range(photos), strict=False)
    )
    write_listing(candidates, Counts(), path)

    def work(out: Path) -> None:
        encoder = open_encoder(str(MOBILENET), device="cpu")
        with Listing(path) as listing:
            pool = Pool(2, processes=False)
            store = begin(listing, out, encoder, EmbedSettings(pool, "cpu", batch=8, shard_rows=16))
            embed_local(listing, store, encoder, pool)
            finish(listing, store, encoder)

    return _kill_and_go_on(work, folder / "embed", kills, moments)


def _index(folder: Path, kills: int, moments: random.Random) -> dict[str, object]:
    path = folder / "synthetic.parquet"
    rng = np.random.default_rng(0)
    names = pa.array([f"photo {row}" for row in range(ROWS)])
    columns = {
        "file": names,
        "offset": np.zeros(ROWS, np.int64),
        "length": np.full(ROWS, -1),
        "content": pa.array([row.to_bytes(16, "big") for row in range(ROWS)], pa.binary(16)),
        "lat": rng.uniform(-90, 90, ROWS),
        "lon": rng.uniform(-180, 180, ROWS),
    } | dict.fromkeys(("id", "author", "url", "licence"), names)
    pq.write_table(pa.table(columns, SCHEMA), path, row_group_size=4096)
    with Listing(path) as listing:
        spec = EncoderSpec("transformers", "synthetic", "0", "none")
        job = Job(listing.sha256(), ROWS, SHARD_ROWS, 16, "float32", 1, DIM, spec)
        store = Store.create(folder / "synthetic", job)
        for shard in store.missing():
            rows = rng.normal(size=(len(store.plan.rows(shard)), DIM)).astype(np.float32)
            store.write(shard, rows / np.linalg.norm(rows, axis=1, keepdims=True), {3: "unreadable"})

    def work(out: Path) -> None:
        with Listing(path) as listing:
            layout = Layout.named(f"PQ{DIM // 4}x4fs,Refine(SQfp16)", k_factor=16, nprobe=1)
            index_shards(listing, Store.open(folder / "synthetic"), Output(out, Label("killed"), layout))

    return _kill_and_go_on(work, folder / "index", kills, moments)


def _kill_and_go_on(
    work: Callable[[Path], None], folder: Path, kills: int, moments: random.Random
) -> dict[str, object]:
    """Run undisturbed, then with kills until a run gets through; start anew where that is too soon."""
    whole, killed = folder / "whole", folder / "killed"
    start = time.monotonic()
    assert _run(work, whole, None)
    duration = time.monotonic() - start
    expected = _hashes(whole)
    identical, done, runs = True, 0, 1
    while done < kills:
        if not _run(work, killed, moments.uniform(0, duration)):
            done += 1
            continue
        identical &= _hashes(killed) == expected
        killed, runs = killed.with_name(f"{killed.name}.{runs}"), runs + 1
    assert _run(work, killed, None)
    identical &= _hashes(killed) == expected
    return {"kills": done, "finished_runs": runs, "seconds_undisturbed": round(duration, 2), "identical": identical}


def _run(work: Callable[[Path], None], out: Path, kill_after_s: float | None) -> bool:
    """Run in a process of its own; whether it got through."""
    child = os.fork()
    if child == 0:
        try:
            work(out)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert status == 0
    return True


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    sys.exit(main())

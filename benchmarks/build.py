"""How fast galleries are built: photos a second against the encoder's bare forward pass, by workers; memory by length.

    python benchmarks/build.py --network b32 --photos 192 --out build.json
    python benchmarks/build.py --network l14 --device cuda --dtype bfloat16 --batch 256 --processes --passes 2 \
      --decoders 1 4 8 16 --photos 1024 --each --out build-gpu.json

The network is CLIP's image tower in its real size with random weights, which takes the same time as with trained ones;
the photos are JPEGs of 512 x 384 made here. Every speed is set against bare passes run just before and after it: of
pictures that are prepared, and of pictures that lie on the device already.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from img2loc.photo.decode import open_photo
from img2loc.retrieval.encoders import Embeddings, Encoder, Inputs, open_encoder
from img2loc.types import LatLon, PhotoRecord
from index_builder.stages.embed import EmbedSettings, Pool, begin, embed_local, finish
from index_builder.stages.index import Label, Output, index_shards
from index_builder.stages.listing import Listing, write_listing
from index_builder.stages.sources import Candidate, Counts, list_table
from index_builder.storage.pieces import Piece

NETWORKS = {
    "b32": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
        "projection_dim": 512,
    },
    "l14": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
WORKERS = (1, 2, 4)
LENGTHS = (10_000, 50_000, 250_000)
DISTINCT = 256  # photos that are drawn; the others are theirs with a number behind the picture's end
BARE_S = 4.0


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="b32")
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--each", action="store_true", help="so many photos for each decoder")
    parser.add_argument("--decoders", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--passes", type=int, default=1, help="batches that the network is given at once")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="of the listings whose memory is told")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=0, help="of the network on a CPU; 1 leaves the others to decode")
    parser.add_argument("--processes", action="store_true", help="decode in processes, as beside an accelerator")
    parser.add_argument("--out", type=Path, default=Path("build.json"))
    arguments = parser.parse_args()
    if arguments.threads:
        import torch  # noqa: PLC0415

        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "network": arguments.network,
            "photos": arguments.photos,
            "batch": arguments.batch,
            **_machine(arguments),
        }
        result["memory"] = [_memory(folder, rows) for rows in arguments.lengths]
        result["speed"] = _speed(folder, arguments)
    _print(result)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch  # noqa: PLC0415

    device = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else platform.machine()
    return {"device": device, "dtype": arguments.dtype, "cpus": os.cpu_count(), "threads": torch.get_num_threads()}


class Timed:
    """An encoder that counts the seconds its network runs: on a shared machine the surer measure of waiting."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.spec, self.dim, self.prepare = encoder.spec, encoder.dim, encoder.prepare
        self.busy_s = 0.0
        self.done: list[tuple[float, int]] = []  # when each batch was embedded, and its pictures
        self._lock = threading.Lock()
        self._running, self._since = 0, 0.0

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """See Encoder."""
        return self._encoder.embed(images)

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """See Encoder."""
        with self._lock:
            if not self._running:
                self._since = time.perf_counter()
            self._running += 1
        rows = self._encoder.embed_prepared(inputs)
        with self._lock:
            self._running -= 1
            now = time.perf_counter()
            if not self._running:
                self.busy_s += now - self._since
            self.done.append((now, len(rows)))
        return rows

    def steady_per_s(self, skipped: int) -> float | None:
        """Photos a second after the first batches: without the workers' start."""
        later = self.done[skipped:]
        if len(later) < 2:
            return None
        return sum(count for _, count in later[1:]) / (later[-1][0] - later[0][0])


def _speed(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    counts = {w: arguments.photos * (w if arguments.each else 1) for w in arguments.decoders}
    _photos(folder / "photos", max(counts.values()))
    encoder = open_encoder(str(make_network(folder, arguments.network)), device=arguments.device, dtype=arguments.dtype)
    found = []
    before: tuple[float, float] | None = None
    for workers, count in counts.items():
        listing = _listing(folder, count)
        before = before or _bare(listing, encoder, arguments)
        out = folder / f"shards-{workers}"
        pool = Pool(workers, arguments.processes, arguments.passes)
        store = begin(listing, out, encoder, EmbedSettings(pool, arguments.device, arguments.dtype, arguments.batch))
        _forget_peak(arguments.device)
        start = time.perf_counter()
        timed = Timed(encoder)
        embed_local(listing, store, timed, pool)
        seconds = time.perf_counter() - start
        per_s, busy = listing.count / seconds, timed.busy_s / seconds
        steady = timed.steady_per_s(workers + 2) if arguments.each else per_s
        peak_gb = _peak_gb(arguments.device)
        start = time.perf_counter()
        finish(listing, store, encoder)
        index_shards(listing, store, Output(folder / f"gallery-{workers}", Label("benchmark")))
        index_s = time.perf_counter() - start
        after = _bare(listing, encoder, arguments)
        bare, network = ((x + y) / 2 for x, y in zip(before, after, strict=True))
        found.append(
            {
                "workers": workers,
                "photos": count,
                "photos_per_s": per_s,
                "steady_per_s": steady or per_s,
                "bare_per_s": bare,
                "network_per_s": network,
                "share": (steady or per_s) / bare,
                "share_of_network": (steady or per_s) / network,
                "busy": busy,
                "peak_gpu_gb": peak_gb,
                "index_s": index_s,
            }
        )
        print(json.dumps(found[-1]), flush=True)
        before = after
    return found


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415

        torch.cuda.reset_peak_memory_stats()


def _peak_gb(device: str) -> float:
    import torch  # noqa: PLC0415

    return torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else 0.0


def _bare(listing: Listing, encoder: Encoder, arguments: argparse.Namespace) -> tuple[float, float]:
    """Photos a second of the forward pass alone: of pictures prepared beforehand, and of such on the device."""
    import torch  # noqa: PLC0415

    torch.set_grad_enabled(False)
    rows = listing.rows(range(min(arguments.batch, listing.count)))
    inputs = encoder.prepare([open_photo(Path(row.piece.file).read_bytes()).image for row in rows])
    network: Any = encoder
    pixels = network._to_device(inputs)

    def on_device() -> None:
        network._network(**pixels)[0][:1].cpu()

    passes = -(-arguments.photos // arguments.batch)
    first, second = (_per_s(work, passes) * len(rows) for work in (lambda: encoder.embed_prepared(inputs), on_device))
    return first, second


def _per_s(work: Callable[[], object], most: int) -> float:
    work()
    start, done, seconds = time.perf_counter(), 0, 0.0
    while done < most and seconds < BARE_S:
        work()
        done, seconds = done + 1, time.perf_counter() - start
    return done / seconds


def _photos(folder: Path, count: int) -> None:
    """Pictures with a photo's detail: blurred noise in JPEG."""
    folder.mkdir()

    def draw(number: int) -> bytes:
        rng = np.random.default_rng(number)
        noise = Image.fromarray(rng.integers(0, 256, (384, 512, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
        buffer = io.BytesIO()
        noise.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = list(pool.map(draw, range(min(count, DISTINCT))))
    for number in range(count):
        behind = b"" if number < DISTINCT else str(number).encode()
        (folder / f"{number}.jpg").write_bytes(drawn[number % DISTINCT] + behind)


def _listing(folder: Path, count: int) -> Listing:
    table, path = folder / f"{count}.csv", folder / f"{count}.parquet"
    if not path.exists():
        rows = [f"{number}.jpg,{number % 80 + 1},{number % 170 + 1}" for number in range(count)]
        table.write_text("\n".join(["file,lat,lon", *rows]), encoding="utf-8")
        write_listing(list_table(table, folder / "photos", Counts()), Counts(), path)
    return Listing(path)


def make_network(folder: Path, name: str) -> Path:
    """Save CLIP's image tower with random weights.

    Args:
        folder: Where to.
        name: Of NETWORKS.

    Returns:
        The checkpoint's folder.
    """
    import transformers  # noqa: PLC0415

    config = transformers.CLIPVisionConfig(**NETWORKS[name], image_size=224)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder / name)
    transformers.CLIPImageProcessor().save_pretrained(folder / name)
    return folder / name


def _memory(folder: Path, rows: int) -> dict[str, Any]:
    """Peak memory of a listing stage, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_list, (str(folder / "long.parquet"), rows))


def _list(path: str, rows: int) -> dict[str, Any]:
    def photos() -> Any:  # noqa: ANN401
        for row in range(rows):
            record = PhotoRecord(f"photo {row}", f"author {row % 977}", f"https://example.org/{row}", "CC BY")
            yield Candidate(
                Piece("/photos/0.tar", row * 1024, 1000), LatLon(1, 2), record, io.BytesIO(b"%d" % row).read()
            )

    start = time.perf_counter()
    write_listing(photos(), Counts(), Path(path))
    seconds = time.perf_counter() - start
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": rows, "peak_mb": peak_kib / 1024, "rows_per_s": rows / seconds}


def _print(result: dict[str, Any]) -> None:
    print(
        "\n" + ", ".join(f"{key} {result[key]}" for key in ("network", "photos", "batch", "device", "dtype", "threads"))
    )
    print("workers  photos/s  steady  bare pass  share  on device  share  network busy  peak GPU, GB  index, s")
    for row in result["speed"]:
        print(
            f"{row['workers']:>7}  {row['photos_per_s']:>8.1f}  {row['steady_per_s']:>6.1f}  {row['bare_per_s']:>9.1f}"
            f"  {row['share']:>5.2f}  {row['network_per_s']:>9.1f}  {row['share_of_network']:>5.2f}"
            f"  {row['busy']:>12.3f}  {row['peak_gpu_gb']:>12.2f}  {row['index_s']:>8.2f}"
        )
    print("\nlisting rows  peak, MB  rows/s")
    for row in result["memory"]:
        print(f"{row['rows']:>12,}  {row['peak_mb']:>8.0f}  {row['rows_per_s']:>6,.0f}")


if __name__ == "__main__":
    main()

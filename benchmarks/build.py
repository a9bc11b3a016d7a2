"""How fast galleries are built: photos a second against the encoder's bare forward pass, by workers; memory by length.

    python benchmarks/build.py --network b32 --photos 192 --out build.json

The network is CLIP's image tower in its real size with random weights, which takes the same time as with trained ones;
the photos are JPEGs of 512 x 384 made here. Every speed is set against bare passes run just before and after it.
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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from img2loc.encoder import Embeddings, Encoder, Inputs, open_encoder
from img2loc.photo import open_photo
from img2loc.types import LatLon, PhotoRecord
from index_builder.embed import Pool, begin, embed_local, finish
from index_builder.index import Label, index_shards
from index_builder.listing import Listing, write_listing
from index_builder.pieces import Piece
from index_builder.sources import Candidate, Counts, list_table

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


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="b32")
    parser.add_argument("--photos", type=int, default=192)
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
        result["memory"] = [_memory(folder, rows) for rows in LENGTHS]
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

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """See Encoder."""
        return self._encoder.embed(images)

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        """See Encoder."""
        start = time.perf_counter()
        rows = self._encoder.embed_prepared(inputs)
        self.busy_s += time.perf_counter() - start
        return rows


def _speed(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    listing = _photos(folder, arguments.photos)
    encoder = open_encoder(str(make_network(folder, arguments.network)), device=arguments.device, dtype=arguments.dtype)
    found = []
    before = _bare(listing, encoder, arguments)
    for workers in WORKERS:
        out = folder / f"shards-{workers}"
        store = begin(listing, out, encoder, device=arguments.device, dtype=arguments.dtype, batch=arguments.batch)
        start = time.perf_counter()
        timed = Timed(encoder)
        embed_local(listing, store, timed, Pool(workers, arguments.processes))
        seconds = time.perf_counter() - start
        per_s, busy = listing.count / seconds, timed.busy_s / seconds
        start = time.perf_counter()
        finish(listing, store, encoder)
        index_shards(listing, store, folder / f"gallery-{workers}", label=Label("benchmark"))
        index_s = time.perf_counter() - start
        after = _bare(listing, encoder, arguments)
        bare = (before + after) / 2
        found.append(
            {
                "workers": workers,
                "photos_per_s": per_s,
                "bare_per_s": bare,
                "share": per_s / bare,
                "busy": busy,
                "index_s": index_s,
            }
        )
        before = after
    return found


def _bare(listing: Listing, encoder: Encoder, arguments: argparse.Namespace) -> float:
    """Photos a second of the forward pass alone, on pictures prepared beforehand."""
    rows = listing.rows(range(arguments.batch))
    inputs = encoder.prepare([open_photo(Path(row.piece.file).read_bytes()).image for row in rows])
    encoder.embed_prepared(inputs)
    passes = -(-arguments.photos // arguments.batch)
    start = time.perf_counter()
    for _ in range(passes):
        encoder.embed_prepared(inputs)
    return passes * arguments.batch / (time.perf_counter() - start)


def _photos(folder: Path, count: int) -> Listing:
    """A listing of pictures with a photo's detail: blurred noise in JPEG."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = ["file,lat,lon"]
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (384, 512, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
        noise.save(folder / "photos" / f"{number}.jpg", quality=90)
        rows.append(f"{number}.jpg,{number % 80 + 1},{number % 170 + 1}")
    (folder / "photos.csv").write_text("\n".join(rows), encoding="utf-8")
    write_listing(list_table(folder / "photos.csv", folder / "photos", Counts()), Counts(), folder / "photos.parquet")
    return Listing(folder / "photos.parquet")


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
    print("workers  photos/s  bare pass  share  network busy  index, s")
    for row in result["speed"]:
        print(
            f"{row['workers']:>7}  {row['photos_per_s']:>8.1f}  {row['bare_per_s']:>9.1f}  {row['share']:>5.2f}"
            f"  {row['busy']:>12.3f}"
            f"  {row['index_s']:>8.2f}"
        )
    print("\nlisting rows  peak, MB  rows/s")
    for row in result["memory"]:
        print(f"{row['rows']:>12,}  {row['peak_mb']:>8.0f}  {row['rows_per_s']:>6,.0f}")


if __name__ == "__main__":
    main()

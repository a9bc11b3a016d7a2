"""One photo located without a model, from its bytes to the prediction, stage by stage against the bare forward pass.

    python benchmarks/locate.py --rows 1000000 --out locate.json
    python benchmarks/locate.py --geoclip --out geoclip.json

The network is CLIP ViT-L/14's image tower in its real size with random weights, which takes the same time as with
trained ones; the gallery is made up (embeddings.py), or GeoCLIP's from its published wheel. With --geoclip the search
is also set against GeoCLIP's own way: its location encoder run on all 100,000 coordinates for every photo.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.build import make_network
from benchmarks.embeddings import Population, Vectors
from img2loc.locator import Locator
from img2loc.photo.decode import open_photo
from img2loc.retrieval.encoders import Encoder, open_encoder
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.index import processors
from index_builder.stages.geoclip import build_geoclip, download_wheel, embed_positions, read_wheel
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.rows import Rows

CLIENTS = (1, 2, 8, 32)


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--network", choices=("b32", "l14"), default="l14")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--clients", action="store_true", help="also 1, 2, 8 and 32 requests at once")
    parser.add_argument("--geoclip", action="store_true", help="GeoCLIP's gallery, against its own way")
    parser.add_argument("--out", type=Path, default=Path("locate.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.geoclip:
            result = _geoclip(folder, arguments.repeat)
        else:
            source = str(make_network(folder, arguments.network))
            encoder = open_encoder(source, device=arguments.device, dtype=arguments.dtype)
            result = _locate(Locator(encoder, _gallery(folder / "gallery", arguments.rows, encoder)), arguments)
    print(json.dumps(result, indent=2))
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _locate(locator: Locator, arguments: argparse.Namespace) -> dict[str, Any]:
    data = _photo()
    inputs = locator.encoder.prepare([open_photo(data).image])
    stages: dict[str, list[float]] = {"forward": [], "open": [], "prepare": []}
    totals = []
    for _ in range(arguments.repeat):
        stages["forward"].append(_seconds(lambda: locator.encoder.embed_prepared(inputs)))
        start = time.perf_counter()
        photo = open_photo(data)
        stages["open"].append(time.perf_counter() - start)
        prediction = locator.locate(photo)
        totals.append(time.perf_counter() - start)
        for stage, seconds in prediction.timings:
            stages.setdefault(stage, []).append(seconds)
        stages["prepare"].append(_seconds(lambda photo=photo: locator.encoder.prepare([photo.image])))  # type: ignore[misc]
    ms = {stage: 1e3 * float(np.median(seconds)) for stage, seconds in stages.items()}
    around = ms["open"] + ms["prepare"] + ms["search"] + ms["vote"] + ms["place"]
    result = {
        "network": arguments.network,
        "device": arguments.device,
        "dtype": arguments.dtype,
        "rows": locator.gallery.manifest.count,
        "factory": locator.gallery.manifest.factory,
        "cpus": processors(),
        "total_ms": 1e3 * float(np.median(totals)),
        "stages_ms": ms,
        "around_the_encoder_ms": around,
        "share_of_the_forward_pass": around / ms["forward"],
    }
    if arguments.clients:
        result["clients"] = [_clients(locator, data, clients) for clients in CLIENTS]
    return result


def _clients(locator: Locator, data: bytes, clients: int) -> dict[str, float]:
    """Several visitors at once: how long each waits, and how many are answered in a second."""
    count = max(8, clients)
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = list(pool.map(lambda _: _seconds(lambda: locator.locate(open_photo(data))), range(count)))
    return {
        "clients": clients,
        "p50_s": float(np.median(seconds)),
        "p95_s": float(np.percentile(seconds, 95)),
        "per_s": count / (time.perf_counter() - start),
    }


def _geoclip(folder: Path, repeat: int) -> dict[str, Any]:
    wheel = download_wheel(folder)
    build_geoclip(folder / "gallery", wheel=wheel)
    release = read_wheel(wheel)
    gallery = open_gallery(str(folder / "gallery"))
    query = np.random.default_rng(0).standard_normal(gallery.manifest.dim).astype(np.float32)
    query /= np.linalg.norm(query)
    ours = [_seconds(lambda: gallery.search(query, 16, 16)) for _ in range(repeat)]

    def its_own() -> None:
        rows = embed_positions(release.location, release.positions)
        np.argpartition(-(rows @ query), 16)

    theirs = [_seconds(its_own) for _ in range(max(1, repeat // 5))]
    ours_ms, theirs_ms = 1e3 * float(np.median(ours)), 1e3 * float(np.median(theirs))
    return {"rows": gallery.manifest.count, "ours_ms": ours_ms, "its_own_ms": theirs_ms, "times": theirs_ms / ours_ms}


def _gallery(folder: Path, rows: int, encoder: Encoder) -> Gallery:
    population = Population(rows, encoder.dim)

    def positions() -> Iterator[Vectors]:
        yield np.random.default_rng(0).uniform((-80, -180), (80, 180), (rows, 2)).astype(np.float32)

    made = Rows(rows, encoder.dim, population.blocks, positions, lambda: iter(()))
    write_gallery(Output(folder, Label("made up")), made, Networks(encoder.spec))
    return open_gallery(str(folder))


def _photo() -> bytes:
    """A JPEG of a telephone's size: 4032 x 3024."""
    small = np.random.default_rng(0).integers(0, 256, (378, 504, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((4032, 3024), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""Damages galleries in every block of every file, and says whether each is refused in words or answers as before.

    python -m tests.soak.faults --seed 0

Three galleries: the starter, one of short codes, and one with a head, a location encoder and a calibration. In each
block of each file one bit is turned; each file is cut at each block, and another gallery's put in its place. Prints a
table, and exits 1 where a damaged gallery answered anything else, or failed in other words than our own.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from pydantic import TypeAdapter

from img2loc.errors import GalleryError
from img2loc.retrieval.calibration import Calibration, Group
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.location_encoder import LOGIT_SCALE
from img2loc.retrieval.manifest import CALIBRATION, MANIFEST, describe_file, read_manifest
from img2loc.types import LatLon, PhotoRecord
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.layout import Layout
from index_builder.storage.rows import from_memory

BLOCK = 4096
ROWS, FACTORY = 4000, "OPQ64_256,IVF1,PQ64x4fs,Refine(SQfp16)"
PLACES = (LatLon(48.8584, 2.2945), LatLon(-41.3, 174.8), LatLon(0, 0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bits that are turned (default: 0)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth block (default: each)")
    chosen = parser.parse_args(arguments)
    table: Counter[tuple[str, str, str]] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        starter, codes, planet, other_planet = (Path(name) / made for made in ("starter", "codes", "planet", "other"))
        shutil.copytree(STARTER, starter)
        write_codes(codes)
        write_planet(planet, 0)
        write_planet(other_planet, 1)
        hurt = Path(name) / "hurt"
        for gallery, other in ((starter, codes), (codes, starter), (planet, other_planet)):
            expected = answer(gallery)
            shutil.copytree(gallery, hurt)
            for file, kind, data in damages(gallery, other, chosen.seed, chosen.every):
                (hurt / file).write_bytes(data)
                try:
                    came = "harmless" if answer(hurt) == expected else "ANOTHER ANSWER"
                except GalleryError:
                    came = "refused"
                except Exception as error:
                    came = f"{type(error).__name__}: {error}".upper()
                wrong += came not in ("harmless", "refused")
                table[f"{gallery.name}/{file}", kind, came] += 1
                (hurt / file).write_bytes((gallery / file).read_bytes())
            shutil.rmtree(hurt)
    for (file, kind, came), times in sorted(table.items()):
        print(f"{file:36}{kind:8}{times:7,}  {came}")
    print(f"{table.total():,} damages, {wrong} faults")
    return 1 if wrong else 0


def write_codes(folder: Path) -> None:
    """A gallery of made-up rows whose index is searched by short codes; of the starter's encoder."""
    rng = np.random.default_rng(0)
    starter = open_gallery(str(STARTER)).manifest
    centres = rng.normal(size=(50, starter.dim))
    vectors = (centres[rng.integers(50, size=ROWS)] + 0.5 * rng.normal(size=(ROWS, centres.shape[1]))).astype(
        np.float32
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = [LatLon(float(lat), float(lon)) for lat, lon in rng.uniform((-90, -180), (90, 180), (ROWS, 2))]
    rows = from_memory(vectors, places, [PhotoRecord(f"{row}.jpg") for row in range(ROWS)])
    layout = Layout.named(FACTORY, k_factor=64)
    write_gallery(Output(folder, Label("codes"), layout), rows, Networks(starter.encoder))


def write_planet(folder: Path, seed: int) -> None:
    """A gallery of made-up places that brings all that one may bring."""
    rng = np.random.default_rng(seed)
    encoder = open_gallery(str(STARTER)).manifest.encoder
    vectors = rng.normal(size=(50, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = [LatLon(float(lat), float(lon)) for lat, lon in rng.uniform((-90, -180), (90, 180), (50, 2))]
    shapes = {"0.b": (8, 2), "1.weight": (24, 16), "3.weight": (24, 24), "5.weight": (24, 24)}
    location = {f"LocEnc0.capsule.{name}": rng.normal(size=shape) for name, shape in shapes.items()}
    location |= {f"LocEnc0.capsule.{layer}.bias": rng.normal(size=24) for layer in (1, 3, 5)}
    location |= {"LocEnc0.head.0.weight": rng.normal(size=(64, 24)), "LocEnc0.head.0.bias": rng.normal(size=64)}
    tensors = {name: torch.from_numpy(values.astype(np.float32)) for name, values in location.items()}
    layer = {"0.weight": rng.normal(size=(64, 96)), "0.bias": rng.normal(size=64)}
    head = safetensors.torch.save({name: torch.from_numpy(values.astype(np.float32)) for name, values in layer.items()})
    networks = Networks(
        replace(encoder, head=f"sha256:{hashlib.sha256(head).hexdigest()}"),
        head=head,
        location=safetensors.torch.save({**tensors, LOGIT_SCALE: torch.tensor([3.0])}),
    )
    write_gallery(Output(folder, Label("planet")), from_memory(vectors, places), networks)
    manifest = read_manifest(folder)
    groups = (Group(0.1, 900.0 + seed, 50), Group(0.5, 30.0, 50))
    found = Calibration("own", "2026-11-26", manifest.identity, 0.9, {"vote": groups})
    (folder / CALIBRATION).write_bytes(TypeAdapter(Calibration).dump_json(found))
    files = {**manifest.files, CALIBRATION: describe_file(folder / CALIBRATION)}
    (folder / MANIFEST).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")


def answer(folder: Path) -> tuple[object, ...]:
    """What a gallery finds for three queries, and how sure it is."""
    gallery = open_gallery(str(folder))
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(3, gallery.manifest.dim)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    location = gallery.location
    fits = [location.fit(query, PLACES).tolist() for query in queries] if location else []
    return (*(gallery.search(query, 8, 8) for query in queries), gallery.calibration, *fits)


def damages(gallery: Path, other: Path, seed: int, every: int) -> Iterator[tuple[str, str, bytes]]:
    """Everything that is done to a gallery's files: the file, what is done, and its bytes then."""
    rng = random.Random(seed)
    for path in sorted(gallery.iterdir()):
        data = path.read_bytes()
        # The manifest has no checksum, so each of its bytes is a block.
        size = 1 if path.name == MANIFEST else BLOCK
        for at in range(0, len(data), size * every):
            bit = rng.randrange(8 * min(size, len(data) - at))
            turned = bytearray(data)
            turned[at + bit // 8] ^= 1 << bit % 8
            yield path.name, "bit", bytes(turned)
            yield path.name, "cut", data[:at]
        if (other / path.name).exists():
            yield path.name, "swapped", (other / path.name).read_bytes()


if __name__ == "__main__":
    sys.exit(main())

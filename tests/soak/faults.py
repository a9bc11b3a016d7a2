"""Damages galleries in every block of every file, and says whether each is refused in words or answers as before.

    python -m tests.soak.faults --seed 0

Two galleries: the starter, and one of short codes. In each block of each file one bit is turned; each file is cut at
each block, and put in the other gallery's place. Prints a table, and exits 1 where a damaged gallery answered anything
else, or failed in other words than our own.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from img2loc.errors import GalleryError
from img2loc.gallery import MANIFEST, STARTER, open_gallery
from img2loc.types import LatLon, PhotoRecord, Retrieval
from index_builder.index import Label, write_rows
from index_builder.layout import Layout
from index_builder.rows import from_memory

BLOCK = 4096
ROWS, FACTORY = 4000, "OPQ64_256,IVF1,PQ64x4fs,Refine(SQfp16)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bits that are turned (default: 0)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth block (default: each)")
    chosen = parser.parse_args(arguments)
    table: Counter[tuple[str, str, str]] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        whole = [Path(name) / "starter", Path(name) / "codes"]
        shutil.copytree(STARTER, whole[0])
        write_codes(whole[1])
        hurt = Path(name) / "hurt"
        for gallery, other in (whole, reversed(whole)):
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
        print(f"{file:28}{kind:8}{times:7,}  {came}")
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
    write_rows(folder, rows, encoder=starter.encoder, label=Label("codes"), layout=layout)


def answer(folder: Path) -> tuple[Retrieval, ...]:
    """What a gallery finds for three queries."""
    gallery = open_gallery(str(folder))
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(3, gallery.manifest.dim)).astype(np.float32)
    return tuple(gallery.search(query / np.linalg.norm(query), 8, 8) for query in queries)


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

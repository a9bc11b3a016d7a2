"""Ways to find the nearest and the farthest photos: recall, speed, memory and size, each in a process of its own.

    python benchmarks/retrieval.py --sizes 100000x768 1000000x768 --out retrieval.json

Latency is that of one photo, both directions together. Every candidate is measured at the least work that finds 99% of
the nearest and of the farthest 16; where none does, at the most. See embeddings.py for the vectors.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.candidates import CANDIDATES, Search
from benchmarks.drawing import curves
from benchmarks.embeddings import EmbeddingSet, Vectors, open_set
from img2loc.retrieval.index import processors
from index_builder.storage.layout import TARGET
from index_builder.storage.recall import RECALL_K

YARDSTICKS = ("flat32", "flat16")
CHOICE = "choice"
SEARCHES, SEARCHES_S = 60, 15.0  # a setting's latency: so many searches, or as many as this time allows
MEMORY_SEARCHES, MEMORY_S = 1000, 60.0
BATCH = 64
DRAWN_RECALL = 0.9
CLIENTS = (1, 2, 8, 32)


def main() -> None:
    """Measure, print a table for each size, write JSON and drawings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["100000x512", "100000x768", "1000000x768", "4720000x768"])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--queries", type=int, default=100, help="photos that recall is measured with")
    parser.add_argument("--folder", type=Path, help="where sets are kept from run to run (default: a temporary folder)")
    parser.add_argument(
        "--page-cache-gb", type=float, default=2.0, help="of the last measurement, where memory is short"
    )
    parser.add_argument("--out", type=Path, default=Path("retrieval.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"cpus": processors(), "machine": _processor(), "sizes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for size in arguments.sizes:
            rows, dim = (int(part) for part in size.split("x"))
            open_set(folder, rows, dim)
            measured = [_measure_candidate(key, folder, rows, dim, arguments) for key in arguments.candidates]
            result["sizes"][size] = [each for each in measured if each]
            _print(size, result["sizes"][size])
            arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _draw(result["sizes"], arguments.out)


def _draw(sizes: Mapping[str, Sequence[dict[str, Any]]], out: Path) -> None:
    """Draw recall against latency for each size, and latency against size."""
    for size, measured in sizes.items():
        lines = {each["name"]: _points(each["curve"]) for each in measured if _points(each["curve"])}
        drawing = curves(lines, title=f"{size}: recall@16 against latency", x="milliseconds", y="recall")
        out.with_name(f"{out.stem}-{size}.svg").write_text(drawing, encoding="utf-8")
    by_name: dict[str, list[tuple[float, float]]] = {}
    for size, measured in sizes.items():
        for each in measured if size.endswith("x768") else []:
            by_name.setdefault(CANDIDATES[each["key"]].name, []).append((int(size.split("x")[0]), each["p50_ms"]))
    drawing = curves(by_name, title="Latency against size", x="rows of 768 dimensions", y="milliseconds", log_y=True)
    out.with_name(f"{out.stem}-by-size.svg").write_text(drawing, encoding="utf-8")


def _points(curve: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Latency and the worse of both recalls, where that is worth drawing."""
    return [(p["p50_ms"], p["worse_recall"]) for p in curve if p["worse_recall"] >= DRAWN_RECALL]


def _measure_candidate(key: str, folder: Path, rows: int, dim: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build and measure one candidate; empty where the size is beyond it."""
    candidate = CANDIDATES[key]
    kept = min(rows, candidate.max_rows)
    if kept < rows and key not in YARDSTICKS:
        return {}
    files = folder / f"{key}-{rows}x{dim}"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    try:
        built_s = _in_process(_build, key, folder, rows, dim, files)
        limit = arguments.page_cache_gb if key == CHOICE else 0
        found = _in_process(_measure, key, folder, rows, dim, files, arguments.queries)
        if limit:
            found["short_of_memory"] = _in_process(
                _measure_short, key, folder, rows, dim, files, found["settings"], limit
            )
        size_bytes = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    except Exception as error:
        print(f"{candidate.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}
    finally:
        shutil.rmtree(files, ignore_errors=True)
    name = candidate.name if kept == rows else f"{candidate.name} ({kept:,} rows, times {rows / kept:.2f})"
    for point in [found, *found["curve"]]:
        point["p50_ms"] *= rows / kept
        point["p95_ms"] *= rows / kept
    found["batch_per_s"] *= kept / rows
    size_bytes *= rows / kept
    return {"key": key, "name": name, "why": candidate.why, "built_s": built_s, "file_gb": size_bytes / 1e9, **found}


def _in_process(function: Any, *arguments: Any) -> Any:  # noqa: ANN401
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _set(key: str, folder: Path, rows: int, dim: int) -> EmbeddingSet:
    whole = open_set(folder, rows, dim)
    kept = min(rows, CANDIDATES[key].max_rows)
    return EmbeddingSet(whole.vectors[:kept], whole.queries, whole.nearest, whole.farthest)


def _build(key: str, folder: Path, rows: int, dim: int, files: Path) -> float:
    start = time.perf_counter()
    CANDIDATES[key].build(_set(key, folder, rows, dim), files)
    return time.perf_counter() - start


def _measure(key: str, folder: Path, rows: int, dim: int, files: Path, count: int) -> dict[str, Any]:
    candidate, data = CANDIDATES[key], _set(key, folder, rows, dim)
    settings = candidate.settings(rows)
    queries = data.queries[:count]
    opened = {}
    for state in ("cold", "warm"):
        if state == "cold":
            _drop_from_page_cache(files)
        start = time.perf_counter()
        search = candidate.open(files)
        _both(search, queries[0], settings[0])
        opened[state] = time.perf_counter() - start
    curve = []
    for way in settings:
        found = search(np.concatenate([queries, -queries]), RECALL_K, way)
        recall = [_recall(found[:count], data.nearest), _recall(found[count:], data.farthest)]
        if len(data.vectors) < rows:
            recall = [1.0, 1.0]  # a yardstick on a part of the rows; it is exact
        curve.append({"settings": way, "nearest": recall[0], "farthest": recall[1], "worse_recall": min(recall)})
        curve[-1] |= _latency(search, data.queries, way)
    chosen = next((point for point in curve if point["worse_recall"] >= TARGET), None)
    chosen = chosen or max(curve, key=lambda point: point["worse_recall"])
    result = {**chosen, "curve": curve, "open_cold_s": opened["cold"], "open_warm_s": opened["warm"]}
    batch = np.resize(queries, (BATCH, dim))
    start = time.perf_counter()
    search(np.concatenate([batch, -batch]), RECALL_K, chosen["settings"])
    result["batch_per_s"] = BATCH / (time.perf_counter() - start)
    start, searches = time.perf_counter(), 0
    while searches < MEMORY_SEARCHES and time.perf_counter() - start < MEMORY_S:
        _both(search, data.queries[searches % len(data.queries)], chosen["settings"])
        searches += 1
    result |= {"searches": searches, "memory": _memory()}
    if key == CHOICE:
        result["clients"] = [_clients(search, data.queries, chosen["settings"], clients) for clients in CLIENTS]
        result["scan"] = _scan(files, data.queries)
    return result


def _both(search: Search, query: Vectors, settings: dict[str, int]) -> None:
    search(np.stack([query, -query]), RECALL_K, settings)


def _recall(found: Any, true: Any) -> float:  # noqa: ANN401
    return float(np.mean([len(set(f) & set(t)) / RECALL_K for f, t in zip(found, true, strict=False)]))


def _latency(search: Search, queries: Vectors, settings: dict[str, int]) -> dict[str, float]:
    seconds: list[float] = []
    for query in queries[:SEARCHES]:
        start = time.perf_counter()
        _both(search, query, settings)
        seconds.append(time.perf_counter() - start)
        if len(seconds) >= 5 and sum(seconds) > SEARCHES_S:
            break
    return {"p50_ms": 1e3 * float(np.median(seconds)), "p95_ms": 1e3 * float(np.percentile(seconds, 95))}


def _clients(search: Search, queries: Vectors, settings: dict[str, int], clients: int) -> dict[str, float]:
    """Several requests at once: how long each waits, and how many are answered in a second."""
    seconds: list[float] = []

    def ask(query: Vectors) -> None:
        start = time.perf_counter()
        _both(search, query, settings)
        seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, np.resize(queries, (max(64, 4 * clients), queries.shape[1]))))
    per_s = len(seconds) / (time.perf_counter() - start)
    return {
        "clients": clients,
        "p50_ms": 1e3 * float(np.median(seconds)),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
        "per_s": per_s,
    }


def _scan(files: Path, queries: Vectors) -> dict[str, float]:
    """The scan of the codes alone against reading them once from memory, on one thread and on two."""
    import faiss  # noqa: PLC0415

    index: Any = faiss.read_index(str(files / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
    base: Any = faiss.downcast_index(index.base_index)  # rotates, and scans
    codes = faiss.downcast_index(base.index)
    words = np.zeros(codes.ntotal * codes.M2 // 2 // 8, np.uint64) + 1  # as many bytes, touched

    def best(work: Any) -> float:  # noqa: ANN401
        times = []
        for _ in range(20):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return 1e3 * float(np.median(times))

    both = np.stack([queries[0], -queries[0]])
    scan = {"codes_mb": words.nbytes / 1e6, "read_ms": best(lambda: np.bitwise_or.reduce(words))}
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        scan[f"one_query_{threads}_threads_ms"] = best(lambda: base.search(both[:1], RECALL_K))
        scan[f"both_{threads}_threads_ms"] = best(lambda: base.search(both, RECALL_K))
    return scan


def _measure_short(
    key: str, folder: Path, rows: int, dim: int, files: Path, settings: dict[str, int], page_cache_gb: float
) -> dict[str, Any]:
    """Latency where little memory is left for the page cache: in a control group, and from a cold start."""
    data = _set(key, folder, rows, dim)
    search = CANDIDATES[key].open(files)
    _both(search, data.queries[0], settings)
    limit = _memory()["anonymous_mb"] * 1e6 + page_cache_gb * 1e9
    group = Path("/sys/fs/cgroup/memory/img2loc-benchmark")
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(int(limit)))
        (group / "tasks").write_text(str(os.getpid()))
    except OSError as error:
        return {"not_measured": f"no control group can be made here: {error}"}
    del search
    _drop_from_page_cache(files)
    search = CANDIDATES[key].open(files)
    for query in data.queries[-100:]:
        _both(search, query, settings)
    return {"page_cache_gb": page_cache_gb, **_latency(search, data.queries, settings), "memory": _memory()}


def _drop_from_page_cache(files: Path) -> None:
    for path in files.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _memory() -> dict[str, float]:
    """Resident memory of this process: its own, and that of mapped files, which the system can take back."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {
        "anonymous_mb": int(lines["RssAnon"].split()[0]) / 1e3,
        "mapped_mb": int(lines["RssFile"].split()[0]) / 1e3,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


COLUMNS = {  # heading: width, digits, value
    "nearest": (8, 3, lambda each: each["nearest"]),
    "farthest": (9, 3, lambda each: each["farthest"]),
    "p50 ms": (9, 1, lambda each: each["p50_ms"]),
    "p95 ms": (9, 1, lambda each: each["p95_ms"]),
    "batch/s": (8, 1, lambda each: each["batch_per_s"]),
    "file GB": (8, 2, lambda each: each["file_gb"]),
    "anon MB": (8, 0, lambda each: each["memory"]["anonymous_mb"]),
    "cold s": (7, 2, lambda each: each["open_cold_s"]),
    "warm s": (7, 2, lambda each: each["open_warm_s"]),
    "built s": (8, 0, lambda each: each["built_s"]),
}


def _print(size: str, measured: list[dict[str, Any]]) -> None:
    yardsticks = {each["key"]: each["p50_ms"] for each in measured if each["key"] in YARDSTICKS}
    ratios = "".join(f"{'/' + key:>8}" for key in yardsticks)
    print(f"\n{size:46}" + "".join(f"{name:>{width}}" for name, (width, _, _) in COLUMNS.items()) + ratios)
    for each in measured:
        values = "".join(f"{value(each):>{width}.{digits}f}" for width, digits, value in COLUMNS.values())
        times = "".join(f"{yardstick / each['p50_ms']:>8.1f}" for yardstick in yardsticks.values())
        print(f"{each['name'][:45]:46}{values}{times}")
    for each in measured:
        if "clients" in each:
            print(f"{each['name']}, searched with {each['settings']}:")
            for line in [*each["clients"], each["scan"], each.get("short_of_memory", {})]:
                print("  " + ", ".join(f"{key} {_short(value)}" for key, value in line.items()), flush=True)


def _short(value: Any) -> str:  # noqa: ANN401
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

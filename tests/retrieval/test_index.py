"""Searching: threads by the machine and by who else searches, memory maps, and among some rows."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from img2loc.retrieval import index as search
from img2loc.retrieval.index import RowFilter, Searcher, open_index
from tests.retrieval.test_gallery import unit

SETTINGS = {"k_factor": 64}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An index of codes that are refined by the vectors themselves, as large galleries have."""
    vectors = unit(4000, 32)
    index = faiss.index_factory(32, "RR32,PQ8x4fs,Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    path = tmp_path_factory.mktemp("search") / "index.faiss"
    faiss.write_index(index, str(path))
    return path, vectors


class Slow:
    """Stands for an index whose searches take time: it notes how many run at once, and on how many threads."""

    d, ntotal = 8, 100

    def __init__(self, seconds_by_threads: dict[int, float]) -> None:
        self.seconds = seconds_by_threads
        self.now, self.seen, self.lock = 0, [], threading.Lock()
        self.go = threading.Event()
        self.go.set()

    def search(self, queries, k, params=None):
        threads = faiss.omp_get_max_threads()
        with self.lock:
            self.now += 1
            self.seen.append((threads, self.now))
        time.sleep(self.seconds[threads])
        self.go.wait(30)
        with self.lock:
            self.now -= 1
        return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)


@pytest.mark.parametrize("fast", [1, 2])
def test_it_searches_on_as_many_threads_as_were_fastest_when_opened(monkeypatch, fast):
    monkeypatch.setattr(search, "processors", lambda: 2)
    index = Slow({fast: 0.001, 3 - fast: 0.02})
    searcher = Searcher(index, {})
    assert searcher.threads_alone == fast
    index.seen.clear()
    before = faiss.omp_get_max_threads()
    searcher.search(np.zeros((2, 8), np.float32), 3)
    assert index.seen == [(fast, 1)]
    assert faiss.omp_get_max_threads() == before


def test_a_slow_index_is_not_tried_again_and_again(monkeypatch):
    monkeypatch.setattr(search, "processors", lambda: 2)
    index = Slow({1: 0.2, 2: 0.2})
    Searcher(index, {})
    assert len(index.seen) == 2


def test_searches_at_once_take_a_thread_each_and_wait_for_a_processor(monkeypatch):
    monkeypatch.setattr(search, "processors", lambda: 2)
    index = Slow({1: 0.02, 2: 0.005})
    searcher = Searcher(index, {})
    index.seen.clear()
    index.go.clear()
    with ThreadPoolExecutor(3) as pool:
        for count in (1, 2):
            pool.submit(searcher.search, np.zeros((2, 8), np.float32), 3)
            while len(index.seen) < count:
                time.sleep(0.001)
        third = pool.submit(searcher.search, np.zeros((2, 8), np.float32), 3)
        time.sleep(0.1)
        assert index.seen == [(2, 1), (1, 2)] and not third.done()
        index.go.set()
    assert len(index.seen) == 3 and index.seen[2][1] <= 2


def test_a_failed_search_leaves_its_place_to_the_next(stored):
    path, vectors = stored
    with path.open("rb") as file:
        searcher = Searcher(open_index(file), SETTINGS)
    for _ in range(search.processors() + 1):
        with pytest.raises(AssertionError):
            searcher.search(vectors[:2, :7], 3)
    assert searcher.search(vectors[:2], 1)[1].ravel().tolist() == [0, 1]


def test_opening_copies_no_vectors(stored):
    with stored[0].open("rb") as file:
        index = open_index(file)
    assert not faiss.downcast_index(index.refine_index).codes.is_owned


def test_python_goes_on_while_an_index_is_searched():
    """FAISS lets go of Python's lock: an event loop in another thread would not notice."""
    vectors = unit(100_000, 64)
    index = faiss.index_factory(64, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    searcher = Searcher(index, {})
    queries = unit(200, 64, seed=1)
    thread = threading.Thread(target=searcher.search, args=(queries, 16))
    steps = 0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        steps += 1
    assert steps > 10


def held_exact(queries, vectors, held, k):
    """The rows that count, by brute force."""
    rows = np.flatnonzero(held)
    order = np.argsort(-(queries @ vectors[rows].T), axis=1, kind="stable")[:, :k]
    return rows[order]


FACTORIES = {
    "SQfp16": {},
    "Flat": {},
    "RR32,IVF1,PQ8x4fs,Refine(SQfp16)": {"k_factor": 512, "nprobe": 1},
    "RR32,PQ8x4fs,Refine(SQfp16)": {"k_factor": 512},  # FAISS can leave nothing out of this one
    "IVF16,PQ8x4fs,Refine(Flat)": {"k_factor": 512, "nprobe": 16},
}


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_search_among_some_rows_finds_what_comparing_them_all_finds(factory, monkeypatch):
    monkeypatch.setattr(search, "EXACT_BLOCK_ROWS", 100)
    vectors = unit(3000, 32)
    index = faiss.index_factory(32, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    searcher = Searcher(index, FACTORIES[factory])
    held = np.arange(3000) % 7 == 3
    queries = np.concatenate([vectors[:3], -vectors[:3]])
    _, rows = searcher.search(queries, 16, RowFilter(held))
    exact = held_exact(queries, vectors, held, 16)
    assert held[rows].all()
    assert np.mean([len(set(a) & set(b)) / 16 for a, b in zip(rows, exact, strict=True)]) > 0.99
    similarities, rows = searcher.search(queries, 16, RowFilter(np.arange(3000) < 5))
    assert (rows[:, :5] < 5).all() and (rows[:, 5:] == -1).all() and (np.diff(similarities[:, :5]) <= 0).all()
    assert (searcher.search(queries, 16, RowFilter(np.zeros(3000, bool)))[1] == -1).all()

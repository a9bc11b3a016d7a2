"""Vectors on a GPU: torch's products are the same on a CPU, which stands in for one here."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest
import torch

from img2loc.locator import Locator
from img2loc.retrieval import gpu
from img2loc.retrieval.gpu import GpuVectors
from img2loc.retrieval.index import RowFilter, Searcher
from tests.retrieval.test_gallery import unit

COUNT, DIM, K = 4001, 32, 16
SETTINGS = {"k_factor": 64}


@pytest.fixture(scope="module")
def vectors():
    return unit(COUNT, DIM)


@pytest.fixture(scope="module")
def index(vectors):
    """Codes that are refined by the vectors themselves, as large galleries have."""
    index = faiss.index_factory(DIM, "RR32,PQ8x4fs,Refine(SQfp16)", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


@pytest.fixture
def a_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "_gpu", lambda device: torch.device("cpu"))
    monkeypatch.setattr(gpu, "_free_bytes", lambda device: 24 << 30)


def exact(queries, vectors, held):
    """By brute force in single precision, of the vectors as they are kept."""
    similarities = queries @ vectors.astype(np.float16).astype(np.float32).T
    similarities[:, ~held] = -np.inf
    rows = np.argsort(-similarities, axis=1, kind="stable")[:, :K]
    return np.take_along_axis(similarities, rows, axis=1), rows


def as_flat(vectors, factory="SQfp16"):
    flat = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    flat.train(vectors)
    flat.add(vectors)
    return flat


@pytest.mark.parametrize("factory", ["SQfp16", "Flat"])
def test_it_finds_what_brute_force_finds(vectors, factory, monkeypatch):
    monkeypatch.setattr(gpu, "BLOCK_ROWS", 1500)  # brought there in three pieces, the last a short one
    queries = np.concatenate([vectors[:20], -vectors[:20]])
    similarities, rows = GpuVectors(as_flat(vectors, factory), torch.device("cpu")).search(queries, K)
    expected, true = exact(queries, vectors, np.ones(COUNT, bool))
    assert (rows == true).all() and (rows.dtype, similarities.dtype) == (np.int64, np.float32)
    assert similarities == pytest.approx(expected, abs=1e-6)


def test_what_half_precision_mixes_up_is_put_in_order():
    """A narrow cone: many products differ by less than half precision can tell."""
    near = np.float32(0.95) * unit(1, DIM) + np.float32(0.3) * unit(COUNT, DIM)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    queries = near[:30]
    stored = near.astype(np.float16).astype(np.float32)
    rounded = (queries.astype(np.float16).astype(np.float32) @ stored.T).astype(np.float16)
    expected, true = exact(queries, near, np.ones(COUNT, bool))
    assert (np.argsort(-rounded, axis=1, kind="stable")[:, :K] != true).mean() > 0.1  # by them alone
    similarities, rows = GpuVectors(as_flat(near), torch.device("cpu")).search(queries, K)
    assert similarities == pytest.approx(expected, abs=1e-6)
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(rows, true, strict=True)]) > 0.99


@pytest.mark.parametrize("held", [np.arange(COUNT) % 7 == 3, np.arange(COUNT) < 5, np.zeros(COUNT, bool)])
def test_among_some_rows_it_finds_these_and_no_more(vectors, held):
    queries = np.concatenate([vectors[:3], -vectors[:3]])
    similarities, rows = GpuVectors(as_flat(vectors), torch.device("cpu")).search(queries, K, RowFilter(held).bits)
    expected, true = exact(queries, vectors, held)
    there = np.isfinite(expected)
    assert (rows[there] == true[there]).all() and (rows[~there] == -1).all()
    assert similarities[there] == pytest.approx(expected[there], abs=1e-6)


def test_all_that_there_are_can_be_asked_for(vectors):
    _, rows = GpuVectors(as_flat(vectors[:40]), torch.device("cpu")).search(vectors[:2], 40)
    assert (np.sort(rows, axis=1) == np.arange(40)).all()


def test_with_a_gpu_the_vectors_are_searched_there(index, vectors, a_gpu, caplog):
    searcher = Searcher(index, {"k_factor": 1})  # by codes it finds few
    queries = np.concatenate([vectors[:9], -vectors[:9]])
    true = exact(queries, vectors, np.ones(COUNT, bool))[1]
    assert (searcher.search(queries, K)[1] != true).any()
    with caplog.at_level(logging.INFO, "img2loc.retrieval.gpu"):
        searcher.use_gpu("auto")
    assert "4,001 vectors are on the GPU" in caplog.text
    assert (searcher.search(queries, K)[1] == true).all()
    held = np.arange(COUNT) % 3 == 0
    assert (searcher.search(queries, K, RowFilter(held))[1] == exact(queries, vectors, held)[1]).all()


def test_a_gallery_too_large_for_the_gpu_stays_on_the_cpu_and_says_so(index, vectors, a_gpu, monkeypatch, caplog):
    monkeypatch.setattr(gpu, "_free_bytes", lambda device: 1 << 30)
    searcher = Searcher(index, SETTINGS)
    with caplog.at_level(logging.INFO, "img2loc.retrieval.gpu"):
        searcher.use_gpu("cuda")
    assert "the CPU searches it" in caplog.text
    assert searcher.search(vectors[:2], 1)[1].ravel().tolist() == [0, 1]


def test_a_gpu_that_was_filled_since_leaves_the_search_to_the_cpu(index, vectors, a_gpu, monkeypatch, caplog):
    searcher = Searcher(index, SETTINGS)
    searcher.use_gpu("auto")

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.00 MiB.")

    monkeypatch.setattr(GpuVectors, "search", full)
    assert searcher.search(vectors[:2], 1)[1].ravel().tolist() == [0, 1]
    assert "(CUDA out of memory); the CPU does" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_on_a_device_that_was_chosen_instead_no_gpu_is_used(index, vectors, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "_free_bytes", lambda gpu: pytest.fail("a GPU was looked at"))
    searcher = Searcher(index, SETTINGS)
    searcher.use_gpu(device)
    assert searcher.search(vectors[:2], 1)[1].ravel().tolist() == [0, 1]


def test_codes_alone_stay_on_the_cpu(vectors, a_gpu, monkeypatch):
    monkeypatch.setattr(gpu, "put_on_gpu", lambda *_: pytest.fail("they were taken for vectors"))
    searcher = Searcher(as_flat(vectors, "PQ8x4fs"), {})
    searcher.use_gpu("auto")
    searcher.search(unit(2, DIM), 3)


def test_the_app_puts_its_gallery_where_its_settings_say(a_gpu, caplog):
    with caplog.at_level(logging.INFO, "img2loc.retrieval.gpu"):
        Locator.open(device="cpu")
        assert not caplog.text
        Locator.open()
    assert "The gallery's 260 vectors are on the GPU" in caplog.text

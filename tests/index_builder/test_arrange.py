"""The order of an index's codes: what is found stays the same; what lies side by side on Earth does in the index."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from img2loc.retrieval.index import RowFilter, search_parameters
from index_builder.storage.arrange import arrange_by_place, z_order
from index_builder.storage.layout import Layout, make_index
from index_builder.storage.rows import from_memory
from tests.index_builder.test_index import clustered, places

DIM = 48
ONE_CELL, CELLS = "OPQ12_48,IVF1,PQ12x4fs,Refine(SQfp16)", "OPQ12_48,IVF7,PQ12x4fs,Refine(SQfp16)"


def as_filled(vectors: np.ndarray, factory: str) -> faiss.Index:
    index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def rows_of(index: faiss.Index, cell: int) -> np.ndarray:
    lists = faiss.try_extract_index_ivf(index).invlists
    return np.array(faiss.rev_swig_ptr(lists.get_ids(cell), lists.list_size(cell)))


@pytest.mark.parametrize(
    "factory",
    [
        "RR48,IVF1,PQ12x4fs,Refine(SQfp16)",
        "RR48,IVF7,PQ12x4fs,Refine(SQfp16)",
        "IVF3,PQ12x4fs,Refine(SQfp16)",
        "IVF3,SQfp16",
        "PQ12x4fs",
        "SQfp16",
    ],
)
@pytest.mark.parametrize("count", [3001, 3008])  # a last block with one row in it, and a full one
def test_what_is_found_stays_the_same(factory, count):
    vectors = clustered(count, DIM)
    degrees = np.array([(place.lat, place.lon) for place in places(count)], np.float32)
    index = as_filled(vectors, factory)
    way = {"nprobe": 2, "k_factor": 64}  # so many that no tie at the edge of the candidates counts
    half = RowFilter(degrees[:, 0] > 0)
    can = "IVF" in factory

    def found(index: faiss.Index) -> list[np.ndarray]:
        ways = [search_parameters(index, way), *([search_parameters(index, way, half.selector)] if can else [])]
        return [part for each in ways for part in index.search(vectors[:50], 5, params=each)]

    before = found(index)
    arrange_by_place(index, degrees)
    for old, new in zip(before, found(index), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize("factory", [ONE_CELL, CELLS])
def test_the_rows_of_each_cell_lie_along_the_curve_and_survive_the_disk(factory, tmp_path):
    vectors, positions = clustered(5000, DIM), places(5000)
    made = make_index(from_memory(vectors, positions, []), Layout(factory, {}))
    along = z_order(np.array([(place.lat, place.lon) for place in positions]))
    faiss.write_index(made, str(tmp_path / "i"))
    index = faiss.read_index(str(tmp_path / "i"), faiss.IO_FLAG_MMAP_IFC)
    cells = [rows_of(index, cell) for cell in range(Layout(factory, {}).cells)]
    assert all((np.diff(along[rows].astype(np.int64)) >= 0).all() for rows in cells)
    assert sorted(np.concatenate(cells).tolist()) == list(range(5000))


def test_the_same_rows_give_the_same_bytes():
    rows = from_memory(clustered(3000, DIM), [place for place in places(10) for _ in range(300)], [])
    once, again = (faiss.serialize_index(make_index(rows, Layout(CELLS, {}))) for _ in range(2))
    assert np.array_equal(once, again)


def test_neighbours_on_the_map_are_neighbours_on_the_curve():
    paris, near, sydney = z_order(np.array([(48.86, 2.35), (48.87, 2.36), (-33.9, 151.2)])).astype(np.int64)
    assert abs(paris - near) < abs(paris - sydney) / 1000
    corners = np.array([(-90, -180), (-90, 180), (90, -180), (90, 180)])
    assert z_order(corners).tolist() == [0, 0x55555555, 0xAAAAAAAA, 0xFFFFFFFF]

"""The gallery: searched right by NumPy's measure, shared by threads, and refused when torn."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from img2loc.errors import GalleryError, GalleryMismatchError
from img2loc.retrieval.encoders import EncoderSpec
from img2loc.retrieval.gallery import STARTER, first_off_earth, open_gallery
from img2loc.retrieval.manifest import INDEX, MANIFEST, POSITIONS, RECORDS, Manifest, describe_file
from img2loc.types import LatLon, PhotoRecord
from index_builder.stages.index import Label, Networks, Output, write_gallery
from index_builder.storage.rows import from_memory

SPEC = EncoderSpec("transformers", "tiny", "sha256:0", "none")


def write(folder, embeddings, *, may_replace=False):
    rng = np.random.default_rng(1)
    positions = [
        LatLon(float(a), float(b))
        for a, b in zip(rng.uniform(-90, 90, len(embeddings)), rng.uniform(-180, 180, len(embeddings)), strict=True)
    ]
    photos = [
        PhotoRecord(f"photo {row}", "someone", f"https://example.org/{row}", "CC0") for row in range(len(embeddings))
    ]
    output = Output(folder, Label("test", source="made here", licence="CC0"), may_replace=may_replace)
    return write_gallery(output, from_memory(embeddings, positions, photos), Networks(SPEC))


def unit(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def head_of(inputs: int, outputs: int) -> bytes:
    """The file of a head of one layer."""
    return safetensors.torch.save({"0.weight": torch.ones(outputs, inputs), "0.bias": torch.zeros(outputs)})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    embeddings = unit(5000, 48)
    write(folder, embeddings)
    return open_gallery(str(folder)), embeddings


@pytest.mark.parametrize(("nearest", "farthest"), [(16, 16), (1, 50), (10, 0), (0, 10), (0, 0)])
def test_search_agrees_with_brute_force(made, nearest, farthest):
    gallery, embeddings = made
    for query in unit(20, 48, seed=2):
        found = gallery.search(query, nearest, farthest)
        exact = embeddings @ query
        falling = np.sort(exact)[::-1]
        # By similarity, not by row: half precision may swap rows that are equally near.
        assert [n.similarity for n in found.nearest] == pytest.approx(falling[:nearest].tolist(), abs=2e-3)
        assert [n.similarity for n in found.farthest] == pytest.approx(falling[::-1][:farthest].tolist(), abs=2e-3)
        for neighbour in (*found.nearest, *found.farthest):
            assert neighbour.similarity == pytest.approx(exact[neighbour.row], abs=2e-3)


def test_neighbours_carry_their_own_position_and_record(made):
    gallery, embeddings = made
    positions = np.load(gallery.folder / POSITIONS)
    # Rows on both sides of a border between the groups that records are stored in.
    for row in (0, 4095, 4096, 4999):
        best = gallery.search(embeddings[row], 1, 0).nearest[0]
        assert best.row == row
        assert (best.position.lat, best.position.lon) == pytest.approx(positions[row].tolist(), abs=1e-5)
        assert best.photo == PhotoRecord(f"photo {row}", "someone", f"https://example.org/{row}", "CC0")


def test_many_threads_search_at_once(made):
    gallery, _ = made
    queries = unit(32, 48, seed=3)
    expected = [gallery.search(query, 5, 5) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: gallery.search(query, 5, 5), queries)) == expected


def test_more_than_there_is_gives_all(tmp_path):
    write(tmp_path, unit(1, 8))
    found = open_gallery(str(tmp_path)).search(unit(1, 8)[0], 16, 16)
    assert len(found.nearest) == len(found.farthest) == 1
    assert found.nearest[0].similarity == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("query", "counts", "words"),
    [
        (unit(1, 47)[0], (1, 1), "takes"),
        (unit(1, 48), (1, 1), "takes"),
        (unit(1, 48)[0] * 2, (1, 1), "unit length"),
        (np.full(48, np.nan, np.float32), (1, 1), "unit length"),
        (np.zeros(48, np.float32), (1, 1), "unit length"),
        (unit(1, 48)[0], (-1, 1), "0 or more"),
        (unit(1, 48)[0], (1, -1), "0 or more"),
    ],
)
def test_a_query_that_makes_no_sense_gets_words(made, query, counts, words):
    with pytest.raises(GalleryError, match=words):
        made[0].search(query, *counts)


@pytest.fixture
def copied(tmp_path):
    folder = tmp_path / "starter"
    shutil.copytree(STARTER, folder)
    return folder


def edit_manifest(folder, **changes):
    values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(values | changes), encoding="utf-8")


def spoil(folder, case):
    index = folder / INDEX
    if case == "no manifest":
        (folder / MANIFEST).unlink()
    elif case == "a torn manifest":
        (folder / MANIFEST).write_text('{"name": "st', encoding="utf-8")
    elif case == "a missing file":
        (folder / POSITIONS).unlink()
    elif case == "a file cut short":
        index.write_bytes(index.read_bytes()[:-100])
    elif case == "a flipped bit":
        data = bytearray(index.read_bytes())
        data[1000] ^= 1
        index.write_bytes(data)
    elif case == "another schema":
        edit_manifest(folder, schema_version=99)
    elif case == "another count":
        edit_manifest(folder, count=259)
    elif case == "another dimension":
        edit_manifest(folder, dim=1024)
    elif case == "a file outside":
        edit_manifest(folder, files={"../../secret": {"sha256": "", "bytes": 1}})


def reseal(folder):
    """Write a gallery's manifest anew, so that it describes the files as they are now."""
    files = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    edit_manifest(folder, files={path.name: asdict(describe_file(path)) for path in files})


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no manifest", "has no manifest.json"),
        ("a torn manifest", "can't be read"),
        ("a missing file", "has no positions.npy"),
        ("a file cut short", "is not the one"),
        ("a flipped bit", "is not the one"),
        ("another schema", "schema version 99"),
        ("another count", "contradict"),
        ("another dimension", "contradict"),
        ("a file outside", "lists"),
    ],
)
def test_a_torn_gallery_is_refused_with_words(copied, case, words):
    assert open_gallery(str(copied)).manifest.count == 260
    spoil(copied, case)
    with pytest.raises(GalleryError, match=words):
        open_gallery(str(copied))


def test_a_schema_version_that_is_no_number_is_told_from_the_number(copied):
    edit_manifest(copied, schema_version="1")
    with pytest.raises(GalleryError, match="it has schema version '1', and this program reads 1"):
        open_gallery(str(copied))


def test_another_encoder_is_refused_with_words(starter, mobilenet):
    with pytest.raises(GalleryMismatchError, match="kind 'lite0' there, 'transformers' here"):
        starter.gallery.check_encoder(mobilenet)


def test_the_starter_names_everyone_whose_photo_it_holds(starter):
    found = starter.gallery.search(unit(1, 1280)[0], 260, 0)
    assert len(found.nearest) == 260
    assert all(
        n.photo.author and n.photo.licence and n.photo.url.startswith("https://github.com/") for n in found.nearest
    )


def test_a_manifest_survives_its_json():
    manifest = Manifest.from_json((STARTER / MANIFEST).read_text(encoding="utf-8"))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.recall == {"nearest": 1.0, "farthest": 1.0}


@pytest.mark.parametrize("degrees", [(np.nan, 0), (0, -np.inf), (90.001, 0), (-91, 0), (0, 180.01), (10, 359)])
def test_a_position_off_earth_is_refused_by_its_first_row(tmp_path, degrees):
    write(tmp_path / "g", unit(200, 8))
    positions = np.load(tmp_path / "g" / POSITIONS)
    positions[[77, 150]] = degrees
    np.save(tmp_path / "g" / POSITIONS, positions)
    reseal(tmp_path / "g")
    with pytest.raises(GalleryError, match=r"Row 77 of the gallery in .* is not on Earth: latitude .*, longitude "):
        open_gallery(str(tmp_path / "g"))


def test_positions_at_the_poles_and_the_antimeridian_are_on_earth(tmp_path):
    edges = np.array([(90, 180), (-90, -180), (0, 0), (90, -180)], np.float32)
    assert first_off_earth(edges) is None
    many = np.concatenate([np.zeros((200_000, 2), np.float32), np.full((5, 2), 91, np.float32)])
    assert first_off_earth(many) == 200_000


def test_records_without_a_value_are_unknown(copied):
    rows = pq.read_table(copied / RECORDS).to_pylist()
    rows[0] = dict.fromkeys(rows[0])
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(copied / RECORDS)), copied / RECORDS)
    reseal(copied)
    assert open_gallery(str(copied)).records([0, 1])[0] == PhotoRecord("", "", "", "")


def test_records_in_groups_of_unequal_size_are_refused(copied):
    table = pq.read_table(copied / RECORDS)
    with pq.ParquetWriter(copied / RECORDS, table.schema) as writer:
        for start, count in ((0, 100), (100, 7), (107, 153)):
            writer.write_table(table.slice(start, count))
    reseal(copied)
    with pytest.raises(GalleryError, match="not of equal size"):
        open_gallery(str(copied))

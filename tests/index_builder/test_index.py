"""The index stage and what follows it: kinds of index, recall against exact search, merging, verifying."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from img2loc.errors import ConfigError, GalleryError, GalleryMismatchError
from img2loc.retrieval.encoders import EncoderSpec
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.manifest import INDEX, POSITIONS, RECORDS
from img2loc.types import LatLon, PhotoRecord
from index_builder.__main__ import main
from index_builder.stages.index import Label, Networks, Output, bfloat16_keeps_neighbours, write_gallery
from index_builder.stages.listing import Listing
from index_builder.stages.merge import merge_galleries
from index_builder.stages.verify import verify_gallery
from index_builder.storage.folders import check_gallery_folder
from index_builder.storage.layout import K_FACTORS, PROBED_SHARES, Layout, make_index, tune
from index_builder.storage.recall import RECALL_K, exact_neighbours, measure_recall
from index_builder.storage.rows import from_memory, regroup, take
from tests.conftest import PHOTOS
from tests.index_builder.test_listing import write_table
from tests.retrieval.test_gallery import SPEC, head_of, reseal, unit


def places(count: int, seed: int = 0) -> list[LatLon]:
    rng = np.random.default_rng(seed)
    return [LatLon(float(lat), float(lon)) for lat, lon in rng.uniform((-90, -180), (90, 180), (count, 2))]


def records(count: int, start: int = 0) -> list[PhotoRecord]:
    return [PhotoRecord(f"{row}.jpg", f"author {row % 7}") for row in range(start, start + count)]


def clustered(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Unit vectors about fifty centres, as embeddings of photos are; pure noise would have no neighbours to find."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(50, dim))
    vectors = (centres[rng.integers(50, size=rows)] + 0.6 * rng.normal(size=(rows, dim))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("count", "dim", "factory", "search"),
    [
        (260, 768, "SQfp16", {}),
        (49_999, 768, "SQfp16", {}),
        (50_000, 768, "OPQ128_512,IVF1,PQ128x4fs,Refine(SQfp16)", {}),
        (4_720_000, 512, "OPQ84_336,IVF1,PQ84x4fs,Refine(SQfp16)", {}),
        (4_720_000, 1280, "OPQ212_848,IVF1,PQ212x4fs,Refine(SQfp16)", {}),
        (4_720_000, 577, "OPQ96_384,IVF1,PQ96x4fs,Refine(SQfp16)", {}),
        (4_720_000, 16, "SQfp16", {}),
        (100_000_000, 768, "OPQ128_512,IVF32768,PQ128x4fs,Refine(SQfp16)", {}),
    ],
)
def test_the_kind_of_index_suits_the_size(count, dim, factory, search):
    assert Layout.choose(count, dim) == Layout(factory, search)


@pytest.mark.parametrize(
    "factory",
    [
        "PQ12x4fs,Refine(SQfp16)",
        "OPQ12,PQ12x4fs,Refine(SQfp16)",
        "OPQ12,IVF32,PQ12x4fs,Refine(SQfp16)",
        "IVF32,PQ12x4fs,Refine(SQfp16)",
        "IVF32,SQfp16",
        "Flat",
    ],
)
def test_approximate_kinds_are_searched_as_their_recall_was_measured(tmp_path, factory):
    embeddings = clustered(6000, 48)
    layout = Layout.named(factory, k_factor=64, nprobe=32)
    rows = from_memory(embeddings, places(6000), records(6000))
    manifest = write_gallery(Output(tmp_path / "g", Label("g"), layout), rows, Networks(SPEC))
    assert manifest.search == layout.search and manifest.factory == factory
    assert manifest.recall["nearest"] >= 0.97 and manifest.recall["farthest"] >= 0.97
    gallery = open_gallery(str(tmp_path / "g"))
    assert gallery.manifest == manifest
    hits = 0
    for query in clustered(40, 48, seed=0)[:40]:
        found = gallery.search(query, 16, 16)
        exact = np.argsort(-(embeddings @ query))
        hits += len({n.row for n in found.nearest} & set(exact[:16].tolist()))
        hits += len({n.row for n in found.farthest} & set(exact[-16:].tolist()))
    assert hits >= 0.95 * 40 * 32


def test_what_is_not_given_is_found_by_measuring(tmp_path):
    """The least work that finds 99% of the nearest and of the farthest, which less work does not."""
    embeddings = clustered(6000, 48)
    rows = from_memory(embeddings, places(6000))
    layout = Layout.named("OPQ12,PQ12x4fs,Refine(SQfp16)")
    assert layout.search == {}
    manifest = write_gallery(Output(tmp_path / "g", Label("g"), layout), rows, Networks(SPEC))
    assert min(manifest.recall.values()) > 0.99
    assert manifest.search in layout.ways_to_search()[1:]
    cheaper = layout.ways_to_search()[layout.ways_to_search().index(manifest.search) - 1]
    less = write_gallery(Output(tmp_path / "l", Label("l"), Layout(layout.factory, cheaper)), rows, Networks(SPEC))
    assert less.search == cheaper and min(less.recall.values()) < min(manifest.recall.values())


def test_only_what_is_not_given_is_searched_for():
    given = Layout.named("IVF64,PQ12x4fs,Refine(SQfp16)", k_factor=7)
    assert {way["k_factor"] for way in given.ways_to_search()} == {7} and len(given.ways_to_search()) == len(
        PROBED_SHARES
    )
    both = Layout.named("OPQ12,IVF64,PQ12x4fs,Refine(SQfp16)").ways_to_search()
    assert len(both) == len(K_FACTORS) * len(PROBED_SHARES) and both[0] == {"nprobe": 4, "k_factor": K_FACTORS[0]}
    assert Layout.named("Flat", k_factor=7, nprobe=3) == Layout("Flat", {})
    assert Layout("Flat", {}).ways_to_search() == [{}]


def test_where_no_setting_finds_enough_the_best_is_kept(tmp_path):
    rows = from_memory(unit(3000, 48), places(3000), [])  # noise: two bits a code can't tell it apart
    layout = Layout.named("PQ2x4fs,Refine(SQfp16)", k_factor=1)
    assert write_gallery(Output(tmp_path / "g", Label("g"), layout), rows, Networks(SPEC)).recall["nearest"] < 0.5


def test_the_rotation_gives_every_code_the_same_share_of_the_variance():
    """And lets fewer candidates do: the axes' variances here differ by a factor of a thousand."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(48, 48)))[0]
    spread = np.geomspace(1, 1e-3, 48) ** 0.5
    vectors = ((rng.normal(size=(6000, 48)) * spread) @ axes + axes[0]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = from_memory(vectors, places(6000))
    recalls = []
    for factory in ("PQ12x4fs", "OPQ12,PQ12x4fs"):
        layout = Layout.named(f"{factory},Refine(SQfp16)", k_factor=2)
        index = make_index(rows, layout)
        recalls.append(tune(index, rows, layout)[1]["nearest"])
    assert recalls[1] > recalls[0] + 0.1
    rotation = faiss.downcast_VectorTransform(faiss.downcast_index(index.base_index).chain.at(0))
    matrix = faiss.vector_to_array(rotation.A).reshape(48, 48)
    assert matrix @ matrix.T == pytest.approx(np.eye(48), abs=1e-5)
    logs = np.log((vectors @ matrix.T).var(axis=0)).reshape(12, 4).sum(axis=1)
    assert np.ptp(logs) < 1  # of natural logarithms that spread over 7 for each of four axes


def test_search_settings_change_what_is_found(tmp_path):
    """A k_factor of 1 compares only the codes' own candidates: recall falls, and the manifest says so."""
    rows = from_memory(clustered(6000, 48), places(6000))
    recalls = []
    for k_factor in (1, 64):
        layout = Layout.named("PQ12x4fs,Refine(SQfp16)", k_factor=k_factor, nprobe=1)
        folder = tmp_path / str(k_factor)
        recalls.append(write_gallery(Output(folder, Label("g"), layout), rows, Networks(SPEC)).recall["nearest"])
    assert recalls[0] < 0.8 < 0.97 < recalls[1]
    assert not (folder / RECORDS).exists()


@pytest.mark.parametrize("factory", ["PQ13x4fs", "Nonsense", "IVF100000,SQfp16"])
def test_an_index_that_cannot_be_made_gets_words(tmp_path, factory):
    rows = from_memory(unit(300, 48), places(300), [])
    with pytest.raises(ConfigError, match="FAISS can't make the index"):
        write_gallery(Output(tmp_path / "g", Label("g"), Layout(factory, {})), rows, Networks(SPEC))
    assert list(tmp_path.iterdir()) == []


def measured(blocks, queries, found, *, own):
    return measure_recall(blocks, queries, [found], query_rows=own)[0].mean()


def test_recall_is_the_share_of_true_neighbours_without_the_query_itself():
    vectors = unit(3000, 16)
    own = np.array([0, 7, 2999])
    exact = vectors[own] @ vectors.T
    exact[np.arange(3), own] = -np.inf
    true = np.argsort(-exact, axis=1)[:, : RECALL_K + 1]
    blocks = [vectors[:1000], vectors[1000:1001], vectors[1001:]]
    assert measured(blocks, vectors[own], np.c_[own, true[:, :RECALL_K]], own=own) == 1
    assert measured(blocks, vectors[own], np.c_[true[:, :8], own, true[:, 9:17]], own=own) == pytest.approx(15 / 16)
    assert measured(blocks, vectors[own], np.full((3, RECALL_K + 1), -1), own=own) == 0
    assert exact_neighbours(blocks, vectors[own][:1]).tolist() == [
        sorted(np.argsort(-vectors @ vectors[0])[:16].tolist())
    ]


def test_recall_of_the_tiniest_galleries():
    one = unit(1, 4)
    assert measured([one], one, np.array([[0] + [-1] * 16]), own=np.array([0])) == 1
    two = np.repeat(one, 2, axis=0)
    found = np.array([[0, 1] + [-1] * 15, [0, 1] + [-1] * 15])
    assert measured([two], two, found, own=np.array([0, 1])) == 1


def test_a_tie_is_no_miss():
    vectors = np.repeat(unit(2, 8), 20, axis=0)  # twenty of each
    found = np.arange(17)[None] + 3
    assert measured([vectors], vectors[:1], found, own=np.array([0])) == 1


def test_bfloat16_is_allowed_only_where_no_neighbour_changes():
    embeddings = unit(500, 32)
    rows = from_memory(embeddings, places(500), [])
    exact = embeddings[:10]
    assert bfloat16_keeps_neighbours(rows, np.stack([exact, exact * (1 + 1e-7)]))
    assert not bfloat16_keeps_neighbours(rows, np.stack([exact, unit(10, 32, seed=5)]))


def test_rows_are_taken_and_regrouped_across_blocks(tmp_path):
    vectors = unit(100, 4)
    blocks = [vectors[:30], vectors[30:30], vectors[30:]]
    assert np.array_equal(take(blocks, np.array([0, 29, 30, 99])), vectors[[0, 29, 30, 99]])
    rows = from_memory(vectors, places(100), records(100))
    write_gallery(Output(tmp_path / "g", Label("g")), rows, Networks(SPEC))
    table = pq.read_table(tmp_path / "g" / RECORDS)
    groups = list(regroup([table.slice(0, 7), table.slice(7, 0), table.slice(7, 60), table.slice(67)], 25))
    assert [len(group) for group in groups] == [25, 25, 25, 25]
    assert [name for group in groups for name in group["id"].to_pylist()] == table["id"].to_pylist()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has no manifest\.json of a gallery"):
        check_gallery_folder(tmp_path, may_replace=True)


def write(folder, vectors, *, start=0, encoder=SPEC, head=b"", named=True):
    rows = from_memory(vectors, places(len(vectors), seed=start), records(len(vectors), start) if named else [])
    label = Label(folder.name, source=f"set {folder.name}", licence="CC0")
    return write_gallery(Output(folder, label), rows, Networks(encoder, head=head))


def test_merging_keeps_every_row_once_and_loses_nothing(tmp_path):
    first, second = unit(120, 16), unit(50, 16, seed=9)
    write(tmp_path / "a", first)
    write(tmp_path / "b", second, start=1000)
    write(tmp_path / "c", first[:40])
    # The rows that c shares with a lie at the same places only where positions do, too.
    c_positions = np.load(tmp_path / "c" / POSITIONS)
    shared = int((c_positions == np.load(tmp_path / "a" / POSITIONS)[:40]).all(axis=1).sum())
    assert shared == 40
    folders = [str(tmp_path / name) for name in "abc"]
    assert main(["merge", *folders, "--out", str(tmp_path / "all"), "--name", "all"]) == 0
    gallery = open_gallery(str(tmp_path / "all"))
    assert gallery.manifest.count == 170
    assert (gallery.manifest.source, gallery.manifest.licence) == ("set a; set b; set c", "CC0")
    for row, vector in ((0, first[0]), (119, first[119]), (120, second[0]), (169, second[49])):
        found = gallery.search(vector, 1, 0).nearest[0]
        assert found.row == row and found.photo.id == f"{row if row < 120 else 880 + row}.jpg"
    # Half precision is rounded once: merging a gallery with nothing gives the same index.
    merge_galleries([tmp_path / "a"], Output(tmp_path / "alone", Label("a")))
    for name in (INDEX, POSITIONS, RECORDS):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_galleries_that_cannot_be_joined_get_words(tmp_path, capsys):
    head = head_of(3, 16)
    headed = replace(SPEC, head=f"sha256:{hashlib.sha256(head).hexdigest()}")
    write(tmp_path / "a", unit(20, 16), encoder=headed, head=head)
    write(tmp_path / "b", unit(20, 16), encoder=EncoderSpec("transformers", "other", "sha256:1", "none"))
    write(tmp_path / "nameless", unit(30, 16, seed=3), encoder=headed, head=head, named=False)
    assert main(["merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 2
    assert "different encoders" in capsys.readouterr().err
    rows = from_memory(unit(300, 16), places(300), [])
    write_gallery(Output(tmp_path / "codes", Label("codes"), Layout("PQ4x4fs", {})), rows, Networks(SPEC))
    assert main(["merge", str(tmp_path / "codes"), "--out", str(tmp_path / "c")]) == 2
    assert "has no vectors" in capsys.readouterr().err
    manifest, again = merge_galleries([tmp_path / "a", tmp_path / "nameless"], Output(tmp_path / "c", Label("c")))
    assert (manifest.count, again) == (50, 0)
    gallery = open_gallery(str(tmp_path / "c"))
    assert gallery.head == head and gallery.records([20])[20] == PhotoRecord("")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A gallery of twelve photos, and its listing."""
    folder = tmp_path_factory.mktemp("built")
    names = [path.name for path in sorted(PHOTOS.glob("*.jpg"))[:12]]
    table = write_table(folder / "t.csv", [(name, 10 + row, 20 + row) for row, name in enumerate(names)])
    source = ("--photos", str(PHOTOS), "--positions", str(table))
    listing, shards = str(folder / "l.parquet"), str(folder / "shards")
    assert main(["listing", *source, "--out", listing]) == 0
    assert main(["embed", "--listing", listing, "--encoder", "lite0", "--out", shards]) == 0
    assert main(["index", "--listing", listing, "--embeddings", shards, "--out", str(folder / "gallery")]) == 0
    return folder


def test_a_sound_gallery_is_said_to_be_so(built, capsys):
    gallery = str(built / "gallery")
    assert main(["verify", gallery]) == 0
    assert "12 rows are sound; 0 were compared" in capsys.readouterr().out
    for against in (("--photos", str(PHOTOS)), ("--listing", str(built / "l.parquet"))):
        assert main(["verify", gallery, "--encoder", "lite0", *against]) == 0
        assert "12 were compared with their photos, 0 photos are missing" in capsys.readouterr().out
    assert main(["verify", gallery, "--encoder", "lite0", "--photos", str(built)]) == 0
    assert "12 photos are missing" in capsys.readouterr().out


def test_rows_that_are_not_their_photos_are_found(built, tmp_path, lite0, mobilenet):
    vectors = unit(12, 1280)
    names = [path.name for path in sorted(PHOTOS.glob("*.jpg"))[:12]]
    listed = [PhotoRecord(name) for name in names]
    folder = tmp_path / "false"
    output, networks = Output(folder, Label("false"), may_replace=True), Networks(lite0.spec)
    write_gallery(output, from_memory(vectors, places(12), listed), networks)
    with pytest.raises(GalleryError, match=f"Row 0 .* is not the embedding of its photo {names[0]}"):
        verify_gallery(folder, encoder=lite0, photos=PHOTOS)
    with pytest.raises(GalleryError, match="lies at"), Listing(built / "l.parquet") as listing:
        verify_gallery(folder, encoder=lite0, listing=listing)
    with pytest.raises(GalleryMismatchError, match="another encoder"):
        verify_gallery(folder, encoder=mobilenet, photos=PHOTOS)
    write_gallery(output, from_memory(vectors, places(12)), networks)
    with pytest.raises(ConfigError, match="keeps no records"):
        verify_gallery(folder, encoder=lite0, photos=PHOTOS)
    data = bytearray((folder / POSITIONS).read_bytes())
    data[-1] ^= 1
    (folder / POSITIONS).write_bytes(data)
    with pytest.raises(GalleryError, match="is not the one its manifest describes"):
        verify_gallery(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 2, 1e30])
def test_an_embedding_that_is_not_a_unit_vector_is_refused_and_nothing_is_written(tmp_path, value):
    vectors = unit(5000, 8)
    vectors[4321] *= value
    with pytest.raises(ConfigError, match="embedding of row 4321 is not a finite unit vector"):
        write(tmp_path / "g", vectors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("degrees", [(np.nan, 0), (0, np.inf), (90.5, 0), (0, -181), (10, 359)])
def test_a_position_off_earth_is_refused_and_nothing_is_written(tmp_path, degrees):
    block = np.array([(p.lat, p.lon) for p in places(5000)])
    block[4321] = degrees
    rows = replace(from_memory(unit(5000, 8), places(5000), []), positions=lambda: iter([block[:3000], block[3000:]]))
    with pytest.raises(ConfigError, match="Row 4321 is not on Earth"):
        write_gallery(Output(tmp_path / "g", Label("g")), rows, Networks(SPEC))
    assert list(tmp_path.iterdir()) == []


def test_vectors_that_are_not_unit_vectors_are_found(tmp_path):
    write(tmp_path / "g", unit(5000, 8))
    vectors = unit(5000, 8)
    vectors[4321] = np.nan
    index = faiss.index_factory(8, "SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "g" / INDEX))
    reseal(tmp_path / "g")
    with pytest.raises(GalleryError, match=r"Row 4321 of .* is not a finite unit vector"):
        verify_gallery(tmp_path / "g")

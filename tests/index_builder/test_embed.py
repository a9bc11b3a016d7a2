"""Embedding in shards: the same bytes from any source, after any kill, by threads or processes; every mistake named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2loc.errors import ConfigError
from img2loc.photo.decode import open_photo
from index_builder.__main__ import main
from index_builder.stages.embed import EmbedSettings, Pool, begin, embed_local, finish
from index_builder.stages.listing import Listing
from index_builder.storage.handover import Handover
from index_builder.storage.store import Store
from tests.conftest import MOBILENET, PHOTOS
from tests.index_builder.test_listing import picture, with_gps, write_table, write_tar

COUNT = 34
LABEL = ("--name", "all", "--about", "all of the photos", "--source", "made here", "--licence", "several")


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One thread, since several wait for each other on a busy machine; few photos in bfloat16, where it is slow."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index_builder.stages.embed.BFLOAT16_SAMPLE", 4)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sources(tmp_path_factory, photo_rows):
    """Some photos, three ways: a folder with EXIF, a table, tars."""
    folder = tmp_path_factory.mktemp("sources")
    rows = sorted(photo_rows, key=lambda row: row["file"])[:COUNT]
    (folder / "exif").mkdir()
    members = []
    for row in rows:
        jpeg = (PHOTOS / row["file"]).read_bytes()
        (folder / "exif" / row["file"]).write_bytes(with_gps(jpeg, row["lat"], row["lon"]))
        place = json.dumps({"lat": float(row["lat"]), "lon": float(row["lon"])}).encode()
        members += [(row["file"], jpeg), (row["file"].replace(".jpg", ".json"), place)]
    for number in range(3):
        write_tar(folder / f"{number}.tar", members[number * 24 : (number + 1) * 24])
    write_table(folder / "photos.csv", [(row["file"], row["lat"], row["lon"]) for row in rows])
    return {
        "folder": ("--photos", folder / "exif"),
        "table": ("--photos", PHOTOS, "--positions", folder / "photos.csv"),
        "tars": ("--photos", folder / "*.tar"),
    }


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, sources):
    """The table's gallery, stage by stage, and the folder where all of it lies."""
    folder = tmp_path_factory.mktemp("table")
    listing, shards = folder / "listing.parquet", folder / "shards"
    assert run("listing", *sources["table"], "--out", listing) == 0
    embed = ("embed", "--listing", listing, "--encoder", MOBILENET, "--shard-rows", 16)
    assert run(*embed, "--out", shards) == 0
    assert run("index", "--listing", listing, "--embeddings", shards, *LABEL, "--out", folder / "gallery") == 0
    return folder


@pytest.mark.parametrize("source", ["folder", "tars"])
def test_photos_give_the_same_gallery_from_every_source(sources, embedded, tmp_path, source, capsys):
    assert run("build", *sources[source], "--encoder", MOBILENET, *LABEL, "--out", tmp_path / "gallery") == 0
    assert "34 in, 34 kept, 0 dropped" in capsys.readouterr().out
    # Built in one go in another shard size: batches are the same as long as shards hold whole batches.
    expected, found = contents(embedded / "gallery"), contents(tmp_path / "gallery")
    assert set(found) == {"manifest.json", "index.faiss", "positions.npy", "records.parquet"}
    assert {name for name in found if found[name] != expected[name]} == set()


def test_shards_hold_each_rows_own_embedding(embedded, mobilenet):
    store = Store.open(embedded / "shards")
    assert (store.plan.count, store.plan.shards, store.missing()) == (COUNT, 3, [])
    assert [len(np.load(store.array(shard))) for shard in range(3)] == [16, 16, 2]
    with Listing(embedded / "listing.parquet") as listing:
        for row in (0, 15, 16, 33):
            (listed,) = listing.rows([row])
            expected = mobilenet.embed([open_photo(Path(listed.piece.file).read_bytes()).image])[0]
            shard, offset = divmod(row, 16)
            assert np.load(store.array(shard))[offset] == pytest.approx(expected, abs=1e-5)


def test_what_is_done_is_not_done_again(embedded, tmp_path):
    shutil.copytree(embedded / "shards", tmp_path / "shards")
    before = contents(tmp_path / "shards")
    for name in ("00001.json", "00002.npy", "00002.json"):  # killed between the two files of a shard, and before both
        (tmp_path / "shards" / name).unlink()
    (tmp_path / "shards" / ".00002.npy.77.tmp").write_bytes(b"half")
    kept = (tmp_path / "shards" / "00000.npy").stat().st_mtime_ns
    embed = ("embed", "--listing", embedded / "listing.parquet", "--encoder", MOBILENET, "--shard-rows", 16)
    assert run(*embed, "--out", tmp_path / "shards") == 0
    assert contents(tmp_path / "shards") == before
    assert (tmp_path / "shards" / "00000.npy").stat().st_mtime_ns == kept


def test_processes_decode_to_the_same_bytes(tmp_path, mobilenet):
    photos = sorted(PHOTOS.glob("*.jpg"))[:12]
    table = write_table(tmp_path / "t.csv", [(path.name, 1, 1) for path in photos])
    assert run("listing", "--photos", PHOTOS, "--positions", table, "--out", tmp_path / "listing.parquet") == 0
    with Listing(tmp_path / "listing.parquet") as listing:
        for pool in (Pool(1, False), Pool(1, True, passes=2)):
            out = tmp_path / f"{pool.processes} {pool.passes}"
            store = begin(listing, out, mobilenet, EmbedSettings(pool, "cpu", batch=4, shard_rows=8))
            embed_local(listing, store, mobilenet, pool)
            assert finish(listing, store, mobilenet) == 0
    threads, *others = (contents(folder) for folder in sorted(tmp_path.iterdir()) if folder.is_dir())
    assert others == [threads]


def test_arrays_are_handed_over_as_they_are_and_leave_nothing_behind():
    before = set(os.listdir("/proc/self/fd"))
    arrays = {
        "pixels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1),
        "mask": np.array([[1.5], [-2.0]], np.float32),
    }
    for _ in range(20):
        handed = Handover.of(arrays)
        taken = handed.take()
        assert list(taken) == list(arrays)
        for name, array in arrays.items():
            assert taken[name].dtype == array.dtype and np.array_equal(taken[name], array)
        taken["mask"][0] = 0  # its own memory: torch would warn of one that can't be written to
        del taken, array
    assert len(set(os.listdir("/proc/self/fd")) - before) < 10  # the listener that sends descriptors has a few


def test_a_batch_that_fails_stops_the_passes_beside_it(tmp_path, mobilenet):
    photos = sorted(PHOTOS.glob("*.jpg"))[:12]
    table = write_table(tmp_path / "t.csv", [(path.name, 1, 1) for path in photos])
    assert run("listing", "--photos", PHOTOS, "--positions", table, "--out", tmp_path / "listing.parquet") == 0

    class Failing:
        spec, dim, prepare = mobilenet.spec, mobilenet.dim, mobilenet.prepare
        calls = 0

        def embed_prepared(self, inputs):
            self.calls += 1
            if self.calls == 2:
                raise MemoryError("no room")
            return mobilenet.embed_prepared(inputs)

    failing = Failing()
    with Listing(tmp_path / "listing.parquet") as listing:
        pool = Pool(2, False, passes=2)
        store = begin(listing, tmp_path / "e", mobilenet, EmbedSettings(pool, "cpu", batch=2, shard_rows=4))
        with pytest.raises(MemoryError):
            embed_local(listing, store, failing, pool)
    assert failing.calls <= 4 and len(store.missing()) == 3


@pytest.fixture
def some(tmp_path):
    """A listing of six pictures, of which two are spoilt after it was made, one isn't a picture, and one is gone."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for number in range(6):
        (folder / f"{number}.png").write_bytes(b"nothing" if number == 4 else picture(40 * number))
        rows.append((f"{number}.png", number + 1, number))
    table = write_table(tmp_path / "t.csv", rows)
    assert run("listing", "--photos", folder, "--positions", table, "--out", tmp_path / "listing.parquet") == 0
    (folder / "1.png").write_bytes(picture(9))
    (folder / "2.png").unlink()
    return tmp_path


def test_unreadable_photos_are_counted_and_left_out(some, capsys):
    assert run("embed", "--listing", some / "listing.parquet", "--encoder", "lite0", "--out", some / "e") == 0
    said = capsys.readouterr().out
    assert "6 in, 3 kept, 3 dropped" in said
    for words in ("its file changed since it was listed", "No such file", "This isn't a JPEG"):
        assert words in said
    index = ("index", "--listing", some / "listing.parquet", "--embeddings", some / "e", "--out", some / "g")
    assert run(*index) == 0
    assert np.load(some / "g" / "positions.npy").tolist() == [[1, 0], [4, 3], [6, 5]]


def test_shards_of_another_job_are_refused(some, capsys):
    listing = some / "listing.parquet"
    embed = ("embed", "--listing", listing, "--out", some / "e")
    assert run(*embed, "--encoder", "lite0") == 0
    assert run(*embed, "--encoder", MOBILENET) == 2
    assert "another job: dim 1280 there, 1024 now" in capsys.readouterr().err
    assert run(*embed, "--encoder", "lite0", "--batch", 3) == 2
    assert "batch 16 there, 3 now" in capsys.readouterr().err
    assert run("embed", "--listing", listing, "--encoder", "lite0", "--out", some / "photos") == 2
    assert "holds something" in capsys.readouterr().err
    shutil.copy(listing, some / "other.parquet")
    table = write_table(some / "t.csv", [("0.png", 5, 5)])
    assert run("listing", "--photos", some / "photos", "--positions", table, "--out", some / "other.parquet") == 0
    index = ("index", "--embeddings", some / "e", "--out", some / "g", "--listing")
    assert run(*index, some / "other.parquet") == 2
    assert "are not those of" in capsys.readouterr().err
    (some / "e" / "00000.npy").write_bytes(b"spoilt")
    assert run(*index, listing) == 2
    assert "has changed since it was embedded" in capsys.readouterr().err
    (some / "e" / "00000.json").unlink()
    assert run(*index, listing) == 2
    assert "aren't done" in capsys.readouterr().err
    assert run("index", "--embeddings", some, "--out", some / "g", "--listing", listing) == 2
    assert "has no plan.json" in capsys.readouterr().err
    assert not (some / "g").exists()


def test_a_full_disk_leaves_the_shards_that_are_done(some, capsys, monkeypatch):
    arguments = ("--listing", some / "listing.parquet", "--encoder", "lite0", "--shard-rows", 2, "--out", some / "e")
    real = Store.write

    def full(self, shard, *rest):
        if shard == 1:
            raise OSError(28, "No space left on device")
        real(self, shard, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", full)
        assert run("embed", *arguments) == 1
    assert "No space left on device. Nothing that was done is lost" in capsys.readouterr().err
    assert Store.open(some / "e").missing() == [1, 2]
    assert run("embed", *arguments) == 0
    assert Store.open(some / "e").missing() == []


def test_nothing_readable_gets_words(some, capsys):
    shutil.rmtree(some / "photos")
    with (
        pytest.raises(ConfigError, match="None of 6 photos can be read; the first: No such file"),
        Listing(some / "listing.parquet") as listing,
    ):
        from img2loc.retrieval.encoders import open_encoder

        encoder = open_encoder("lite0")
        pool = Pool(1, processes=False)
        store = begin(listing, some / "e", encoder, EmbedSettings(pool, "cpu"))
        embed_local(listing, store, encoder, pool)
        finish(listing, store, encoder)


def test_kills_at_random_moments_leave_identical_bytes():
    """Four here; fifty by `python -m tests.index_builder.kill_resume --kills 50`."""
    command = [sys.executable, "-m", "tests.index_builder.kill_resume", "--kills", "4", "--photos", "24"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert [report[stage]["kills"] for stage in ("embed", "index")] == [2, 2]

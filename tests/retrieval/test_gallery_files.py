"""Files of a gallery that are wrong although their checksums are right: the gallery is refused, and the file named."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from img2loc.errors import GalleryError
from img2loc.locator import Locator
from img2loc.policy.settings import Settings
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import CALIBRATION, HEAD, INDEX, LOCATION, MANIFEST, POSITIONS, RECORDS
from img2loc.web.gallery_loader import Host
from tests.retrieval.test_gallery import edit_manifest, head_of, reseal, unit
from tests.soak.faults import write_planet


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """A gallery of 50 rows and 64 dimensions that brings all that one may bring."""
    folder = tmp_path_factory.mktemp("planet") / "g"
    write_planet(folder, 0)
    return folder


def spoil(folder: Path, name: str, content: bytes) -> None:
    """Put another content in a file's place, with all that the manifest says of it made true."""
    if name != CALIBRATION:
        (folder / CALIBRATION).unlink(missing_ok=True)  # it would be another gallery's
    (folder / name).write_bytes(content)
    reseal(folder)
    if name == HEAD:
        encoder = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["encoder"]
        edit_manifest(folder, encoder=encoder | {"head": f"sha256:{hashlib.sha256(content).hexdigest()}"})


def tensors_with(change):
    def content(whole: bytes) -> bytes:
        tensors = safetensors.torch.load(whole)
        change(tensors)
        return safetensors.torch.save(tensors)

    return content


def layers(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name, shape in shapes.items()}


NO_CHAIN = {"0.weight": (9, 96), "0.bias": (9,), "1.weight": (64, 8), "1.bias": (64,)}


def calibration_with(change):
    def content(whole: bytes) -> bytes:
        values = json.loads(whole)
        change(values)
        return json.dumps(values).encode()

    return content


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def index_of(vectors: np.ndarray, metric: int = faiss.METRIC_INNER_PRODUCT, factory: str = "SQfp16") -> bytes:
    index = faiss.index_factory(vectors.shape[1], factory, metric)
    index.train(np.nan_to_num(vectors))
    index.add(vectors)
    return faiss.serialize_index(index).tobytes()


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


WRONG = {
    "a cut location encoder": (LOCATION, cut),
    "a page instead of a location encoder": (LOCATION, lambda _: b"<html>404</html>"),
    "a location encoder of another length": (
        LOCATION,
        tensors_with(lambda w: w.update(layers({"LocEnc0.head.0.weight": (63, 24), "LocEnc0.head.0.bias": (63,)}))),
    ),
    "a location encoder without a layer": (LOCATION, tensors_with(lambda w: w.pop("LocEnc0.capsule.3.bias"))),
    "a location encoder with a hidden infinity": (
        LOCATION,
        tensors_with(lambda w: w["LocEnc0.capsule.3.bias"][:1].fill_(-torch.inf)),
    ),
    "a location encoder that overflows": (LOCATION, tensors_with(lambda w: w["LocEnc0.capsule.1.weight"].mul_(1e38))),
    "a location encoder of no numbers": (LOCATION, tensors_with(lambda w: w["LocEnc0.capsule.0.b"].fill_(torch.nan))),
    "a cut head": (HEAD, cut),
    "a head without layers": (HEAD, lambda _: safetensors.torch.save({})),
    "a head of another length": (HEAD, lambda _: head_of(96, 63)),
    "a head of not a number": (HEAD, tensors_with(lambda w: w["0.weight"][0].fill_(torch.nan))),
    "a head whose layers don't fit": (
        HEAD,
        lambda _: safetensors.torch.save(layers(NO_CHAIN)),
    ),
    "a cut calibration": (CALIBRATION, cut),
    "a calibration of not a number": (
        CALIBRATION,
        calibration_with(lambda c: c["methods"]["vote"][0].update(from_similarity=float("nan"))),
    ),
    "a calibration of falling similarities": (CALIBRATION, calibration_with(lambda c: c["methods"]["vote"].reverse())),
    "a calibration of texts": (CALIBRATION, calibration_with(lambda c: c["methods"].update(vote="near"))),
    "cut positions": (POSITIONS, cut),
    "positions in double precision": (POSITIONS, lambda _: array(np.zeros((50, 2)))),
    "a cut index": (INDEX, cut),
    "an index of not a number": (INDEX, lambda _: index_of(np.full((50, 64), np.nan, np.float32))),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_refuses_the_gallery_and_is_named(planet, tmp_path, case):
    name, change = WRONG[case]
    folder = Path(shutil.copytree(planet, tmp_path / "g"))
    spoil(folder, name, change((folder / name).read_bytes()))
    with pytest.raises(GalleryError, match=f"The file {name} in .* can't be read") as caught:
        open_gallery(str(folder))
    assert "http" not in str(caught.value) and "\n" not in str(caught.value)


def records(**columns) -> bytes:
    whole = pq.read_table(STARTER / RECORDS)
    table = pa.table({name: columns.get(name, whole[name]) for name in whole.column_names})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def flipped(whole: bytes) -> bytes:
    """One byte of the data is another; what describes it is as before."""
    data = bytearray(whole)
    data[len(data) // 3] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    "content",
    [
        flipped(records()),
        records(author=pa.array([b"\xff"] * 260).view(pa.string())),
        records(author=pa.array(range(260))),
        records()[:-100],
    ],
    ids=["a damaged page", "bytes that are no text", "numbers", "cut"],
)
def test_wrong_records_refuse_the_gallery(tmp_path, content):
    folder = Path(shutil.copytree(STARTER, tmp_path / "g"))
    spoil(folder, RECORDS, content)
    with pytest.raises(GalleryError, match=f"The file {RECORDS} in .* can't be read"):
        open_gallery(str(folder))


def test_a_head_that_is_not_the_encoders_refuses_the_gallery(planet, tmp_path):
    for encoder_head in ("", "sha256:0"):
        folder = Path(shutil.copytree(planet, tmp_path / f"g{encoder_head[-1:]}"))
        (folder / CALIBRATION).unlink()
        reseal(folder)
        encoder = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["encoder"]
        edit_manifest(folder, encoder=encoder | {"head": encoder_head})
        with pytest.raises(GalleryError, match="its encoder has another head than the one that it lists"):
            open_gallery(str(folder))


def test_rows_and_similarities_that_cannot_be_are_left_out(planet, monkeypatch):
    """An index that is damaged in places passes the trial at opening; requests answer from the rest."""
    gallery = open_gallery(str(planet))
    similarities = np.array([[0.5, np.nan, 0.4, np.inf, 0.3]], np.float32)
    rows = np.array([[3, 1, 50, 2, -1]])
    monkeypatch.setattr(gallery.searcher, "search", lambda *_: (similarities, rows))
    found = gallery.search(unit(1, 64)[0], 5, 0)
    assert [(neighbour.row, neighbour.similarity) for neighbour in found.nearest] == [(3, 0.5)]


def test_an_index_that_its_settings_do_not_suit_refuses_the_gallery(planet, tmp_path):
    """Searched without an area it would answer; within one each request would fail."""
    folder = Path(shutil.copytree(planet, tmp_path / "g"))
    spoil(folder, INDEX, index_of(unit(50, 64), factory="IVF2,Flat"))
    with pytest.raises(GalleryError, match=r"index\.faiss in .* can't be read \(it lacks 'nprobe'\)"):
        open_gallery(str(folder))


@pytest.mark.parametrize("case", ["a cut location encoder", "a head of not a number"])
def test_the_starter_stands_in_for_a_gallery_with_a_wrong_file(planet, tmp_path, monkeypatch, capsys, case):
    name, change = WRONG[case]
    folder = Path(shutil.copytree(planet, tmp_path / "g"))
    spoil(folder, name, change((folder / name).read_bytes()))
    monkeypatch.setattr("img2loc.web.gallery_loader.RETRY_AFTER_S", (3600.0,))
    host = Host(Settings(gallery=str(folder)), grace_s=60)
    assert isinstance(host.locator, Locator) and host.locator.gallery.folder == STARTER
    assert host.notice == "Gallery g can't be opened right now; the starter gallery answers until it can."
    assert f"The file {name} in {folder} can't be read" in capsys.readouterr().err

"""The builder: photos in, a gallery out that finds them again; every drop counted and every mistake named."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from img2loc.photo.decode import open_photo
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.manifest import MANIFEST
from index_builder.__main__ import main
from tests.conftest import MOBILENET, PHOTOS
from tests.photo.test_decode import encoded, exif, gps_of


def write_csv(path, rows, header=("file", "lat", "lon")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def folder(tmp_path):
    """Three real photos, one twice, a file that isn't a picture."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, source in {"a.jpg": "Eiffel-Tower", "b.jpg": "Taj-Mahal", "c.jpg": "Stonehenge"}.items():
        shutil.copy(next(PHOTOS.glob(f"*{source}*")), photos / name)
    shutil.copy(photos / "a.jpg", photos / "again.jpg")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return photos


def build(*arguments) -> int:
    return main(["build", *map(str, arguments)])


def test_a_csv_becomes_a_gallery_and_every_drop_is_counted(folder, tmp_path, capsys):
    positions = write_csv(
        tmp_path / "positions.csv",
        [
            ("a.jpg", "48.8584", "2.2945"),
            ("b.jpg", "27.1750", "78.0422"),
            ("again.jpg", "48.8584", "2.2945"),
            ("broken.jpg", "1", "1"),
            ("none.jpg", "1", "1"),
            ("c.jpg", "0", "0"),
            ("c.jpg", "north", "1"),
            ("c.jpg", "95", "1"),
        ],
    )
    out = tmp_path / "gallery"
    assert build("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", out) == 0
    said = capsys.readouterr().out
    assert "8 in, 2 kept, 6 dropped" in said
    for reason in (
        "the same picture again",
        "unreadable picture",
        "no such file",
        "(0, 0)",
        "no numeric position",
        "out of range",
    ):
        assert reason in said
    gallery = open_gallery(str(out))
    assert (gallery.manifest.count, gallery.manifest.dim, gallery.manifest.encoder.kind) == (2, 1280, "lite0")
    assert not list(out.glob("*.tmp"))


def test_positions_come_from_exif_where_no_csv_is_given(folder, tmp_path, capsys, lite0):
    with Image.open(folder / "c.jpg") as image:
        gps = gps_of((51.0, 10.0, 44.0), False, (1.0, 49.0, 34.0), True)
        (folder / "c.jpg").write_bytes(encoded(image, "JPEG", exif=exif(1, gps)))
    out = tmp_path / "gallery"
    assert build("--photos", folder, "--encoder", "lite0", "--out", out) == 0
    assert "5 in, 1 kept, 4 dropped" in capsys.readouterr().out
    query = lite0.embed([open_photo((folder / "c.jpg").read_bytes()).image])[0]
    (found,) = open_gallery(str(out)).search(query, 1, 0).nearest
    assert (found.position.lat, found.position.lon) == pytest.approx((51.17889, -1.82611), abs=1e-4)
    assert found.photo.id == "c.jpg" and found.similarity == pytest.approx(1, abs=1e-3)


def test_records_say_where_each_photo_comes_from(folder, tmp_path):
    header = ("file", "Latitude", "lng", "photo_id", "attribution", "license", "where")
    positions = write_csv(tmp_path / "p.csv", [("a.jpg", 48.8, 2.3, "77", "Someone", "CC0", "a b/c")], header)
    out = tmp_path / "gallery"
    pattern = "https://example.org/$where?$none"
    assert (
        build("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", out, "--url", pattern) == 0
    )
    gallery = open_gallery(str(out))
    (found,) = gallery.search(np.eye(1, 1280, dtype=np.float32)[0], 1, 0).nearest
    assert found.photo.id == "77" and found.photo.author == "Someone" and found.photo.licence == "CC0"
    assert found.photo.url == "https://example.org/a%20b/c?$none"


def test_a_hugging_face_folder_is_an_encoder(folder, tmp_path, mobilenet):
    positions = write_csv(tmp_path / "p.csv", [("a.jpg", 48.8584, 2.2945), ("b.jpg", 27.175, 78.0422)])
    out = tmp_path / "gallery"
    assert build("--photos", folder, "--positions", positions, "--encoder", MOBILENET, "--out", out) == 0
    gallery = open_gallery(str(out))
    gallery.check_encoder(mobilenet)
    assert gallery.manifest.dim == 1024


def test_building_again_replaces_the_gallery_only_where_that_is_asked_for(folder, tmp_path, capsys):
    out = tmp_path / "gallery"
    one = write_csv(tmp_path / "one.csv", [("a.jpg", 48.8584, 2.2945)])
    two = write_csv(tmp_path / "two.csv", [("a.jpg", 48.8584, 2.2945), ("b.jpg", 27.175, 78.0422)])
    for positions, count in ((two, 2), (one, 1)):
        arguments = ("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", out)
        if out.exists():
            before = {path: path.read_bytes() for path in out.iterdir()}
            assert build(*arguments) == 2
            assert "already has a gallery, 'gallery' with 2 rows. Use --replace" in capsys.readouterr().err
            assert {path: path.read_bytes() for path in out.iterdir()} == before
        assert build(*arguments, "--replace") == 0
        assert open_gallery(str(out)).manifest.count == count
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_wrong_factory_costs_no_embeddings(folder, tmp_path, capsys, monkeypatch):
    positions = write_csv(tmp_path / "p.csv", [("a.jpg", 48.8584, 2.2945)])
    arguments = ("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", tmp_path / "gallery")
    assert build(*arguments, "--factory", "Nonsense") == 2
    assert "Nonsense" in capsys.readouterr().err
    monkeypatch.setattr("index_builder.stages.embed.write_shard", lambda *_: pytest.fail("embedded again"))
    assert build(*arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "p.csv", "photos"]


@pytest.mark.parametrize(
    ("header", "row", "status", "words"),
    [
        (("name", "lat", "lon"), ("a.jpg", 1, 1), 1, "no column that looks like the file"),
        (("file", "lat", "lon"), ("none.jpg", 1, 1), 2, "No photo can be used"),
        ((), (), 1, "is empty, or begins with an empty line"),
    ],
)
def test_a_listing_that_cannot_be_used_gets_words(folder, tmp_path, capsys, header, row, status, words):
    positions = write_csv(tmp_path / "p.csv", [row], header)
    out = tmp_path / "gallery"
    assert build("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", out) == status
    assert words in capsys.readouterr().err
    assert not (out / MANIFEST).exists()


def test_mistakes_get_words(folder, tmp_path, capsys):
    assert build("--photos", tmp_path / "nowhere", "--encoder", "lite0", "--out", tmp_path / "g") == 2
    assert "no folder" in capsys.readouterr().err
    assert build("--photos", folder, "--encoder", "lite0", "--out", folder) == 2
    assert "of a gallery" in capsys.readouterr().err
    assert build("--photos", folder, "--encoder", "lite1", "--out", tmp_path / "g") == 1
    assert "lite1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        build("--photos", folder)
    assert caught.value.code == 2


def test_a_disk_that_fills_up_leaves_the_earlier_gallery(folder, tmp_path, capsys, monkeypatch):
    positions = write_csv(tmp_path / "p.csv", [("a.jpg", 48.8584, 2.2945)])
    out = tmp_path / "gallery"
    arguments = ("--photos", folder, "--positions", positions, "--encoder", "lite0", "--out", out)
    assert build(*arguments) == 0
    before = (out / MANIFEST).read_bytes()
    write_csv(positions, [("b.jpg", 27.175, 78.0422)])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("index_builder.stages.index.os.fsync", full)
        assert build(*arguments, "--replace") == 1
    assert "No space left" in capsys.readouterr().err
    assert (out / MANIFEST).read_bytes() == before and open_gallery(str(out)).manifest.count == 1
    assert build(*arguments, "--replace") == 0
    assert (out / MANIFEST).read_bytes() != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

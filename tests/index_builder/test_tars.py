"""Tars of photos as a source: their JSON, what lies beside photos, tars cut short, other archives."""

from __future__ import annotations

import gzip
import json

import pytest

from img2loc.types import PhotoRecord
from index_builder.storage.pieces import read_pieces
from tests.index_builder.test_listing import listing, picture, rows_of, write_table, write_tar


def test_tars_bring_positions_in_json_before_or_behind_the_picture(tmp_path, capsys):
    place = json.dumps({"latitude": 1.25, "longitude": -2.5, "author": "A", "license": "CC0", "id": 7}).encode()
    zero = json.dumps({"latitude": 0, "longitude": 0}).encode()
    members = [
        ("./a.png", picture(1)),
        ("./a.json", place),
        ("b.json", place.replace(b"7", b"8")),
        ("b.png", picture(2)),
        ("c.png", picture(3)),
        ("c.json", zero),
        ("d.png", picture(4)),
        ("again.png", picture(1)),
        ("again.json", place),
        ("readme.txt", b"about"),
        ("e.json", b"not json"),
        ("e.png", picture(5)),
    ]
    write_tar(tmp_path / "0.tar", members)
    assert listing(tmp_path, "--photos", tmp_path / "*.tar") == 0
    said = capsys.readouterr().out
    assert "6 in, 2 kept, 4 dropped" in said
    for words in ("2  no position in EXIF or XMP", "1  position (0, 0)", "1  the same picture again"):
        assert words in said
    rows = rows_of(tmp_path)
    assert [row.record for row in rows] == [PhotoRecord("7", "A", "", "CC0"), PhotoRecord("8", "A", "", "CC0")]
    assert read_pieces([row.piece for row in rows]) == [picture(1), picture(2)]


def test_a_table_places_the_pictures_of_plain_tars(tmp_path, capsys):
    write_tar(tmp_path / "0.tar", [(f"mp16/{n}.png", picture(n)) for n in range(3)])
    table = write_table(tmp_path / "t.csv", [("2.png", 1, 1), ("0.png", 2, 2), ("9.png", 3, 3)])
    assert listing(tmp_path, "--photos", tmp_path / "0.tar", "--positions", table) == 0
    assert "1  not in the table of positions" in capsys.readouterr().out
    assert [row.record.id for row in rows_of(tmp_path)] == ["0.png", "2.png"]


@pytest.mark.parametrize("cut", [700, 1500, 2600, -1024])
def test_a_tar_cut_short_gives_what_is_whole(tmp_path, capsys, cut):
    """Within the second picture, its JSON, at the end mark: what came before is kept, and the rest is one drop."""
    place = json.dumps({"lat": 1, "lon": 2}).encode()
    members = [(f"{n}.{kind}", picture(n) if kind == "png" else place) for n in range(3) for kind in ("png", "json")]
    write_tar(tmp_path / "0.tar", members)
    write_tar(tmp_path / "1.tar", [("9.png", picture(9)), ("9.json", place)])
    whole = (tmp_path / "0.tar").read_bytes()
    data = whole.rstrip(b"\0") if cut == -1024 else whole
    (tmp_path / "0.tar").write_bytes(data if cut == -1024 else data[: 1024 + cut])
    assert listing(tmp_path, "--photos", tmp_path / "*.tar") == 0
    said = capsys.readouterr().out
    assert "1  tar cut short" in said
    names = [row.record.id for row in rows_of(tmp_path)]
    assert names[-1] == "9.png" and names[:-1] == ["0.png", "1.png", "2.png"][: len(names) - 1]


def test_what_is_no_tar_gets_words(tmp_path, capsys):
    (tmp_path / "0.tar").write_bytes(b"not a tar" * 100)
    assert listing(tmp_path, "--photos", tmp_path / "0.tar") == 2
    assert "isn't a tar file" in capsys.readouterr().err
    assert listing(tmp_path, "--photos", tmp_path / "none-*.tar") == 2
    assert "There is no file" in capsys.readouterr().err
    assert not (tmp_path / "listing.parquet").exists()


WHERE = json.dumps({"lat": 48.86, "lon": 2.35}).encode()


@pytest.mark.parametrize(
    ("members", "names"),
    [
        (["0.img.jpg", "0.meta.json"], ["0.img.jpg"]),
        (["0.meta.json", "0.img.JPG"], ["0.img.JPG"]),
        (["./._0.jpg", "./0.jpg", "./._0.json", "./0.json", ".DS_Store", "__MACOSX/0.jpg"], ["0.jpg"]),
        (["0.jpg", "0.seg.png", "0.json"], ["0.jpg"]),
        (["0.json", "0.mask.png", "0.jpg"], ["0.jpg"]),
        (["0.png", "0.jpg", "0.json"], ["0.jpg"]),
        (["0.image.jpg", "0.depth.png", "0.info.json"], ["0.image.jpg"]),
        (["0.left.jpg", "0.right.jpg", "0.json"], ["0.left.jpg", "0.right.jpg"]),
        (["a/0.jpg", ".thumbs/0.jpg", "a/0.json"], ["a/0.jpg"]),
        (["0.JPG", "0.JSON"], ["0.JPG"]),
        (["v.1.jpg", "v.1.json", "v.2.jpg", "v.2.json"], ["v.1.jpg", "v.2.jpg"]),
        (["0.jpg", "0.txt", "0.cls", "0.json"], ["0.jpg"]),
        (
            [f"frame.{n:04}.{kind}" for n in range(50) for kind in ("jpg", "json")],
            [f"frame.{n:04}.jpg" for n in range(50)],
        ),
    ],
)
def test_a_tars_photos_are_told_from_what_lies_beside_them(tmp_path, members, names):
    data = [(name, WHERE if name.lower().endswith(".json") else picture(n)) for n, name in enumerate(members)]
    write_tar(tmp_path / "0.tar", data)
    assert listing(tmp_path, "--photos", tmp_path / "0.tar") == 0
    assert [row.record.id for row in rows_of(tmp_path)] == names


def test_rows_find_their_photos_in_tars_by_folder_too(tmp_path, capsys):
    write_tar(tmp_path / "0.TAR", [(f"mp16/{n}/a.png", picture(n)) for n in range(3)] + [("7.png", picture(7))])
    rows = [(r"0\\a.png", 48.86, 2.35), ("1/a.png", 40.71, -74.01), ("7", 35.68, 139.69)]
    table = write_table(tmp_path / "t.csv", rows)
    assert listing(tmp_path, "--photos", tmp_path / "0.TAR", "--positions", table) == 0
    assert [row.position.lat for row in rows_of(tmp_path)] == [48.86, 40.71, 35.68]
    assert "1  not in the table of positions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("0.tar.gz", gzip.compress(b"x"), "Decompress it"),
        ("0.tgz", gzip.compress(b"x"), "Decompress it"),
        ("0.tar", gzip.compress(b"x"), "isn't a plain tar file but compressed"),
        ("0.tar.zst", b"\x28\xb5\x2f\xfd", "Decompress it"),
        ("00.zip", b"PK\3\4", "a zip file. Unpack it, and give --photos the folder"),
        ("0.tar", b"PK\3\4", "a zip file"),
    ],
)
def test_an_archive_that_is_no_plain_tar_is_named_with_what_to_do(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert listing(tmp_path, "--photos", tmp_path / name) == 2
    assert words in capsys.readouterr().err

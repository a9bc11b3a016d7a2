"""Listings: the same rows from a folder, a table and tars; every drop counted; columns that make no sense refused."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from img2loc.types import LatLon, PhotoRecord
from index_builder.__main__ import main
from index_builder.stages.listing import Excluded, Listing, write_listing
from index_builder.stages.sources import Candidate, Counts
from index_builder.storage.pieces import Piece, read_pieces
from index_builder.storage.tables import photo_number
from tests.paths import ROOT

MILLION = 1_000_000


def picture(shade: int, size=(32, 24)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade % 256, shade // 256 % 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def with_gps(jpeg: bytes, lat: str, lon: str) -> bytes:
    """The same JPEG with a GPS position of millionths of a degree put before its pixels."""
    values = [round(abs(float(value)) * MILLION) for value in (lat, lon)]
    exif = Image.Exif()
    exif[0x8825] = {
        1: "S" if float(lat) < 0 else "N",
        2: (IFDRational(values[0], MILLION), IFDRational(0), IFDRational(0)),
        3: "W" if float(lon) < 0 else "E",
        4: (IFDRational(values[1], MILLION), IFDRational(0), IFDRational(0)),
    }
    block = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


def write_tar(path, members):
    """A tar of (name, bytes)."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_table(path, rows, header=("file", "lat", "lon")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.png").write_bytes(picture(number))
    return photos


def listing(tmp_path, *arguments) -> int:
    return main(["listing", "--out", str(tmp_path / "listing.parquet"), *map(str, arguments)])


def rows_of(tmp_path):
    with Listing(tmp_path / "listing.parquet") as found:
        return found.rows(range(found.count))


def test_a_table_may_be_parquet_and_its_ids_may_be_numbers(folder, tmp_path):
    table = pa.table({"ID": [3, 1], "Latitude": [1.5, -2.5], "longitude": [10.0, 180.0], "x": [[1], [2]]})
    pq.write_table(table, tmp_path / "t.parquet")
    for number in (1, 3):
        (folder / f"{number}.png").rename(folder / f"{number}.jpg")
    assert listing(tmp_path, "--photos", folder, "--positions", tmp_path / "t.parquet") == 0
    rows = rows_of(tmp_path)
    assert [row.record.id for row in rows] == ["3", "1"]
    assert [row.position for row in rows] == [LatLon(1.5, 10), LatLon(-2.5, -180)]
    assert [read_pieces([row.piece])[0] for row in rows] == [picture(3), picture(1)]


def test_mp16s_own_metadata_is_a_table(folder, tmp_path):
    (folder / "ab" / "cd").mkdir(parents=True)
    (folder / "ab" / "cd" / "5119389870.jpg").write_bytes(picture(9))
    header = ("IMG_ID", "AUTHOR", "LAT", "LON", "S3_Label")
    table = write_table(tmp_path / "mp16.csv", [("ab/cd/5119389870.jpg", "12@N00", "48.1", "2.2", "1")], header)
    url = "https://www.flickr.com/photos/$AUTHOR/$photo_number"
    assert listing(tmp_path, "--photos", folder, "--positions", table, "--url", url) == 0
    (row,) = rows_of(tmp_path)
    assert row.record == PhotoRecord(
        "ab/cd/5119389870.jpg", "12@N00", "https://www.flickr.com/photos/12%40N00/5119389870"
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1000269685_e60e9cdfb4_1125_78841376@N00.jpg", "1000269685"),
        ("ab/cd/5119389870.jpg", "5119389870"),
        ("ab_cd_5119389870.jpg", "5119389870"),
        ("5119389870", "5119389870"),
        ("Eiffel.jpg", "Eiffel"),
        ("photo_12.png", "photo_12"),
        ("", ""),
    ],
)
def test_a_photo_keeps_its_number_across_data_sets(name, number):
    assert photo_number(name) == number


def test_a_test_sets_photos_and_photographers_are_left_out(folder, tmp_path, capsys):
    header = ("file", "id", "author", "lat", "lon")
    names = [f"{number}.png" for number in range(5)]
    rows = [(name, f"ab_cd_100000{i}.jpg", f"{i % 3}@N00", 10, 10) for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", rows, header)
    exclude = write_table(
        tmp_path / "im2gps3k.csv",
        [("1000000_e60e9cdfb4_1125_9@N00.jpg", "9@N00"), ("77777_aaaaaaaaaa_1_2@N00.jpg", "2@N00")],
        ("IMG_ID", "AUTHOR"),
    )
    assert listing(tmp_path, "--photos", folder, "--positions", table, "--exclude", exclude) == 0
    said = capsys.readouterr().out
    assert "5 in, 3 kept, 2 dropped" in said
    assert "1  photo of an excluded set" in said and "1  photographer of an excluded set" in said
    assert [row.piece.file[-5:] for row in rows_of(tmp_path)] == ["1.png", "3.png", "4.png"]
    assert Excluded.read([exclude]).reason(PhotoRecord("x", author="")) == ""


def test_positions_come_from_exif_or_else_from_xmp(tmp_path, capsys):
    names = ("07-lower-refs.jpg", "12-ref-empty.jpg", "40-xmp-exif.jpg")
    for name in names:
        shutil.copy(ROOT / "tests" / "photo" / "cases" / name, tmp_path)
    assert listing(tmp_path, "--photos", tmp_path) == 0
    assert "1  no position in EXIF or XMP" in capsys.readouterr().out
    positions = [(row.position.lat, row.position.lon) for row in rows_of(tmp_path)]
    assert positions == [pytest.approx((-36.804, 174.7265), abs=1e-4)] * 2


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (
            ("file", "lon", "lat"),
            [("0.png", "10", "120"), ("1.png", "-30", "-100"), ("2.png", "1", "2")],
            "look swapped",
        ),
        (("file", "lat", "lon"), [("0.png", "N10S", "E1"), ("1.png", "ten", "1")], "hold no numbers"),
        (("file", "lat"), [("0.png", "1")], "no column that looks like the lon"),
        (("lat", "lon"), [("1", "1")], "no column that looks like the file"),
    ],
)
def test_columns_that_make_no_sense_are_refused(folder, tmp_path, capsys, header, rows, words):
    table = write_table(tmp_path / "t.csv", rows, header)
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "listing.parquet").exists()


def test_a_table_that_cannot_be_read_gets_words(folder, tmp_path, capsys):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not")
    (tmp_path / "t.csv").write_bytes(b"file,lat,lon\n\xff\xfe\xff,1,1\n")
    for name in ("t.parquet", "t.csv", "none.csv"):
        assert listing(tmp_path, "--photos", folder, "--positions", tmp_path / name) == 1
        assert "can't be read" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        listing(tmp_path)
    assert caught.value.code == 2


def test_an_earlier_listing_stays_when_the_next_one_fails(folder, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [("0.png", 1, 1)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
    before = (tmp_path / "listing.parquet").read_bytes()
    write_table(table, [("0.png", 0, 0)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 2
    assert "No photo can be used" in capsys.readouterr().err
    assert (tmp_path / "listing.parquet").read_bytes() == before
    (tmp_path / "other.parquet").write_bytes(b"")
    assert main(["embed", "--listing", str(tmp_path / "other.parquet"), "--encoder", "lite0", "--out", "x"]) == 2
    assert "can't be read" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_listing(tmp_path):
    """Python's own peak, for a listing four times as long; the rest is Arrow's, a row group at a time."""

    def peak(rows: int) -> int:
        photos = (
            Candidate(Piece("tar", row), LatLon(1, 2), PhotoRecord(f"{row}"), row.to_bytes(8, "big"))
            for row in range(rows)
        )
        tracemalloc.start()
        counts = Counts()
        write_listing(photos, counts, tmp_path / f"{rows}.parquet")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert counts.kept == rows
        return found

    peak(100)
    assert peak(20_000) < 1.2 * peak(5_000)


def test_a_file_that_is_no_listing_is_never_overwritten(folder, tmp_path, capsys):
    """Such as the table of positions itself, named as the output by mistake."""
    positions = tmp_path / "positions.csv"
    positions.write_text("file,lat,lon\na.jpg,1,2\n")
    how = ["listing", "--photos", str(folder), "--positions", str(positions)]
    assert main([*how, "--out", str(positions)]) == 2
    assert "exists and isn't a listing" in capsys.readouterr().err
    assert positions.read_text().startswith("file,lat,lon")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sub\\a.png", "sub/a.png"),
        ("./sub/a.png", "sub/a.png"),
        ("a.png", "sub/a.png"),
        ("a", "sub/a.png"),
        ("A.PNG", "sub/a.png"),
        ("photos/sub/a.png", "sub/a.png"),
        ("images/sub/a.png", "sub/a.png"),
        ("/home/me/photos/sub/a.png", "sub/a.png"),
        (r"D:\\pictures\\a.png", "sub/a.png"),
        ("../photos/sub/a.png", "sub/a.png"),
        ("file:///home/me/sub/a.png", "sub/a.png"),
        ("/home/me/one/b.png", "one/b.png"),
        ("two/b.png", "two/b.png"),
        ("/x/two/b.png", "two/b.png"),
        ("a%20b%2Bc.png", "a b+c.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("u\u0308ber.png", "\u00fcber.png"),
        ("v1.2", "v1.2.png"),
    ],
)
def test_a_photo_is_found_however_its_name_is_spelt(folder, tmp_path, name, file):
    (folder / file).parent.mkdir(exist_ok=True)
    for number, each in enumerate(("one/b.png", "two/b.png", ".hidden/a.png", "._a.png", file)):
        (folder / each).parent.mkdir(exist_ok=True)
        (folder / each).write_bytes(picture(20 + number))
    table = write_table(tmp_path / "t.csv", [(name, 48.86, 2.35)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
    (row,) = rows_of(tmp_path)
    assert row.piece.file == str(folder / file)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("b.png", "several files fit its name"),
        ("b", "several files fit its name"),
        ("/x/b.png", "several files fit its name"),
        ("three/b.png", "no such file"),
        ("b.jpg", "no such file"),
        ("../outside.png", "file outside the folder"),
        ("%2e%2e/outside.png", "no such file"),
        ("..\\outside.png", "no such file"),
        ("one/../../outside.png", "file outside the folder"),
        ("/etc/hostname", "file outside the folder"),
    ],
)
def test_a_photo_that_is_not_clear_or_not_there_is_dropped(folder, tmp_path, capsys, name, words):
    for each in ("one/b.png", "two/b.png", "../outside.png"):
        (folder / each).parent.mkdir(exist_ok=True)
        (folder / each).write_bytes(picture(30 + len(each)))
    table = write_table(tmp_path / "t.csv", [("0.png", 48.86, 2.35), (name, 1, 1)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
    assert words in capsys.readouterr().out


def test_one_file_is_not_put_at_two_places(folder, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [("0.png", 48.86, 2.35), ("0.png", 40.71, -74.01), ("0.png", 48.86, 2.35)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
    said = capsys.readouterr().out
    assert "1  file that an earlier row puts at another position" in said and "1  the same picture again" in said
    write_table(table, [("val/0.png", 48.86, 2.35), ("train/0.png", 40.71, -74.01)])
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 1
    assert "val/0.png and train/0.png both mean" in capsys.readouterr().err


def test_swapped_columns_within_90_degrees_are_noticed_and_can_be_named(folder, tmp_path, capsys):
    rows = [(f"{n}.png", *at) for n, at in enumerate([(2.35, 48.86), (13.4, 52.52), (-3.7, 40.42), (21.01, 52.23)])]
    table = write_table(tmp_path / "t.csv", rows)
    assert listing(tmp_path, "--photos", folder, "--positions", table) == 1
    said = capsys.readouterr().err
    assert "km with lat and lon swapped. If they are, use --columns lat=lon,lon=lat" in said
    assert listing(tmp_path, "--photos", folder, "--positions", table, "--columns", "lat=lon,lon=lat") == 0
    assert rows_of(tmp_path)[0].position == LatLon(48.86, 2.35)
    with pytest.raises(SystemExit):
        listing(tmp_path, "--photos", folder, "--positions", table, "--columns", "latitude=lon")


def test_longitudes_to_360_are_read_whatever_their_order(folder, tmp_path):
    rows = [("0.png", 40.71, 285.99), ("1.png", 48.86, 2.35), ("2.png", -33.87, 151.21)]
    for order in (rows, rows[::-1]):
        table = write_table(tmp_path / "t.csv", order)
        assert listing(tmp_path, "--photos", folder, "--positions", table) == 0
        assert sorted(round(row.position.lon, 6) for row in rows_of(tmp_path)) == [-74.01, 2.35, 151.21]

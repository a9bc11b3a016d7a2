"""Ground truth and predictions: columns found, and every bad line counted and named, or the file refused."""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from dataclasses import replace

import pytest

from img2loc.errors import DataError
from img2loc.evaluation.data import photos
from img2loc.evaluation.data.datasets import Item, read_predictions, read_truth
from img2loc.evaluation.data.photos import find_photos
from img2loc.geo.columns import Columns
from img2loc.types import LatLon
from tests.conftest import SHARED

IM2GPS3K = SHARED / "data" / "im2gps3k_places365.csv"
IM2GPS = SHARED / "data" / "im2gps_places365.csv"
TOWNS = "id,author,lat,lon\na,ann,48.86,2.35\nb,bob,40.71,-74.01\nc,ann,-33.87,151.21\n"


def write(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def truth(tmp_path):
    return read_truth(write(tmp_path, TOWNS, "truth.csv"))


def test_the_real_list_of_im2gps3k():
    truth = read_truth(IM2GPS3K, "im2gps3k")
    assert len(truth.items) == 2997 and len({item.author for item in truth.items}) == 198
    assert truth.items[0].position == LatLon(32.325436, -64.764404)
    assert truth.notes == (
        "The listing has 2,997 photos and Im2GPS3k has 3,000 (the list in common use has 2,997 rows).",
    )


def test_the_real_list_of_im2gps_has_its_authors_mended():
    truth = read_truth(IM2GPS, "im2gps")
    assert len(truth.items) == 237
    assert all(item.author.count("_") == 0 and "@N" in item.author for item in truth.items)
    assert any("secret and server in front, corrected: 177." in note for note in truth.notes)


@pytest.mark.parametrize(
    "header", ["IMG_ID,AUTHOR,LAT,LON", "photo;user_id;Latitude;Longitude", "file\tphotographer\tgt_lat\tgt_lng"]
)
def test_columns_are_recognised(tmp_path, header):
    mark = next(mark for mark in ",;\t" if mark in header)
    path = write(tmp_path, "\ufeff" + header + "\n" + mark.join(["a.jpg", "ann", "48.5", "-2.25"]) + "\n")
    assert read_truth(path).items == (Item("a.jpg", "ann", LatLon(48.5, -2.25)),)


def test_a_file_with_true_and_predicted_positions_serves_as_both(tmp_path):
    path = write(tmp_path, "id,gt_lat,gt_lon,pred_lat,pred_lon\na,48.86,2.35,48.0,2.0\n")
    truth = read_truth(path)
    assert truth.items[0].position == LatLon(48.86, 2.35)
    assert read_predictions(path, truth).positions == {"a": LatLon(48, 2)}


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path, "key,who,y,x\na,ann,48.5,2.25\n")
    with pytest.raises(DataError, match="no column that looks like the id; it has: key, who, y, x"):
        read_truth(path)
    named = Columns.parse("id=key,author=who,lat=y,lon=x")
    assert read_truth(path, columns=named).items == (Item("a", "ann", LatLon(48.5, 2.25)),)
    with pytest.raises(DataError, match="isn't of the form"):
        Columns.parse("latitude=y")


def test_text_at_the_end_is_named_and_left_out(tmp_path):
    truth = read_truth(write(tmp_path, TOWNS + "\nTotal: 3 photos\nsource,flickr,see,there\n# a, b, c, too\n"))
    assert [item.id for item in truth.items] == ["a", "b", "c"]
    assert truth.notes == ("Lines of text, not counted (3): 6, 7, 8.",)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a,dan,1.0,2.0\n", r"repeats ids \(1\): a"),
        ("d,dan,nan,2.0\n", "line 5: nan, 2.0 isn't a position"),
        ("d,dan,,\ne,eve,3.0,4.0\n", "line 5"),
        ("d,dan,45.0,181.5\n", "line 5: longitude must be between -180 and 180 degrees, not 181.5"),
        (",dan,45.0,8.5\n", "it has no id"),
        ("what is this\nd,dan,45.0,8.5\n", r"aren't rows \(1\): 5"),
        ("d,dan,1_0.0,8.5\n", "line 5: 1_0.0, 8.5 isn't a position"),
    ],
)
def test_what_cannot_be_ground_truth_is_refused(tmp_path, lines, words):
    with pytest.raises(DataError, match=words):
        read_truth(write(tmp_path, TOWNS + lines))


def test_bad_rows_are_left_out_of_n_only_when_asked(tmp_path):
    path = write(tmp_path, TOWNS + "d,dan,NaN,2.0\nsome text\ne,eve,45.0,8.5\n")
    truth = read_truth(path, skip_bad_rows=True)
    assert [item.id for item in truth.items] == ["a", "b", "c", "e"]
    assert "Bad rows, left out of N as requested (1): lines 5." in truth.notes


@pytest.mark.parametrize("dataset", ["im2gps3k", "im2gps"])
def test_swapped_headers_of_the_real_lists_are_refused(tmp_path, dataset):
    text = (IM2GPS3K if dataset == "im2gps3k" else IM2GPS).read_text().replace("LAT,LON", "LON,LAT", 1)
    with pytest.raises(
        DataError, match=r"the headers look swapped\. If they are, use --truth-columns lat=LON,lon=LAT;"
    ):
        read_truth(write(tmp_path, text), dataset)
    mended = read_truth(write(tmp_path, text), dataset, columns=Columns(lat="LON", lon="LAT"))
    assert mended.items == read_truth(IM2GPS3K if dataset == "im2gps3k" else IM2GPS, dataset).items


def test_swapped_headers_are_noticed_where_every_value_would_do(tmp_path):
    """European photos stay in range the other way round, and lie in the ocean or the desert."""
    with IM2GPS3K.open(newline="") as file:
        every = list(csv.DictReader(file))
    rows = [row for row in every if abs(float(row["LON"])) < 30 and float(row["LAT"]) > 40]
    lines = "".join(f"{row['IMG_ID']},{row['LON']},{row['LAT']}\n" for row in rows)
    assert len(rows) > 500
    with pytest.raises(DataError, match=r"from any town, but .* km with lat and lon swapped"):
        read_truth(write(tmp_path, "id,lat,lon\n" + lines))


def test_predictions_are_matched_by_id_and_every_gap_is_named(tmp_path, truth):
    path = write(tmp_path, "id,lat,lon\nb,41,-74\nc,nan,151\nz,1,2\nthe end\n")
    found = read_predictions(path, truth)
    assert found.positions == {"a": "no_prediction", "b": LatLon(41, -74), "c": "no_position"}
    assert found.notes == (
        "Photos of the ground truth without a prediction, counted as misses (1): a.",
        "Predictions for photos that the ground truth lacks, not counted (1): z.",
        "Predictions without a position, counted as misses (1): c (nan, 151 isn't a position).",
        "Lines that aren't rows, not counted (1): 5.",
    )


def test_zero_zero_is_told(tmp_path, truth):
    found = read_predictions(write(tmp_path, "id,lat,lon\na,0,0\nb,0.0,-0.0\n"), truth)
    assert any("exactly (0, 0)" in note and "(2)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,lat,lon\na,1,2\na,1,2\n", r"repeats ids \(1\): a"),
        ("id,lat,lon\nphotos/a.jpg,1,2\n", "No id in .* is in the ground truth: photos/a.jpg there, a, b here"),
        ("id,lat,lon\na,2.35,48.86\nb,-74.01,40.71\n", "median error is .* swapped"),
        ("id,lat,lon\nb,-74.01,40.71\nc,151.21,-33.87\n", "look swapped"),
        ("id,lat\na,1\n", "no column that looks like the lon"),
        ("id\na\n", r"no column that looks like the lat; .* --columns lat=NAME"),
        ("", "is empty"),
        ("id,lat,lon\n", "has no row with a position"),
        ("id,lat,lon\na,48,86,2,35\n", "as many cells in each row|in each row as many cells"),
        (TOWNS, "Every position in lat and lon of .* is the true one"),
        (TOWNS.replace("48.86", "48.86004"), "is the true one"),
    ],
)
def test_predictions_that_cannot_be_right_are_refused(tmp_path, truth, text, words):
    with pytest.raises(DataError, match=words):
        read_predictions(write(tmp_path, text), truth)


def test_names_can_be_compared_without_folder_and_extension(tmp_path, truth):
    path = write(tmp_path, "photo,lat,lon\nphotos/a.jpg,48,2\nphotos\\b.png,40,-74\nc,-33,151\n")
    assert all(isinstance(at, LatLon) for at in read_predictions(path, truth, match="name").positions.values())


def test_photos_are_found_missing_or_a_placeholder(tmp_path, monkeypatch):
    place, elsewhere = LatLon(48, 2), LatLon(-33, 151)
    files = {"5e/9f/a.jpg": b"a", "sub/b.jpg": b"b", "c.png": b"c", "x/d.jpg": b"1", "y/d.jpg": b"2"}
    files |= {"gone1.jpg": b"gone", "gone2.jpg": b"gone", "same1.jpg": b"s", "same2.jpg": b"s"}
    files |= {"twice1.jpg": b"t", "twice2.jpg": b"t"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(photos, "UNAVAILABLE_MD5", hashlib.md5(b"gone").hexdigest())
    ids = ["5e/9f/a.jpg", "b.jpg", "c", "d.jpg", "e.jpg", "gone1.jpg", "gone2.jpg", "same1.jpg", "same2.jpg"]
    items = [Item(id_, "ann", place) for id_ in ids]
    items[-1] = Item("same2.jpg", "ann", elsewhere)
    items += [Item(f"twice{n}.jpg", "ann", place) for n in (1, 2)]
    found = find_photos(tmp_path, items)
    assert found.missing == ("e.jpg",) and found.ambiguous == ("d.jpg",)
    assert found.paths["b.jpg"] == tmp_path / "sub" / "b.jpg" and found.paths["c"] == tmp_path / "c.png"
    assert found.unavailable == ("gone1.jpg", "gone2.jpg")
    assert found.repeated == ("same1.jpg", "same2.jpg")  # one photographer's two copies of one place are not told
    assert find_photos(tmp_path, items, unavailable_md5=[hashlib.md5(b"s").hexdigest()]).repeated == ()
    with pytest.raises(DataError, match="isn't a folder"):
        find_photos(tmp_path / "nowhere", items)


GUESSES = {"a": LatLon(10, 20), "b": LatLon(30, -40), "c": LatLon(-50, 60)}


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        (("lat", "lon"), ("guess_lat", "guess_lon")),
        (("latitude", "longitude"), ("pred_latitude", "pred_longitude")),
        (("lat", "lng"), ("predLat", "predLng")),
        (("lat", "lon"), ("lat_pred", "lon_pred")),
        (("lat", "lon"), ("estimated latitude", "estimated longitude")),
        (("gt_lat", "gt_lon"), ("lat", "lon")),
        (("true_lat", "true_lon"), ("model_lat", "model_lon")),
        (("ground_truth_latitude", "ground_truth_longitude"), ("gps_lat", "gps_lon")),
        (("actual_lat", "actual_lon"), ("Predicted Lat", "Predicted Lon")),
    ],
)
def test_the_truth_beside_the_guess_is_never_scored(tmp_path, truth, true, predicted):
    lines = [
        f"{item.id},{item.position.lat},{item.position.lon},{GUESSES[item.id].lat},{GUESSES[item.id].lon}\n"
        for item in truth.items
    ]
    path = write(tmp_path, f"id,{','.join((*true, *predicted))}\n" + "".join(lines))
    assert read_predictions(path, truth).positions == GUESSES
    assert read_truth(path).items == tuple(replace(item, author="") for item in truth.items)


@pytest.mark.parametrize(
    "names",
    [
        ("lat", "lon", "model_lat", "model_lon"),
        ("lat_x", "lon_x", "lat_y", "lon_y"),
        ("lat1", "lon1", "lat2", "lon2"),
        ("gps_lat", "gps_lon", "lat", "lon"),
        ("pred_lat", "pred_lon", "guess_lat", "guess_lon"),
        ("lat", "lon", "lat_gpt4o", "lon_gpt4o"),
        ("lat", "lon", "output.lat", "output.lng"),
        ("photo_lat", "photo_lon", "answerLat", "answerLon"),
    ],
)
def test_which_columns_hold_the_guess_is_asked_where_that_is_not_clear(tmp_path, truth, names):
    path = write(tmp_path, f"id,{','.join(names)}\na,48.86,2.35,10,20\nb,40.71,-74.01,30,-40\n")
    with pytest.raises(DataError, match=r"several columns for the lat: .* predicted positions with --columns lat=NAME"):
        read_predictions(path, truth)
    named = Columns.parse(f"lat={names[2]},lon={names[3]}")
    assert read_predictions(path, truth, columns=named).positions["a"] == LatLon(10, 20)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("lat,lon,guess_lat", "'guess_lat' and 'lon', which don't look like one position"),
        ("true_lat,true_lon,x", "no column that looks like the lat"),
    ],
)
def test_half_a_guess_is_refused(tmp_path, truth, names, words):
    with pytest.raises(DataError, match=words):
        read_predictions(write(tmp_path, f"id,{names}\na,48.86,2.35,10\n"), truth)


def test_true_positions_that_were_named_are_scored_with_a_note(tmp_path, truth):
    found = read_predictions(write(tmp_path, TOWNS), truth, columns=Columns(lat="lat", lon="lon"))
    assert "Every position in lat and lon" in found.notes[0]


def test_photos_of_another_machine_are_found_and_no_file_serves_two_ids(tmp_path):
    place = LatLon(48, 2)
    for name in ("train/1.jpg", "sub/Ünal 2.JPG", "3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    decomposed = unicodedata.normalize("NFD", "Ünal 2.jpg")
    ids = ["train/1.jpg", "val/1.jpg", f"C:\\Users\\me\\{decomposed}", "/data/3.png", "/other/3.png"]
    found = find_photos(tmp_path, [Item(id_, "ann", place) for id_ in ids])
    assert list(found.paths) == [ids[0], ids[2]]
    assert found.missing == ("val/1.jpg",) and found.ambiguous == ("/data/3.png", "/other/3.png")

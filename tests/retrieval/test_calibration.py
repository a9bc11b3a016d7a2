"""The calibrated radius: it holds the truth as often as it says, and nothing pretends to be one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2loc.__main__ import main
from img2loc.answer.vote import vote
from img2loc.errors import GalleryError
from img2loc.geo.sphere import geodesic_km
from img2loc.policy.precision import abstain
from img2loc.retrieval.calibration import (
    ANYWHERE_KM,
    GROUP_PHOTOS,
    MAX_GROUPS,
    Calibration,
    Group,
    conformal_radius_km,
    groups_of,
    read_calibration,
)
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.manifest import CALIBRATION, MANIFEST
from img2loc.types import LatLon, Neighbour, Place, Prediction, Retrieval, Vote
from img2loc.web.render.prediction import answer
from index_builder.__main__ import main as build
from tests.conftest import PHOTOS

KINDS = {"vote": (Group(0.2, 900.0, 50), Group(0.6, 30.0, 50)), "lmm m": (Group(0.1, 100.0, 60),)}
CALIBRATION_MADE = Calibration("own", "2026-11-25", "g", 0.9, KINDS)


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (10, 10), (19, 18), (99, 90), (100, 91)])
def test_the_radius_is_the_one_of_the_conformal_rank(n: int, rank: int):
    assert conformal_radius_km(np.random.default_rng(n).permutation(n) + 1.0) == rank


@pytest.mark.parametrize("n", [0, 1, 8])
def test_too_few_photos_say_nothing_but_somewhere(n: int):
    assert conformal_radius_km([1.0] * n) == ANYWHERE_KM


def test_it_holds_as_often_as_it_says_whatever_the_errors():
    random = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        errors = random.choice([random.exponential(20, 61), random.pareto(0.5, 61), random.integers(0, 3, 61)])
        held.append(errors[-1] <= conformal_radius_km(errors[:-1]))
    assert np.mean(held) >= 0.885


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 20_003)), max_size=400))
def test_groups_hold_all_photos_once(pairs):
    groups = groups_of([similarity for similarity, _ in pairs], [error for _, error in pairs])
    assert sum(group.photos for group in groups) == len(pairs) and len(groups) <= MAX_GROUPS
    assert len(groups) <= 1 or min(group.photos for group in groups) >= GROUP_PHOTOS
    froms = [group.from_similarity for group in groups]
    assert froms == sorted(froms) and all(0 <= group.radius_km <= ANYWHERE_KM for group in groups)


@pytest.mark.parametrize(
    ("method", "model", "similarity", "radius_km"),
    [("vote", "", -0.5, 900), ("vote", "m", 0.59, 900), ("vote", "", 0.6, 30), ("vote", "", 1.0, 30),
     ("lmm", "m", 0.0, 100), ("lmm", "other", 0.5, None), ("judge", "m", 0.5, None)],
)  # fmt: skip
def test_who_was_not_measured_has_no_radius(method, model, similarity, radius_km):
    assert CALIBRATION_MADE.radius_km(method, model, similarity) == radius_km


def split_by_site(rows: Sequence[dict[str, str]], seed: int) -> list[list[int]]:
    """Half of the sites for the gallery, a quarter each to calibrate and to test."""
    sites = np.array([row["group"] or row["file"] for row in rows])
    drawn = np.random.default_rng(seed).permutation(np.unique(sites))
    half, three = len(drawn) // 2, 3 * len(drawn) // 4
    return [np.flatnonzero(np.isin(sites, part)).tolist() for part in (drawn[:half], drawn[half:three], drawn[three:])]


def test_nine_in_ten_held_out_photos_lie_within_the_radius(photo_rows, photo_embeddings):
    """All 260 photos, split by site 25 times over: 90% within 4 points. One split alone has too few photos to say."""
    rows, embeddings = photo_rows, photo_embeddings
    positions = [LatLon(float(row["lat"]), float(row["lon"])) for row in rows]
    covered = []
    for seed in range(25):
        gallery, known, held_out = split_by_site(rows, seed)

        def ask(at: int, gallery: list[int] = gallery) -> tuple[float, float]:
            similarities = embeddings[gallery] @ embeddings[at]
            found = [
                Neighbour(row, positions[gallery[row]], float(similarities[row]))
                for row in (-similarities).argsort()[:16].tolist()
            ]
            return found[0].similarity, geodesic_km(vote(found).position, positions[at])

        calibration = replace(
            CALIBRATION_MADE, methods={"vote": groups_of(*zip(*(ask(at) for at in known), strict=True))}
        )
        asked = [ask(at) for at in held_out]
        covered.append(np.mean([error <= calibration.radius_km("vote", "", similar) for similar, error in asked]))
    assert abs(np.mean(covered) - 0.9) <= 0.04


def write(path, rows, columns=("file", "lat", "lon", "attribution")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_from_photos_to_coverage_on_the_command_line(photo_rows, tmp_path, monkeypatch, capsys):
    rows = photo_rows[::2]
    parts = dict(zip(("gallery", "known", "held-out"), split_by_site(rows, 1), strict=True))
    for name, numbers in parts.items():
        write(tmp_path / f"{name}.csv", [rows[at] for at in numbers], rows[0])
    gallery = tmp_path / "gallery"
    monkeypatch.setenv("IMG2LOC_GALLERY", str(gallery))
    place = ["--photos", str(PHOTOS), "--positions", str(tmp_path / "gallery.csv"), "--encoder", "lite0"]
    assert build(["build", *place, "--out", str(gallery)]) == 0
    identity = open_gallery(str(gallery)).manifest.identity

    def run(name: str) -> str:
        truth = [
            "--truth",
            str(tmp_path / f"{name}.csv"),
            "--truth-columns",
            "id=file,author=attribution,lat=lat,lon=lon",
        ]
        assert main(["evaluate", "run", *truth, "--photos", str(PHOTOS), "--out", str(tmp_path / name)]) == 0
        return str(tmp_path / name / "vote-n16-f16.jsonl")

    journal = run("known")
    capsys.readouterr()
    assert main(["calibrate", "--data", journal, "--out", str(gallery / CALIBRATION)]) == 0
    said = capsys.readouterr().out
    assert "vote: similarity" in said and "km with 90% probability" in said and "added to the gallery" in said
    opened = open_gallery(str(gallery))
    assert opened.calibration.data.startswith("own listing, ") and opened.manifest.identity == identity
    assert build(["verify", str(gallery)]) == 0
    journal = run("held-out")
    assert main(["evaluate", "report", journal, "--out", str(tmp_path / "report")]) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    _, coverage = report.split("## Coverage")
    assert f"| vote-n16-f16 | all | {len(parts['held-out'])} | 90% |" in coverage and "| Europe |" in coverage
    capsys.readouterr()
    assert main(["locate", str(PHOTOS / rows[0]["file"])]) == 0
    assert "\t90% sure within " in capsys.readouterr().out
    # Another gallery's calibration, and one that is torn, are told in words; and nothing is written.
    other = tmp_path / "other"
    shutil.copytree(gallery, other)
    manifest = json.loads((other / MANIFEST).read_text("utf-8"))
    (other / MANIFEST).write_text(json.dumps({**manifest, "name": "another"}), encoding="utf-8")
    with pytest.raises(GalleryError, match="another gallery's"):
        open_gallery(str(other))
    assert main(["calibrate", "--data", journal, "--out", str(other / CALIBRATION)]) == 1
    assert "The journals were made with another gallery" in capsys.readouterr().err
    assert main(["calibrate", "--data", journal, "--out", str(gallery / "c.json")]) == 1
    assert "must be named calibration.json" in capsys.readouterr().err
    for twice in (["--data", journal, journal], ["--data", str(tmp_path / "no.jsonl")]):
        assert main(["calibrate", *twice, "--out", str(tmp_path / "free.json")]) == (0 if len(twice) == 3 else 1)
    assert "write it into a gallery" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"data":1}', "null"])
def test_a_torn_calibration_is_none(text: str):
    with pytest.raises(ValueError, match=r"Input should be|Field required|Invalid JSON"):
        read_calibration(text.encode())


@pytest.mark.parametrize(
    "change", [{"probability": 1.5}, {"methods": {"vote": ()}}, {"methods": {"vote": (Group(0, -1, 3),)}}]
)
def test_a_calibration_that_cannot_be_is_none(change):
    with pytest.raises(ValueError, match=r"it has a method|is invalid"):
        replace(CALIBRATION_MADE, **change)


def sure(radius_km: float, probability: float | None = 0.9) -> Prediction:
    here = LatLon(48.8584, 2.2945)
    near = Neighbour(0, here, 0.5)
    return Prediction(
        here, radius_km, "vote", Place("Paris", "France", "FR", 3.0), Vote(here, 7.3, 16), Retrieval((near,), (near,)),
        "", None, (), probability=probability,
    )  # fmt: skip


def test_an_answer_says_what_its_radius_is():
    told = answer(sure(70.0), truth=None)
    assert "70 km" in told and "with 90% probability" in told and "spread" not in told
    told = answer(sure(7.3, None), truth=None)
    assert "a spread, not a confidence" in told and "probability" not in told


@pytest.mark.parametrize(
    ("radius_km", "withheld", "words"),
    [(25.0, "", "Paris"), (26.0, "region", "only the region"), (200.0, "region", "only the region"),
     (201.0, "country", "only the country"), (751.0, "nothing", "too uncertain for this site")],
)  # fmt: skip
def test_beyond_the_bound_an_answer_says_less_and_says_so(radius_km, withheld, words):
    left = abstain(sure(radius_km), 25.0)
    assert left.withheld == withheld and words in answer(left, truth=None)
    if withheld == "nothing":
        assert left.position is None and left.vote is None and left.retrieval == Retrieval((), ())
    elif withheld:
        assert left.radius_km >= radius_km and left.probability == 0.9 and left.position != sure(1).position
    else:
        assert left == sure(radius_km)


def test_what_is_not_calibrated_is_never_withheld():
    for prediction in (sure(9000.0, None), replace(sure(1.0), radius_km=None, probability=None)):
        assert abstain(prediction, 25.0) == prediction
    assert abstain(sure(9000.0), None) == sure(9000.0)

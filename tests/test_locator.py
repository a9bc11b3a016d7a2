"""The locator: stages in order, the vote always there, and nothing of one visitor's in another's answer."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor

import pytest

from img2loc.errors import ConfigError, GalleryMismatchError, LMMTimeoutError
from img2loc.geo.sphere import haversine_km
from img2loc.judge.candidates import MERGE_KM
from img2loc.judge.sampling import Judge
from img2loc.locator import PROMPT_SEPARATOR, VOTE_NEIGHBOURS, Ask, Locator
from img2loc.photo.decode import open_photo
from img2loc.types import LatLon, OutcomeKind
from index_builder.__main__ import main
from tests.conftest import MOBILENET, PHOTOS
from tests.fakes.scripted_lmm import ScriptedLMM

EIFFEL_TOWER = LatLon(48.8584, 2.2945)


def test_the_eiffel_tower_is_in_paris(starter, tower):
    stages: list[str] = []
    prediction = starter.locate(tower, on_stage=stages.append)
    assert prediction.method == "vote"
    assert haversine_km(prediction.position, EIFFEL_TOWER) < 1
    assert str(prediction.place) == "Paris, France"
    assert "Eiffel-Tower" in prediction.retrieval.nearest[0].photo.id
    assert (len(prediction.retrieval.nearest), len(prediction.retrieval.farthest)) == (16, 16)
    assert prediction.outcome is None and prediction.prompt == ""
    assert stages == [name for name, _ in prediction.timings] == ["embed", "search", "vote", "place"]


def test_the_judge_asks_a_prompt_each_and_chooses_among_all(starter, tower):
    said = [
        f'{{"latitude": {lat}, "longitude": {lon}}}' for lat, lon in ((36.11, -115.17), (48.86, 2.29), (48.85, 2.3))
    ]
    lmm = ScriptedLMM([said[0], said[1], "I can't tell.", said[2]])
    prediction = starter.locate(tower, Ask(lmm=lmm, nearest=3, farthest=2, judge=Judge((0, 5, 10))))
    texts = [turns[0].text for turns, _ in lmm.asked]
    assert len(texts) == 4 and prediction.prompt == PROMPT_SEPARATOR.join([texts[0], texts[1], texts[2]])
    assert texts[0].count("(") < texts[1].count("(") < texts[2].count("(")
    assert (len(prediction.retrieval.nearest), len(prediction.retrieval.farthest)) == (3, 2)
    best, *others = prediction.candidates
    assert prediction.method == "judge" and prediction.position == best.position and prediction.radius_km == MERGE_KM
    assert haversine_km(best.position, EIFFEL_TOWER) < 25 and best.answers == 2 and best.likelihood == 0
    assert LatLon(36.11, -115.17) in {one.position for one in others}
    assert prediction.outcome.position == LatLon(48.86, 2.29) or prediction.outcome.position == LatLon(48.85, 2.3)
    assert len(prediction.outcome.replies) == 4 and prediction.vote is not None


def test_without_a_model_the_judge_has_the_neighbours(starter, tower):
    prediction = starter.locate(tower, Ask(judge=Judge()))
    assert prediction.method == "judge" and haversine_km(prediction.position, EIFFEL_TOWER) < 1
    assert prediction.outcome is None and len(prediction.candidates) > 1
    assert all(one.answers == one.agreement == 0 for one in prediction.candidates)


def test_the_model_may_choose_at_the_end(starter, tower):
    vegas, paris = '{"latitude": 36.11, "longitude": -115.17}', '{"latitude": 48.86, "longitude": 2.29}'
    lmm = ScriptedLMM([vegas, paris, '{"choice": "A", "reasoning": "A copy."}'])
    prediction = starter.locate(tower, Ask(lmm=lmm, judge=Judge((0, 5), choice=True)))
    question = lmm.asked[2][0][0]
    assert prediction.prompt.endswith(PROMPT_SEPARATOR + question.text) and question.letters[0] == "A"
    assert "1 of 2 earlier guesses lie here" in question.text and "United States)" in question.text
    assert question.pictures == ()  # the starter's records link pages, not pictures
    assert prediction.choice.kind is OutcomeKind.ANSWERED and prediction.choice.reasoning == "A copy."
    chosen = [one for one in prediction.candidates if one.choice]
    assert [one.position for one in chosen] == [prediction.choice.position] and chosen[0].position.lon < 0
    assert sum(one.score for one in prediction.candidates) == pytest.approx(1)
    without = starter.locate(tower, Ask(lmm=ScriptedLMM([vegas, paris]), judge=Judge((0, 5))))
    score = {one.position: one.score for one in without.candidates}
    assert chosen[0].score > score[chosen[0].position] and without.choice is None


@pytest.mark.parametrize("said", ["Hm.", LMMTimeoutError("Late.")])
def test_a_choice_that_fails_leaves_the_rules_order(starter, tower, said):
    answers = ['{"latitude": 36.11, "longitude": -115.17}', '{"latitude": 48.86, "longitude": 2.29}']
    prediction = starter.locate(tower, Ask(lmm=ScriptedLMM([*answers, said]), judge=Judge((0, 5), choice=True)))
    assert prediction.candidates == starter.locate(tower, Ask(lmm=ScriptedLMM(answers), judge=Judge((0, 5)))).candidates
    assert prediction.choice.position is None and prediction.choice.message
    assert prediction.outcome.kind is OutcomeKind.ANSWERED


def test_after_a_providers_error_nobody_is_asked_to_choose(starter, tower):
    lmm = ScriptedLMM([LMMTimeoutError("Late.")])
    prediction = starter.locate(tower, Ask(lmm=lmm, judge=Judge((0, 5), choice=True)))
    assert len(lmm.asked) == 1 and prediction.choice is None and prediction.method == "judge"


def test_where_nobody_says_anything_nothing_is_judged(starter, tower):
    lmm = ScriptedLMM([LMMTimeoutError("Late.")])
    prediction = starter.locate(tower, Ask(lmm=lmm, judge=Judge((0, 5)), exclude=lambda neighbour: True))
    assert prediction.method == "none" and prediction.position is None and prediction.candidates == ()
    assert prediction.outcome.kind is OutcomeKind.PROVIDER_ERROR


def test_a_models_answer_comes_first_and_the_vote_stands_beside_it(starter, tower):
    lmm = ScriptedLMM(['{"latitude": 36.11, "longitude": -115.17, "place": "Las Vegas", "reasoning": "A copy."}'])
    prediction = starter.locate(tower, Ask(lmm=lmm, nearest=3, farthest=2))
    assert prediction.method == "lmm" and prediction.radius_km is None
    assert prediction.position == LatLon(36.11, -115.17)
    assert prediction.place.country_code == "US"
    assert haversine_km(prediction.vote.position, EIFFEL_TOWER) < 1
    ((turns, jpeg),) = lmm.asked
    assert turns[0].text == prediction.prompt and "48.858" in prediction.prompt
    assert jpeg.startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ([LMMTimeoutError("The model did not reply within 60 s.")], OutcomeKind.PROVIDER_ERROR),
        (["no idea", "still none"], OutcomeKind.UNPARSEABLE),
        (["I'm sorry, but I can't help with locating this."], OutcomeKind.REFUSED),
    ],
)
def test_when_the_model_fails_the_vote_answers_and_says_why(starter, tower, replies, kind):
    prediction = starter.locate(tower, Ask(lmm=ScriptedLMM(replies)))
    assert (prediction.method, prediction.outcome.kind) == ("vote", kind)
    assert haversine_km(prediction.position, EIFFEL_TOWER) < 1
    assert prediction.outcome.message


def test_the_vote_is_there_for_a_prompt_without_neighbours(starter, tower):
    lmm = ScriptedLMM(['{"latitude": 48.86, "longitude": 2.29, "place": "Paris", "reasoning": "The tower."}'])
    prediction = starter.locate(tower, Ask(lmm=lmm, nearest=0, farthest=0))
    assert prediction.retrieval.nearest == prediction.retrieval.farthest == ()
    assert prediction.vote.neighbours == VOTE_NEIGHBOURS
    assert "48.858" not in prediction.prompt


def test_a_bad_template_is_refused_before_anything_is_paid_for(starter, tower):
    lmm = ScriptedLMM([])
    with pytest.raises(ConfigError):
        starter.locate(tower, Ask(lmm=lmm, template="Where is this? $nearset"))
    assert not lmm.asked


def test_many_visitors_at_once_each_get_their_own_answer(starter):
    photos = [open_photo(path.read_bytes()) for path in sorted(PHOTOS.glob("c2lc*"))[:12]]
    alone = [starter.locate(photo).retrieval.nearest[0].row for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda photo: starter.locate(photo).retrieval.nearest[0].row, photos))
    assert together == alone
    assert len(set(alone)) == 12


def test_what_is_excluded_makes_room_for_the_next(starter, tower):
    plain = starter.locate(tower, Ask(nearest=200, farthest=0)).retrieval.nearest
    first = {neighbour.row for neighbour in plain[:100]}
    rest = starter.locate(tower, Ask(nearest=20, farthest=3, exclude=lambda neighbour: neighbour.row in first))
    assert [neighbour.row for neighbour in rest.retrieval.nearest] == [neighbour.row for neighbour in plain[100:120]]
    assert rest.vote.neighbours == 20 and len(rest.retrieval.farthest) == 3
    few = starter.locate(tower, Ask(exclude=lambda neighbour: neighbour.row > 4))
    assert sorted(neighbour.row for neighbour in few.retrieval.nearest) == [0, 1, 2, 3, 4]
    assert starter.locate(tower, Ask(exclude=lambda neighbour: True)).method == "none"


@pytest.fixture(scope="module")
def halves(photo_rows):
    """Of each site with several photos the first half, and the Eiffel tower; and half of the other photos."""
    by_site: dict[str, list[dict[str, str]]] = {}
    for row in photo_rows:
        by_site.setdefault(row["group"], []).append(row)
    sites = [rows for rows in by_site.values() if len(rows) > 1 or "Eiffel-Tower" in rows[0]["file"]]
    gallery = [row for rows in sites for row in rows[: (len(rows) + 1) // 2]]
    return gallery, [row for rows in sites for row in rows[(len(rows) + 1) // 2 :]][::2]


@pytest.fixture(scope="module")
def mobilenet_gallery(halves, tmp_path_factory):
    """A gallery of the first half, built on the command line with a Hugging Face folder as its encoder."""
    folder = tmp_path_factory.mktemp("mobilenet")
    with (folder / "positions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, halves[0][0].keys())
        writer.writeheader()
        writer.writerows(halves[0])
    arguments = ["--photos", str(PHOTOS), "--positions", str(folder / "positions.csv"), "--encoder", str(MOBILENET)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index_builder.stages.embed.BFLOAT16_SAMPLE", 4)
        assert main(["build", *arguments, "--out", str(folder / "gallery")]) == 0
    return str(folder / "gallery")


def test_another_gallery_finds_another_view_of_the_same_site(mobilenet_gallery, halves, tower):
    locator = Locator.open(mobilenet_gallery, encoder=str(MOBILENET))
    gallery, queries = halves
    site = {row["file"]: row["group"] for row in gallery}
    found = 0
    for query in queries:
        photo = open_photo((PHOTOS / query["file"]).read_bytes())
        nearest = locator.neighbours(photo, nearest=1, farthest=0).nearest[0]
        found += site[nearest.photo.id] == query["group"]
    assert len(queries) >= 30
    assert found / len(queries) > 0.7
    nearest = locator.neighbours(tower, nearest=1, farthest=0).nearest[0]
    assert "Eiffel-Tower" in nearest.photo.id
    assert haversine_km(nearest.position, EIFFEL_TOWER) < 1


def test_a_gallery_is_refused_without_its_own_encoder(mobilenet_gallery):
    with pytest.raises(ConfigError, match="set IMG2LOC_ENCODER to that folder"):
        Locator.open(mobilenet_gallery)
    with pytest.raises(GalleryMismatchError, match="made with another encoder"):
        Locator.open(mobilenet_gallery, encoder="lite0")

"""The command line: what it prints, how it fails, and that the key is never among it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from img2loc.__main__ import main
from img2loc.locator import Locator
from tests.conftest import NOBODY, PHOTOS
from tests.fakes.openai_server import OpenAIServer

EIFFEL = str(next(PHOTOS.glob("*Eiffel*")))
TAJ = str(next(PHOTOS.glob("*Taj-Mahal*")))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for variable in ("OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def test_text_is_a_line_a_photo(capsys):
    assert main(["locate", EIFFEL, TAJ]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split("\t") == [EIFFEL, "48.85840, 2.29450", "Paris, France", "vote", "half of the vote within 4 km"]
    assert "Agra, India" in second


def test_json_has_the_evidence(capsys):
    assert main(["locate", EIFFEL, "--json", "--nearest", "3", "--farthest", "0"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["photo"] == EIFFEL and found["method"] == "vote"
    assert found["position"] == {"lat": pytest.approx(48.8584, abs=1e-3), "lon": pytest.approx(2.2945, abs=1e-3)}
    assert len(found["nearest"]) == 3 and found["farthest"] == []


def test_geojson_has_longitude_first(capsys):
    assert main(["locate", EIFFEL, TAJ, "--geojson"]) == 0
    features = json.loads(capsys.readouterr().out)["features"]
    assert features[0]["geometry"]["coordinates"] == pytest.approx([2.2945, 48.8584], abs=1e-3)
    assert features[1]["properties"]["country"] == "India"


def test_csv_has_a_header_and_a_row_a_photo(capsys):
    assert main(["locate", EIFFEL, TAJ, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["city"] for row in rows] == ["Paris", "Agra"]
    assert float(rows[0]["lat"]) == pytest.approx(48.8584, abs=1e-3)


def test_a_known_area_holds_every_answer(capsys):
    assert main(["locate", EIFFEL, TAJ, "--within", "indien; Japan", "--json"]) == 0
    for found in json.loads(capsys.readouterr().out):
        assert found["within"] == "India; Japan" and found["place"]["country"] in ("India", "Japan")
    assert main(["locate", EIFFEL, "--within", "30, -40, 300 km"]) == 1
    assert "no photo within this area" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["locate", EIFFEL, "--within", "Frnace"])
    assert caught.value.code == 2 and "Did you mean France?" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [[], ["--json"], ["--geojson"], ["--csv"]])
def test_one_bad_photo_spoils_no_other(tmp_path, capsys, shape):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not a picture")
    assert main(["locate", str(bad), EIFFEL, *shape]) == 1
    said = capsys.readouterr()
    assert "48.858" in said.out and str(bad) in said.out
    assert f"{bad}: This isn't a JPEG" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("shape", [[], ["--json"], ["--geojson"], ["--csv"]])
def test_a_photo_that_is_cut_short_is_located_and_noted(tmp_path, capsys, shape):
    cut, note = tmp_path / "cut.jpg", "only the first 6"
    data = Path(EIFFEL).read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert main(["locate", str(cut), *shape]) == 0
    said = capsys.readouterr()
    assert f"img2loc: {cut}: The file is cut short or damaged: {note}" in said.err
    assert (note in said.out) == bool(shape)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "VERB"),
        (["locate"], "PHOTO"),
        (["locate", EIFFEL, "--backend", "gpt"], "invalid choice"),
        (["locate", EIFFEL, "--nearest", "-1"], "whole number"),
        (["locate", EIFFEL, "--nearest", "9" * 5000], "--nearest: The number is too large."),
        (["locate", EIFFEL, "--nearest", "1.5"], "'1.5' is not a whole number from 0."),
        (["locate", EIFFEL, "--samples", "21"], "--samples: '21' is not a whole number from 1 to 20."),
        (["locate", EIFFEL, "--judge", "x"], "--judge: judge must be off, or 1 to 8 numbers from 0 to 50"),
        (["locate", EIFFEL, "--model", "gpt-\udcff"], "argument model: gpt-\\xff must be text in UTF-8."),
        (["locate", EIFFEL, "--json", "--csv"], "not allowed with"),
        (["locate", EIFFEL, "--temperature", "9"], "from 0 to 2"),
    ],
)
def test_wrong_usage_exits_with_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("program", ["img2loc", "python -m img2loc"])
def test_wrong_usage_of_a_verb_shows_its_usage_as_it_was_called(capsys, program):
    for arguments in (["locate", EIFFEL, "--nerest", "3"], ["locate", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments, program=program)
        said = capsys.readouterr()
        assert (said.out or said.err).startswith(f"usage: {program} locate [-h]")
    assert "PHOTO " in said.out and "a photo's file" in said.out


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["locate", EIFFEL, "--backend", "openai"], {}, "key"),
        (["locate", EIFFEL], {"IMG2LOC_GALLERY": "no/such/gallery/here"}, "neither a folder"),
        (["locate", EIFFEL], {"IMG2LOC_ENCODER": "no-such-encoder"}, "can't be loaded"),
        (["locate", EIFFEL, "--prompt", "no/such/prompt.txt"], {}, "can't be read"),
        (["locate", EIFFEL, "--prompt", "papr"], {}, "none of paper, numbered, g3, zero-shot"),
        (["locate", EIFFEL, "--backend", "openai", "--base-url", "olama"], {}, "there is no server 'olama'"),
        (["locate", EIFFEL, "--backend", "hf"], {}, "HF_TOKEN"),
    ],
)
def test_a_wrong_setting_gets_one_sentence_and_exit_2(monkeypatch, capsys, arguments, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words.lower() in said.err.lower() and "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "name"), [("IMG2LOC_GALLERY", "some/gallery"), ("IMG2LOC_ENCODER", "some/encoder")]
)
def test_a_hub_that_is_down_is_a_failure_and_no_wrong_setting(monkeypatch, capsys, connect, variable, name):
    connect(NOBODY)
    monkeypatch.setenv(variable, name)
    assert main(["locate", EIFFEL]) == 1
    assert "the Hub can't be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("IMG2LOC_GALERY", "starter", "did you mean IMG2LOC_GALLERY"),
        ("SSL_CERT_FILE", "/gone", "SSL_CERT_FILE names a file that doesn't exist: /gone"),
        ("ALL_PROXY", "gopher://proxy.example", "ALL_PROXY isn't the address of a proxy"),
        ("OPENAI_API_KEY", "sk-secret\nsk-secret", "OPENAI_API_KEY contains"),
    ],
)
def test_a_wrong_environment_gets_one_sentence_and_exit_2(monkeypatch, capsys, variable, value, words):
    monkeypatch.setenv(variable, value)
    assert main(["locate", EIFFEL]) == 2
    said = capsys.readouterr().err
    assert said.startswith("img2loc: ") and words in said and "secret" not in said
    assert len(said.strip().splitlines()) == 1


def test_a_model_answers_through_a_compatible_server(monkeypatch, capsys):
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        server.enqueue("good")
        assert main(["locate", EIFFEL, "--backend", "openai", "--base-url", server.base_url, "--json"]) == 0
    said = capsys.readouterr()
    (found,) = json.loads(said.out)
    assert found["method"] == "lmm" and found["outcome"]["kind"] == "answered"
    assert server.key not in said.out + said.err


def test_when_the_model_fails_the_vote_is_printed_and_the_exit_code_says_so(monkeypatch, capsys):
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        server.enqueue("bad_key")
        assert main(["locate", EIFFEL, "--backend", "openai", "--base-url", server.base_url]) == 1
    said = capsys.readouterr()
    assert "48.858" in said.out and "vote" in said.out
    assert "key" in said.err and "Showing the neighbours' vote instead." in said.err
    assert server.key not in said.out + said.err


@pytest.mark.parametrize(("name", "has_neighbours"), [("numbered", True), ("zero-shot", False)])
def test_a_prompt_is_chosen_by_name_and_asked_as_often_as_told(monkeypatch, capsys, name, has_neighbours):
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        asked = ["--base-url", server.base_url, "--prompt", name, "--temperature", "0.7", "--samples", "3"]
        assert main(["locate", EIFFEL, "--backend", "openai", "--json", *asked]) == 0
        assert len(server.requests) == 3 and {request.body["temperature"] for request in server.requests} == {0.7}
        assert ("(Paris, France)" in server.requests[0].prompt) is has_neighbours
    (found,) = json.loads(capsys.readouterr().out)
    assert len(found["outcome"]["replies"]) == 3 and len(found["nearest"]) == 16


def test_what_several_requests_cost_is_said_before_the_first(monkeypatch, capsys):
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        asked = ["--backend", "openai", "--base-url", server.base_url, "--judge", "0,5+choice"]
        assert main(["locate", EIFFEL, *asked]) == 0
        assert len(server.requests) == 3
    said = capsys.readouterr()
    assert said.err == "img2loc: 3 requests to gpt-5.5, price unknown\n"
    assert "\tjudge\thalf of the candidates' score within 25 km" in said.out
    monkeypatch.setattr(Locator, "open", _stop)
    with pytest.raises(Stopped):
        main(["locate", EIFFEL, EIFFEL, "--backend", "openai", "--judge", "0,5,10,15"])
    assert capsys.readouterr().err == "img2loc: 8 requests to gpt-5.5, about $0.13\n"
    with pytest.raises(Stopped):
        main(["locate", EIFFEL, "--backend", "openai"])
    assert capsys.readouterr().err == ""


class Stopped(Exception):
    """Nothing further is to be done."""


def _stop(*_, **__):
    raise Stopped

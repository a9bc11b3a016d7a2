"""Several answers to one photo: who may be asked, whose key goes where, and what the cards say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import Mock

import pytest

from img2loc.errors import ConfigError
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.locator import Locator
from img2loc.photo.decode import Photo, open_photo
from img2loc.policy.settings import Settings
from img2loc.types import LatLon
from img2loc.web.request import LocateRequest
from img2loc.web.site import Site
from img2loc.web.tabs import contestants as contest
from tests.fakes.openai_server import KEY, OpenAIServer

PARIS = LatLon(48.8584, 2.2945)
HF_MODEL = BACKENDS["hf"].models[1]


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def settings(provider: OpenAIServer) -> Settings:
    return Settings(openai_base_url=provider.base_url, timeout_s=5)


def ask(names: list[str], settings: Settings, locator: Locator, photo: Photo, **keys: str) -> list[contest.Answers]:
    chosen = contest.read_contestants(names, settings)
    return list(contest.ask_all(chosen, photo, LocateRequest(None, keys=keys), locator, Site(None, settings)))


def test_suggestions_can_all_be_read(settings: Settings):
    for offered in (settings, Settings(llava_model="llava-hf/llava-1.5-7b-hf"), Settings(openai_base_url="gemini")):
        names = [name for _, name in contest.suggestions(offered)]
        assert len(set(names)) == len(names) and names[0] == "vote"
        for name in names:
            (one,) = contest.read_contestants([name], offered)
            assert one.label
    assert not any(name.startswith("llava") for _, name in contest.suggestions(settings))
    assert [name for _, name in contest.suggestions(replace(settings, backends=("vote",)))] == ["vote"]


def test_what_the_operator_pays_for_comes_first_and_alone(settings: Settings):
    paying = Settings(openai_api_key=KEY, hf_token="hf_mine", models=("own-model", "gpt-5.5", HF_MODEL))
    found = contest.providers(paying)
    # The default is the first that the backend has, as LocateRequest asks for it where none is named.
    assert found["openai"].models == ("gpt-5.5", "own-model", HF_MODEL) and found["openai"].provided
    assert found["hf"].models[0] == HF_MODEL and found["hf"].provided
    assert LocateRequest(None, "hf").options(paying).model == HF_MODEL
    assert found["gemini"].models == SERVERS["gemini"].models and not found["gemini"].provided
    assert not contest.providers(Settings())["openai"].provided and contest.providers(settings)["openai"].provided


@pytest.mark.parametrize("names", [[], ["vote"] * 7, ["oracle:1"], ["llava:any"], ["http://10.0.0.1:m"]])
def test_who_is_not_offered_is_not_asked(names: list[str], settings: Settings):
    with pytest.raises(ConfigError):
        contest.read_contestants(names, settings)


def test_all_answer_and_one_failure_stops_no_other(provider, settings, starter, tower):
    provider.enqueue("refusal")
    *_, answers = ask(["openai:m-1", "vote", "gemini:m-2"], settings, starter, tower, openai=KEY)
    refused, vote, keyless = answers.values()
    assert [one.provider.name for one in answers] == ["openai", "vote", "gemini"]  # as they were chosen
    assert "refuses" in refused.outcome.message and contest.own_position(refused) is None
    assert contest.own_position(vote) is not None
    assert "Gemini needs a key" in keyless
    marks = contest.marks(list(answers), answers)
    assert [(mark.label, mark.title) for mark in marks] == [("B", "Vote of the neighbours (no key)")]
    shown = contest.cards(list(answers), answers, PARIS)
    assert "refuses" in shown and "Gemini needs a key" in shown and "from the true position" in shown


def test_a_key_goes_to_its_own_provider_only(provider, settings, starter, tower):
    sent = len(provider.requests)
    *_, answers = ask(["openai:m-1"], settings, starter, tower, gemini="AIza-gemini", hf="hf_token")
    (answer,) = answers.values()
    assert "rejected the key" in answer.outcome.message or "key" in answer.outcome.message
    assert all("gemini" not in request.key for request in provider.requests[sent:])


def test_each_answer_is_shown_as_it_comes(provider, settings, starter, tower):
    provider.enqueue("good")
    seen = ask(["openai:m-1", "vote"], settings, starter, tower, openai=KEY)
    assert [len(answers) for answers in seen] == [1, 2]
    contestants = list(seen[-1])
    assert "Asking" in contest.cards(contestants, seen[0], None)
    assert "Asking" not in contest.cards(contestants, seen[-1], None)


def test_a_note_on_the_photo_stands_once(settings, starter, tower):
    *_, answers = ask(["vote"], settings, starter, replace(tower, note="The file is cut short."))
    assert contest.cards(list(answers), answers, None).count("The file is cut short.") == 1


def test_who_stops_listening_stops_the_asking(provider, settings, starter, tower):
    provider.enqueue("hang")
    chosen = contest.read_contestants(["openai:m-1", "vote"], settings)
    waiting = threading.Event()
    request = LocateRequest(None, keys={"openai": KEY}, cancel=waiting)
    asking = contest.ask_all(chosen, tower, request, starter, Site(None, settings))
    next(asking)
    asking.close()
    assert waiting.is_set()


def test_a_photo_that_cannot_be_encoded_fails_for_the_models_alone(settings, starter, tower, monkeypatch):
    photo = open_photo(tower.image)
    monkeypatch.setattr("PIL.Image.Image.save", Mock(side_effect=MemoryError))
    answers = ask(["openai:m-1", "vote"], settings, starter, photo, openai=KEY)[-1]
    model, vote = answers.values()
    assert isinstance(model, str) and vote.method == "vote"

"""What a visitor may ask for: nothing that is the operator's to choose, with nobody else's key, and not without end."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from img2loc.answer.prompt import template_named
from img2loc.errors import ConfigError, LimitError, MissingKeyError, PhotoError
from img2loc.lmm.servers import SERVERS
from img2loc.policy.settings import Settings
from img2loc.types import LatLon
from img2loc.web.request import LocateRequest, known_position, parse_position
from img2loc.web.site import Site
from tests.fakes.openai_server import KEY, OpenAIServer

PARIS = LatLon(48.8584, 2.2945)
OWN = Settings(openai_api_key="sk-operators", hf_token="hf_operators", server_keys={"GEMINI_API_KEY": "sk-gemini"})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://169.254.169.254/latest", "https://x.org/v1", "vllm"]
)
@pytest.mark.parametrize("backend", ["openai", "hf"])
def test_an_address_is_refused_unless_the_operator_allows_it(backend, url):
    request = LocateRequest(None, backend, base_url=url, keys={url: "sk-mine"})
    with pytest.raises(ConfigError, match="doesn't accept server addresses"):
        request.options(OWN)
    allowed = request.options(Settings(allow_base_url=True))
    assert (allowed.base_url, allowed.api_key) == (url, "sk-mine")


@pytest.mark.parametrize("url", ["gemini", "openrouter", "https://evil.example/v1"])
def test_the_operators_keys_never_go_to_a_server_that_a_visitor_chose(url):
    options = LocateRequest(None, "openai", base_url=url).options(Settings(openai_api_key="sk-o", allow_base_url=True))
    assert options.api_key == ""


def test_a_provider_may_be_chosen_with_ones_own_key():
    options = LocateRequest(None, "openai", "my-model", {"gemini": "sk-mine"}, base_url="gemini").options(OWN)
    assert (options.base_url, options.api_key, options.model) == ("gemini", "sk-mine", "my-model")


def test_who_brings_no_key_uses_the_operators_for_the_operators_server_only():
    assert LocateRequest(None, "openai").options(OWN).api_key == "sk-operators"
    assert LocateRequest(None, "hf").options(OWN).api_key == "hf_operators"
    assert LocateRequest(None, "hf", keys={"hf": "hf_mine"}).options(OWN).api_key == "hf_mine"


@pytest.mark.parametrize("whose", ["openai", "hf", "gemini", "anthropic"])
def test_a_visitors_key_is_used_for_its_own_provider_alone(whose):
    """Whatever was chosen since it was given, and whatever became of the requests in between."""
    none = Settings()
    for backend, server in (("openai", ""), ("openai", "gemini"), ("openai", "anthropic"), ("hf", "")):
        request = LocateRequest(None, backend, keys={whose: "hf_visitors"}, base_url=server)
        assert request.options(none).api_key == ("hf_visitors" if whose == (server or backend) else "")


def test_only_the_operators_model_runs_on_this_machine():
    with pytest.raises(ConfigError, match="No model runs on this site's machine"):
        LocateRequest(None, "llava").options(OWN)
    here = Settings(llava_model="a/b")
    assert (
        LocateRequest(None, "llava").options(here).model
        == LocateRequest(None, "llava", "a/b").options(here).model
        == "a/b"
    )
    with pytest.raises(ConfigError, match="Only a/b runs"):
        LocateRequest(None, "llava", "huge/model").options(here)


def test_a_server_is_refused_where_none_is_asked():
    with pytest.raises(ConfigError, match="uses no model server"):
        LocateRequest(None, "vote", base_url="gemini").options(OWN)
    with pytest.raises(ConfigError, match="base_url must be a string"):
        LocateRequest(None, base_url=None)


def test_leaving_reaches_the_model():
    leave = threading.Event()
    assert LocateRequest(None, "openai", cancel=leave).options(OWN).cancel is leave


def test_a_backend_that_is_not_offered_is_refused():
    offered = Settings(backends=("vote", "hf"))
    with pytest.raises(ConfigError, match="doesn't offer the backend 'openai'; choose one of: vote, hf"):
        LocateRequest(None, "openai", keys={"openai": "sk-mine"}).options(offered)
    with pytest.raises(ConfigError, match="no backend 'oracle'"):
        LocateRequest(None, "oracle").options(offered)


def test_the_operator_pays_for_the_allowed_models_only():
    allowed = Settings(openai_api_key="sk-operators", models=("small", "medium"))
    assert LocateRequest(None, "openai").options(allowed).model == "small"
    assert LocateRequest(None, "openai", "medium").options(allowed).model == "medium"
    with pytest.raises(
        ConfigError,
        match="To use 'huge', enter your own key for a provider such as OpenAI, or choose one of: small, medium",
    ):
        LocateRequest(None, "openai", "huge").options(allowed)
    assert LocateRequest(None, "openai", "huge", {"openai": "sk-mine"}).options(allowed).model == "huge"
    own_default = Settings(openai_api_key="sk-operators", models=("small", "gpt-5.5"))
    assert LocateRequest(None, "openai").options(own_default).model == "gpt-5.5"


@pytest.fixture
def provider(monkeypatch):
    """A server on loopback; as Gemini it is at the fixed address of a public provider, too."""
    with OpenAIServer() as server:
        monkeypatch.setitem(SERVERS, "gemini", replace(SERVERS["gemini"], base_url=server.base_url))
        yield server


def test_the_operators_key_is_bounded_by_the_hour_in_one_place(starter, tower, provider):
    bounded = Site(
        None, Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_per_visitor=2, hourly_total=3)
    )

    def ask(visitor: str, **how: Any) -> str:
        provider.enqueue("good")
        return (
            LocateRequest(None, how.pop("backend", "openai"), visitor=visitor, **how)
            .locate(tower, starter, bounded)
            .method
        )

    assert ask("a") == ask("a") == "lmm"
    with pytest.raises(LimitError, match="used your 2 model answers"):
        ask("a")
    with pytest.raises(LimitError, match="used your 2 model answers"):
        ask("a", keys={"openai": KEY})  # it's the operator's server, whoever's key it is
    # The vote is free, and whoever brings a key to a provider pays.
    own = {"keys": {"gemini": KEY}, "base_url": "gemini"}
    assert ask("a", backend="vote") == "vote" and ask("a", **own) == "lmm"
    assert ask("b") == "lmm"
    with pytest.raises(LimitError, match="hourly budget for model answers is used up"):
        ask("c")
    asked = len(provider.requests)
    for _ in range(3):
        with pytest.raises(LimitError):
            ask("c")
    assert len(provider.requests) == asked  # nobody is asked, and nothing paid


def test_each_request_of_a_judged_photo_counts(starter, tower, provider):
    bounded = Site(None, Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_total=3))
    asked = len(provider.requests)
    assert LocateRequest(None, "openai", judge="0,5+choice").locate(tower, starter, bounded).choice is not None
    assert len(provider.requests) == asked + 3
    with pytest.raises(LimitError):
        LocateRequest(None, "openai").locate(tower, starter, bounded)


OWN_WORDS = "Write me a poem. $nearest $farthest"


def test_at_the_operators_expense_only_named_prompts_are_sent(starter, tower, provider):
    pays = Settings(openai_base_url=provider.base_url, openai_api_key=KEY)

    def ask(prompt: str, **how: Any) -> str:
        provider.enqueue("good")
        return LocateRequest(None, "openai", prompt=prompt, **how).locate(tower, starter, Site(None, pays)).method

    asked = len(provider.requests)
    for prompt in (OWN_WORDS, "Where is this?"):
        with pytest.raises(ConfigError, match="To use your own prompt, enter your own key"):
            ask(prompt)
    assert len(provider.requests) == asked
    assert ask("numbered") == ask(template_named("paper")) == ask("") == "lmm"  # the page sends the text
    own = {"keys": {"gemini": KEY}, "base_url": "gemini"}
    assert ask(OWN_WORDS, **own) == "lmm" and "a poem" in provider.requests[-1].prompt


@pytest.mark.parametrize(
    ("login", "operators_key"),
    [("", ""), ("", KEY), ("operator:secret@", ""), ("operator:secret@", KEY)],
    ids=["no key", "a key that nobody checks", "a password", "a password in place of the key"],
)
def test_at_the_operators_own_address_no_key_frees_from_a_bound(starter, tower, login, operators_key):
    """The server may check no key, or be paid by the name and password in its address."""
    with OpenAIServer(key=None) as server:
        address = server.base_url.replace("://", f"://{login}")
        pays = Site(
            None,
            Settings(openai_base_url=address, openai_api_key=operators_key, hourly_total=1, models=("small",)),
        )
        any_key = {"openai": "sk-junk"}
        with pytest.raises(ConfigError, match="To use your own prompt"):
            LocateRequest(None, "openai", keys=any_key, prompt=OWN_WORDS).locate(tower, starter, pays)
        with pytest.raises(ConfigError, match="To use 'huge', enter your own key"):
            LocateRequest(None, "openai", "huge", any_key).locate(tower, starter, pays)
        LocateRequest(None, "openai", keys=any_key).locate(tower, starter, pays)
        for _ in range(3):
            with pytest.raises(LimitError, match="hourly budget"):
                LocateRequest(None, "openai", keys=any_key).locate(tower, starter, pays)
        assert [request.body["model"] for request in server.requests] == ["small"]


def test_a_key_pays_at_a_provider_with_a_fixed_address():
    pays = Settings(openai_api_key="sk-operators", hf_token="hf_operators", models=("small",))
    for backend, key in (("openai", "sk-mine"), ("hf", "hf_mine")):
        assert LocateRequest(None, backend, "huge", {backend: key}).options(pays).model == "huge"
        with pytest.raises(ConfigError, match="To use 'huge', enter your own key"):
            LocateRequest(None, backend, "huge").options(pays)


def test_the_operators_tokens_are_bounded_by_what_replies_say(starter, tower, provider):
    asked = len(provider.requests)
    bounded = Site(None, Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_tokens=50_000))
    LocateRequest(None, "openai").locate(tower, starter, bounded)
    (reservation,) = bounded.limits._reservations
    assert reservation.tokens == 1260  # as openai_server.py reports it
    with pytest.raises(LimitError, match="more than this site's hourly budget"):
        LocateRequest(None, "openai", judge="0,5,10,15").locate(tower, starter, bounded)
    assert len(provider.requests) == asked + 1


PROMPT_TOKENS = 1200  # as openai_server.py reports it


@pytest.mark.parametrize("behaviour", ["good", "malformed", "cut", "not_json", "html_error", "hang"])
def test_photos_sent_at_once_cannot_take_more_tokens_than_allowed(starter, tower, provider, behaviour):
    """Each request may have cost all that its limits allow, whatever came back."""
    provider.enqueue(*[behaviour] * 100)
    bound = 100_000
    bounded = Site(
        None,
        Settings(
            openai_base_url=provider.base_url, openai_api_key=KEY, hourly_tokens=bound, openai_model="m", timeout_s=5
        ),
    )
    cancel = threading.Event()

    def ask(_: int) -> None:
        with contextlib.suppress(LimitError):
            LocateRequest(None, "openai", cancel=cancel).locate(tower, starter, bounded)

    with ThreadPoolExecutor(20) as pool:
        done = [pool.submit(ask, number) for number in range(20)]
        if behaviour == "hang":
            deadline = time.monotonic() + 60
            while not provider.requests and time.monotonic() < deadline:
                time.sleep(0.01)
            cancel.set()
        for each in done:
            each.result()
    ask(20)
    assert provider.requests
    if behaviour in ("cut", "not_json", "html_error", "hang"):  # nothing says what was used
        assert sum(request.body["max_completion_tokens"] + PROMPT_TOKENS for request in provider.requests) <= bound
    assert sum(reservation.tokens for reservation in bounded.limits._reservations) <= bound


def test_a_reply_that_cannot_be_used_takes_what_its_server_says(starter, tower, provider):
    bounded = Site(None, Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_tokens=50_000))
    provider.enqueue("no_choices")
    LocateRequest(None, "openai").locate(tower, starter, bounded)
    assert sum(reservation.tokens for reservation in bounded.limits._reservations) == 1260


def test_the_operators_own_server_is_at_the_operators_expense_also_where_a_visitor_names_it(starter, tower):
    url = "https://models.example.org/v1"
    bounded = Site(None, Settings(openai_base_url=url, hourly_per_visitor=1, allow_base_url=True))
    bounded.limits.reserve("a", 1, 0)
    for named in (url, f"{url}/", "https://MODELS.example.org/other"):
        request = LocateRequest(None, "openai", "m", base_url=named, visitor="a")
        with pytest.raises(LimitError, match="used your 1 model answer"):
            request.locate(tower, starter, bounded)


def test_a_provider_that_refuses_costs_none_of_the_operators_tokens(starter, tower, provider):
    bounded = Site(None, Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_tokens=50_000))
    for behaviour in ("bad_key", "no_model", "bad_request", "no_quota"):
        provider.enqueue(behaviour)
        LocateRequest(None, "openai").locate(tower, starter, bounded)
    assert sum(reservation.tokens for reservation in bounded.limits._reservations) == 0


def test_an_interrupted_request_is_sent_again_only_where_no_tokens_are_bounded(starter, tower, provider):
    for tokens, tries in ((50_000, 1), (None, 2)):
        for behaviour in ("cut", "html_error"):  # a gateway's error: the model behind it may have answered
            pays = Settings(openai_base_url=provider.base_url, openai_api_key=KEY, hourly_tokens=tokens)
            asked = len(provider.requests)
            provider._queue.clear()
            provider.enqueue(behaviour, "good")
            LocateRequest(None, "openai").locate(tower, starter, Site(None, pays))
            assert len(provider.requests) == asked + tries


def test_what_asks_nobody_is_not_counted(starter, tower):
    bounded = Site(None, Settings(hourly_total=1))
    for _ in range(3):
        with pytest.raises(MissingKeyError):
            LocateRequest(None, "openai").locate(tower, starter, bounded)


def test_answers_and_neighbours_are_as_coarse_as_the_operator_says(starter, tower):
    coarse = Settings(precision="country")
    request = LocateRequest(None, nearest=2, farthest=1)
    found = request.locate(tower, starter, Site(None, coarse))
    exact = request.locate(tower, starter, Site(None, Settings()))
    assert exact.place.city == "Paris" and (found.place.city, found.place.country_code) == ("", "FR")
    assert found.retrieval == request.neighbours(tower, starter, coarse) != exact.retrieval
    assert request.neighbours(tower, starter, Settings()) == exact.retrieval


def test_a_position_in_the_file_is_not_shown_beside_a_coarse_answer(tower):
    photo = replace(tower, exif_position=LatLon(48.85837, 2.294481))
    assert known_position(photo, Settings()) == photo.exif_position
    assert known_position(photo, Settings(precision="city")) is None


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("48.8584, 2.2945", PARIS),
        ("48.8584 2.2945", PARIS),
        (" ( 48.8584 ; 2.2945 ) ", PARIS),
        ("-33, 151", LatLon(-33, 151)),
        ("51°30'0\"N 0°7'30\"W", LatLon(51.5, -0.125)),
        ("", None),
        ("  ", None),
    ],
)
def test_positions_as_people_type_them(text: str, position: LatLon | None):
    assert parse_position(text) == position


@pytest.mark.parametrize("text", ["100, 20", "20, 200", "1e3, 2", "48,8", "12 34 56", "lat lon", "nan, 0", "x" * 100])
def test_typed_positions_are_never_guessed(text: str):
    with pytest.raises(ConfigError) if text != "48,8" else pytest.MonkeyPatch.context():
        parse_position(text)


def test_a_query_never_shows_its_key():
    assert KEY not in repr(LocateRequest(None, keys={"openai": KEY}))
    with pytest.raises(PhotoError):
        LocateRequest(None).photo()

"""What a visitor may ask for: no server and no model that is the operator's to choose, and nobody else's key."""

from __future__ import annotations

import threading

import pytest

from img2loc.errors import ConfigError
from img2loc.query import Query
from img2loc.settings import Settings

OWN = Settings(openai_api_key="sk-operators", hf_token="hf_operators", server_keys={"GEMINI_API_KEY": "sk-gemini"})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://169.254.169.254/latest", "https://x.org/v1", "vllm"]
)
@pytest.mark.parametrize("backend", ["openai", "hf"])
def test_an_address_is_refused_unless_the_operator_allows_it(backend, url):
    query = Query(None, backend, base_url=url, api_key="sk-mine")
    with pytest.raises(ConfigError, match="asks no server by its address"):
        query.options(OWN)
    allowed = query.options(Settings(allow_base_url=True))
    assert (allowed.base_url, allowed.api_key) == (url, "sk-mine")


@pytest.mark.parametrize("url", ["gemini", "openrouter", "https://evil.example/v1"])
def test_the_operators_keys_never_go_to_a_server_that_a_visitor_chose(url):
    options = Query(None, "openai", base_url=url).options(Settings(openai_api_key="sk-o", allow_base_url=True))
    assert options.api_key == ""


def test_a_provider_may_be_chosen_with_ones_own_key():
    options = Query(None, "openai", "my-model", "sk-mine", base_url="gemini").options(OWN)
    assert (options.base_url, options.api_key, options.model) == ("gemini", "sk-mine", "my-model")


def test_who_brings_no_key_uses_the_operators_for_the_operators_server_only():
    assert Query(None, "openai").options(OWN).api_key == "sk-operators"
    assert Query(None, "hf").options(OWN).api_key == "hf_operators"
    assert Query(None, "hf", api_key="hf_mine").options(OWN).api_key == "hf_mine"


def test_only_the_operators_model_runs_on_this_machine():
    with pytest.raises(ConfigError, match="No model runs on this machine"):
        Query(None, "llava").options(OWN)
    here = Settings(llava_model="a/b")
    assert Query(None, "llava").options(here).model == Query(None, "llava", "a/b").options(here).model == "a/b"
    with pytest.raises(ConfigError, match="Only a/b runs"):
        Query(None, "llava", "huge/model").options(here)


def test_a_server_is_refused_where_none_is_asked():
    with pytest.raises(ConfigError, match="asks no server"):
        Query(None, "vote", base_url="gemini").options(OWN)
    with pytest.raises(ConfigError, match="base_url must be a text"):
        Query(None, base_url=None)


def test_leaving_reaches_the_model():
    leave = threading.Event()
    assert Query(None, "openai", cancel=leave).options(OWN).cancel is leave

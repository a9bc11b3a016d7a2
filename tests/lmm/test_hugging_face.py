"""What is Hugging Face's own: its router and its tokens. The rest: conformance."""

from __future__ import annotations

import pytest

from img2loc.errors import ConfigError, MissingKeyError
from img2loc.lmm import BACKENDS, BackendOptions, open_lmm, servers
from img2loc.lmm.request import ANSWER_SCHEMA
from tests.fakes.openai_server import OpenAIServer
from tests.lmm.test_conformance import JPEG, TURNS

TOKEN = "hf_oauth_t3stT0kenAbcDefGhiJklMnoPqrStu"


def test_the_router_is_asked_for_the_default_model_with_a_strict_schema(monkeypatch):
    with OpenAIServer(key=TOKEN) as server:
        monkeypatch.setattr(servers, "ROUTER_URL", server.base_url)
        open_lmm("hf", BackendOptions(api_key=TOKEN)).reply(TURNS, JPEG)
        (request,) = server.requests
    assert request.body["model"] == BACKENDS["hf"].models[0]
    wrapper = request.body["response_format"]["json_schema"]
    assert wrapper == {"name": "position", "strict": True, "schema": ANSWER_SCHEMA}


def test_a_token_of_another_kind_is_refused_without_being_shown():
    with pytest.raises(ConfigError, match="begin with hf_") as caught:
        open_lmm("hf", BackendOptions(api_key="sk-proj-0123456789"))
    assert "sk-proj" not in str(caught.value)


def test_the_token_that_lies_on_this_machine_is_not_used(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with OpenAIServer(key=None) as server:
        open_lmm("hf", BackendOptions(api_key="visitors-own", base_url=server.base_url)).reply(TURNS, JPEG)
        assert server.requests[0].key == "visitors-own"


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_dedicated_endpoint_is_asked_however_its_address_ends(path):
    with OpenAIServer(key=TOKEN) as server:
        url = server.base_url.removesuffix("/v1") + path
        open_lmm("hf", BackendOptions(api_key=TOKEN, base_url=url, model="any name")).reply(TURNS, JPEG)
        assert server.requests[0].body["model"] == "any name"


@pytest.mark.parametrize(
    ("public_only", "words"), [(True, "base_url works only with the backend openai"), (False, "hf can't ask Gemini")]
)
def test_another_provider_is_not_asked_with_a_token_of_hugging_faces(public_only, words):
    with pytest.raises(ConfigError, match=words):
        open_lmm("hf", BackendOptions(api_key=TOKEN, base_url="gemini", public_only=public_only))


def test_a_missing_token_is_named():
    with pytest.raises(MissingKeyError, match=r"^Hugging Face needs a key; set HF_TOKEN\.$"):
        open_lmm("hf", BackendOptions())

"""What is OpenAI's own: its addresses and presets, what its models refuse, its list. The rest: conformance."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from unittest.mock import Mock

import pytest

from img2loc.answer.ask import parse
from img2loc.errors import (
    ConfigError,
    LMMError,
    LMMRejectedError,
    LMMTimeoutError,
    LMMUnreachableError,
    MissingKeyError,
)
from img2loc.lmm import BackendOptions, list_models, open_lmm, retry
from img2loc.lmm.request import MAX_OUTPUT_TOKENS, Parameters
from img2loc.lmm.response import Response
from img2loc.lmm.servers import OPENAI_URL, SERVERS, server_named
from img2loc.types import LatLon
from tests.fakes.openai_server import KEY, TEXTS, OpenAIServer
from tests.lmm.test_conformance import JPEG, TURNS


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


def _lmm(server, *, key=KEY, timeout_s=10.0, model="gpt-test"):
    return open_lmm("openai", BackendOptions(api_key=key, model=model, base_url=server.base_url, timeout_s=timeout_s))


def test_the_limit_goes_under_the_name_that_reasoning_models_take(server):
    _lmm(server).reply(TURNS, JPEG)
    assert server.requests[0].body["max_completion_tokens"] == MAX_OUTPUT_TOKENS


def test_an_older_server_gets_the_limit_under_its_older_name(server):
    server.enqueue("no_max_completion_tokens")
    assert _lmm(server).reply(TURNS, JPEG).text == TEXTS["good"]
    assert "max_completion_tokens" not in server.requests[1].body
    assert server.requests[1].body["max_tokens"] == MAX_OUTPUT_TOKENS


@pytest.mark.parametrize(
    ("parameters", "complaint", "changed"),
    [
        (Parameters(), "'max_tokens' is too large: 8000. maximum context length is 4096", {"limit": 1000}),
        (Parameters(limit=1000), "'max_tokens' is too large", {}),
        (Parameters(), "Invalid parameter: 'response_format' is not supported", {"schema": False}),
        (Parameters(schema=False), "Invalid parameter: 'response_format' is not supported", {}),
        (Parameters(temperature=0.2), "Unsupported value: 'temperature'", {"temperature": None}),
        (Parameters(), "Unsupported value: 'temperature'", {}),
        (Parameters(), "max_completion_tokens: extra", {"limit_name": "max_tokens", "limit_renamed": True}),
        (
            Parameters(limit_name="max_tokens"),
            "'max_tokens'",
            {"limit_name": "max_completion_tokens", "limit_renamed": True},
        ),
        (Parameters(limit_renamed=True), "max_completion_tokens: extra", {}),
        (Parameters(temperature=1.0), "the image is too small", {}),
    ],
)
def test_a_complaint_changes_one_parameter_or_none(parameters, complaint, changed):
    after = parameters.without(complaint)
    if not changed:
        assert after is None
    else:
        assert {name: getattr(after, name) for name in changed} == changed


def test_a_server_that_complains_of_everything_is_left_in_the_end(server):
    server.enqueue(
        "small_context", "no_response_format", "no_temperature", "no_max_completion_tokens", "no_response_format"
    )
    options = BackendOptions(api_key=KEY, base_url=server.base_url, temperature=0.2)
    with pytest.raises(LMMError, match="HTTP 400"):
        open_lmm("openai", options).reply(TURNS, JPEG)
    assert len(server.requests) == 5


def test_models_are_listed_by_the_server(server):
    assert list_models("openai", BackendOptions(api_key=KEY, base_url=server.base_url)) == ("another", "gpt-test")


def test_a_list_of_models_is_never_billed_and_waits_for_no_turn(server, monkeypatch):
    monkeypatch.setattr(retry, "pause_s", lambda *_: 0.0)
    broken = LMMUnreachableError("The connection broke.", may_be_billed=True)
    lists = Mock(side_effect=[broken, Response(200, {}, b'{"data": [{"id": "m"}]}')])
    monkeypatch.setattr("img2loc.lmm.openai.ChatLMM._list_models", lists)
    options = BackendOptions(
        api_key=KEY, base_url=server.base_url, resend_billed=False, pace=lambda: pytest.fail("waited")
    )
    assert list_models("openai", options) == ("m",) and lists.call_count == 2


def test_where_models_cannot_be_listed_the_reason_is_said(server):
    with pytest.raises(LMMRejectedError, match="rejected the key"):
        list_models("openai", BackendOptions(api_key="sk-wrong", base_url=server.base_url))
    server.models = []
    with pytest.raises(LMMError, match="lists no models"):
        list_models("openai", BackendOptions(api_key=KEY, base_url=server.base_url))


def test_other_backends_list_their_suggestions():
    assert list_models("hf", BackendOptions()) and list_models("vote", BackendOptions()) == ()


def test_no_thread_outlives_a_server_that_drips(server):
    server.enqueue("slow_drip")
    with pytest.raises(LMMTimeoutError):
        _lmm(server, timeout_s=0.2).reply(TURNS, JPEG)
    deadline = time.perf_counter() + 3
    while any(thread.name == "lmm-request" for thread in threading.enumerate()):
        assert time.perf_counter() < deadline
        time.sleep(0.02)


def test_a_wrong_key_is_refused_without_being_echoed(server):
    with pytest.raises(LMMRejectedError) as caught:
        _lmm(server, key="sk-wrong-tail").reply(TURNS, JPEG)
    assert "sk-wrong" not in str(caught.value) and "tail" not in str(caught.value)


def test_a_reply_that_spells_the_key_in_jsons_escapes_gives_it_to_nobody(server):
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    server.enqueue("good", text=f'{{"latitude": 1, "longitude": 2, "place": "{escaped}", "reasoning": "{escaped}"}}')
    answer = parse(_lmm(server).reply(TURNS, JPEG).text)
    assert answer.position == LatLon(1, 2) and KEY not in answer.place + answer.reasoning


@pytest.mark.parametrize("host", ["gpu..lan", "x" * 70 + ".lan"])
def test_a_host_that_can_be_none_gets_a_sentence(host):
    lmm = open_lmm("openai", BackendOptions(base_url=f"http://{host}/v1", timeout_s=5))
    with pytest.raises(LMMError, match="isn't the name of a server"):
        lmm.reply(TURNS, JPEG)


def test_a_local_server_needs_no_key_and_never_gets_the_environments(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    with OpenAIServer(key=None) as server:
        _lmm(server, key="").reply(TURNS, JPEG)
        (request,) = server.requests
    assert request.key != KEY
    assert not any("secret" in value for value in request.headers.values())


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if server.public])
def test_a_provider_needs_a_key_and_says_where_to_put_it(name):
    server = SERVERS[name]
    with pytest.raises(MissingKeyError, match=f"^{server.label} needs a key; set {server.key_variable}\\.$"):
        open_lmm("openai", BackendOptions(api_key=" ", base_url=name))


@pytest.mark.parametrize("name", [name for name, server in SERVERS.items() if not server.public])
def test_a_server_of_ones_own_needs_none_and_brings_its_model(name):
    lmm = open_lmm("openai", BackendOptions(base_url=name))
    assert lmm.model == SERVERS[name].models[0] and "127.0.0.1" in repr(lmm)


def test_presets_are_found_by_their_exact_names_and_addresses_stand_for_themselves():
    assert server_named("").name == "openai" and server_named(" vllm ").label == "vLLM"
    own = server_named("https://example.org/v1")
    assert (own.base_url, own.public, own.needs_key) == ("https://example.org/v1", False, False)
    with pytest.raises(ConfigError, match="openrouter, gemini, anthropic, vllm"):
        server_named("vLLM")


def test_every_public_preset_is_encrypted_and_every_other_is_on_this_machine():
    for server in SERVERS.values():
        address = server.base_url or OPENAI_URL
        assert address.startswith("https://" if server.public else "http://127.0.0.1:")
        assert bool(server.key_variable) is server.public


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[", "http://host:99999/", "file:///etc"]
)
def test_an_address_that_is_no_http_address_is_refused(url):
    with pytest.raises(ConfigError, match="http://"):
        open_lmm("openai", BackendOptions(api_key=KEY, base_url=url))


def test_a_password_in_the_address_is_not_shown(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    options = BackendOptions(base_url="http://user:passw0rd@127.0.0.1:9/v1", timeout_s=20)
    lmm = open_lmm("openai", options)
    with pytest.raises(LMMUnreachableError) as caught:
        lmm.reply(TURNS, JPEG)
    assert "passw0rd" not in repr(lmm) + str(caught.value)


@pytest.mark.parametrize("temperature", [-0.1, 2.1, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match="from 0 to 2"):
        BackendOptions(temperature=temperature)


def test_a_server_on_this_machine_that_is_not_running_is_said_by_its_name(monkeypatch):
    with OpenAIServer() as gone:
        pass
    monkeypatch.setitem(SERVERS, "ollama", replace(SERVERS["ollama"], base_url=gone.base_url))
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    where = gone.base_url.removeprefix("http://").removesuffix("/v1")
    for server, words in (("ollama", f"Ollama's address ({where})"), (gone.base_url, where)):
        with pytest.raises(LMMUnreachableError) as caught:
            open_lmm("openai", BackendOptions(base_url=server, timeout_s=20)).reply(TURNS, JPEG)
        assert str(caught.value) == f"Nothing answers at {words}. Is it running?"


def test_a_server_that_wants_a_key_and_gets_none_is_not_said_to_have_rejected_it(server):
    with pytest.raises(LMMRejectedError, match=r"^127\.0\.0\.1:\d+ needs a key, and none was sent\.$"):
        _lmm(server, key="").reply(TURNS, JPEG)

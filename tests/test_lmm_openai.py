import io
import logging
import threading
import time
import traceback

import pytest
from PIL import Image

from img2loc.answer import ask
from img2loc.errors import (
    ConfigError,
    LMMAuthError,
    LMMError,
    LMMQuotaError,
    LMMRateLimitError,
    LMMTimeoutError,
    LMMUnreachableError,
    MissingKeyError,
)
from img2loc.lmm.base import BackendOptions, Turn
from img2loc.lmm.openai import MAX_OUTPUT_TOKENS, MAX_RETRIES, OpenAILMM
from img2loc.prompt import ANSWER_SCHEMA, REPAIR
from img2loc.types import LatLon, OutcomeKind
from tests.openai_server import BEHAVIOURS, DRIP_S, GOOD, KEY, TEXTS, OpenAIServer

TURNS = (Turn("user", "Where is this?"),)


def _jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = _jpeg()


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


def _lmm(server, *, key=KEY, timeout_s=10.0, model="gpt-test"):
    return OpenAILMM(
        BackendOptions(api_key=key, model=model, base_url=server.base_url, timeout_s=timeout_s),
        default_model="gpt-default",
    )


def test_a_reply_carries_text_model_tokens_and_time(server):
    reply = _lmm(server).reply(TURNS, JPEG)
    assert (reply.text, reply.model) == (TEXTS["good"], "gpt-test-2026-01-01")
    assert (reply.input_tokens, reply.output_tokens) == (1200, 60)
    assert (reply.refused, reply.truncated) == (False, False)
    assert 0 < reply.latency_s < 10


def test_the_request_carries_key_photo_schema_and_bounds(server):
    _lmm(server).reply(TURNS, JPEG)
    (request,) = server.requests
    assert (request.key, request.prompt, request.jpeg) == (KEY, "Where is this?", JPEG)
    assert request.body["model"] == "gpt-test"
    assert request.body["max_completion_tokens"] == MAX_OUTPUT_TOKENS
    assert request.body["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA


def test_the_repair_turn_carries_the_conversation_and_the_photo_again(server):
    server.enqueue("malformed", "fenced")
    outcome = ask(_lmm(server), "Where is this?", JPEG)
    assert (outcome.kind, outcome.position) == (OutcomeKind.REPAIRED, LatLon(GOOD["latitude"], GOOD["longitude"]))
    messages = server.requests[1].body["messages"]
    assert [message["content"] for message in messages[1:]] == [TEXTS["malformed"], REPAIR]
    assert server.requests[1].jpeg == JPEG


@pytest.mark.parametrize(
    ("behaviour", "text", "refused", "truncated"),
    [
        ("refusal", "I'm sorry, I can't assist with that request.", True, False),
        ("content_filter", "", True, False),
        ("empty", "", False, False),
        ("length", TEXTS["length"], False, True),
    ],
)
def test_refusals_empty_and_cut_replies_are_replies(server, behaviour, text, refused, truncated):
    server.enqueue(behaviour)
    reply = _lmm(server).reply(TURNS, JPEG)
    assert (reply.text, reply.refused, reply.truncated) == (text, refused, truncated)


@pytest.mark.parametrize(
    ("behaviour", "error", "words", "requests"),
    [
        ("bad_key", LMMAuthError, "refuses the key", 1),
        ("forbidden", LMMAuthError, "'gpt-test'", 1),
        ("no_quota", LMMQuotaError, "no credit", 1 + MAX_RETRIES),
        ("rate_limit", LMMRateLimitError, "wait a minute", 1 + MAX_RETRIES),
        ("no_model", LMMError, "knows no model 'gpt-test'", 1),
        ("bad_request", LMMError, "the image is too small", 1),
        ("server_error", LMMError, "HTTP 500", 1 + MAX_RETRIES),
        ("cut", LMMUnreachableError, "cut the connection", 1 + MAX_RETRIES),
        ("not_json", LMMError, "no chat completion", 1),
        ("html", LMMError, "no chat completion", 1),
        ("no_choices", LMMError, "no chat completion", 1),
    ],
)
def test_each_failure_has_its_own_error_in_words_for_a_person(server, behaviour, error, words, requests):
    server.enqueue(*[behaviour] * requests)
    with pytest.raises(LMMError) as caught:
        _lmm(server).reply(TURNS, JPEG)
    assert type(caught.value) is error
    assert words in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert len(server.requests) == requests


def test_one_failure_that_passes_is_not_noticed(server):
    server.enqueue("server_error")
    assert _lmm(server).reply(TURNS, JPEG).text == TEXTS["good"]


def test_a_server_without_structured_output_is_asked_once_more_without(server):
    server.enqueue("no_response_format")
    assert _lmm(server).reply(TURNS, JPEG).text == TEXTS["good"]
    assert ["response_format" in request.body for request in server.requests] == [True, False]


@pytest.mark.parametrize("behaviour", ["hang", "slow_drip"])
def test_a_server_that_hangs_or_drips_is_left_in_time_and_not_asked_again(server, behaviour):
    server.enqueue(behaviour)
    start = time.perf_counter()
    with pytest.raises(LMMTimeoutError, match=r"within 0\.3 s"):
        _lmm(server, timeout_s=0.3).reply(TURNS, JPEG)
    assert time.perf_counter() - start < 1
    time.sleep(4 * DRIP_S)
    assert len(server.requests) == 1


def test_no_thread_outlives_a_server_that_drips(server):
    server.enqueue("slow_drip")
    with pytest.raises(LMMTimeoutError):
        _lmm(server, timeout_s=0.2).reply(TURNS, JPEG)
    deadline = time.perf_counter() + 3
    while any(thread.name == "openai-request" for thread in threading.enumerate()):
        assert time.perf_counter() < deadline
        time.sleep(0.02)


def test_a_server_that_is_not_there_is_unreachable():
    with OpenAIServer() as gone:
        pass
    with pytest.raises(LMMUnreachableError, match=r"127\.0\.0\.1"):
        _lmm(gone).reply(TURNS, JPEG)


@pytest.mark.parametrize("behaviour", [item for item in BEHAVIOURS if item not in ("hang", "slow_drip")])
def test_the_key_is_in_no_reply_error_repr_traceback_or_log(server, behaviour, caplog):
    caplog.set_level(logging.DEBUG)
    server.enqueue(behaviour, behaviour)
    lmm = _lmm(server, model=KEY if behaviour == "no_model" else "gpt-test")
    seen = [repr(lmm) if behaviour != "no_model" else ""]
    try:
        seen.append(repr(lmm.reply(TURNS, JPEG)))
    except LMMError as error:
        assert error.__cause__ is None and error.__context__ is None
        seen += [str(error), repr(error), "".join(traceback.format_exception(error))]
    text = "".join(seen) + caplog.text
    assert KEY not in text and KEY[:8] not in text and KEY[-4:] not in text


def test_a_wrong_key_is_refused_without_being_echoed(server):
    with pytest.raises(LMMAuthError) as caught:
        _lmm(server, key="sk-wrong-0123456789").reply(TURNS, JPEG)
    assert "sk-wrong" not in str(caught.value) and "6789" not in str(caught.value)


def test_a_local_server_needs_no_key_and_never_gets_the_environments(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    with OpenAIServer(key=None) as server:
        _lmm(server, key="").reply(TURNS, JPEG)
        (request,) = server.requests
    assert request.key != KEY
    assert not any("secret" in value for value in request.headers.values())


def test_openai_itself_needs_a_key_and_says_where_to_put_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(MissingKeyError, match=r"key field.*OPENAI_API_KEY"):
        OpenAILMM(BackendOptions(api_key=" "), default_model="gpt-default")


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[", "http://host:99999/", "file:///etc"]
)
def test_an_address_that_is_no_http_address_is_refused(url):
    with pytest.raises(ConfigError, match="http://"):
        OpenAILMM(BackendOptions(api_key=KEY, base_url=url), default_model="gpt-default")


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-\u2026", "sk-\u0430bc"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key):
    with pytest.raises(ConfigError) as caught:
        OpenAILMM(BackendOptions(api_key=key), default_model="gpt-default")
    assert key not in str(caught.value)


def test_a_password_in_the_address_is_not_shown():
    options = BackendOptions(base_url="http://user:passw0rd@127.0.0.1:9/v1", timeout_s=5)
    lmm = OpenAILMM(options, default_model="gpt-default")
    with pytest.raises(LMMUnreachableError) as caught:
        lmm.reply(TURNS, JPEG)
    assert "passw0rd" not in repr(lmm) + str(caught.value)


def test_two_visitors_at_once_each_get_their_own_reply():
    with OpenAIServer(key=None) as server:
        replies = {}

        def visit(key):
            replies[key] = _lmm(server, key=key, model=f"model-{key}").reply((Turn("user", key),), JPEG)

        threads = [threading.Thread(target=visit, args=(f"key{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {key: reply.model for key, reply in replies.items()} == {
            f"key{n}": f"model-key{n}-2026-01-01" for n in range(4)
        }
        assert all(request.prompt == request.key for request in server.requests)

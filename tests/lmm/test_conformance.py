"""What every backend owes its callers, whatever its server does: the same suite for each, against a real connection."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from img2loc.answer.ask import ask
from img2loc.errors import (
    ConfigError,
    LMMCancelledError,
    LMMError,
    LMMRateLimitError,
    LMMRejectedError,
    LMMServerError,
    LMMTimeoutError,
    LMMUnreachableError,
    MissingKeyError,
)
from img2loc.lmm import BACKENDS, BackendOptions, Turn, open_lmm, retry, servers
from img2loc.lmm.request import ANSWER_SCHEMA
from img2loc.lmm.retry import MAX_RETRIES
from img2loc.types import LatLon, OutcomeKind
from tests.fakes.openai_server import BEHAVIOURS, DRIP_S, GOOD, KEY, TEXTS, OpenAIServer, Shape

REMOTE = [name for name, backend in BACKENDS.items() if backend.takes_base_url]
TURNS = (Turn("user", "Where is this?"),)
EIFFEL = LatLon(GOOD["latitude"], GOOD["longitude"])
TRIES = 1 + MAX_RETRIES


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = _jpeg()


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


@pytest.fixture(params=REMOTE)
def backend(request):
    return request.param


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


def options(server, **changes):
    given = {"api_key": KEY, "model": "gpt-test", "base_url": server.base_url, "timeout_s": 10.0}
    return BackendOptions(**{**given, **changes})


def reply(backend, server, **changes):
    return open_lmm(backend, options(server, **changes)).reply(TURNS, JPEG)


def test_there_is_a_suite_for_every_backend():
    assert set(REMOTE) == {"openai", "hf"} and set(BACKENDS) - set(REMOTE) == {"vote", "llava"}


@pytest.mark.parametrize(
    ("behaviours", "kind"),
    [
        (["good"], OutcomeKind.ANSWERED),
        (["fenced"], OutcomeKind.ANSWERED),
        (["megabyte"], OutcomeKind.ANSWERED),
        (["malformed", "good"], OutcomeKind.REPAIRED),
        (["empty", "good"], OutcomeKind.REPAIRED),
        (["length", "good"], OutcomeKind.REPAIRED),
        (["server_error", "rate_limit", "cut", "good"], OutcomeKind.ANSWERED),
        (["malformed", "malformed"], OutcomeKind.UNPARSEABLE),
        (["empty", "empty"], OutcomeKind.UNPARSEABLE),
        (["length", "length"], OutcomeKind.UNPARSEABLE),
        (["refusal"], OutcomeKind.REFUSED),
        (["content_filter"], OutcomeKind.REFUSED),
        (["bad_key"], OutcomeKind.PROVIDER_ERROR),
        (["not_json"], OutcomeKind.PROVIDER_ERROR),
        (["malformed", "no_quota"], OutcomeKind.PROVIDER_ERROR),
    ],
)
def test_each_way_a_model_answers_has_its_outcome(backend, server, behaviours, kind):
    server.enqueue(*behaviours)
    outcome = ask(open_lmm(backend, options(server)), "Where is this?", JPEG)
    assert outcome.kind is kind and len(server.requests) == len(behaviours)
    if kind in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        assert outcome.position == EIFFEL and outcome.place == GOOD["place"]
    else:
        assert outcome.position is None and outcome.message


def test_a_reply_carries_text_model_tokens_and_time(backend, server):
    found = reply(backend, server)
    assert (found.text, found.model) == (TEXTS["good"], "gpt-test-2026-01-01")
    assert (found.input_tokens, found.output_tokens) == (1200, 60)
    assert (found.refused, found.truncated) == (False, False) and 0 < found.latency_s < 10


@pytest.mark.parametrize(
    ("behaviour", "text", "refused", "truncated"),
    [
        ("refusal", "I'm sorry, I can't assist with that request.", True, False),
        ("content_filter", "", True, False),
        ("empty", "", False, False),
        ("length", TEXTS["length"], False, True),
        ("megabyte", TEXTS["megabyte"], False, False),
    ],
)
def test_refusals_empty_cut_and_long_replies_are_replies_kept_whole(
    backend, server, behaviour, text, refused, truncated
):
    server.enqueue(behaviour)
    found = reply(backend, server)
    assert (found.text, found.refused, found.truncated) == (text, refused, truncated)


def test_the_request_carries_key_photo_schema_and_a_bound(backend, server):
    reply(backend, server, temperature=0.2)
    (request,) = server.requests
    assert (request.key, request.prompt, request.jpeg) == (KEY, "Where is this?", JPEG)
    assert (request.body["model"], request.body["temperature"]) == ("gpt-test", 0.2)
    assert request.body["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA


def test_no_temperature_is_sent_where_none_is_given(backend, server):
    reply(backend, server)
    assert "temperature" not in server.requests[0].body


@pytest.mark.parametrize(
    ("behaviour", "error", "words", "requests"),
    [
        ("bad_key", LMMRejectedError, "rejected the key", 1),
        ("forbidden", LMMRejectedError, "'gpt-test'", 1),
        ("no_quota", LMMRejectedError, "no credit", 1),
        ("no_model", LMMRejectedError, "has no model 'gpt-test'", 1),
        ("bad_request", LMMRejectedError, "the image is too small", 1),
        ("rate_limit", LMMRateLimitError, "try again in a minute", TRIES),
        ("rate_limit_silent", LMMRateLimitError, "try again in a minute", TRIES),
        ("rate_limit_date", LMMRateLimitError, "try again in a minute", TRIES),
        ("rate_limit_long", LMMRateLimitError, "try again in 1 hour", 1),
        ("server_error", LMMServerError, "HTTP 500", TRIES),
        ("overloaded", LMMServerError, "HTTP 503", TRIES),
        ("html_error", LMMServerError, "HTTP 502", TRIES),
        ("cut", LMMUnreachableError, "closed the connection", TRIES),
        ("not_json", LMMError, "isn't a chat completion", 1),
        ("html", LMMError, "isn't a chat completion", 1),
        ("not_an_object", LMMError, "isn't a chat completion", 1),
        ("no_choices", LMMError, "isn't a chat completion", 1),
    ],
)
def test_each_failure_has_its_own_error_and_is_tried_again_only_where_that_helps(
    backend, server, behaviour, error, words, requests
):
    server.enqueue(*[behaviour] * requests)
    with pytest.raises(LMMError) as caught:
        reply(backend, server)
    assert type(caught.value) is error
    assert words in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert len(server.requests) == requests
    may_be_billed = behaviour in ("html_error", "cut") or error is LMMError
    assert caught.value.may_be_billed == may_be_billed


@pytest.mark.parametrize(
    "behaviour",
    ["rate_limit", "rate_limit_silent", "rate_limit_date", "server_error", "overloaded", "html_error", "cut"],
)
def test_a_failure_that_passes_is_not_noticed(backend, server, behaviour):
    server.enqueue(behaviour)
    assert reply(backend, server).text == TEXTS["good"]


def test_a_provider_that_asks_to_wait_is_given_the_time(backend, server):
    server.enqueue("rate_limit_asks")
    start = time.perf_counter()
    assert reply(backend, server).text == TEXTS["good"]
    assert 1 <= time.perf_counter() - start < 2


def test_a_wait_beyond_the_deadline_is_not_begun(backend, server):
    server.enqueue("rate_limit_asks")
    start = time.perf_counter()
    with pytest.raises(LMMRateLimitError, match="again in 1 second"):
        reply(backend, server, timeout_s=0.8)
    assert time.perf_counter() - start < 0.7


def test_every_request_waits_for_its_turn_and_the_wait_is_not_the_servers(backend, server):
    times = []

    def pace():
        time.sleep(0.8)
        times.append(time.monotonic())
        return 0.8

    server.enqueue("server_error", "no_response_format", "good")
    found = reply(backend, server, pace=pace, timeout_s=2)
    assert found.text == TEXTS["good"] and found.latency_s < 0.8
    assert len(times) == len(server.requests) == 3


@pytest.mark.parametrize("behaviour", ["hang", "slow_drip"])
def test_a_server_that_hangs_or_drips_is_left_in_time_and_not_asked_again(backend, server, behaviour):
    server.enqueue(behaviour)
    start = time.perf_counter()
    with pytest.raises(LMMTimeoutError, match=r"within 0\.4 s"):
        reply(backend, server, timeout_s=0.4)
    assert time.perf_counter() - start < 1
    time.sleep(2 * DRIP_S)
    assert len(server.requests) == 1


def test_no_request_is_begun_after_the_deadline(backend, server):
    with pytest.raises(LMMTimeoutError):
        reply(backend, server, timeout_s=1e-9)
    assert server.requests == []


@pytest.mark.parametrize("behaviours", [["hang"], ["rate_limit_asks"] * TRIES], ids=["in a request", "between two"])
def test_who_leaves_is_not_waited_for(backend, server, behaviours):
    server.enqueue(*behaviours)
    cancel = threading.Event()
    left: list[float] = []

    def leave() -> None:
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        left.append(time.perf_counter())
        cancel.set()

    threading.Thread(target=leave).start()
    with pytest.raises(LMMCancelledError):
        reply(backend, server, cancel=cancel)
    assert time.perf_counter() - left[0] < 0.6
    assert len(server.requests) == 1


def test_who_has_left_already_costs_nothing(backend, server):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(LMMCancelledError):
        reply(backend, server, cancel=cancel)
    assert server.requests == []


def test_a_server_that_is_not_there_is_unreachable(backend):
    with OpenAIServer() as gone:
        pass
    with pytest.raises(LMMUnreachableError, match=r"127\.0\.0\.1"):
        reply(backend, gone)


def test_what_a_server_does_not_take_is_left_out_and_remembered(backend, server):
    lmm = open_lmm(backend, options(server, temperature=0.2))
    server.enqueue("no_response_format", "no_temperature", "small_context")
    for _ in range(2):
        assert lmm.reply(TURNS, JPEG).text == TEXTS["good"]
    assert len(server.requests) == 5
    last = server.requests[-1].body
    assert "response_format" not in last and "temperature" not in last
    assert last.get("max_tokens", last.get("max_completion_tokens")) == 1000


@pytest.mark.parametrize("behaviour", [item for item in BEHAVIOURS if item not in ("hang", "slow_drip", "megabyte")])
def test_the_key_is_in_no_reply_error_repr_traceback_or_log(backend, server, behaviour, caplog):
    caplog.set_level(logging.DEBUG)
    server.enqueue(*[behaviour] * TRIES)
    lmm = open_lmm(backend, options(server, timeout_s=0.5, model=KEY if behaviour == "no_model" else "gpt-test"))
    seen = [repr(lmm)]
    try:
        seen.append(repr(lmm.reply(TURNS, JPEG)))
    except LMMError as error:
        assert error.__cause__ is None and error.__context__ is None
        seen += [str(error), repr(error), "".join(traceback.format_exception(error))]
    text = "".join(seen) + caplog.text
    assert KEY not in text and KEY[:8] not in text and KEY[-4:] not in text


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-\u2026", "sk-\u0430bc"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(backend, key):
    with pytest.raises(ConfigError) as caught:
        open_lmm(backend, BackendOptions(api_key=key))
    assert key not in str(caught.value)


def test_a_missing_key_is_named_and_never_taken_from_the_environment(backend, monkeypatch):
    variable = BACKENDS[backend].key_variable
    monkeypatch.setenv(variable, KEY)
    with pytest.raises(MissingKeyError, match=variable):
        open_lmm(backend, BackendOptions())


def test_two_visitors_at_once_each_get_their_own_reply(backend):
    with OpenAIServer(key=None) as server:
        replies = {}

        def visit(key):
            replies[key] = reply(backend, server, api_key=key, model=f"model-{key}")

        threads = [threading.Thread(target=visit, args=(f"key{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {key: found.model for key, found in replies.items()} == {
            f"key{n}": f"model-key{n}-2026-01-01" for n in range(4)
        }
        assert all(request.body["model"] == f"model-{request.key}" for request in server.requests)


# What servers of many makers send, and what becomes of it: the requests, and a position, or words of the message.
SHAPES = {case["id"]: case for case in json.loads((Path(__file__).parent / "cases/servers.json").read_text("utf-8"))}
OUTCOMES = {
    "parts-text": (1, EIFFEL),
    "reasoning-only": (2, "only the model's thoughts; turn its thinking off"),
    "err200-429": (TRIES, r"^Rate limit reached at .+ \(Too Many Requests\); try again in a minute"),
    "err200-402": (1, r"^The account behind this key has no credit left at .+ \(Insufficient credits"),
    "gemini-key": (1, r"rejected the key \(API key not valid\."),
    "no-vision-openrouter": (
        1,
        r"^The model '.*m' at .+ can't see photos \(No endpoints found that support image input",
    ),
    "kimi-last": (1, EIFFEL),
    "sse": (1, EIFFEL),
    "text-plain": (1, EIFFEL),
    "tool-call": (1, EIFFEL),
    "gemini-location": (1, "User location is not supported for the API use"),
    "null-usage": (1, EIFFEL),
    "content-error-404": (1, r"has no model '.*m' \(model 'x' not found, try pulling it first\)"),
    "refuses response_format, error is a string": (2, EIFFEL),
    "refuses max_completion_tokens, error in detail": (2, EIFFEL),
}


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("preset", [*servers.SERVERS, "hf"])
def test_every_known_server_may_answer_in_any_shape(preset, case, monkeypatch):
    backend, model = ("hf", "owner/m") if preset == "hf" else ("openai", "m")
    with OpenAIServer(key=None) as server:
        server.shapes = [Shape(case["status"], case["body"], case["content_type"], case.get("if_request_has", ""))]
        monkeypatch.setattr(servers, "ROUTER_URL", server.base_url)
        known = {name: replace(entry, base_url=server.base_url) for name, entry in servers.SERVERS.items()}
        monkeypatch.setattr(servers, "SERVERS", known)
        name = "" if preset == "hf" else preset
        lmm = open_lmm(backend, BackendOptions(api_key="hf_k3yOfAVisitor", model=model, base_url=name, timeout_s=10))
        outcome = ask(lmm, "Where is this?", JPEG)
    requests, expected = OUTCOMES[case["id"]]
    if known.get(preset, known["ollama"]).limit_name == "max_tokens" and "max_tokens" in case["expected"]:
        requests = 1  # it is called so from the start
    assert len(server.requests) == requests
    if isinstance(expected, LatLon):
        assert (outcome.kind, outcome.position) == (OutcomeKind.ANSWERED, expected)
    else:
        assert outcome.position is None and re.search(expected, outcome.message)

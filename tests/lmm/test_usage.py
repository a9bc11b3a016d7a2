"""Numbers and names that a server sends are checked before anything counts with them or stores them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from img2loc.errors import LMMRateLimitError
from img2loc.evaluation.run.budget import Meter
from img2loc.lmm import Turn
from img2loc.lmm.prices import Pricing
from img2loc.lmm.usage import max_usage, usage_of
from tests.fakes.recorder import Recorder
from tests.lmm.test_conformance import REMOTE
from tests.lmm.test_connection import ask

CHOICES = '"choices": [{"message": {"content": "1, 2"}, "finish_reason": "stop"}]'
WAITS = {"0": "in a minute", "2": "in 2 seconds", "61": "in 2 minutes", "86400": "in 24 hours"}


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def reply_with(server: Recorder, backend: str, fields: str):
    server.body = f"{{{CHOICES}, {fields}}}".encode("utf-8", "surrogatepass")
    return ask(server.base_url, backend)


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        *(("1200", 1200), ("0", 0), ("1200.0", 1200), ("1e3", 1000), ("100000000", 100_000_000)),
        *((f"{10**30}", None), ("9" * 4000, None), ("1e300", None), ("100000001", None), ("1e400", None)),
        *(("-1", None), ("-0.5", None), ("0.5", None), ("NaN", None), ("Infinity", None), ("-Infinity", None)),
        *(("true", None), ('"1200"', None), ("null", None), ("[1200]", None), ("{}", None)),
    ],
)
@pytest.mark.parametrize("backend", REMOTE)
def test_a_number_of_tokens_is_believable_or_unknown(sent, counted, backend, server):
    reply = reply_with(server, backend, f'"usage": {{"prompt_tokens": {sent}, "completion_tokens": 60}}')
    assert (reply.input_tokens, reply.output_tokens) == (counted, 60)
    assert type(reply.input_tokens) in (int, type(None))
    meter = Meter(Pricing(1.0, 1.0), [usage_of(reply, max_usage([Turn("user", "Where is this?")]))])
    assert meter.spent.inexact == (not counted) and 0 <= meter.spent.cost_usd <= 101
    json.dumps(reply.input_tokens, allow_nan=False)


@pytest.mark.parametrize("usage", ["null", "[]", '"many"', "7", "{}"])
@pytest.mark.parametrize("backend", REMOTE)
def test_usage_of_another_shape_is_unknown(usage, backend, server):
    reply = reply_with(server, backend, f'"usage": {usage}')
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


@pytest.mark.parametrize(
    "model", ["null", "7", '""', '"a\\nb"', '"\\ud800"', '"\\u202e"', f'"{"m" * 10_000}"', '["m"]']
)
@pytest.mark.parametrize("backend", REMOTE)
def test_a_name_that_cannot_be_a_models_is_replaced_by_the_one_asked_for(model, backend, server):
    assert reply_with(server, backend, f'"model": {model}').model == "m"


@pytest.mark.parametrize(
    ("retry_after", "words"),
    [
        *WAITS.items(),
        *((value, "another day") for value in ("999999999", "Fri, 31 Dec 9999 23:59:59 GMT")),
        *(
            (value, "in a minute")
            for value in ("9" * 400, "nan", "-1", "Fri, 31 Dec 99999999999999999999 23:59:59 GMT")
        ),
    ],
)
@pytest.mark.parametrize("backend", REMOTE)
def test_a_wait_is_said_in_words(retry_after, words, backend, server):
    server.status, server.headers = 429, {"Retry-After": retry_after}
    with pytest.raises(LMMRateLimitError, match=rf"^Rate limit reached at \S+; try again {words}\.$"):
        ask(server.base_url, backend, timeout_s=2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "nope", "code": "bad"}}', "nope."),
        ('{"error": {"message": "The model m is not supported by any provider you have enabled."}}', "enabled."),
        ('{"error": "nope", "error_type": "validation"}', "nope."),
        ('[{"error": {"code": 400, "message": "nope!"}}]', "nope!"),
        ('{"object": "error", "message": "nope", "code": 400}', "nope."),
        ('{"detail": "nope"}', "nope."),
        ("<h1>nope</h1>", ": nope."),
        ("", "(HTTP 400)."),
    ],
)
@pytest.mark.parametrize("backend", REMOTE)
def test_a_servers_reasons_are_quoted_whatever_their_shape(body, words, backend, server):
    server.status, server.body = 400, body.encode()
    with pytest.raises(Exception, match=r"rejected the request \(HTTP 400\)") as caught:
        ask(server.base_url, backend)
    assert str(caught.value).endswith(words) and "Error code" not in str(caught.value)

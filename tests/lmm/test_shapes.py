"""What servers send in their own ways: errors, replies, streams and lists of models. Each table is one kind."""

from __future__ import annotations

import json
import time

import pytest

from img2loc.answer.ask import ask
from img2loc.errors import ConfigError, LMMError
from img2loc.lmm import list_models, open_lmm
from img2loc.lmm.response import Response, completion_in, failure_in, names_in
from img2loc.lmm.servers import server_named
from img2loc.types import OutcomeKind
from tests.fakes.openai_server import GOOD, OpenAIServer, Shape
from tests.lmm.shapes import (
    ANSWER,
    HALVES,
    TOTAL,
    USAGE,
    chunk,
    completion,
    error,
    options,
    reply,
    stream,
)
from tests.lmm.test_conformance import EIFFEL, JPEG, TURNS

pytestmark = pytest.mark.usefixtures("no_long_waits")


REPLIES = {
    "parts": [{"type": "text", "text": ANSWER}],
    "parts of text": [ANSWER],
    "parts cut in two": [{"type": "text", "text": ANSWER[:31]}, {"type": "output_text", "text": ANSWER[31:]}],
    "thoughts beside it": [{"type": "thinking", "thinking": [{"text": "1.5, 2.5"}]}, {"type": "text", "text": ANSWER}],
    "thoughts marked": {"parts": [{"text": "(1.5, 2.5)", "thought": True}, {"text": ANSWER}]},
    "object with a text": {"type": "text", "text": ANSWER},
    "object": GOOD,
}
CALL = {"id": "1", "type": "function", "function": {"name": "position", "arguments": ANSWER}}
MESSAGES = {
    **{name: {"role": "assistant", "content": content} for name, content in REPLIES.items()},
    "thoughts in a field": {"content": ANSWER, "reasoning": "It may be (1.5, 2.5)."},
    "tool call": {"content": None, "tool_calls": [CALL]},
    "tool call with an object": {"content": "", "tool_calls": [{"function": {"arguments": GOOD}}]},
    "tool call with words": {"content": "I call the tool.", "tool_calls": [CALL]},
    "function call": {"content": None, "function_call": CALL["function"]},
}
BODIES = {
    **{name: completion(message) for name, message in MESSAGES.items()},
    "older protocol": {"choices": [{"text": ANSWER}], "usage": USAGE},
    "delta outside a stream": {"choices": [{"delta": {"content": ANSWER}}], "usage": USAGE},
    "no error": completion({"content": ANSWER}, error=None),
    "empty error": completion({"content": ANSWER}, error={}),
    "in a list": [completion({"content": ANSWER})],
    "thoughts in the total only": {
        **completion({"content": ANSWER}),
        "usage": {**USAGE, "completion_tokens": 1, "total_tokens": 15},
    },
    "usage by other names": {**completion({"content": ANSWER}), "usage": {"input_tokens": 10, "output_tokens": 5}},
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(completion({"content": ANSWER})).encode(),
    "UTF-16": json.dumps(completion({"content": ANSWER})).encode("utf-16"),
    "blank lines first": "\n \n" + json.dumps(completion({"content": ANSWER})),
}
STREAMS = {
    "usage at the end": stream(chunk({"role": "assistant", "content": ""}), *HALVES, TOTAL),
    "usage in a choice": stream(HALVES[0], {"choices": [{**HALVES[1]["choices"][0], "usage": USAGE}]}),
    "CRLF": stream(*HALVES, TOTAL).replace("\n", "\r\n"),
    "no blank lines": stream(*HALVES, TOTAL).replace("\n\n", "\n").replace("data: ", "data:"),
    "comments": ": PROCESSING\n\nevent: message\nid: 1\n" + stream(*HALVES, TOTAL),
    "thoughts first": stream(chunk({"reasoning_content": "(1.5, 2.5)"}), *HALVES, TOTAL),
    "line separators": stream(chunk({"content": "\u2028"}), *HALVES, TOTAL).replace("\\u2028", "\u2028"),
    "whole message": stream(completion({"content": ANSWER})),
    "tool call": stream(
        chunk({"tool_calls": [{"index": 0, "function": {"name": "p", "arguments": ANSWER[:9]}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ANSWER[9:]}}]}, "tool_calls"),
        TOTAL,
    ),
    "broken event": stream(*HALVES).replace("data: [DONE]", "data: {nonsense") + stream(TOTAL),
}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8", "text/event-stream"])
@pytest.mark.parametrize("body", [*BODIES.values(), *STREAMS.values()], ids=[*BODIES, *(f"{id} 2" for id in STREAMS)])
def test_an_answer_is_read_in_any_shape_and_counted(server, body, content_type):
    server.shapes = [Shape(200, body, content_type)]
    outcome = ask(open_lmm("openai", options(server)), "Where is this?", JPEG)
    assert (outcome.kind, outcome.position, outcome.place) == (OutcomeKind.ANSWERED, EIFFEL, GOOD["place"])
    assert [(found.input_tokens, found.output_tokens) for found in outcome.replies] == [(10, 5)]


THOUGHTS = {
    "reasoning": {"content": "", "reasoning": f"It is {ANSWER}"},
    "reasoning_content": {"content": None, "reasoning_content": ANSWER},
    "thinking": {"thinking": ANSWER},
    "details": {"content": " \n", "reasoning_details": [{"type": "reasoning.text", "text": ANSWER}]},
    "parts": {"content": [{"type": "thinking", "thinking": ANSWER}]},
    "other closing tags inside": {"content": "", "reasoning": f"So ◁/think▷ </reasoning> [/THINK] {ANSWER}"},
    "closing tag inside": {"content": "", "reasoning": f"So </think> {ANSWER}"},
}


@pytest.mark.parametrize(
    "body",
    [
        *(completion(message, "length") for message in THOUGHTS.values()),
        stream(chunk({"reasoning": ANSWER[:31]}), chunk({"reasoning": ANSWER[31:]}, "length"), TOTAL),
    ],
    ids=[*THOUGHTS, "stream"],
)
def test_what_a_model_only_thought_is_kept_and_is_no_answer(server, body):
    server.shapes = [Shape(200, body)]
    outcome = ask(open_lmm("openai", options(server)), "Where is this?", JPEG)
    assert outcome.kind is OutcomeKind.UNPARSEABLE and outcome.position is None
    assert "only the model's thoughts; turn its thinking off" in outcome.message
    assert "cut off at the length limit" in outcome.message
    assert ANSWER[2:31] in outcome.replies[0].text and outcome.replies[0].output_tokens == 5


@pytest.mark.parametrize(
    ("message", "finish_reason"),
    [
        ({"content": [{"type": "refusal", "refusal": "I can't."}]}, "stop"),
        ({"content": None, "refusal": "I can't."}, "stop"),
        ({"content": ANSWER}, "SAFETY"),
        ({"content": ""}, "refusal"),
    ],
)
def test_a_refusal_is_one_wherever_it_stands(server, message, finish_reason):
    assert reply(server, Shape(200, completion(message, finish_reason))).refused


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ([{"id": "b", "type": "chat", "description": "It chats."}, {"id": "a", "type": "embedding"}], ("a", "b")),
        (["b", "a"], ("a", "b")),
        ({"models": [{"name": "llava:7b", "model": "llava:7b"}]}, ("llava:7b",)),
        ({"models": [{"name": "models/gemini-x", "description": "It sees."}]}, ("gemini-x",)),
        ({"data": [{"id": "models/gemini-x", "owned_by": "google"}]}, ("gemini-x",)),
        ({"data": [{"id": "models/of-my-own"}]}, ("models/of-my-own",)),
        ({"data": ["a"], "models": [{"name": "b"}]}, ("a",)),
        ({"data": [{"id": 7}, {"id": None}, None, {"id": ""}, {"id": "a\nb"}, {"id": "a"}]}, ("a",)),
    ],
)
def test_models_are_listed_in_any_shape(server, body, names):
    server.models_shape = Shape(200, body)
    assert list_models("openai", options(server)) == names


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        *((Shape(200, body), "lists no models. Type") for body in ([], {"data": []}, {"models": None}, "<html>", "")),
        *((Shape(status, {"detail": "Not Found"}), "lists no models. Type") for status in (404, 405)),
        (Shape(200, {"error": "Unexpected endpoint or method. (GET /models)"}), "nothing at this address"),
        (Shape(200, error("bad key", code=401)), "rejected the key"),
        (Shape(400, [error("API key not valid.")]), "rejected the key"),
    ],
)
def test_a_list_without_models_gets_a_sentence(server, shape, words):
    server.models_shape = shape
    with pytest.raises(LMMError, match=words):
        list_models("openai", options(server))


@pytest.mark.parametrize(
    ("typed", "root"),
    [
        *(
            (f" http://h:1/v1{end} ", "http://h:1/v1")
            for end in ("", "/", "/models", "/chat/completions", "/responses/")
        ),
        ("https://h/v1/chat/completions/?api-version=2#top", "https://h/v1?api-version=2"),
        ("https://u:p@h/openai/deployments/d/chat/completions", "https://u:p@h/openai/deployments/d"),
        ("https://h/models", "https://h/models"),
        ("https://h/api/v1", "https://h/api/v1"),
        ("https://h", "https://h"),
    ],
)
def test_an_address_may_be_copied_with_its_endpoint(typed, root):
    assert server_named(typed).base_url == root


def test_an_endpoints_address_and_query_reach_the_server():
    with OpenAIServer() as server:
        lmm = open_lmm("openai", options(server, base_url=f"{server.base_url}/chat/completions/"))
        assert lmm.reply(TURNS, JPEG).text == ANSWER


@pytest.mark.parametrize(
    "url", ["h/v1", "http:/h/v1", "http//h/v1", "<http://h/v1>", "http://lo cal/v1", "http://h/ v1"]
)
def test_an_address_that_is_none_gets_a_sentence(url):
    with pytest.raises(ConfigError, match=r"must begin with http:// or https:// and name a host, without spaces"):
        server_named(url)


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize(
    "body",
    [
        '{"error": ' + '{"message": ' * 300 + '"x"' + "}" * 301,
        '{"error": {"message": "' + "no a b c d e not " * 200_000 + '"}}',
        '{"error": {"message": "' + "api key " * 200_000 + '"}}',
        '{"detail": ' + json.dumps([{"loc": ["a"] * 9, "msg": "m" * 9000}] * 500) + "}",
        '{"choices": [{"message": {"content": ' + DEEP + ', "reasoning": ' + DEEP + "}}]}",
        '{"choices": [{"message": {"content": {"content": ' * 100 + "7" + "}}}]}" * 100,
        'data: {"choices": [{"delta": {"content": "ab"}}]}\n' * 50_000,
        "data: [[[[{\n" * 200_000,
        "data:\n\n" * 300_000,
        "<" * 3_000_000,
        "<title " * 300_000,
        '{"error": "' + '{\\"error\\": ' * 50_000 + '"}',
    ],
    ids=range(12),
)
def test_a_hostile_body_is_read_in_a_moment(body):
    start = time.perf_counter()
    for status in (200, 400):
        response = Response(status, {}, body.encode())
        failure_in(response)
        completion_in(response)
        names_in(response.json)
    assert time.perf_counter() - start < 6

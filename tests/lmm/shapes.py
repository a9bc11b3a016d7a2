"""What servers send, in the shapes that they give it, and what is made of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from img2loc.errors import LMMError
from img2loc.lmm import BackendOptions, open_lmm
from img2loc.types import Reply
from tests.fakes.openai_server import KEY, TEXTS, OpenAIServer, Shape
from tests.lmm.test_conformance import JPEG, TURNS

ANSWER = TEXTS["good"]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def options(server: OpenAIServer, **changes: object) -> BackendOptions:
    return replace(BackendOptions(KEY, "m", server.base_url, timeout_s=8.0), **changes)


def reply(server: OpenAIServer, *shapes: Shape, **changes: object) -> Reply:
    server.shapes = list(shapes)
    return open_lmm("openai", options(server, **changes)).reply(TURNS, JPEG)


def failure(server: OpenAIServer, *shapes: Shape, **changes: object) -> LMMError:
    with pytest.raises(LMMError) as caught:
        reply(server, *shapes, **changes)
    return caught.value


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


def completion(message: object, finish_reason: str | None = "stop", **more: object) -> dict[str, object]:
    return {"model": "m", "choices": [{"message": message, "finish_reason": finish_reason}], "usage": USAGE, **more}


def chunk(delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def stream(*events: object) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def upstream(raw: object, code: int = 400) -> dict[str, object]:
    """OpenRouter's error about an error of the provider behind it."""
    return error("Provider returned error", code=code, metadata={"raw": raw, "provider_name": "P"})


HALVES = chunk({"content": ANSWER[:31]}), chunk({"content": ANSWER[31:]}, "stop")
TOTAL = {"choices": [], "usage": USAGE}

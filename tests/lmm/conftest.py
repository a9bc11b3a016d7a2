"""A server of the protocol, and no long waits between tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from img2loc.lmm import retry
from tests.fakes.openai_server import OpenAIServer


@pytest.fixture
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running

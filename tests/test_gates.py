"""What Gradio fetches for clients ends in time, whoever sends it. The rest is asked of the app, in test_ssrf.py."""

from __future__ import annotations

import gradio as gr
import httpx
import pytest

from img2loc import addresses
from img2loc.ui import gates
from tests.conftest import in_own_loop
from tests.test_ssrf import INTERNET, Site


async def fetch(url: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=gates.PhotoTransport()) as client:
        return await client.get(url)


@pytest.mark.parametrize(("what", "words"), [("slow", "no whole photo within"), ("nowhere", "can't be reached")])
def test_a_server_that_keeps_one_waiting_is_left(monkeypatch, what, words):
    monkeypatch.setattr(addresses, "is_public", lambda address: address == INTERNET)
    monkeypatch.setattr(gates, "FETCH_S", 0.1)
    with Site(INTERNET) as site, pytest.raises(gr.Error, match=words):
        in_own_loop(fetch(f"http://{INTERNET}:{site.port if what == 'slow' else 1}/{what}"))

"""What Gradio fetches for clients ends in time, whoever sends it. On the app: hardening/test_ssrf.py."""

from __future__ import annotations

import gradio as gr
import httpx
import pytest
import safehttpx

from img2loc.errors import ConfigError
from img2loc.hardening import addresses, fetching
from img2loc.photo.decode import MAX_BYTES
from tests.conftest import in_own_loop
from tests.hardening.test_ssrf import INTERNET, Site


async def fetch(url: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=fetching.PhotoTransport(MAX_BYTES)) as client:
        return await client.get(url)


@pytest.mark.parametrize(
    ("what", "words"), [("slow", "didn't send the whole photo within"), ("nowhere", "can't be reached")]
)
def test_a_server_that_keeps_one_waiting_is_left(monkeypatch, what, words):
    monkeypatch.setattr(addresses, "is_public", lambda address: address == INTERNET)
    monkeypatch.setattr(fetching, "FETCH_S", 0.1)
    with Site(INTERNET) as site, pytest.raises(gr.Error, match=words):
        in_own_loop(fetch(f"http://{INTERNET}:{site.port if what == 'slow' else 1}/{what}"))


def test_a_photo_is_fetched_through_no_proxy(monkeypatch):
    monkeypatch.setattr(addresses, "is_public", lambda address: address == INTERNET)
    with Site(INTERNET) as site, Site("127.0.0.1") as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        for get in (fetch, safehttpx_get):
            assert in_own_loop(get(f"http://{INTERNET}:{site.port}/photo.jpg")).status_code == 200
            with pytest.raises(gr.Error, match="public internet"):
                in_own_loop(get(f"http://127.0.0.1:{proxy.port}/photo.jpg"))
    assert len(site.asked) == 2 and proxy.asked == []


async def safehttpx_get(url: str) -> httpx.Response:
    """As Gradio fetches."""
    return await safehttpx.get(url, _transport=fetching.PhotoTransport(MAX_BYTES))


def test_certificates_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE names a file that doesn't exist"):
        fetching.PhotoTransport(MAX_BYTES)

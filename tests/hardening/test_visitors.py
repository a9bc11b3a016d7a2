"""A visitor is known by what they can't choose, whether they come by the page, the API or as an agent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import fastapi
import gradio
import httpx
import pytest

from img2loc.hardening.visitors import (
    AGENT_HEADER,
    AgentAddress,
    client_address,
    is_agent,
    single_visitor_of,
    visitor_of,
)
from tests.conftest import in_own_loop
from tests.fakes.app_process import AppProcess
from tests.fakes.openai_server import KEY, OpenAIServer

TOWER = Path(gradio.get_image("tower.jpg"))
PHOTO = f"data:image/jpeg;base64,{base64.b64encode(TOWER.read_bytes()).decode()}"


def request_from(peer: str | None, *headers: tuple[str, str], path: str = "/") -> dict[str, object]:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http", "path": path, "client": peer and (peer, 1), "headers": raw}


def visitor(scope: dict[str, object]) -> str:
    return visitor_of(gradio.Request(fastapi.Request(scope)))


@pytest.mark.parametrize(
    ("peer", "known"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("2606:2800::1", "2606:2800::/64"),
        *((peer, "") for peer in ("127.0.0.1", "10.0.0.1", "172.17.0.1", "::1", "fe80::1", "unix:", None)),
    ],
)
def test_an_address_of_ones_own_network_may_be_many_visitors(peer: str | None, known: str):
    assert single_visitor_of(gradio.Request(fastapi.Request(request_from(peer)))) == known


def marked(scope: dict[str, object]) -> dict[str, object]:
    """A request as AgentAddress hands it on."""
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope)

    in_own_loop(AgentAddress(app)(scope, None, None))
    return seen[0]


FORGED = (("x-forwarded-for", "1.1.1.1"), ("x-gradio-user", "mcp"), (AGENT_HEADER, "secret:2.2.2.2"))


@pytest.mark.parametrize("header", FORGED)
def test_no_header_makes_somebody_another_visitor(header):
    assert visitor(request_from("8.8.4.4", header)) == visitor(request_from("8.8.4.4")) == "8.8.4.4"
    assert visitor(request_from(None, header)) == visitor_of(None) == ""
    assert not is_agent(gradio.Request(fastapi.Request(request_from("8.8.4.4", header))))


def test_an_agent_is_known_by_its_own_address():
    agent = marked(request_from("8.8.4.4", *FORGED, path="/gradio_api/mcp/"))
    # Gradio asks the API from this machine with the headers of the agent's request.
    asked = request_from("127.0.0.1") | {"headers": agent["headers"]}
    assert visitor(agent) == visitor(asked) == "8.8.4.4"
    assert is_agent(gradio.Request(fastapi.Request(asked))) and not is_agent(None)
    for path in ("/gradio_api/call/locate", "/gradio_api/mcpx"):
        scope = request_from("8.8.4.4", path=path)
        assert marked(scope) is scope
    assert visitor(marked(request_from(None, path="/sub/gradio_api/mcp"))) == ""


def test_on_a_space_an_agent_is_known_by_the_address_that_the_proxy_saw(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    seen = ("x-forwarded-for", "8.8.4.4")
    assert visitor(request_from("10.0.0.1", *FORGED, seen)) == "8.8.4.4"
    agent = marked(request_from("10.0.0.1", *FORGED, seen, path="/gradio_api/mcp/"))
    assert visitor(request_from("127.0.0.1") | {"headers": agent["headers"]}) == "8.8.4.4"


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def behind_a_proxy(provider: OpenAIServer) -> Iterator[httpx.Client]:
    """A site whose operator names the proxy that all visitors come by, and pays for two photos each."""
    settings = {
        "GRADIO_MCP_SERVER": "True",
        "FORWARDED_ALLOW_IPS": "127.0.0.1",
        "IMG2LOC_OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": KEY,
        "IMG2LOC_HOURLY_PER_VISITOR": "2",
    }
    with AppProcess(**settings) as app, httpx.Client(base_url=f"{app.address}gradio_api/", timeout=30) as client:
        yield client


def test_each_agent_has_an_allowance_of_its_own(behind_a_proxy: httpx.Client):
    def ask(address: str, *, user: str = "") -> str:
        arguments = {"photo": PHOTO, "backend": "openai", "nearest": 0, "farthest": 0}
        body = {"method": "tools/call", "params": {"name": "locate", "arguments": arguments}}
        headers = {
            "accept": "application/json, text/event-stream",
            "x-forwarded-for": address,
            "x-gradio-user": user,
            AGENT_HEADER: f"secret:{user}",
        }
        answer = behind_a_proxy.post("mcp/", json={"jsonrpc": "2.0", "id": 1, **body}, headers=headers).text
        (content,) = json.loads(answer.split("data: ", 1)[1])["result"]["content"]
        return str(json.loads(content["text"])["method"] if content["text"].startswith("{") else content["text"])

    assert ask("8.8.8.8") == ask("8.8.8.8", user="api") == "lmm"
    assert "2 model answers" in ask("8.8.8.8", user="somebody")
    assert ask("8.8.4.4") == "lmm"


def test_a_forged_host_changes_nobody_elses_page(behind_a_proxy: httpx.Client):
    forged = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "x-forwarded-prefix": "/evil"}
    accept = {"accept": "application/json, text/event-stream"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "info", "arguments": {}}}
    for headers in (forged, {"host": "evil.example"}):
        for path in ("../", "../config", "info"):
            behind_a_proxy.get(path, headers=headers)
        assert '"isError":false' in behind_a_proxy.post("mcp/", json=ping, headers={**accept, **headers}).text
    for path in ("../", "../config", "info", "mcp/"):
        assert "evil" not in behind_a_proxy.get(path).text, path
    assert "evil" not in behind_a_proxy.post("mcp/", json=ping, headers=accept).text


REAL = "8.8.4.4"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([REAL], REAL),
        ([f"1.1.1.1, {REAL}"], REAL),  # the visitor wrote the first, a proxy the second
        (["1.1.1.1", REAL], REAL),
        ([f"1.1.1.1, {REAL}, 10.0.3.4"], REAL),  # and another proxy of the Space's own network the third
        ([f"{REAL}:4711"], REAL),
        (["2606:4700:1:2:3:4:5:6"], "2606:4700:1:2::/64"),
        (["[2606:4700:1:2:ffff::1]:4711"], "2606:4700:1:2::/64"),
        ([f"::ffff:{REAL}"], REAL),
        (["1.1.1.1, nonsense"], "10.16.0.9"),  # nothing that a proxy wrote: then all are one
        (["127.0.0.1"], "10.16.0.9"),
        ([""], "10.16.0.9"),
        ([], "10.16.0.9"),
    ],
)
def test_on_a_space_the_address_is_the_one_that_a_proxy_saw(forwarded, address, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert client_address("10.16.0.9", forwarded) == address


@pytest.mark.parametrize("forwarded", [["1.1.1.1"], ["1.1.1.1", "2.2.2.2"], ["nonsense"]])
def test_elsewhere_a_header_changes_nothing(forwarded):
    assert client_address(REAL, forwarded) == REAL
    assert client_address("testclient", forwarded) == "testclient"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("2606:4700:1:2:3:4:5:6", "2606:4700:1:2::/64"),
        ("::ffff:8.8.4.4", "8.8.4.4"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_every_form_of_an_address_is_read(peer, address):
    assert client_address(peer, []) == address

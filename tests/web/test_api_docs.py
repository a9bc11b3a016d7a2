"""docs/api.md tells the truth: its examples run as they stand, and agents find the same functions as tools."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool

from tests.conftest import in_own_loop
from tests.fakes.app_process import ROOT, AppProcess

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:7860"
TOWER = Path(gradio.get_image("tower.jpg"))
ENDPOINTS = {"locate", "locate_batch", "neighbours", "backends", "info"}
GRADIO_CLIENT = "@gradio/client@2.7.0"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with AppProcess(GRADIO_MCP_SERVER="True") as app:
        yield app.address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TOWER, tmp_path / "photo.jpg")
    return tmp_path


def examples(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found and all(HERE in example for example in found)
    return found


def run(command: list[str], example: str, address: str, folder: Path) -> str:
    file = folder / "example.mjs"
    file.write_text(example.replace(HERE, address.rstrip("/")))
    done = subprocess.run([*command, file.name], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(2))
def test_the_python_examples_run(address, folder, number):
    said = run([sys.executable], examples("python")[number], address, folder)
    assert "Paris" in said and len(said.splitlines()) == (5, 3)[number]  # the client says where it is, too


@pytest.mark.parametrize(("number", "word"), [(0, '"city": "Paris"'), (1, '"version": ')])
def test_the_curl_examples_run(address, folder, number, word):
    said = run(["bash", "-eu"], examples("sh")[number], address, folder)
    assert said.startswith("event: complete") and word in said


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="Node.js and npm are not installed")
def test_the_javascript_example_runs(address, folder):
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", GRADIO_CLIENT]
    subprocess.run(npm, cwd=folder, check=True, timeout=120)
    (example,) = examples("javascript")
    said = run(["node"], example, address, folder)
    assert "lat: 48.8" in said and said.count("Paris") == 3


def test_every_endpoint_and_name_stands_in_the_tables():
    assert set(re.findall(r"^\| `/(\w+)` \|", TEXT, re.MULTILINE)) == ENDPOINTS
    schema = json.loads((ROOT / "tests" / "web" / "data" / "api_schema.json").read_text())
    assert set(schema) == {f"/{name}" for name in ENDPOINTS}
    locate = schema["/locate"]
    names = {*locate["parameters"], *locate["returns"][0]["properties"]}
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


async def _as_agent(address: str, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[Tool], list[CallToolResult]]:
    async with (
        streamable_http_client(f"{address}gradio_api/mcp/") as (receive, send, _),
        ClientSession(receive, send) as session,
    ):
        await session.initialize()
        tools = (await session.list_tools()).tools
        return tools, [await session.call_tool(name, arguments) for name, arguments in calls]


def test_an_agent_finds_the_tools_and_uses_them(address):
    photo = f"data:image/jpeg;base64,{base64.b64encode(TOWER.read_bytes()).decode()}"
    calls = [
        ("locate", {"photo": photo, "nearest": 2, "farthest": 0}),
        ("info", {}),
        ("locate", {"photo": photo, "backend": "openai"}),
        ("locate", {"photo": f"{address}config"}),
    ]
    tools, (found, info, refused, inside) = in_own_loop(_as_agent(address, calls))
    assert {tool.name for tool in tools} == ENDPOINTS
    for tool in tools:
        assert tool.description and tool.description.split(".")[0].split()[0] in ("Say", "Find", "List")
        wanted = tool.inputSchema["properties"]
        assert all(item["description"] for item in wanted.values()), tool.name
        assert not any("key" in name or "token" in name or name == "request" for name in wanted)
    result = json.loads(found.content[0].text)
    assert result["place"]["city"] == "Paris" and len(result["nearest"]) == 2 and not found.isError
    assert json.loads(info.content[0].text)["gallery"]["name"] == "starter"
    assert (
        refused.isError and "OpenAI needs a key; send yours in the header x-openai-api-key." in refused.content[0].text
    )
    assert inside.isError  # the server is not made to fetch from its own network

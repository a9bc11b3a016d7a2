"""Every tool and endpoint does what its published schema alone says: called with nothing else known of it."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import httpx
import jsonschema
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool

from tests.conftest import in_own_loop
from tests.fakes.app_process import AppProcess

TOWER = Path(gradio.get_image("tower.jpg"))
DATA_URI = f"data:image/jpeg;base64,{base64.b64encode(TOWER.read_bytes()).decode()}"
TOOLS = {"locate", "locate_batch", "neighbours", "backends", "info"}
SCHEMA = jsonschema.Draft202012Validator


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with AppProcess(GRADIO_MCP_SERVER="True") as app:
        yield app.address


@pytest.fixture(scope="module")
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{address}gradio_api/", timeout=30) as client:
        yield client


def value_for(schema: dict[str, Any], photo: object) -> Any:
    """What a schema asks for, from the schema alone: its default, or the first value that it allows.

    Args:
        schema: Of a value.
        photo: What stands for a file.
    """
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        files = [option for option in schema["anyOf"] if is_file(option)]
        return value_for((files or schema["anyOf"])[0], photo)
    if is_file(schema):
        return photo
    if schema["type"] == "array":
        return [value_for(schema["items"], photo)] * 2
    return {"string": "", "integer": schema.get("minimum"), "object": {}}[schema["type"]]


def is_file(schema: dict[str, Any]) -> bool:
    return "File" in schema.get("format", "") or "meta" in schema.get("properties", {})


def arguments_for(schema: dict[str, Any], photo: object) -> dict[str, Any]:
    arguments = {name: value_for(value, photo) for name, value in schema["properties"].items()}
    jsonschema.validate(arguments, schema)
    return arguments


def check_schema(schema: dict[str, Any]) -> None:
    """Check that it is a schema, and that it needs nothing outside of itself or elsewhere in a larger one."""
    SCHEMA.check_schema(schema)
    for reference in references(schema):
        assert reference.startswith("#/"), reference
        node: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


async def call_each(address: str, photo: str) -> tuple[list[Tool], dict[str, CallToolResult]]:
    """Call each tool with what its published schema asks for."""
    async with (
        streamable_http_client(f"{address}gradio_api/mcp/") as (receive, send, _),
        ClientSession(receive, send) as session,
    ):
        await session.initialize()
        tools = (await session.list_tools()).tools
        results = {}
        for tool in tools:
            check_schema(tool.inputSchema)
            results[tool.name] = await session.call_tool(tool.name, arguments_for(tool.inputSchema, photo))
        return tools, results


async def call(address: str, name: str, **arguments: Any) -> CallToolResult:
    async with (
        streamable_http_client(f"{address}gradio_api/mcp/") as (receive, send, _),
        ClientSession(receive, send) as session,
    ):
        await session.initialize()
        return await session.call_tool(name, arguments)


def test_an_agent_calls_every_tool_from_its_schema(address: str):
    tools, results = in_own_loop(call_each(address, DATA_URI))
    assert {tool.name for tool in tools} == TOOLS == set(results)
    for name, result in results.items():
        assert not result.isError, f"{name}: {result.content[0].text}"
        json.loads(result.content[0].text)
    batch = json.loads(results["locate_batch"].content[0].text)["results"]
    assert [item["photo"] for item in batch] == ["photo 1", "photo 2"]
    assert {item["prediction"]["place"]["city"] for item in batch} == {"Paris"}


def test_a_program_calls_every_endpoint_from_its_schema(address: str, api: httpx.Client):
    (path,) = api.post("upload", files=[("files", ("a.jpg", TOWER.read_bytes()))]).json()
    photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
    endpoints = api.get("info").json()["named_endpoints"]
    assert {name.removeprefix("/") for name in endpoints} == TOOLS
    for name, endpoint in endpoints.items():
        values = {}
        for parameter in endpoint["parameters"]:
            check_schema(parameter["type"])
            given = parameter["parameter_default"] if parameter["parameter_has_default"] else None
            values[parameter["parameter_name"]] = value_for(parameter["type"], photo) if given is None else given
            jsonschema.validate(values[parameter["parameter_name"]], parameter["type"])
        event = api.post(f"call/v2{name}", json=values).json()["event_id"]
        answer = api.get(f"call{name}/{event}").text
        assert "event: complete" in answer, f"{name}: {answer}"
        (result,) = json.loads(answer.split("data: ", 1)[1])
        (returned,) = endpoint["returns"]
        check_schema(returned["type"])
        jsonschema.validate(result, returned["type"])


async def upload(address: str, file: Path) -> str:
    """Upload a file with the tool that Gradio's description tells agents to use."""
    arguments = ["-m", "gradio.cli.commands.upload_mcp", address.rstrip("/"), str(file.parent)]
    server = StdioServerParameters(command=sys.executable, args=arguments)
    async with stdio_client(server) as (receive, send), ClientSession(receive, send) as session:
        await session.initialize()
        result = await session.call_tool("upload_file_to_gradio", {"file": str(file)})
        return result.content[0].text


def test_an_agent_hands_over_what_the_upload_tool_gave(address: str, tmp_path: Path):
    file = tmp_path / "Eiffel tower #1?.jpg"
    shutil.copy(TOWER, file)
    uploaded = in_own_loop(upload(address, file))
    one = in_own_loop(call(address, "locate", photo=uploaded, nearest=1, farthest=0))
    assert not one.isError and json.loads(one.content[0].text)["place"]["city"] == "Paris"
    many = in_own_loop(call(address, "locate_batch", photos=[uploaded, "/etc/passwd", "ftp://a", f"{address}config"]))
    first, *others = json.loads(many.content[0].text)["results"]
    assert first["prediction"]["place"]["city"] == "Paris" and first["photo"].startswith("Eiffel tower")
    assert [item["error"] for item in others[:2]] == [
        "A photo must be an uploaded file, an http(s) address or a data: URI."
    ] * 2
    assert "is not on the public internet" in others[2]["error"]  # the server isn't made to ask its own network


def test_photos_in_text_may_be_as_large_as_an_agents_request(address: str):
    photo = f"data:image/jpeg;base64,{base64.b64encode(TOWER.read_bytes() + bytes(60_000)).decode()}"
    result = in_own_loop(call(address, "locate_batch", photos=[photo] * 8, nearest=0, farthest=0))
    found = json.loads(result.content[0].text)["results"]
    assert sum(map(len, [photo] * 8)) > 800_000 and [bool(item["prediction"]) for item in found] == [True] * 8


@pytest.mark.parametrize(
    "torn", ["data:image/jpeg;base64,%%%", "data:", "http://", "https://[", "data:image/png;base64,AAAA"]
)
def test_a_torn_address_spoils_its_own_photo_only(address: str, torn: str):
    result = in_own_loop(call(address, "locate_batch", photos=[torn, DATA_URI], nearest=0, farthest=0))
    wrong, right = json.loads(result.content[0].text)["results"]
    assert wrong["error"].endswith(".") and wrong["prediction"] is None
    assert right["prediction"]["place"]["city"] == "Paris"

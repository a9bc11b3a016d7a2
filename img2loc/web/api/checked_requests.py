"""Refuses requests that can't be read, before Gradio and the MCP library do in words that repeat them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from gradio.utils import get_space
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2loc.errors import ConfigError
from img2loc.hardening.visitors import agent_in
from img2loc.web.api.arguments import (
    api_arguments,
    check_names,
    check_values,
    endpoint_arguments,
)

MAX_DEPTH: Final = 50  # of JSON within JSON; what reads it after us gives up at a few hundred
_READ: Final = re.compile(r"/gradio_api/(?:(mcp)(?:/http)?|(call/v2|call|run|api)/([^/]*)|queue/join|cancel|reset)/?$")
_UNREADABLE: Final = "The request must be a JSON object; docs/api.md says what stands in it."
_NO_MESSAGE: Final = "The request must be a message of the Model Context Protocol (MCP), in JSON."
_NO_PROMPTS: Final = "This server has tools, and neither prompts nor resources."
_NO_METHOD: Final = "This server has no such method, or its parameters are wrong."


class ReadableRequests:
    """Answers requests whose body, endpoint, tool or arguments' names are wrong; Gradio gets the others."""

    def __init__(self, app: ASGIApp, backends: Sequence[str]) -> None:
        self._app = app
        self._endpoints = api_arguments(backends, for_agents=False)
        space = get_space()  # whose name Gradio puts before the tools' names
        prefix = re.sub(r"[^a-zA-Z0-9]", "_", f"{space.split('/')[-1]}_") if space else ""
        tools = api_arguments(backends, for_agents=True)
        self._tools = {f"{prefix}{name}": arguments for name, arguments in tools.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let Gradio."""
        route = scope["type"] == "http" and scope["method"] == "POST" and _READ.search(scope["path"])
        if not route or agent_in(Headers(scope=scope)) is not None:  # an agent's were read when they came
            await self._app(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        except HTTPException as error:  # it is too large
            await PlainTextResponse(error.detail, error.status_code)(scope, receive, send)
            return
        mcp, kind, name = route.groups()
        message = _parsed(body)
        refusal = self._refuse_mcp(message) if mcp else self._refuse(message, kind, name)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)

    def _refuse(self, message: dict[str, Any] | None, kind: str | None, name: str) -> Response | None:
        """Refuse a request of the client API or the page; None if Gradio can read it."""
        if message is None:
            return JSONResponse({"error": _UNREADABLE}, status_code=400)
        if kind in ("call", "call/v2"):
            try:
                arguments = endpoint_arguments(self._endpoints, name)
                if kind == "call/v2":
                    check_names(arguments, message)
            except ConfigError as error:
                return JSONResponse({"error": str(error)}, status_code=422 if name in self._endpoints else 404)
        for part, value in message.items():
            if not _is_shallow(value, MAX_DEPTH):
                words = f"{part[:40]} is nested too deeply; docs/api.md says what it must be."
                return JSONResponse({"error": words}, status_code=422)
        return None

    def _refuse_mcp(self, message: dict[str, Any] | None) -> Response | None:
        """Refuse a message of an agent; None if the MCP library and Gradio can read it."""
        from mcp import types  # noqa: PLC0415 - only those who serve agents need it

        try:
            rpc = types.JSONRPCMessage.model_validate(message).root
        except (ValueError, RecursionError):
            return _rpc_error(None, -32600, _NO_MESSAGE, status_code=400)
        request_id = rpc.id if isinstance(rpc, types.JSONRPCRequest) else None
        known = types.ClientNotification if request_id is None else types.ClientRequest
        try:
            request = known.model_validate(message).root
        except (ValueError, RecursionError):
            return _rpc_error(request_id, -32602, _NO_METHOD, status_code=200 if request_id is not None else 400)
        if isinstance(request, types.GetPromptRequest | types.ReadResourceRequest):
            return _rpc_error(request_id, -32602, _NO_PROMPTS, status_code=200)  # Gradio would call a tool all the same
        if not isinstance(request, types.CallToolRequest):
            return None
        given = request.params.arguments or {}
        try:
            tool = endpoint_arguments(self._tools, request.params.name, "tool")
            check_names(tool, given)
            check_values(tool, given)
        except ConfigError as error:
            content = [{"type": "text", "text": str(error)}]
            return JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": {"content": content, "isError": True}})
        return None


def _rpc_error(request_id: str | int | None, code: int, words: str, *, status_code: int) -> Response:
    error = {"code": code, "message": words}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error}, status_code=status_code)


def _parsed(body: bytes) -> dict[str, Any] | None:
    """A body as a JSON object; None if it is none."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _is_shallow(value: object, depth: int) -> bool:
    """Whether no more than so many lists and objects stand in each other."""
    if not isinstance(value, dict | list):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(part, depth - 1) for part in parts)

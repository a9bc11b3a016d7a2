"""Refuses uploads and requests that are too large, and answers those that fail, with a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import traceback
from collections.abc import Callable
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError, GradioMultiPartParser
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from img2loc.hardening.visitors import agent_in

DRAIN_S: Final = 2.0
MAX_FIELD_BYTES: Final = 1_000  # of each field of an upload that is not a file
MAX_AGENTS_BYTES: Final = 4 * 1024 * 1024  # the limit of Gradio's MCP server, which closes the connection beyond it
MAX_FOR_AGENTS_BYTES: Final = 2 * MAX_AGENTS_BYTES  # of what that server then sends to the API, encoded differently
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TidyParser(GradioMultiPartParser):
    """Parses uploads, deletes the files of those that fail, and bounds the fields, which are kept in memory."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a file or a field."""
        part = self._current_part
        if part.file is not None:
            super().on_part_data(data, start, end)
        elif len(part.data) + end - start > MAX_FIELD_BYTES:
            raise MultiPartException("The upload contains more than photos.")
        else:
            part.data += data[start:end]

    async def parse(self) -> FormData:
        """Parse a form."""
        kept: list[str] = []
        try:
            form = await super().parse()
            kept = [str(item.file.name) for item in form.getlist("files") if isinstance(item, UploadFile)]
            return form
        finally:
            for file in self._files_to_close_on_error:
                if file.name not in kept:
                    with contextlib.suppress(OSError):
                        os.unlink(file.name)
                    with contextlib.suppress(OSError):  # the disk is full, and it still has something to write
                        file.close()


class BoundedBodies:
    """Middleware that refuses large requests; Gradio takes bodies of any size into memory.

    Args:
        app: Gradio's.
        max_upload_bytes: The largest upload, of several photos at once.
        max_request_bytes: The largest other request of the page or the API.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int, max_request_bytes: int) -> None:
        self._app = app
        self._max_upload_bytes, self._max_request_bytes = max_upload_bytes, max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        left = self._max_bytes(scope["path"], headers)
        message = f"The request is larger than {left:,} bytes, the most that this site accepts."
        if int(headers.get("content-length") or 0) > left:
            await _drain(receive)
            await PlainTextResponse(message, status_code=413)(scope, receive, send)
            return

        async def receive_bounded() -> Message:
            nonlocal left
            event = await receive()
            left -= len(event.get("body", b""))
            if left < 0:
                raise HTTPException(413, message)
            return event

        await self._app(scope, receive_bounded, send)

    def _max_bytes(self, path: str, headers: Headers) -> int:
        if path.endswith("/gradio_api/upload"):
            return self._max_upload_bytes
        if agent_in(headers) is not None:
            return MAX_FOR_AGENTS_BYTES
        return MAX_AGENTS_BYTES if "/gradio_api/mcp/" in f"{path}/" else self._max_request_bytes


async def _drain(receive: Receive) -> None:
    """Read on for a moment: a client that is still sending when the connection closes never reads the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while (await receive()).get("more_body"):
                pass


async def _busy(request: Request, error: Exception) -> Response:
    message = "Too many photos are waiting. Try again in a minute."
    return JSONResponse({"detail": message}, status_code=503, headers={"Retry-After": "60"})


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _no_room(request: Request, error: Exception) -> Response:
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
        raise error
    await _drain(request.receive)
    return PlainTextResponse("The server's disk is full. Try again later.", status_code=507)


async def _no_endpoint(request: Request, error: Exception) -> Response:
    if isinstance(error, KeyError) and traceback.extract_tb(error.__traceback__)[-1].name != "get_fn":
        raise error
    return JSONResponse({"error": "There is no endpoint of this name; docs/api.md lists them."}, status_code=404)


async def _unreadable(request: Request, error: Exception) -> Response:
    message = "The request can't be read; docs/api.md says what it must look like."
    return JSONResponse({"detail": message}, status_code=422)


REFUSALS: Final[dict[Any, Callable[..., Any]]] = {
    503: _busy,  # Gradio's queue is full, or stopped
    ClientDisconnect: _disconnected,
    RequestValidationError: _unreadable,  # FastAPI's own answer would repeat the request, or crash on NaN
    OSError: _no_room,
    FnIndexInferError: _no_endpoint,
    KeyError: _no_endpoint,
}

"""What becomes of uploads that are broken off, refused or find no room."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any, Final

from gradio.route_utils import GradioMultiPartParser
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

DRAIN_S: Final = 2.0
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TidyParser(GradioMultiPartParser):
    """Reads uploads, and keeps what becomes a photo; Gradio's own keeps for ever what is broken off or too large."""

    async def parse(self) -> FormData:
        """Read a form."""
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
                    with contextlib.suppress(OSError):  # what it still holds has no room either
                        file.close()


async def _busy(request: Request, error: Exception) -> Response:
    """Gradio's queue is full, or stopped."""
    told = "Too many photos are waiting already; try again in a minute."
    return JSONResponse({"detail": told}, status_code=503, headers={"Retry-After": "60"})


async def _gone(request: Request, error: Exception) -> Response:
    """The client hung up while it was sending."""
    return Response(status_code=400)


async def _no_room(request: Request, error: Exception) -> Response:
    """The disk is full."""
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
        raise error
    with contextlib.suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(DRAIN_S):  # whoever still sends when the connection closes never reads the answer
            async for _ in Request(request.scope, request.receive).stream():
                pass
    return PlainTextResponse("The server has no room for a photo at the moment; try again later.", status_code=507)


REFUSALS: Final[dict[Any, Callable[..., Any]]] = {503: _busy, ClientDisconnect: _gone, OSError: _no_room}

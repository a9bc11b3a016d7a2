"""Logs unexpected errors without request data, and gives clients a generic message."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final

import gradio
import pydantic
from fastapi.exception_handlers import http_exception_handler
from gradio import utils
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

GENERIC_MESSAGE: Final = "Something went wrong on the server. Please try again."
GONE: Final = "The photo is no longer on the server. Upload it again."
OUT_OF_DATE: Final = "This page is out of date; reload it."
# These packages read requests, and their errors quote what they can't read, keys included.
_READERS: Final = tuple(path for package in (gradio, pydantic) for path in package.__path__)
_gradios_payload = utils.error_payload


def print_exc() -> None:
    """Print the current error and its causes, without the messages of packages that read requests."""
    error = sys.exc_info()[1]
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        message = "" if frames and frames[-1].filename.startswith(_READERS) else f": {error}"
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        print(f"{''.join(lines)}{type(error).__name__}{message}", file=sys.stderr)
        error = error.__cause__


def error_payload(error: BaseException | None, show_error: bool) -> dict[str, Any]:
    """The answer to a request that fails; Gradio's has no message where the error isn't a gr.Error."""
    payload: dict[str, Any] = dict(_gradios_payload(error, show_error))
    payload["error"] = payload.get("error") or GENERIC_MESSAGE
    return {"visible": True, **payload}  # without it the page shows no message


async def join_refused(request: Request, error: HTTPException) -> Response:
    """Answer a request of the page that can't be queued; Gradio would repeat the text of any exception."""
    if not request.url.path.endswith("/queue/join"):
        return await http_exception_handler(request, error)
    message = next((known for known in (GONE, OUT_OF_DATE) if known in str(error.detail)), GENERIC_MESSAGE)
    return JSONResponse({"detail": message}, status_code=400)


def known_message(error: Exception) -> str:
    """A message for errors of Gradio's that mean that the page was opened before the server restarted; else empty."""
    text = str(error)
    if text.startswith("Cannot move "):  # a file that isn't an upload of this server's
        return GONE
    return OUT_OF_DATE if "is not in the list of choices" in text else ""

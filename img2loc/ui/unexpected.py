"""Logs unexpected errors without request data, and gives clients a generic message."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final

import gradio
import pydantic
from gradio import queueing, routes, utils

GENERIC_MESSAGE: Final = "Something went wrong on the server. Please try again."
# These packages read requests, and their errors quote what they can't read, keys included.
_READERS: Final = tuple(path for package in (gradio, pydantic) for path in package.__path__)
_gradios_payload = utils.error_payload


def install_error_handlers() -> None:
    """Have Gradio log errors, and report them to clients, by this module's functions."""
    for module in (queueing, routes):
        module.traceback = sys.modules[__name__]  # type: ignore[attr-defined]
    for module in (queueing, utils):
        module.error_payload = error_payload  # type: ignore[attr-defined]


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
    """Make what a client gets for an error: Gradio's own, with a message where it has none."""
    payload: dict[str, Any] = dict(_gradios_payload(error, show_error))
    return payload if payload.get("error") else {**payload, "error": GENERIC_MESSAGE}

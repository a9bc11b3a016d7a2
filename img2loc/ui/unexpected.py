"""What becomes of errors that nobody expects: the log gets where they happened, and the visitor a sentence."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final

import gradio
import pydantic
from gradio import queueing, routes, utils

TOLD: Final = "That went wrong here. Check what was sent (docs/api.md says what is taken), or try again later."
# These read requests, and what they say of a wrong one repeats it, keys included.
_READERS: Final = tuple(path for package in (gradio, pydantic) for path in package.__path__)
_gradios_payload = utils.error_payload


def install_error_handlers() -> None:
    """Have Gradio print and tell such errors as this module does."""
    for module in (queueing, routes):
        module.traceback = sys.modules[__name__]  # type: ignore[attr-defined]
    for module in (queueing, utils):
        module.error_payload = error_payload  # type: ignore[attr-defined]


def print_exc() -> None:
    """Print the error at hand and what it came of, without the words of those who read requests."""
    error = sys.exc_info()[1]
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        words = "" if frames and frames[-1].filename.startswith(_READERS) else f": {error}"
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        print(f"{''.join(lines)}{type(error).__name__}{words}", file=sys.stderr)
        error = error.__cause__


def error_payload(error: BaseException | None, show_error: bool) -> dict[str, Any]:
    """What a client is told, in words where Gradio has none."""
    told: dict[str, Any] = dict(_gradios_payload(error, show_error))
    return told if told.get("error") else {**told, "error": TOLD}

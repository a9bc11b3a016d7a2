"""A part of a library that is replaced, because the library has no public way to the same end."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from img2loc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Patch:
    """A replacement, not yet made.

    Args:
        owner: The module or object that has the part.
        name: The part's name there.
        replacement: What takes its place.
        reason: Why.
        until: What would make this unnecessary.
    """

    owner: Any
    name: str
    replacement: Any
    reason: str
    until: str

    def __str__(self) -> str:
        return f"{getattr(self.owner, '__name__', type(self.owner).__name__)}.{self.name}"

    def apply(self) -> None:
        """Replace the part.

        Raises:
            ConfigError: The installed version of the library has no such part.
        """
        if not hasattr(self.owner, self.name):
            raise ConfigError(f"Img2Loc can't run: there is no {self}. Install the versions in requirements.txt.")
        setattr(self.owner, self.name, self.replacement)


def telemetry_patch() -> Patch:
    """Keep the Hub's client, which Gradio and transformers use too, from reporting to the Hub who uses it for what."""
    from huggingface_hub import constants  # noqa: PLC0415 - not needed for the starter

    return Patch(
        constants,
        "HF_HUB_DISABLE_TELEMETRY",
        True,
        "The environment variable of this name is read when the client is imported, which may be before us.",
        "The client reads the variable when it is about to report.",
    )


def import_gradio() -> None:
    """Import Gradio without letting it write .pyi files for its components, which is a third of the time that it takes.

    It writes none where a component's source file is unknown. Unnecessary once Gradio is published with these files.
    """
    source_file = inspect.getfile

    def unknown_to_the_writer(thing: Any) -> str:  # noqa: ANN401 - as inspect has it
        if sys._getframe(1).f_code.co_name == "create_or_modify_pyi":
            raise OSError
        return source_file(thing)

    with mock.patch.object(inspect, "getfile", unknown_to_the_writer):
        import gradio  # noqa: F401, PLC0415

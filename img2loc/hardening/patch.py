"""A part of a library that is replaced, because the library has no public way to the same end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

"""What every large multimodal model looks like from our side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from img2loc.errors import ConfigError
from img2loc.types import Reply


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo on the web that is shown after the user's own. The model's provider fetches it; we never do."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; the photo goes with the user's first."""

    role: Literal["user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()  # after the photo, on servers that take addresses; only with the first turn
    letters: tuple[str, ...] = ()  # those that the reply may choose among; empty where it gives a position


class LMM(Protocol):
    """A large multimodal model that reads a photo and a conversation."""

    name: str
    model: str

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo.

        Args:
            turns: The conversation, the user's turn first and last.
            jpeg: The photo without metadata, of bounded size; it goes with the first turn.

        Raises:
            LMMError: No reply came, even after retries; the message is fit for a person.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How a backend is to be used.

    Raises:
        ConfigError: The temperature is out of range.
    """

    api_key: str = field(default="", repr=False)  # never logged, stored or shown
    model: str = ""  # empty for the backend's default
    base_url: str = field(default="", repr=False)  # empty for the provider's own server; may contain a password
    public_only: bool = False  # a visitor gave the base_url, so only servers on the public internet are asked
    timeout_s: float = 60.0  # for one reply, retries included
    temperature: float | None = None  # how freely the model words its reply, 0 to 2; None for the provider's default
    # Called before each request, retries included; waits for its turn and returns how many seconds that took, which
    # don't count towards timeout_s.
    pace: Callable[[], float] = field(default=lambda: 0.0, repr=False, compare=False)
    # Set by the caller when the reply is no longer wanted; the request is then given up.
    cancel: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    resend_billed: bool = True  # retry a failed request that the provider may bill, as after a broken connection

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ConfigError(f"The temperature must be a number from 0 to 2 (got {self.temperature}).")


def check_key(key: str, *, name: str = "The key") -> str:
    """Strip a key, and check that it fits into an HTTP header; empty for an empty text.

    Args:
        key: Any text.
        name: What the message calls it.

    Raises:
        ConfigError: It can't be a key; the message doesn't repeat it.
    """
    key = key.strip()
    if any(not "!" <= character <= "~" for character in key):
        raise ConfigError(f"{name} contains spaces or characters that can't be in a key; copy it again.")
    return key

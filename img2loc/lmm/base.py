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
    """One message of a conversation; the photo goes with the user's first.

    Args:
        role: Who writes it.
        text: The message.
        pictures: Shown after the photo, on servers that take addresses; only with the first turn.
        letters: The letters that the reply may choose among; empty where the reply gives a position.
    """

    role: Literal["user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()
    letters: tuple[str, ...] = ()


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


def no_wait() -> float:
    """No rate limit."""
    return 0.0


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How a backend is to be used.

    Args:
        api_key: The provider's key; never logged, stored or shown.
        model: The model's name; empty for the backend's default.
        base_url: Another server that speaks the same protocol; empty for the provider's own.
        public_only: Only servers on the public internet are asked, because a visitor gave the base_url.
        timeout_s: Seconds to wait for one reply, retries included.
        temperature: How freely the model words its reply, 0 to 2; None for the provider's own default.
        pace: Called before each request, retries included; it waits for its turn and returns how many seconds that
            took, which don't count towards timeout_s.
        cancel: Set by the caller when the reply is no longer wanted; the request is then given up.
        resend_billed: Whether to retry a failed request that the provider may bill, as after a broken connection.

    Raises:
        ConfigError: The temperature is out of range.
    """

    api_key: str = field(default="", repr=False)
    model: str = ""
    base_url: str = field(default="", repr=False)  # it may contain a password
    public_only: bool = False
    timeout_s: float = 60.0
    temperature: float | None = None
    pace: Callable[[], float] = field(default=no_wait, repr=False, compare=False)
    cancel: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    resend_billed: bool = True

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ConfigError(f"The temperature must be a number from 0 to 2 (got {self.temperature}).")

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
    """A photo on the web that is shown after the user's own. Who runs the model fetches it; we never do."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; the photo goes with the first of the user's.

    Args:
        role: Whose it is.
        text: What it says.
        pictures: Of the first turn: what is shown besides the photo, where the model's server takes addresses.
        letters: The letters that the reply to it may name; empty where the reply gives a position.
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
            jpeg: The photo as a JPEG without metadata, of bounded size.

        Returns:
            The model's reply, raw.

        Raises:
            LMMError: No reply came; the message says why in words for a person.
        """
        ...


def no_wait() -> float:
    """No rate limit."""
    return 0.0


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a visitor or an operator says about a backend.

    Args:
        api_key: The provider's key; never logged, stored or shown.
        model: The model's name; empty for the backend's default.
        base_url: Another server that speaks the same protocol; empty for the provider's own.
        public_only: A visitor gave the base_url: only a server on the public internet is asked.
        timeout_s: Seconds to wait for one reply, retries included.
        temperature: How freely the model words its reply, 0 to 2; None for the provider's own default.
        pace: Called before each request to a server, retries too; waits for its turn and returns how many seconds that
            took. They don't count towards timeout_s.
        cancel: Set by the caller when nobody waits for the reply any more; the request is then given up.
        resend_billed: Whether a request that failed is sent again although the provider may bill it already, as after a
            broken connection.

    Raises:
        ConfigError: The temperature can't be one.
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

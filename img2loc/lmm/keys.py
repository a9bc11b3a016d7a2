"""The one check of API keys."""

from __future__ import annotations

from img2loc.errors import ConfigError


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

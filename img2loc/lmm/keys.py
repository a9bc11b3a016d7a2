"""The one check of API keys."""

from __future__ import annotations

from img2loc.errors import ConfigError


def check_key(key: str, *, name: str = "The key") -> str:
    """Check that a text can be an API key: it has to fit into an HTTP header.

    Args:
        key: Any text.
        name: What the message calls it.

    Returns:
        The key without surrounding white space; empty for an empty text.

    Raises:
        ConfigError: It can't be a key; the message doesn't repeat it.
    """
    key = key.strip()
    if any(not "!" <= character <= "~" for character in key):
        raise ConfigError(f"{name} contains spaces or characters that can't be in a key; copy it again.")
    return key

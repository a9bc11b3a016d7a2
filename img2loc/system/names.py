"""Makes file names and other untrusted text safe to store and to show."""

from __future__ import annotations

import os
import re
import unicodedata

_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters, format characters (some turn the direction of the text), surrogates, and line breaks.
_CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable_name(name: str | os.PathLike[str]) -> str:
    r"""Escape the bytes of a name that aren't text as \xNN.

    Python represents such bytes by lone surrogates, which can't be written in UTF-8.
    """
    return _SURROGATE.sub(_escape_surrogate, str(name))


def escape_controls(text: str | os.PathLike[str], *, keep: str = "") -> str:
    r"""Escape characters that a terminal would act on as \xNN or \uNNNN, except those to keep."""
    return "".join(
        char if char in keep or unicodedata.category(char) not in _CONTROLS else char.encode("unicode_escape").decode()
        for char in printable_name(text)
    )


def is_text(name: str | os.PathLike[str]) -> bool:
    """Whether a name can be written in UTF-8."""
    return _SURROGATE.search(str(name)) is None


def _escape_surrogate(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

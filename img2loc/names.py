"""Names of files whose bytes aren't text in the system's encoding."""

from __future__ import annotations

import os
import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def printable_name(name: str | os.PathLike[str]) -> str:
    r"""Write the bytes of a name that aren't text as \xNN.

    Python keeps such bytes as lone surrogates, which no UTF-8 file, database or message can hold.
    """
    return _SURROGATE.sub(_escaped, str(name))


def is_text(name: str | os.PathLike[str]) -> bool:
    """Whether a name is text throughout, so that it can be stored as it is."""
    return _SURROGATE.search(str(name)) is None


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

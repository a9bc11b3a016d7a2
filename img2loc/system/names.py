"""Names of files, and other texts from outside, as text that can be stored or shown."""

from __future__ import annotations

import os
import re
import unicodedata

_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters, format characters (some turn the direction of the text), surrogates, and line breaks.
_CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable_name(name: str | os.PathLike[str]) -> str:
    r"""Write the bytes of a name that aren't text as \xNN.

    Python keeps such bytes as lone surrogates, which no UTF-8 file, database or message can hold.
    """
    return _SURROGATE.sub(_escaped, str(name))


def escape_controls(text: str | os.PathLike[str], *, keep: str = "") -> str:
    r"""Write what a terminal would act on instead of showing it as \xNN or \uNNNN.

    Args:
        text: A name, a model's words or any other text.
        keep: Characters to leave as they are.
    """
    return "".join(
        char if char in keep or unicodedata.category(char) not in _CONTROLS else char.encode("unicode_escape").decode()
        for char in printable_name(text)
    )


def is_text(name: str | os.PathLike[str]) -> bool:
    """Whether a name is text throughout, so that it can be stored as it is."""
    return _SURROGATE.search(str(name)) is None


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

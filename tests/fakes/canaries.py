"""Keys that can be found again wherever they have got to, in whatever form."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import string
import zipfile
from collections.abc import Iterator

_LETTERS = string.ascii_letters + string.digits
_DATA_URL = re.compile(rb"data:[\w/.+-]+;base64,([A-Za-z0-9+/=]+)")
_SHORTEST = 8  # of the pieces that count as part of a key


def canary(channel: str, prefix: str = "sk-") -> str:
    """Make the key of one channel: three words that occur nowhere else, with all between them that is often escaped."""
    digits = int.from_bytes(hashlib.sha512(channel.encode()).digest(), "big")
    letters = ""
    for _ in range(36):
        digits, digit = divmod(digits, len(_LETTERS))
        letters += _LETTERS[digit]
    return f'{prefix}{letters[:12]}+/{letters[12:24]}="\\&<{letters[24:]}%'


class Canaries:
    """The keys, by the channel that they came through; finds them in what is given to `found`."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys

    def found(self, *contents: str | bytes) -> set[str]:
        """The channels whose key stands in a content, all or part of it, plain, encoded or packed."""
        layers = list(unpacked(*contents))
        return {
            channel
            for channel, key in self.keys.items()
            if any(piece in layer for piece in _pieces(key) for layer in layers)
        }


def _pieces(key: str) -> Iterator[bytes]:
    """Both ends of each word, which no encoding changes; and of the Base64 what is the same whatever stands around."""
    for word in re.findall(r"[A-Za-z0-9]{12}", key):
        yield from (word[:_SHORTEST].encode(), word[-_SHORTEST:].encode())
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + key.encode())
        yield from (encoded[4:20], encoded[-20:-4])


def as_bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content


def unpacked(*contents: str | bytes) -> Iterator[bytes]:
    """The contents, what their data: addresses hold, and what is packed in zips."""
    for content in map(as_bytes, contents):
        yield content
        for match in _DATA_URL.finditer(content):
            yield from unpacked(base64.b64decode(match[1]))
        if content.startswith(b"PK\3\4"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield from unpacked(*map(archive.read, archive.namelist()))

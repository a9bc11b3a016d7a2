"""For both command lines: output that can fail or lack characters, and parsing of arguments."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from tqdm import tqdm

from img2loc.errors import OutputError
from img2loc.system.names import escape_controls, is_text, printable_name

MAX_DIGITS: Final = 9


def write_out(text: str, *, as_json: bool = False) -> None:
    """Write to standard output and flush it; characters that its encoding lacks are escaped, in JSON by JSON's escapes.

    Raises:
        OutputError: Standard output is closed, or its disk is full.
    """
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        encoding = sys.stdout.encoding or "utf-8"
        escaped = _encodable(text, encoding, _JSON_ESCAPES if as_json else "backslashreplace")
        with tqdm.external_write_mode(file=sys.stdout):  # clears a progress bar on the same terminal
            raw = getattr(sys.stdout, "buffer", None)
            if isinstance(raw, io.RawIOBase):  # with PYTHONUNBUFFERED Python drops what a single write doesn't take
                _write_raw(raw, escaped.replace("\n", os.linesep).encode(encoding))
            else:
                sys.stdout.write(escaped)
                sys.stdout.flush()
    except KeyboardInterrupt:
        _discard_output()  # Python would wait at its end until the rest is read
        raise
    except (OSError, ValueError) as error:
        _discard_output()
        raise OutputError(f"Standard output can't be written ({getattr(error, 'strerror', None) or error}).") from None


def print_text(text: str) -> None:
    """Write text for people to standard output, with control characters escaped.

    Raises:
        OutputError: See write_out.
    """
    write_out(escape_controls(text, keep="\n\t"))


def print_message(text: str) -> None:
    """Write a message as one line to standard error, with control characters escaped."""
    write_err(escape_controls(text))


def write_err(text: str) -> None:
    """Write a line to standard error, with what its encoding lacks escaped; if that fails, it is lost."""
    with suppress(OSError, ValueError), tqdm.external_write_mode(file=sys.stderr):
        print(_encodable(text, getattr(sys.stderr, "encoding", None) or "utf-8"), file=sys.stderr, flush=True)


def whole_number(text: str, *, least: int = 0) -> int:
    """Read a whole number, for argparse."""
    is_number = text.isascii() and text.isdecimal()
    if is_number and len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError("The number is too large.")
    if not is_number or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {least}.")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number, 1 or more, for argparse."""
    return whole_number(text, least=1)


def parse_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, any_path: bool = True
) -> argparse.Namespace:
    """Parse the command line, and refuse values that aren't text in UTF-8; with any_path, paths may be any bytes."""
    arguments = parser.parse_args(argv)
    checked_types = str if any_path else str | Path
    for name, value in vars(arguments).items():
        for part in value if isinstance(value, list) and not any_path else [value]:
            if isinstance(part, checked_types) and not is_text(part):
                parser.error(f"argument {name.replace('_', '-')}: {printable_name(part)} must be text in UTF-8.")
    return arguments


class Parser(argparse.ArgumentParser):
    """A parser whose errors, which repeat arguments, are safe to show on a terminal."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        super().error(escape_controls(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # noqa: ANN401
        """Refuse unknown flags of a verb with that verb's usage, not with that of the whole command line."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown


def _encodable(text: str, encoding: str, escapes: str = "backslashreplace") -> str:
    return text.encode(encoding, escapes).decode(encoding)


def _write_raw(raw: io.RawIOBase, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[raw.write(left) or 0 :]


def _discard_output() -> None:
    """Discard what is left, so that Python's own flush at exit doesn't fail again.

    Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _json_escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


_JSON_ESCAPES: Final = "img2loc-json"
codecs.register_error(_JSON_ESCAPES, _json_escape)

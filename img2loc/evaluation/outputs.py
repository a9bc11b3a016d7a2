"""Files that the evaluation writes: whole or not at all, and never in place of one that it didn't write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from img2loc.errors import DataError
from img2loc.system.durable import write_whole

RULE: Final = "a file that is there is replaced only if this command wrote it"  # for --help
MAX_READ_BYTES: Final = 10_000_000  # a calibration, which has to be whole, has less


def check_replaceable(path: Path, is_ours: Callable[[bytes], bool]) -> None:
    """Make sure that a file may be written: none is there, or one that we wrote before.

    Args:
        path: The file.
        is_ours: Tells from a file's content whether we wrote it.

    Raises:
        DataError: Something else is there.
    """
    if os.path.lexists(path) and not is_ours(_content(path)):
        raise DataError(f"{path} exists, and this command didn't write it. Move it away, or choose another name.")


def write_text(path: Path, text: str) -> None:
    """Write a file, and its folder where there is none; half a character is escaped.

    Raises:
        DataError: The file can't be written; what was there before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_whole(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror or error}.") from error


def _content(path: Path) -> bytes:
    """The beginning of a file; nothing where it is no file or can't be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(MAX_READ_BYTES)
    except OSError:
        return b""

"""Files that the evaluation writes: complete or not at all, and never over a file that it didn't write."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from img2loc.errors import DataError
from img2loc.system.durable import write_whole

RULE: Final = "an existing file is replaced only if this command wrote it"  # for --help
MAX_READ_BYTES: Final = 10_000_000  # more than a calibration has, which is read completely


def check_replaceable(path: Path, is_ours: Callable[[bytes], bool]) -> None:
    """Check that a file may be written: there is none, or one that we wrote before.

    Args:
        path: The file.
        is_ours: Whether a file with this content is ours.

    Raises:
        DataError: Something else is there.
    """
    if not os.path.lexists(path):
        return
    content = b""  # of what can't be read, too
    with suppress(OSError):
        if path.is_file():  # a pipe would be waited for
            with path.open("rb") as file:
                content = file.read(MAX_READ_BYTES)
    if not is_ours(content):
        raise DataError(f"{path} exists, and this command didn't write it. Move it away, or choose another name.")


def write_text(path: Path, text: str) -> None:
    """Write a file, and its folder if there is none. Lone surrogates are escaped.

    Raises:
        DataError: The file can't be written; an older one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_whole(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror or error}.") from error

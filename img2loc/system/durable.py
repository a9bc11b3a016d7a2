"""Files that are written completely or not at all, even if the machine stops."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name, flush it to the disk, and rename it. An old file stays until then.

    The renamed file is a new one: a process that has the old one open or mapped keeps reading that. Two processes may
    write the same file at once, since the temporary name contains the process's id.

    Raises:
        OSError: It can't be written; the temporary file is deleted.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)  # of a killed process with the same id
    opened = unfinished.open("xb")  # follows no link
    try:
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, names: Container[str]) -> None:
    """Delete the temporary files that killed processes left of files with these names."""
    for file in folder.glob(".*.tmp"):
        match = re.fullmatch(r"\.(.+)\.\d+\.tmp", file.name)
        if match and match[1] in names:
            file.unlink(missing_ok=True)

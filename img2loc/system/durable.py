"""Files that are written whole or not at all, even if the machine stops."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name, flush it to the disk, and then rename it.

    The renamed file is a new one: whoever has the old one open or mapped keeps reading that. Two processes may write
    the same file at once, since the temporary name has the process's id in it.

    Args:
        path: The file; what is there stays until the new one is complete.

    Raises:
        OSError: It can't be written; nothing of it is left then.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)  # of a process with the same id that was killed
    new = unfinished.open("xb")  # follows no link
    try:
        with new as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, names: Container[str]) -> None:
    """Delete what killed writers left of some files.

    Args:
        folder: Where the files are written.
        names: Theirs; temporary files of other names aren't ours and stay.
    """
    for file in folder.glob(".*.tmp"):
        match = re.fullmatch(r"\.(.+)\.\d+\.tmp", file.name)
        if match and match[1] in names:
            file.unlink(missing_ok=True)

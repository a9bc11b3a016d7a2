"""Checksums of files; a large file's is remembered until the file changes, so that only its first opening is slow."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

REMEMBERED_BYTES = 64 << 20  # smaller ones are read in the blink of an eye
MAX_REMEMBERED = 1000


def file_sha256(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """The sha256 of a file, from memory where it is a large one that has not changed since it was last computed.

    Args:
        path: The file. It counts as unchanged while its place, size, inode and time of change are the same.
    """
    state = path.resolve().stat()
    if state.st_size < REMEMBERED_BYTES:
        return file_sha256(path)
    key = f"{path.resolve()} {state.st_size} {state.st_ino} {state.st_mtime_ns} {state.st_ctime_ns}"
    known = _read()
    if key not in known:
        known = dict([*_read().items(), (key, file_sha256(path))][-MAX_REMEMBERED:])
        _write(known)
    return known[key]


def _notebook() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "img2loc" / "checksums.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_notebook().read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in known.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(known: dict[str, str]) -> None:
    path = _notebook()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            json.dump(known, file)
        os.replace(file.name, path)
    except OSError:  # nowhere to write: the next opening computes it again
        return

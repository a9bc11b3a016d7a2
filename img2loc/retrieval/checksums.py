"""Checksums of files; a large file's is cached until the file changes, so that only its first opening is slow."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from img2loc.system.durable import write_whole

REMEMBERED_BYTES = 64 << 20  # smaller ones are read each time: it takes a tenth of a second
MAX_REMEMBERED = 1000


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return sha256_of(file)


def sha256_of(file: BufferedReader) -> str:
    """The sha256 of an open file, read in pieces; leaves it at its beginning."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest


def known_sha256(file: BufferedReader) -> str:
    """The sha256 of an open file; a large file's comes from the cache if it hasn't changed since it was computed.

    Args:
        file: It counts as unchanged while its path, size, inode and times of change are the same.
    """
    state = os.fstat(file.fileno())
    if state.st_size < REMEMBERED_BYTES:
        return sha256_of(file)
    key = f"{Path(file.name).resolve()} {state.st_size} {state.st_ino} {state.st_mtime_ns} {state.st_ctime_ns}"
    known = _read()
    if key not in known:
        known = dict([*_read().items(), (key, sha256_of(file))][-MAX_REMEMBERED:])
        _write(known)
    return known[key]


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "img2loc" / "checksums.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_cache_file().read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in known.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(known: dict[str, str]) -> None:
    path = _cache_file()
    with suppress(OSError):  # nowhere to write: the next opening computes it again
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as file:
            file.write(json.dumps(known).encode())

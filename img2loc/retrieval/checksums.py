"""Checksums of files; a large file's is cached until the file changes, so that only its first opening is slow."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from img2loc.system.durable import write_whole

MIN_CACHED_BYTES = 64 << 20  # reading a smaller file takes a tenth of a second
MAX_CACHED = 1000


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


def cached_sha256(file: BufferedReader) -> str:
    """The sha256 of an open file; a large file's comes from the cache if it hasn't changed since it was computed.

    A file counts as unchanged while its path, size, inode and times of change are the same.
    """
    status = os.fstat(file.fileno())
    if status.st_size < MIN_CACHED_BYTES:
        return sha256_of(file)
    key = f"{Path(file.name).resolve()} {status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
    cache = _read_cache()
    if key not in cache:
        digest = sha256_of(file)
        cache = dict([*_read_cache().items(), (key, digest)][-MAX_CACHED:])  # another process may have added to it
        with suppress(OSError):  # nowhere to write: the next opening computes it again
            _cache_file().parent.mkdir(parents=True, exist_ok=True)
            with write_whole(_cache_file()) as cache_file:
                cache_file.write(json.dumps(cache).encode())
    return cache[key]


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "img2loc" / "checksums.json"


def _read_cache() -> dict[str, str]:
    try:
        cache = json.loads(_cache_file().read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in cache.items()}
    except (OSError, ValueError, AttributeError):
        return {}

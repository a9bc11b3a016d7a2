"""Where a picture's bytes lie: a file here, or a stretch of a tar, here or on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from img2loc.errors import ConfigError, HubError

HUB_PREFIX = "hf://"
STREAM_BLOCK_BYTES = 8 * 2**20  # a tar of the Hub is read in requests of this size, one after another


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of a picture."""

    file: str  # an absolute path, or hf://datasets/owner/name[@revision]/path on the Hub
    offset: int = 0  # of the first byte
    length: int = -1  # in bytes; -1 for the whole file


def read_pieces(pieces: Sequence[Piece]) -> list[bytes | OSError]:
    """Read pictures, each its bytes or why they can't be had; neighbours in one tar cost one sequential read."""
    contents: list[bytes | OSError] = []
    for file, group in groupby(pieces, key=lambda piece: piece.file):
        members = list(group)
        try:
            contents += _read_hub(file, members) if file.startswith(HUB_PREFIX) else _read_local(file, members)
        except OSError as error:
            contents += [error] * len(members)
    return contents


def _read_local(file: str, pieces: list[Piece]) -> list[bytes]:
    contents = []
    with open(file, "rb", buffering=0) as handle:
        for piece in pieces:
            handle.seek(piece.offset)
            contents.append(handle.read(piece.length))
    return contents


def _read_hub(file: str, pieces: list[Piece]) -> list[bytes]:
    start = min(piece.offset for piece in pieces)
    whole = any(piece.length < 0 for piece in pieces)
    end = None if whole else max(piece.offset + piece.length for piece in pieces)
    data: bytes = _hub().cat_file(file, start=start, end=end)
    return [data[p.offset - start : None if p.length < 0 else p.offset - start + p.length] for p in pieces]


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that paths or shell patterns name, here or under hf://, in the order of their names.

    A Hub data set without a revision is pinned to its present commit, so that every later stage reads the same bytes.

    Raises:
        ConfigError: A pattern names no file.
        HubError: The Hub can't list one.
    """
    files: list[str] = []
    for pattern in patterns:
        if pattern.startswith(HUB_PREFIX):
            matching = _find_on_hub(pattern)
        else:
            path = Path(pattern).expanduser()
            matching = [str(file.resolve()) for file in path.parent.glob(path.name) if file.is_file()]
        if not matching:
            raise ConfigError(f"There is no file {pattern}; give --photos a folder, or the paths of tar files.")
        files += sorted(matching)
    return files


def _find_on_hub(pattern: str) -> list[str]:
    try:
        hub = _hub()
        place = hub.resolve_path(pattern.removesuffix("/"))
        prefix = f"{HUB_PREFIX}{'datasets/' if place.repo_type == 'dataset' else ''}{place.repo_id}"
        commit = hub._api.repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision).sha
        inside = [str(path) for path in hub.glob(f"{prefix}@{commit}/{place.path_in_repo}".removeprefix(HUB_PREFIX))]
    except Exception as error:  # its client raises errors of httpx, fsspec and its own
        raise HubError(f"{pattern} can't be listed on the Hub ({type(error).__name__}: {error}).") from error
    return [f"{HUB_PREFIX}{path}" for path in inside]


def open_stream(file: str) -> IO[bytes]:
    """Open a file here or on the Hub, to be read from its beginning to its end.

    Raises:
        OSError: It can't be had.
    """
    if not file.startswith(HUB_PREFIX):
        return open(file, "rb")
    stream: IO[bytes] = _hub().open(file, "rb", block_size=STREAM_BLOCK_BYTES)
    return stream


@cache
def _hub() -> Any:  # noqa: ANN401 - fsspec's classes have no types
    from huggingface_hub import HfFileSystem  # noqa: PLC0415 - only for data sets of the Hub

    return HfFileSystem()

"""Which file a photo's name in a table means, however another program or machine spelt it.

Names are compared without regard to case, composed or decomposed characters, backslashes, "./" and %20; one of them may
lack its suffix. A name's folders must agree with the file's as far as both go; those of an absolute path, which may be
another machine's, are compared from their ends, and the longest agreement counts.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Literal
from urllib.parse import unquote

from img2loc.system.names import is_text
from img2loc.system.temporary_database import open_temporary_database

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".gif")
_OTHER_SUFFIXES: Final = (".jpe", ".jfif", ".bmp", ".jp2", ".jxl")
_OF_SYSTEMS: Final = ("__MACOSX", "@eaDir", "Thumbs.db", "PaxHeaders")
_ABSOLUTE: Final = re.compile(r"/|~|\.\./|[A-Za-z]:|[A-Za-z][A-Za-z0-9+]{1,9}://")
MAX_SAME_NAME: Final = 1000  # files of one name; of more, a bare name means none

Lost = Literal["missing", "several", "outside"]


def is_clutter(name: str) -> bool:
    """Whether a path is of a system's own files: ._a.jpg, .DS_Store, __MACOSX/..., any in a hidden folder."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return any(part.startswith((".", "PaxHeaders.")) or part in _OF_SYSTEMS for part in parts)


class NameIndex:
    """Names, each with a value, on disk; `find` gives the values of the names that fit best."""

    def __init__(self) -> None:
        self._database = open_temporary_database("key TEXT, name BLOB, value BLOB, PRIMARY KEY (key, name, value)")

    def add(self, names: Iterable[tuple[str, str]]) -> None:
        """Add names and their values."""
        rows = ((_key(name), os.fsencode(name), os.fsencode(value)) for name, value in names)
        self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", rows)

    def find(self, name: str, *, root: str = "") -> list[str]:
        """The values of the names that fit best; more than one where it isn't clear which is meant.

        Args:
            name: The name to look for.
            root: The folder that the names of the index lie in, which a name may begin above.
        """
        key = _key(name)
        exact = self._rows("key = ? AND name = ?", key, os.fsencode(name))
        rows = exact or self._rows("key = ?", key)
        if len(rows) > MAX_SAME_NAME:
            return [value for _, value in rows[:2]]
        fits = [(fit, value) for other, value in rows if (fit := _fit(name, other, root))]
        best = max((fit for fit, _ in fits), default=None)
        return list(dict.fromkeys(value for fit, value in fits if fit == best))

    def _rows(self, where: str, *values: str | bytes) -> list[tuple[str, str]]:
        query = f"SELECT name, value FROM rows WHERE {where} LIMIT {MAX_SAME_NAME + 1}"
        return [(os.fsdecode(name), os.fsdecode(value)) for name, value in self._database.execute(query, values)]

    def close(self) -> None:
        """Delete the index."""
        self._database.close()


class PhotoFiles:
    """The photos in a folder and below it.

    A name that is a file's path there is found at once. Only others need the index of all files, which is made then.
    Nothing outside the folder is ever found.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder.resolve()
        self._index: NameIndex | None = None

    def find(self, name: str) -> Path | Lost:
        """The file that a name means, or why there is none."""
        if not name or "\0" in name or not is_text(name):
            return "missing"
        path = os.path.normpath(self._root / name)
        is_inside = Path(path).is_relative_to(self._root)
        if is_inside and os.path.isfile(path):  # Path.is_file raises where a name is too long
            return Path(path)
        if self._index is None:
            self._index = NameIndex()
            self._index.add((file, file) for file in _files_below(self._root))
        files = self._index.find(name, root=self._root.as_posix())
        if len(files) == 1:
            return self._root / files[0]
        return "several" if files else "missing" if is_inside else "outside"

    def __enter__(self) -> PhotoFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._index is not None:
            self._index.close()


def _files_below(root: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not is_clutter(folder))
        for file in sorted(files):
            path = os.path.join(parent, file)
            if is_text(file) and not is_clutter(file) and os.path.isfile(path):
                yield Path(path).relative_to(root).as_posix()


def _fit(name: str, other: str, root: str) -> tuple[int, int] | None:
    """How well two names of one key agree: how many parts from the end, and how exactly; None where they don't."""
    parts, others = _parts(name), _parts(other)
    suffixes = {suffix for each in (parts[-1], others[-1]) if (suffix := _suffix(each))}
    if len(suffixes) > 1:
        return None
    above = _parts(root) + others
    common = 1
    while common < min(len(parts), len(above)) and parts[-common - 1] == above[-common - 1]:
        common += 1
    is_absolute = any(_ABSOLUTE.match(each.replace("\\", "/")) for each in (name, other))
    if not (is_absolute or common == len(parts) or common >= len(others)):
        return None
    last, other_last = (unicodedata.normalize("NFC", PurePosixPath(each).name) for each in (name, other))
    return common, 2 if last == other_last else int(parts[-1] == others[-1])


def _key(name: str) -> str:
    """What all spellings of a file's name have in common."""
    parts = _parts(name)
    return parts[-1].removesuffix(_suffix(parts[-1])) if parts else ""


def _parts(name: str) -> list[str]:
    """The folders and the file of a path, spelt alike."""
    plain = unicodedata.normalize("NFC", unquote(name.replace("\\", "/"), errors="surrogateescape")).casefold()
    return [part for part in plain.split("/") if part not in ("", ".", "..")]


def _suffix(name: str) -> str:
    """A picture's suffix, "" for any other: what stands behind the point may be a part of an id."""
    suffix = os.path.splitext(name)[1]
    return suffix if suffix in (*SUFFIXES, *_OTHER_SUFFIXES) else ""

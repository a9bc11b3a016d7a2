"""Folders that this program makes for itself, with proof that one is its own before anything in it is deleted.

A marker file in the folder names the folder, and the process that works there locks the marker. Files are deleted
relative to the open folder, not by its path, which may lead elsewhere by then; no link is followed. Not on Windows.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from img2loc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Marker:
    """The file by which a kind of folder is recognized."""

    name: str
    text: str  # before the folder's name

    def content(self, folder: Path) -> bytes:
        """The file's content in a folder."""
        return f"{self.text}: ".encode() + os.fsencode(folder.name) + b"\n"


class OwnFolder:
    """A folder that this program made, open and locked until it is closed.

    Args:
        path: The folder's.
        marker: The file that proves that it is ours.
        is_new: Whether the caller has just made it, so that it is to be marked. A folder of unknown origin never
            becomes ours, be it empty.

    Raises:
        ConfigError: Nothing proves that it is ours, or another process is at work in it.
        OSError: It can't be marked.
    """

    path: Path
    handle: int  # the open folder
    is_locked: bool  # False on a file system without locks, as some clusters have

    def __init__(self, path: Path, marker: Marker, *, is_new: bool = False) -> None:
        self.path = path
        self._marker = marker.name
        content = marker.content(path)
        foreign = ConfigError(
            f"Nothing proves that {path} is a folder that Img2Loc made; versions before this one left no proof. Remove "
            "it by hand, or move it elsewhere."
        )
        with ExitStack() as opened:
            try:
                self.handle = open_folder(path)
                opened.callback(os.close, self.handle)
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT | os.O_EXCL if is_new else 0)
                file = os.open(marker.name, flags, 0o600, dir_fd=self.handle)
                opened.callback(os.close, file)
            except FileExistsError as error:
                raise self._in_use() from error
            except OSError as error:  # a link, another kind of file, or another user's
                raise foreign from error
            if not self._is_ours(file, content, is_new=is_new):
                raise foreign
            self._lock(file)
            if is_new:
                os.pwrite(file, content, 0)
                os.fsync(file)
            self._opened = opened.pop_all()

    def _is_ours(self, file: int, content: bytes, *, is_new: bool) -> bool:
        folder, marker = os.fstat(self.handle), os.fstat(file)
        # On some file systems our files belong to another user: to the owner of a marker that we have just made.
        if not stat.S_ISREG(marker.st_mode) or folder.st_uid != marker.st_uid:
            if is_new:
                os.unlink(self._marker, dir_fd=self.handle)
            return False
        # A marker with a second hard link may be a file of somebody else's.
        is_single = marker.st_uid == os.geteuid() and marker.st_nlink == 1
        return is_new or (is_single and os.pread(file, len(content) + 1, 0) == content)

    def _lock(self, file: int) -> None:
        """Lock the marker, and check that it is still in the folder: another process may just have removed it."""
        import fcntl  # noqa: PLC0415 - Windows has none

        self.is_locked = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_locked = True
        except BlockingIOError as error:
            raise self._in_use() from error
        except OSError:
            pass
        try:
            current = os.stat(self._marker, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError as error:
            raise self._in_use() from error
        if not os.path.samestat(current, os.fstat(file)):
            raise self._in_use()

    def _in_use(self) -> ConfigError:
        return ConfigError(f"Another process is at work in {self.path}. Wait until it has finished.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder and release its lock."""
        self._opened.close()

    def names(self) -> list[str]:
        """The names in the folder, without the marker's."""
        return [name for name in os.listdir(self.handle) if name != self._marker]

    def delete(self, name: str) -> None:
        """Delete a file, a link, or a folder with its content; what can't be deleted stays."""
        with suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=self.handle, follow_symlinks=False).st_mode):
                shutil.rmtree(name, ignore_errors=True, dir_fd=self.handle)
            else:
                os.unlink(name, dir_fd=self.handle)

    def remove_if_empty(self) -> None:
        """Remove the folder if only its marker is in it and its path still leads to it."""
        with suppress(OSError):  # another process has just opened it
            if not self.names() and os.path.samestat(os.lstat(self.path), os.fstat(self.handle)):
                os.unlink(self._marker, dir_fd=self.handle)
                os.rmdir(self.path)


def open_folder(path: Path | str, *, dir_fd: int | None = None) -> int:
    """Open a folder, to work relative to it.

    Raises:
        OSError: There is none, or the path leads to a link or a file.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)

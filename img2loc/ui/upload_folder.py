"""The folder for visitors' files: private to this server, swept regularly, deleted when the server ends."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gradio import mcp, routes

from img2loc.errors import ConfigError, quoted

SWEEP_EVERY_S = 600.0
_PREFIX: Final = "img2loc-uploads-"
_MARKER: Final = ".img2loc-uploads"


@contextmanager
def use_private_upload_folder() -> Iterator[Path]:
    """Give Gradio a new upload folder that only this server uses, and delete it at the end.

    Gradio's own is shared with other programs and outlives the server. Folders that servers of ours left behind when
    they were killed are deleted here. Enter it once, before the page is built.

    Yields:
        The folder.

    Raises:
        ConfigError: It can't be made.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR", "").strip()
    try:
        folder = make_upload_folder(Path(parent or tempfile.gettempdir()).resolve())
    except OSError as error:
        where = f"GRADIO_TEMP_DIR is {quoted(parent)}" if parent else "There is no folder for temporary files"
        raise ConfigError(
            f"{where}: {error.strerror or error}. Set GRADIO_TEMP_DIR to a folder that can be written."
        ) from None
    # The modules remember the folder of when they were imported; routes makes a folder for its editor there.
    os.environ["GRADIO_TEMP_DIR"] = mcp.DEFAULT_TEMP_DIR = routes.DEFAULT_TEMP_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield folder
    finally:
        delete_upload_folder(folder)


def make_upload_folder(parent: Path) -> Path:
    """Make an upload folder, and delete those beside it whose servers have ended.

    A folder is deleted only if it belongs to our user and contains our marker for this very folder, and no process
    holds the marker's lock. What merely has a name like ours stays.

    Raises:
        OSError: The parent can't be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{_PREFIX}*"):
        if sys.platform != "win32":  # which has no such locks
            _delete_if_abandoned(folder)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # only our user may look into it
    _mark(folder)
    return folder


def delete_upload_folder(folder: Path) -> None:
    """Delete an upload folder, its marker last: what can't be deleted now is found again at the next start."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != _MARKER:
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):  # a folder, and gone
                    path.unlink()
        if [path.name for path in folder.iterdir()] == [_MARKER]:
            (folder / _MARKER).unlink()
        folder.rmdir()


def delete_old_uploads_periodically(max_age_s: float) -> None:
    """Delete visitors' files at that age, from now on; call it once the page is built, whose own pictures stay.

    Gradio's own cleaning knows the files that came through the page, and not those that agents sent.

    Args:
        max_age_s: In seconds; a file may become a sixth older before it is looked at.
    """
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    arguments = (folder, set(folder.rglob("*")), max_age_s)
    threading.Thread(target=_sweep, args=arguments, name="sweep", daemon=True).start()


def _sweep(folder: Path, kept: set[Path], max_age_s: float) -> None:
    # When each file was first seen here, and again when it was sent again under its name: by a clock that nobody sets,
    # as that of the files' own times may be.
    seen: dict[tuple[Path, int], float] = {}
    while True:
        time.sleep(min(SWEEP_EVERY_S, max_age_s / 6))
        now, before, seen = time.monotonic(), seen, {}
        for path in set(folder.rglob("*")) - kept:
            with suppress(OSError):  # it is gone already, or a folder
                file = path, path.stat().st_mtime_ns
                seen[file] = before.get(file, now)
                if now - seen[file] >= max_age_s:
                    path.unlink()


def _marker_text(folder: Path) -> bytes:
    return b"Img2Loc deletes this folder when its server has ended: %b\n" % os.fsencode(folder.name)


def _mark(folder: Path) -> None:
    """Put the marker into a folder, locked as long as this process lives.

    It is locked before it has its name, so that no other server ever takes a living one's folder for abandoned. Where
    files can't be locked there is no marker, and nobody deletes the folder of a server that was killed.
    """
    unnamed = folder / f"{_MARKER}.new"
    marker = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # never closed: that would unlock it
    if _lock(marker):
        os.write(marker, _marker_text(folder))
        unnamed.rename(folder / _MARKER)


def _delete_if_abandoned(folder: Path) -> None:
    """Delete a folder that a server of ours made which no longer runs, as its marker proves."""
    try:
        marker = os.open(folder / _MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        about_folder, about_marker = folder.lstat(), os.fstat(marker)
        text = _marker_text(folder)
        if (
            stat.S_ISDIR(about_folder.st_mode)  # and no link to one
            and stat.S_ISREG(about_marker.st_mode)
            and about_folder.st_uid == about_marker.st_uid == os.getuid()
            and os.read(marker, len(text) + 1) == text
            and _lock(marker)
        ):
            delete_upload_folder(folder)
    finally:
        os.close(marker)


def _lock(file: int) -> bool:
    """Lock an open file as long as this process lives; False where another process holds it, or where none can."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True

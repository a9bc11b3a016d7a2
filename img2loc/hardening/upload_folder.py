"""The folder for visitors' files: private to this server, cleaned regularly, deleted when the server ends."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from img2loc.errors import ConfigError, quoted
from img2loc.system.own_folder import Marker, OwnFolder

SWEEP_EVERY_S = 600.0
_PREFIX: Final = "img2loc-uploads-"
_MARKER: Final = Marker(".img2loc-uploads", "Img2Loc deletes this folder when its server has ended")


@contextmanager
def use_private_upload_folder() -> Iterator[OwnFolder | None]:
    """Give Gradio a new upload folder that only this server uses, and delete it at the end.

    Gradio's own is shared with other programs and outlives the server. Folders that killed servers left are deleted,
    too. Enter it once, before the page is built.

    Yields:
        The folder; None on Windows, where it is only deleted at the end.

    Raises:
        ConfigError: It can't be made.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR", "").strip()
    with ExitStack() as stack:
        try:
            path, folder = stack.enter_context(_upload_folder(Path(parent or tempfile.gettempdir()).resolve()))
        except OSError as error:
            where = f"GRADIO_TEMP_DIR is {quoted(parent)}" if parent else "There is no folder for temporary files"
            raise ConfigError(
                f"{where}: {error.strerror or error}. Set GRADIO_TEMP_DIR to a folder that can be written."
            ) from None
        os.environ["GRADIO_TEMP_DIR"] = str(path)
        yield folder


@contextmanager
def _upload_folder(parent: Path) -> Iterator[tuple[Path, OwnFolder | None]]:
    if sys.platform == "win32":  # which can't delete relative to an open folder; this doesn't follow links either
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as name:
            yield Path(name), None
        return
    with make_upload_folder(parent) as folder:
        try:
            yield folder.path, folder
        finally:
            delete_upload_folder(folder)


def make_upload_folder(parent: Path) -> OwnFolder:
    """Make an upload folder, and delete those beside it whose servers have ended.

    Only a folder of our user that contains our marker for this very folder is deleted, and only if no process holds the
    marker's lock and files can be locked there.

    Raises:
        OSError: The parent can't be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob(f"{_PREFIX}*"):
        with suppress(ConfigError, OSError), OwnFolder(path, _MARKER) as abandoned:
            if abandoned.is_locked:
                delete_upload_folder(abandoned)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # readable by our user only
    return OwnFolder(path, _MARKER, is_new=True)


def delete_upload_folder(folder: OwnFolder) -> None:
    """Delete an upload folder, its marker last: what can't be deleted now is deleted at the next start."""
    with suppress(OSError):
        for name in folder.names():
            folder.delete(name)
        folder.remove_if_empty()


@contextmanager
def delete_old_uploads_periodically(folder: OwnFolder | None, max_age_s: float) -> Iterator[None]:
    """Delete visitors' files of that age until the end. Enter it once the page is built, whose own pictures stay.

    Gradio's own cleaning only knows files that came through the page, not those that agents sent.

    Args:
        folder: The upload folder, open until the end; None on Windows, where nothing is deleted.
        max_age_s: A file may become a sixth older before it is deleted.
    """
    if folder is None:
        yield
        return
    page_files = {path for path, _, _ in _walk(folder)}
    stopped = threading.Event()
    thread = threading.Thread(target=_sweep, args=(folder, page_files, max_age_s, stopped), name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


# When a file was first seen, by its path and its time of change: by a monotonic clock, since the files' own times come
# from a clock that may be set.
_Seen = dict[tuple[str, int], float]


def _sweep(folder: OwnFolder, kept: Collection[str], max_age_s: float, stopped: threading.Event) -> None:
    seen: _Seen = {}
    while not stopped.wait(min(SWEEP_EVERY_S, max_age_s / 6)):
        with suppress(OSError):  # it is repeated
            seen = _delete_old(folder, kept, seen, max_age_s)


def _delete_old(folder: OwnFolder, kept: Collection[str], seen_before: _Seen, max_age_s: float) -> _Seen:
    now = time.monotonic()
    seen: _Seen = {}
    for path, name, inside in _walk(folder):
        if path in kept:
            continue
        with suppress(OSError):  # it is gone already
            file = path, os.stat(name, dir_fd=inside, follow_symlinks=False).st_mtime_ns
            seen[file] = seen_before.get(file, now)
            if now - seen[file] >= max_age_s:
                os.unlink(name, dir_fd=inside)
    return seen


def _walk(folder: OwnFolder) -> Iterator[tuple[str, str, int]]:
    """Each file's path in the folder, its name, and the open folder that contains it."""
    for root, _, names, inside in os.fwalk(dir_fd=folder.handle):
        for name in names:
            yield os.path.join(root, name), name, inside

"""Where a gallery is written: beside its place, in a working folder, and then renamed as a whole.

    NAME                a gallery; what has it open keeps reading it when another takes its place
    .NAME.partial/      write_rows at work: gallery/ (the new one), replaced/ (the old one, until it is deleted)
    .NAME.build/        build at work: listing.parquet, shards/

A working folder has a marker of ours and a lock. Whatever has no marker was made by somebody else and is left alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from img2loc.durable import sync_folder
from img2loc.errors import ConfigError, GalleryError
from img2loc.manifest import CALIBRATION, MANIFEST, Manifest, read_manifest

MARKER = ".img2loc-builder"


def check_out(folder: Path, *, may_replace: bool) -> None:
    """Make sure that a gallery may be written to a folder: there is none, it is empty, or it may be replaced.

    Args:
        folder: The gallery's.
        may_replace: Whether a gallery that is there may be replaced. Anything else never is.

    Raises:
        ConfigError: The folder has something else in it, or a gallery that may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        manifest = read_manifest(folder)
    except GalleryError as error:
        raise ConfigError(
            f"{folder} isn't empty, and has no {MANIFEST} of a gallery. Give --out a new folder."
        ) from error
    if others := sorted({file.name for file in folder.iterdir()} - _own_files(manifest)):
        raise ConfigError(
            f"{folder} has files that aren't part of the gallery, such as {others[0]}. Move them elsewhere, or give "
            "--out a new folder."
        )
    if not may_replace:
        raise ConfigError(
            f"{folder} already has a gallery, {manifest.name!r} with {manifest.count:,} rows. Use --replace to replace "
            "it, or give --out a new folder."
        )


@contextmanager
def working_folder(path: Path) -> Iterator[None]:
    """Make a folder for unfinished work, or go on with the one that a killed run has left.

    It is removed at the end if it is empty then; what is left in it is for the next run.

    Raises:
        ConfigError: Something else has that name, or another process is at work in it.
    """
    marker = path / MARKER
    if path.exists() and not marker.is_file() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is needed for unfinished work, but wasn't made by the builder. Move it elsewhere.")
    path.mkdir(parents=True, exist_ok=True)
    with marker.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"Another process is at work in {path}. Wait until it has finished.") from error
        except OSError:  # a file system without locks, as some clusters have
            pass
        try:
            yield
        finally:
            if {file.name for file in path.iterdir()} == {MARKER}:
                marker.unlink()
                path.rmdir()


def put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Give a finished gallery its place. Between two renames, for an instant, nothing is there.

    Args:
        new: The finished gallery.
        folder: Its place. A gallery that is there is moved to `old`, and deleted in the end.
        old: A name for that one, in the working folder.

    Raises:
        OSError: It can't be renamed; then the old gallery is where it was.
    """
    if folder.exists() and any(folder.iterdir()):
        os.rename(folder, old)
    try:
        os.rename(new, folder)  # takes the place of an empty folder, too
    except OSError:
        restore(old, folder)
        raise
    sync_folder(folder.parent)
    restore(old, folder)


def restore(old: Path, folder: Path) -> None:
    """Finish what put_in_place began: delete the gallery that was replaced, or put it back where none replaced it."""
    if not old.exists():
        return
    if not folder.exists():
        os.rename(old, folder)
        return
    if (old / MANIFEST).exists():
        own = _own_files(read_manifest(old))
        for name in (*sorted(own - {MANIFEST}), MANIFEST):  # which lists the others
            (old / name).unlink(missing_ok=True)
    old.rmdir()


def _own_files(manifest: Manifest) -> set[str]:
    """The files of a gallery's folder; its calibration may have come before it was listed."""
    return {MANIFEST, CALIBRATION, *manifest.files}

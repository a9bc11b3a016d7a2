"""Where a gallery is written: beside its place, in a working folder, and then renamed as a whole.

    NAME                a gallery; what has it open keeps reading it when another takes its place
    .NAME.partial/      write_rows at work: gallery/ (the new one), replaced/ (the old one, until it is deleted)
    .NAME.build/        build at work: listing.parquet, shards/; geoclip at work: wheel/

A working folder has a marker of ours and a lock. Whatever has no marker was made by somebody else and is left alone.
After a run was killed, at whatever moment, the same command finishes it and leaves nothing but the gallery.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from img2loc.durable import sync_folder
from img2loc.errors import ConfigError, GalleryError
from img2loc.manifest import CALIBRATION, MANIFEST, Manifest, describe_file, read_manifest

MARKER = ".img2loc-builder"


def partial_folder(folder: Path) -> Path:
    """The working folder in which write_rows makes a gallery."""
    return folder.with_name(f".{folder.name}.partial")


def build_folder(folder: Path) -> Path:
    """The working folder for what is made before a gallery, such as embeddings."""
    return folder.with_name(f".{folder.name}.build")


def check_out(folder: Path, *, may_replace: bool) -> None:
    """Make sure that a gallery may be written to a folder: there is none, it is empty, or it may be replaced.

    If a killed run has left a working folder, the gallery that is there may be its own. Then put_in_place decides.

    Args:
        folder: The gallery's.
        may_replace: Whether a gallery that is there may be replaced. Anything else never is.

    Raises:
        ConfigError: The folder has something else in it, or a gallery that may not be replaced.
    """
    place = folder.resolve()
    was_killed = any(path.exists() and _is_ours(path) for path in (partial_folder(place), build_folder(place)))
    if (manifest := _gallery_in(folder)) is not None and not (may_replace or was_killed):
        raise _occupied(folder, manifest)


def _gallery_in(folder: Path) -> Manifest | None:
    """The gallery that a folder has and nothing else; None where there is nothing.

    Raises:
        ConfigError: It has something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
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
    return manifest


def _occupied(folder: Path, manifest: Manifest) -> ConfigError:
    return ConfigError(
        f"{folder} already has a gallery, {manifest.name!r} with {manifest.count:,} rows. Use --replace to replace "
        "it, or give --out a new folder."
    )


def _is_ours(path: Path) -> bool:
    """Whether a working folder was made by the builder. One that was killed may not have got to the marker."""
    return (path / MARKER).is_file() or (path.is_dir() and not any(path.iterdir()))


@contextmanager
def working_folder(path: Path) -> Iterator[None]:
    """Make a folder for unfinished work, or go on with the one that a killed run has left.

    It is removed at the end if it is empty then; what is left in it is for the next run.

    Raises:
        ConfigError: Something else has that name, or another process is at work in it.
    """
    if path.exists() and not _is_ours(path):
        raise ConfigError(f"{path} is needed for unfinished work, but wasn't made by the builder. Move it elsewhere.")
    path.mkdir(parents=True, exist_ok=True)
    marker = path / MARKER
    with marker.open("wb") as lock:
        _lock(lock, marker)
        try:
            yield
        finally:
            if {file.name for file in path.iterdir()} == {MARKER}:
                marker.unlink()
                with suppress(OSError):  # another process has come in this moment
                    path.rmdir()


def _lock(file: IO[bytes], marker: Path) -> None:
    """Lock a working folder by its open marker, until that is closed.

    Raises:
        ConfigError: Another process has it, or has just removed it.
    """
    taken = ConfigError(f"Another process is at work in {marker.parent}. Wait until it has finished.")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise taken from error
    except OSError:  # a file system without locks, as some clusters have
        return
    if not marker.exists() or not os.path.samestat(os.fstat(file.fileno()), marker.stat()):
        raise taken


def put_in_place(new: Path, folder: Path, old: Path, *, may_replace: bool) -> None:
    """Give a finished gallery its place. Between two renames, for an instant, nothing is there.

    A gallery that is there already and is the same was put there by a run that was killed before it ended. It stays.

    Args:
        new: The finished gallery.
        folder: Its place. A gallery that is there is moved to `old`, and deleted in the end.
        old: A name for that one, in the working folder.
        may_replace: Whether a gallery that is there may be replaced by another.

    Raises:
        ConfigError: The folder has another gallery that may not be replaced, or something else.
        OSError: It can't be renamed; then the old gallery is where it was.
    """
    there = _gallery_in(folder)
    if there is not None and not may_replace:
        if not _has_the_same(folder, there, read_manifest(new)):
            raise _occupied(folder, there)
        return
    if there is not None:
        os.rename(folder, old)
    try:
        os.rename(new, folder)  # takes the place of an empty folder, too
    except OSError:
        restore(old, folder)
        raise
    sync_folder(folder.parent)
    restore(old, folder)


def _has_the_same(folder: Path, manifest: Manifest, new: Manifest) -> bool:
    """Whether a folder has a new gallery already, every file of it."""
    return manifest.identity == new.identity and all(
        (folder / name).is_file() and describe_file(folder / name) == file for name, file in new.files.items()
    )


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

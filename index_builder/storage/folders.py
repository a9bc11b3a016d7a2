"""Where a gallery is written: beside its place, in a working folder, and then renamed as a whole.

    NAME                a gallery; what has it open keeps reading it when another takes its place
    .NAME.partial/      write_gallery at work: gallery/ (the new one), replaced/ (the old one, until it is deleted)
    .NAME.build/        build at work: listing.parquet, shards/; geoclip at work: wheel/

A working folder has a marker of ours and a lock. Whatever has none was made by somebody else and is left alone.
After a run was killed, at whatever moment, the same command finishes it and leaves nothing but the gallery.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from img2loc.errors import ConfigError, GalleryError
from img2loc.retrieval.manifest import CALIBRATION, MANIFEST, Manifest, describe_file, read_manifest
from img2loc.system.durable import sync_folder
from img2loc.system.own_folder import Marker, OwnFolder, open_folder

# Versions before this one had an empty .img2loc-builder, which proves nothing.
MARKER: Final = Marker(".img2loc-work", "The builder of Img2Loc's galleries made this folder for unfinished work")
NEW, OLD = "gallery", "replaced"


def partial_folder(folder: Path) -> Path:
    """The working folder in which write_gallery makes a gallery."""
    return folder.with_name(f".{folder.name}.partial")


def build_folder(folder: Path) -> Path:
    """The working folder for what is made before a gallery, such as embeddings."""
    return folder.with_name(f".{folder.name}.build")


def check_gallery_folder(folder: Path, *, may_replace: bool) -> None:
    """Make sure, before the work begins, that a gallery can be written to a folder.

    If a killed run has left a working folder, the gallery that is there may be its own. Then put_in_place decides.

    Raises:
        ConfigError: The folder has a gallery that may not be replaced, or something else in it; or something else has
            the name of a working folder, or another process is at work there.
    """
    place = folder.resolve()
    working_folders = partial_folder(place), build_folder(place)
    for path in filter(os.path.lexists, working_folders):
        OwnFolder(path, MARKER).close()
    manifest = _gallery_in(folder)
    if manifest is None or may_replace:
        return
    if not any(os.path.lexists(path) or _unfinished(path) for path in working_folders):
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


@contextmanager
def working_folder(path: Path) -> Iterator[OwnFolder]:
    """Make a folder for unfinished work, or continue with the one that a killed run has left.

    It is removed at the end if it is empty then; what is left in it is for the next run. Both happen under a temporary
    name: under its own name the folder never is without its marker, so that an empty one there is somebody else's.

    Raises:
        ConfigError: Something else has that name, or another process is at work in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _unfinished(path):
        _remove_unfinished(left, path)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    if not os.path.lexists(path):
        unfinished.mkdir(0o700)
        with (unfinished / MARKER.name).open("xb") as marker:
            marker.write(MARKER.content(path))
            marker.flush()
            os.fsync(marker.fileno())
        try:
            os.rename(unfinished, path)
        except OSError:  # another process was faster
            _remove_unfinished(unfinished, path)
    with OwnFolder(path, MARKER) as work:
        try:
            yield work
        finally:
            with suppress(OSError):
                if not work.names() and os.path.samestat(os.lstat(path), os.fstat(work.handle)):
                    os.rename(path, unfinished)
                    _remove_unfinished(unfinished, path)


def _unfinished(path: Path) -> list[Path]:
    """What runs that were killed have left of a working folder under temporary names."""
    temporary_name = re.compile(rf"{re.escape(path.name)}\.(\d{{1,9}})\.tmp")
    return [
        file
        for file in path.parent.iterdir()
        if (match := temporary_name.fullmatch(file.name)) and not file.is_symlink() and not _is_running(int(match[1]))
    ]


def _is_running(pid: int) -> bool:
    """Whether another process with this number is running."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _remove_unfinished(folder: Path, path: Path) -> None:
    """Remove what is left under a temporary name if it is empty, or has nothing but the marker of `path`."""
    with suppress(OSError):
        if os.listdir(folder) == [MARKER.name]:
            # A run that was killed may have written a part of it.
            if not MARKER.content(path).startswith((folder / MARKER.name).read_bytes()):
                return
            os.unlink(folder / MARKER.name)
        os.rmdir(folder)


def put_in_place(work: OwnFolder, folder: Path, *, may_replace: bool) -> None:
    """Give a finished gallery its place. Between two renames, for an instant, nothing is there.

    A gallery that is there already and is the same was put there by a run that was killed before it ended. It stays.

    Args:
        work: The working folder, with the finished gallery as NEW. One that is replaced is OLD until it is deleted.
        folder: The gallery's place.
        may_replace: Whether another gallery that is there may be replaced.

    Raises:
        ConfigError: The folder has another gallery that may not be replaced, or something else.
        OSError: It can't be renamed; then the old gallery is where it was.
    """
    present = _gallery_in(folder)
    if present is not None and not may_replace:
        if not _has_the_same(folder, present, read_manifest(work.path / NEW)):
            raise _occupied(folder, present)
        return
    if present is not None:
        os.rename(folder, OLD, dst_dir_fd=work.handle)
    try:
        os.rename(NEW, folder, src_dir_fd=work.handle)  # takes the place of an empty folder, too
    except OSError:
        restore(work, folder)
        raise
    sync_folder(folder.parent)
    restore(work, folder)


def _has_the_same(folder: Path, manifest: Manifest, new: Manifest) -> bool:
    """Whether a folder has a new gallery already, every file of it."""
    return manifest.identity == new.identity and all(
        (folder / name).is_file() and describe_file(folder / name) == file for name, file in new.files.items()
    )


def restore(work: OwnFolder, folder: Path) -> None:
    """Finish what put_in_place began: delete the gallery that was replaced, or put it back where none replaced it.

    Raises:
        ConfigError: The replaced gallery isn't a folder.
        OSError: It can't be put back, or has something else in it, which stays.
    """
    try:
        old = open_folder(OLD, dir_fd=work.handle)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{work.path / OLD} isn't a folder. Remove it by hand.") from error
    try:
        if not folder.exists():
            os.rename(OLD, folder, src_dir_fd=work.handle)
            return
        if MANIFEST in os.listdir(old):
            own = _own_files(read_manifest(work.path / OLD))
            for name in (*sorted(own - {MANIFEST}), MANIFEST):  # which lists the others
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=old)
        os.rmdir(OLD, dir_fd=work.handle)
    finally:
        os.close(old)


def _own_files(manifest: Manifest) -> set[str]:
    """The files of a gallery's folder; its calibration may have come before it was listed."""
    return {MANIFEST, CALIBRATION, *manifest.files}

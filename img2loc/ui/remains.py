"""What a server leaves behind when it ends, however it ends: nothing that visitors sent."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from gradio import mcp

_PREFIX: Final = "img2loc-"


def leave_nothing() -> None:
    """Give Gradio a folder for visitors' files that is this server's alone; call it once, before the page is built.

    Gradio deletes the files on schedule and at its end, but not where it is killed, and shares its own folder with
    other programs. So folders of servers that live no more are deleted here.
    """
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        if _lock(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # nobody else on this machine may look into it
    _lock(folder)
    os.environ["GRADIO_TEMP_DIR"] = mcp.DEFAULT_TEMP_DIR = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the picture of a crash holds keys and photos


def _lock(folder: Path) -> bool:
    """Hold a folder as long as this process lives; False where another holds it."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none; there such folders stay

        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True

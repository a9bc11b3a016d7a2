"""What stays of what visitors sent: nothing, an hour later at most or once the server has ended, however it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from gradio import mcp

SWEEP_EVERY_S = 600.0
_PREFIX: Final = "img2loc-"


def leave_nothing() -> None:
    """Give Gradio a folder for visitors' files that is this server's alone; call it once, before the page is built.

    Gradio shares its own folder with other programs, and leaves it where it is killed. So folders of servers that live
    no more are deleted here.
    """
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        if _lock(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # nobody else on this machine may look into it
    _lock(folder)
    os.environ["GRADIO_TEMP_DIR"] = mcp.DEFAULT_TEMP_DIR = str(folder)
    # Gradio would keep of ten thousand requests when they came and from which session, for a page that is closed here.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # How a Space, Docker or systemd ends a server; Python itself would end at once and delete nothing.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the picture of a crash holds keys and photos


def sweep_often(kept_s: float) -> None:
    """Delete, from now on, what was sent so long ago; call it once the page is built, whose own pictures stay.

    Gradio's sweep knows what the page's visitors sent, and not what agents did.

    Args:
        kept_s: How long what visitors sent may stay, in seconds; a sixth of that more passes before it is looked for.
    """
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    arguments = (folder, set(folder.rglob("*")), kept_s)
    threading.Thread(target=_sweep, args=arguments, name="sweep", daemon=True).start()


def _sweep(folder: Path, ours: set[Path], kept_s: float) -> None:
    # When each file, and when what was sent again under its name, was first seen here: by a clock that nobody sets, as
    # that of the files' own times may be.
    seen: dict[tuple[Path, int], float] = {}
    while True:
        time.sleep(min(SWEEP_EVERY_S, kept_s / 6))
        now, before, seen = time.monotonic(), seen, {}
        for path in set(folder.rglob("*")) - ours:
            with suppress(OSError):  # it is gone already, or a folder
                file = path, path.stat().st_mtime_ns
                seen[file] = before.get(file, now)
                if now - seen[file] >= kept_s:
                    path.unlink()


def _lock(folder: Path) -> bool:
    """Hold a folder as long as this process lives; False where another holds it."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none; there such folders stay

        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True

"""The Space's entry point: settings, the model of this machine where there is one, page, and then who answers."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from img2loc.environment import prepare_environment
from img2loc.errors import ConfigError, Img2LocError, LMMError
from img2loc.gradio_settings import Address, prepare_gradio, read_address
from img2loc.host import Host
from img2loc.hub import disable_telemetry
from img2loc.lmm import BACKENDS
from img2loc.settings import Settings

# glibc gives each thread a heap of its own, up to eight a processor, and what one freed lies idle while the next takes
# more; and where pictures came and went, a heap is full of holes. With two heaps, whose holes go back to the system
# every so often, memory stays flat (benchmarks/load.py). Taking all that is large from the system instead would do it,
# too, at twice the time for each embedding.
HEAPS = 2
GIVE_BACK_EVERY_S = 20.0
M_ARENA_MAX = -8  # Source: glibc's malloc.h


def main() -> int:
    """Serve the page until a signal ends it; on the starter gallery where the configured one can't be had.

    Returns:
        The exit status: 1 for a failure, 2 for a setting that is wrong, 128 and a signal's number for a signal.
    """
    try:
        prepare_environment()
        serve(Settings.from_env(), read_address())
    except (Img2LocError, OSError) as error:  # OSError: the port is taken
        print(f"app.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except Ended as ended:
        return 128 + ended.signal
    return 0


class Ended(BaseException):
    """A signal ends the process.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def serve(settings: Settings, address: Address) -> None:
    """Build the page and serve it.

    Args:
        settings: The operator's choices.
        address: Where.

    Raises:
        Img2LocError: It can't be served.
        OSError: Likewise.
    """
    if unsupported := prepare_gradio(address):
        print(f"app.py: ignoring {', '.join(unsupported)}, which Img2Loc doesn't support.", file=sys.stderr)
    # Imported late: Gradio takes seconds, and reads the environment.
    from img2loc.ui import build, launch  # noqa: PLC0415
    from img2loc.ui.upload_folder import delete_old_uploads_periodically, use_private_upload_folder  # noqa: PLC0415

    share_heaps()
    forbid_core_dumps()
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; and how a Space, Docker or systemd ends a server
        signal.signal(number, _end)
    disable_telemetry()
    with use_private_upload_folder():
        settings, problem = load_model(settings)
        host = Host(settings, problem=problem)
        page = build(host, settings)
        delete_old_uploads_periodically(settings.keep_minutes * 60)
        launch(page, host, address)


def _end(number: int, _: object) -> None:
    """Clean up and end; by itself Python would end at once on SIGTERM and leave the uploads."""
    signal.signal(number, signal.SIG_IGN)  # a second one would break off the cleaning up
    raise Ended(number)


def forbid_core_dumps() -> None:
    """Let no crash write this process's memory, with keys and photos, to the disk."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def share_heaps() -> None:
    """Have all threads share a few heaps, and their holes given back, where the C library is one that can be told."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if mallopt := getattr(library, "mallopt", None):
        mallopt(M_ARENA_MAX, HEAPS)
    if trim := getattr(library, "malloc_trim", None):
        threading.Thread(target=_give_back, args=(trim,), name="give back", daemon=True).start()


def _give_back(trim: Callable[[int], object]) -> None:
    while True:
        time.sleep(GIVE_BACK_EVERY_S)
        trim(0)


def load_model(settings: Settings) -> tuple[Settings, str]:
    """Load the model that runs on this machine before the first visitor comes, who would wait for it.

    Where it can't be loaded the page starts all the same and says so; whoever asks the model gets the vote.

    Returns:
        The settings, with the model named: the backend's default where it is the first choice and none is set. And why
        it can't be loaded; empty where it can.
    """
    problem = ""
    backend = BACKENDS["llava"]
    if settings.backend == backend.name and not settings.llava_model:
        settings = replace(settings, llava_model=backend.models[0])
    # ZeroGPU takes models in before the launch and from this thread only, and ends a Space in which nothing could ever
    # ask for its GPU. Elsewhere the import takes seconds that only a model is worth.
    if settings.llava_model or os.environ.get("SPACES_ZERO_GPU"):
        from img2loc.lmm.llava import LocalLMM  # noqa: PLC0415

        try:
            if settings.llava_model:
                LocalLMM(settings.options(backend.name), default_model="").load()
        except LMMError as error:
            problem = f"{error} Until then the vote answers for it."
            print(f"app.py: {problem}", file=sys.stderr)
    return settings, problem


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is cleaned up; Python's own end would wait for threads and take seconds to free the memory

"""Ends a server on a signal, after it has cleaned up."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from img2loc.errors import ConfigError, Img2LocError

# Ctrl-C; a Space, Docker or systemd stops the server; the terminal is closed (not on Windows).
_NUMBERS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
_POLL_EVERY_S = 0.2
_received: list[int] = []


class Ended(BaseException):
    """A signal of this number ends the process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def exit_on_interrupt() -> None:
    """End the process at once on Ctrl-C, while it imports and has nothing to clean up.

    A KeyboardInterrupt during an import would print a traceback, or be lost in a library.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if the process was started to ignore it
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))


def run_server(main: Callable[[], None]) -> NoReturn:
    """Run a server as this process, until a signal ends it."""
    try:
        status = exit_status(main)
        sys.stdout.flush()
        sys.stderr.flush()
    except Ended as ended:  # just when something else had ended it
        status = 128 + ended.signal
    os._exit(status)  # everything is cleaned up; Python itself would wait for threads and take seconds to free memory


def exit_status(main: Callable[[], None]) -> int:
    """Run a server, and print the error that ends it, if one does.

    Returns:
        1 for a failure, 2 for a setting that is wrong, 128 and a signal's number for a signal.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by who started this process; Gradio and uvicorn write to both
            setattr(sys, stream, open(os.devnull, "w"))
    try:
        end_on_signals()
        main()
    except (Img2LocError, OSError) as error:  # OSError: the port is taken
        print(f"app.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except Ended as ended:
        return 128 + ended.signal
    return 0


def end_on_signals() -> None:
    """Raise `Ended` in the main thread at the first signal that ends the process.

    By default Python ends at once on SIGTERM, and would leave visitors' uploads on the disk. Later signals are ignored,
    so that they don't interrupt the clean-up.
    """
    for number in _NUMBERS:
        signal.signal(number, _end)


def wait_until_ended() -> None:
    """Sleep until a signal has come, including one whose `Ended` was lost.

    Python loses an error that is raised while it frees an object or runs a callback, and a signal that comes just
    before a long sleep doesn't end that sleep.

    Raises:
        Ended: Always.
    """
    while not _received:
        time.sleep(_POLL_EVERY_S)
    raise Ended(_received[0])


def _end(number: int, _: object) -> None:
    is_first = not _received
    _received.append(number)
    if is_first:
        raise Ended(number)

"""Ends the process on a signal, and lets what it serves be cleaned up first."""

from __future__ import annotations

import os
import signal
import time

# Ctrl-C; how a Space, Docker or systemd ends a server; and a terminal that is closed, which Windows hasn't.
_NUMBERS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
_LOOK_EVERY_S = 0.2
_received: list[int] = []


class Ended(BaseException):
    """A signal ends the process.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def exit_on_interrupt() -> None:
    """From now on, end the process at once on Ctrl-C: while it still imports, and has nothing to clean up.

    An error raised amid an import would be a traceback, or lost in a library.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the process is to ignore it
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))


def end_on_signals() -> None:
    """From now on, raise `Ended` in the main thread at the first signal that should end the process.

    By itself Python would end at once on SIGTERM, and leave visitors' uploads on the disk. Later signals are ignored:
    they would break off the cleaning up.
    """
    for number in _NUMBERS:
        signal.signal(number, _end)


def wait_until_ended() -> None:
    """Sleep until a signal has come, also one whose `Ended` was lost before.

    Python loses an error that is raised while it frees an object or runs a callback, and a signal that comes just
    before a long sleep doesn't end that sleep.

    Raises:
        Ended: It has come.
    """
    while not _received:
        time.sleep(_LOOK_EVERY_S)
    raise Ended(_received[0])


def _end(number: int, _: object) -> None:
    is_first = not _received
    _received.append(number)
    if is_first:
        raise Ended(number)

"""How the process of a command line begins, is interrupted, and ends."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Final, NoReturn, TextIO, cast

from img2loc.errors import OutputError
from img2loc.system.terminal import print_message, write_out

INTERRUPTED: Final = 130  # the exit status of a command that Ctrl-C, SIGTERM or SIGHUP stopped

_held: list[Callable[[], object]] = []  # by the blocks of hold_interrupts that are under way
_received: list[int] = []  # signals that wait for the end of such a block


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command line as this process.

    SIGTERM and SIGHUP stop it as Ctrl-C does, output that fails is no traceback, and messages that fail stop nothing.
    """
    sys.excepthook, sys.unraisablehook = _on_error, _on_lost_error
    _handle_signals(_interrupt)
    if sys.stderr is None:  # closed; print would take standard output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    sys.stderr = cast(TextIO, _Messages(sys.stderr))
    try:
        status = main()
    except SystemExit as stop:  # argparse's, for --help and wrong usage
        status = stop.code if isinstance(stop.code, int) else 1
    _handle_signals(lambda *_: os._exit(status))  # all is done, and Python may still wait for threads
    try:
        if sys.stdout is not None:
            write_out("")
    except OutputError as error:
        print_message(str(error))
        status = 1
    sys.exit(status)


@contextmanager
def hold_interrupts(on_interrupt: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Raise an interrupt at the end of a block instead of amid it; a second one is raised at once.

    In a process that `run` runs; in other threads than the main one, which no interrupt reaches, it does nothing.

    Args:
        on_interrupt: Called at the first one, amid whatever the block does: it must take no lock and use no stream.

    Raises:
        KeyboardInterrupt: There was one. It replaces any error of the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _held.append(on_interrupt)
    try:
        yield
    finally:
        _held.pop()
        if _received and not _held:
            _received.clear()
            raise KeyboardInterrupt


def _interrupt(number: int, _: FrameType | None) -> None:
    if not _held or _received:
        raise KeyboardInterrupt
    _received.append(number)
    _held[-1]()


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Handle Ctrl-C, SIGTERM and SIGHUP, unless whoever started this process has them ignored, as nohup does."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End without a traceback on an interrupt that `main` didn't catch, or that a library turned into another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    print_message("Stopped.")
    os._exit(INTERRUPTED)


def _on_lost_error(lost: sys.UnraisableHookArgs) -> None:
    """Repeat an interrupt that Python loses, as it does with any error while it frees an object or runs a callback."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt_soon, ())
    else:
        sys.__unraisablehook__(lost)


def _interrupt_soon() -> None:
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


class _Messages:
    """Standard error for everybody, tqdm's bars included: if it fails, nobody can be told, and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._stream, name)
        return found

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

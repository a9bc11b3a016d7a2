"""Runs a command line as a process: its interrupts, its exit status, and streams that fail."""

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

_on_interrupts: list[Callable[[], object]] = []  # of the running blocks of hold_interrupts
_held: list[int] = []  # signals that wait for the end of such a block


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command line as this process.

    SIGTERM and SIGHUP stop it as Ctrl-C does. If standard output fails, it ends with a message instead of a traceback;
    if standard error fails, it goes on.
    """
    sys.excepthook, sys.unraisablehook = _on_error, _on_lost_error
    _handle_signals(_interrupt)
    if sys.stderr is None:  # closed; print would write to standard output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    sys.stderr = cast(TextIO, _LossyStream(sys.stderr))
    try:
        status = main()
    except SystemExit as stop:  # argparse's, for --help and wrong usage
        status = stop.code if isinstance(stop.code, int) else 1
    _handle_signals(lambda *_: os._exit(status))  # the work is done, and Python may still wait for threads
    try:
        if sys.stdout is not None:
            write_out("")
    except OutputError as error:
        print_message(str(error))
        status = 1
    sys.exit(status)


@contextmanager
def hold_interrupts(on_interrupt: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Delay an interrupt to the end of a block; a second one is raised at once.

    Only in a process started by `run`, and in its main thread, the only one that interrupts reach.

    Args:
        on_interrupt: Called at the first one, in the middle of the block: it must take no lock and use no stream.

    Raises:
        KeyboardInterrupt: There was an interrupt. It replaces any error of the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _on_interrupts.append(on_interrupt)
    try:
        yield
    finally:
        _on_interrupts.pop()
        if _held and not _on_interrupts:
            _held.clear()
            raise KeyboardInterrupt


def _interrupt(number: int, _: FrameType | None) -> None:
    if not _on_interrupts or _held:
        raise KeyboardInterrupt
    _held.append(number)
    _on_interrupts[-1]()


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Handle Ctrl-C, SIGTERM and SIGHUP, except those that the process was started to ignore, as by nohup."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End without a traceback on an interrupt that `main` didn't catch or a library turned into another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    print_message("Stopped.")
    os._exit(INTERRUPTED)


def _on_lost_error(lost: sys.UnraisableHookArgs) -> None:
    """Repeat an interrupt that Python lost, as it loses errors while it frees an object or runs a callback."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt_soon, ())
    else:
        sys.__unraisablehook__(lost)


def _interrupt_soon() -> None:
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


class _LossyStream:
    """Standard error, also for tqdm's bars: if it can't be written, text is lost and the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return cast(object, getattr(self._stream, name))

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

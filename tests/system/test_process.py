"""Interrupts of a command line: no traceback while it imports, no reply lost, no answer cut in two."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios
import threading
import time

import pytest

from img2loc.errors import LMMCancelledError
from img2loc.lmm.retry import in_thread
from tests.conftest import PHOTOS

EIFFEL, TAJ = (str(next(PHOTOS.glob(f"*{name}*"))) for name in ("Eiffel", "Taj-Mahal"))
PIPE_BYTES = 4096
# The command line, with a locator that answers at once, and a model that is interrupted when its reply has come and
# before anybody has it.
COMMAND = """
import os, signal, sys
import img2loc.__main__ as command
from img2loc.system.process import run
from img2loc.types import LatLon, Neighbour, PhotoRecord, Place, Prediction, Reply, Retrieval

PARIS = LatLon(48.858, 2.294)
NEIGHBOUR = Neighbour(0, PARIS, 0.5, PhotoRecord("id", "author", "https://example.org/photo", "CC BY 4.0"))

class Model:
    name, model = "openai", "test"
    def reply(self, turns, jpeg):
        reply = Reply("48.858, 2.294", "test", 0.1)
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(100))
        return reply

class Locator:
    @classmethod
    def open(cls, *arguments, **options):
        return cls()

    def locate(self, photo, ask):
        if ask.lmm is not None:
            ask.lmm.reply((), b"")
        place = Place("Paris", "France", "FR", 0.0)
        return Prediction(PARIS, 1.0, "vote", place, None, Retrieval((NEIGHBOUR,) * 50, ()), "", None, ())

command.Locator = Locator
command.open_lmm = lambda name, options: Model() if name == "openai" else None
run(lambda: command.main(sys.argv[1:]))
"""
LOST_ERROR = """
import os, signal, time
from img2loc.system.process import run

class Unheard:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(100))

def main():
    try:
        Unheard()
        time.sleep(60)
    except KeyboardInterrupt:
        return 130

run(main)
"""


TURNED_ERROR = """
from img2loc.system.process import run

def main():
    try:
        raise KeyboardInterrupt
    finally:
        raise AttributeError("as a lock that was never taken is let go")

run(main)
"""


@pytest.mark.parametrize(
    ("program", "imported"),
    [
        (["-m", "img2loc", "--help"], b"argparse"),
        (["-m", "index_builder", "--help"], b"argparse"),
        (["app.py"], b"ctypes"),
    ],
)
def test_ctrl_c_during_the_imports_is_no_traceback(program, imported, begin):
    process = begin([sys.executable, "-X", "importtime", *program])
    said = b""
    while imported + b"\n" not in said:
        said += process.stderr.readline()
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in rest and b"KeyboardInterrupt" not in rest


def test_a_reply_that_came_as_ctrl_c_was_pressed_is_kept(begin):
    process = begin([sys.executable, "-c", COMMAND, "locate", EIFFEL, "--backend", "openai", "--json"])
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130 and json.loads(printed) == [] and b"Traceback" not in said
    assert f'img2loc: {EIFFEL}: The model replied: "48.858, 2.294"' in said.decode()


def test_an_interrupt_that_python_loses_comes_again(begin):
    process = begin([sys.executable, "-c", LOST_ERROR])
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == b""


def test_an_interrupt_that_a_library_turns_into_an_error_is_no_traceback(begin):
    process = begin([sys.executable, "-c", TURNED_ERROR])
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == b"Stopped.\n"


def full(pipe: int) -> bool:
    waiting = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder) == PIPE_BYTES


@pytest.fixture
def blocked(begin):
    """A process with an answer for a pipe that is full, and the pipe's other end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = begin([sys.executable, "-c", COMMAND, "locate", EIFFEL, TAJ, "--json"], stdout=writer)
    os.close(writer)
    assert os.read(reader, 1) == b"["
    deadline = time.monotonic() + 60
    while not full(reader) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    with os.fdopen(reader, "rb") as pipe:
        yield process, pipe


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_answer_that_nobody_takes_yet_is_not_cut(blocked, stop):
    process, pipe = blocked
    process.send_signal(stop)
    time.sleep(0.5)
    printed = b"[" + pipe.read()
    said = process.stderr.read()
    (found,) = json.loads(printed)
    assert process.wait(timeout=30) == 130 and found["place"]["city"] == "Paris"
    assert b"as soon as standard output has taken the last answer" in said and b"Traceback" not in said


def test_a_second_ctrl_c_ends_the_wait_and_the_answer_goes_to_stderr(blocked):
    process, _ = blocked
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(timeout=10) == 130
    said = process.stderr.read().decode()
    start = said.index("{")
    assert json.JSONDecoder().raw_decode(said[start:])[0]["place"]["city"] == "Paris" and "Traceback" not in said


def test_a_request_that_is_done_counts_also_when_it_was_cancelled():
    class Cancelled(threading.Event):
        def is_set(self) -> bool:
            time.sleep(0.1)  # the request is done meanwhile
            return True

    assert in_thread(lambda: "reply", timeout_s=5, cancel=Cancelled()) == "reply"
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(LMMCancelledError):
        in_thread(lambda: time.sleep(0.5), timeout_s=5, cancel=given_up)

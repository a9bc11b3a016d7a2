"""A signal ends the server whenever it comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
from img2loc.system.signals import Ended, end_on_signals, wait_until_ended

class EndsUnheard:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(100))

end_on_signals()
try:
    {before}
    wait_until_ended()
except Ended as ended:
    print("cleaned up after", ended.signal)
"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("EndsUnheard()", id="its error is lost"),
        pytest.param("threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()", id="while it waits"),
    ],
)
def test_a_signal_ends_the_server(before: str):
    program = PROGRAM.format(before=before)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert ended.stdout == f"cleaned up after {signal.SIGTERM.value}\n"


def test_a_second_signal_breaks_no_cleaning_up_off():
    program = PROGRAM.format(before="os.kill(os.getpid(), signal.SIGINT)") + "    os.kill(os.getpid(), signal.SIGTERM)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout) == (0, f"cleaned up after {signal.SIGINT.value}\n")

"""Starts app.py as a visitor's server would run: a process of its own, on a free port of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time

import httpx

from tests.paths import ROOT

START_S = 120


class AppProcess:
    """A running app; `address` ends with a slash.

    Args:
        settings: Environment variables on top of this process's; those of Img2Loc itself are not inherited.
    """

    folder = ROOT

    def __init__(self, **settings: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMG2LOC_", "OPENAI_"))}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        self.environment = {**inherited, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", **settings}

    def __enter__(self) -> AppProcess:
        self._printed = tempfile.TemporaryFile("w+")  # a pipe that nobody empties would stop the app when it is full
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")],
            cwd=self.folder,
            env=self.environment,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + START_S
        with httpx.Client(base_url=self.address, timeout=5, verify=False) as client:  # certificates take long to read
            while not _answers(client):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"app.py did not start:\n{self.stop()}")
                time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._printed.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> str:
        """End the app, as a server is ended.

        Returns:
            All it printed.
        """
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        finally:
            self._process.kill()  # one that doesn't end would disturb the tests after this one
            self._process.wait()
        self._printed.seek(0)
        return self._printed.read()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("config").is_success
    except httpx.TransportError:
        return False

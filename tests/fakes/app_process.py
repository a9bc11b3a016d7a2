"""Starts app.py as a visitor's server would run: a process of its own, on a free port of loopback."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.paths import ROOT

START_S = 120
# A start takes six seconds of a processor, most of it for imports. So apps are forked from a process that has done
# them, where no setting is read by a library at its import.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        __name__,
        "app",
        "img2loc.web.page",
        "img2loc.retrieval.encoders.lite0",
        "faiss",
        "gradio.mcp",
        "pyarrow.parquet",
        "torch",
    ]
)
_READ_AT_IMPORT = ("HF_", "SPACES_", "PYTHON", "WATCHED", "GRADIO_ANALYTICS")


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
        self._fresh = any(name.startswith(_READ_AT_IMPORT) for name in settings)
        self.environment = {**inherited, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", **settings}

    def __enter__(self) -> AppProcess:
        # A pipe that nobody empties would stop the app when it is full.
        self._printed = tempfile.NamedTemporaryFile("r+")
        self._process = self._start()
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

    def _start(self) -> subprocess.Popen[bytes] | _Forked:
        if self._fresh:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "app.py")],
                cwd=self.folder,
                env=self.environment,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
            )
        return _Forked(self.environment, self.folder, self._printed.name)

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


class _Forked:
    """A forked app, with the methods of a process of subprocess that are used here."""

    def __init__(self, environment: dict[str, str], folder: Path, printed: str) -> None:
        self._process = _FORKS.Process(target=_run_app, args=(environment, folder, printed))
        self._process.start()
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("app.py", timeout or 0)


def _run_app(environment: dict[str, str], folder: Path, printed: str) -> None:
    multiprocessing.set_start_method(None, force=True)  # Python's usual one, as in a process of its own
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [str(ROOT / "app.py")]
    runpy.run_path(sys.argv[0], run_name="__main__")

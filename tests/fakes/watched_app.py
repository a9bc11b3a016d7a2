"""The app on a machine of its own: whatever it writes, says or connects to can be looked at afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.fakes.app_process import ROOT, AppProcess

# Imported by the app's Python at its start. Every logger talks as much as it can, but for those that repeat what was
# answered, to us or by us; every address that is looked up or connected to is written down, and every program that is
# started; a prompt that says FORCED meets an error that nobody expects; old files are looked for all the time, by a
# clock that can be moved on; Hugging Face's router is on loopback.
_SITE = """
import logging, os, sys, time
from pathlib import Path

folder = Path(os.environ["WATCHED"])
connections = (folder / "connections").open("a", buffering=1)

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        connections.write(f"{arguments[0]}\\n")
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        connections.write(f"{arguments[1][0] if isinstance(arguments[1], tuple) else arguments[1]}\\n")
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
        connections.write(f"the program {arguments[0]}\\n")

sys.addaudithook(watch)
logging.basicConfig(filename=folder / "log", level=logging.DEBUG)
for name in ("httpcore2", "sse_starlette"):
    logging.getLogger(name).setLevel(logging.INFO)

import img2loc.lmm.openai, img2loc.lmm.servers, img2loc.hardening.upload_folder

class MovedClock:
    @staticmethod
    def monotonic():
        moved = folder / "seconds-later"
        return time.monotonic() + float(moved.read_text() if moved.exists() else 0)

img2loc.hardening.upload_folder.time = MovedClock
img2loc.hardening.upload_folder.SWEEP_EVERY_S = 0.1
img2loc.lmm.servers.ROUTER_URL = os.environ["ROUTER"]
request_body = img2loc.lmm.openai.request_body

def request_body_or_error(model, turns, *arguments):
    if "FORCED" in turns[0].text:
        raise RuntimeError("an error that nobody expects")
    return request_body(model, turns, *arguments)

img2loc.lmm.openai.request_body = request_body_or_error
"""


class WatchedApp(AppProcess):
    """The app, with a home, a temporary folder and a working folder of its own.

    Args:
        machine: An empty folder for all of them.
        router: Where Hugging Face's router is.
        settings: Environment variables on top.
    """

    def __init__(self, machine: Path, *, router: str, **settings: str) -> None:
        self.machine = machine
        for name in ("home", "temporary", "work", "site"):
            (machine / name).mkdir()
        (machine / "site" / "sitecustomize.py").write_text(_SITE)
        self.folder = machine / "work"
        super().__init__(
            WATCHED=str(machine),
            ROUTER=router,
            HOME=str(machine / "home"),
            TMPDIR=str(machine / "temporary"),
            PYTHONPATH=f"{machine / 'site'}{os.pathsep}{ROOT}",
            PYTHONFAULTHANDLER="1",
            HF_HUB_VERBOSITY="debug",
            HF_HUB_OFFLINE="0",
            GRADIO_MCP_SERVER="True",
            **settings,
        )
        for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN_PATH", "GRADIO_TEMP_DIR"):
            self.environment.pop(name, None)

    @property
    def log(self) -> str:
        return (self.machine / "log").read_text()

    @property
    def connections(self) -> set[str]:
        """Whom it has looked up, connected to or started."""
        return set((self.machine / "connections").read_text().split("\n")) - {""}

    def files(self, *under: str) -> list[Path]:
        """The files that lie in some folders of the machine."""
        return [file for name in under for file in sorted((self.machine / name).rglob("*")) if file.is_file()]

    def move_clock(self, seconds: float) -> None:
        """Let the app believe that it is later."""
        written = self.machine / "seconds-later.new"
        written.write_text(str(seconds))
        written.replace(self.machine / "seconds-later")  # at once: the app may be reading it

    def abort(self) -> str:
        """Crash the app.

        Returns:
            All it printed.
        """
        os.kill(self.pid, signal.SIGABRT)
        self._process.wait(timeout=60)
        return self.stop()

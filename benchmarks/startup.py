"""How long visitors wait for a start: from a new process to the first page and the first answer, against Gradio alone.

    python benchmarks/startup.py --runs 5 --browser --out startup.json

The bare page is one line of text in a gr.Blocks. Each run starts every kind of process once, and every time is set
against the bare page's of the same run; the medians of both are given. With --browser each page is also opened in
headless Chromium as soon as it is served, until its first button, or the bare page's text, can be seen.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import gradio
import httpx
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser.chromium import open_chromium
from tests.fakes.app_process import ROOT

IMPORT = ["-c", "import gradio"]
BARE = [
    "-c",
    "import gradio\nwith gradio.Blocks() as page:\n    gradio.Markdown('A page', elem_id='locate')\npage.launch()",
]
APP = ["app.py"]
BASE = "bare page: served"  # what every other time is set against
START_S = 120.0


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--browser", action="store_true", help="also in headless Chromium")
    parser.add_argument("--out", type=Path, default=Path("startup.json"))
    arguments = parser.parse_args()
    photo = Path(gradio.get_image("tower.jpg")).read_bytes()
    with sync_playwright() as playwright:
        with open_chromium(playwright) if arguments.browser else nullcontext() as browser:
            runs = [_run(photo, browser) for _ in range(arguments.runs)]
    rows = [
        {
            "what": what,
            "s": statistics.median(run[what] for run in runs),
            "times_the_bare_page": statistics.median(run[what] / run[BASE] for run in runs),
        }
        for what in runs[0]
    ]
    print(f"| median of {len(runs)} | s | times the bare page |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['s']:.2f} | {row['times_the_bare_page']:.2f} |")
    arguments.out.write_text(json.dumps({"rows": rows, "runs": runs}, indent=2) + "\n", encoding="utf-8")


def _run(photo: bytes, browser: Browser | None) -> dict[str, float]:
    seconds = {}
    start = time.perf_counter()
    subprocess.run([sys.executable, *IMPORT], cwd=ROOT, check=True)
    seconds["import gradio"] = time.perf_counter() - start
    for name, command in (("bare page", BARE), ("app.py", APP)):
        with _served(command) as (start, client):
            seconds[f"{name}: served"] = time.perf_counter() - start
            client.get("config").raise_for_status()
            seconds[f"{name}: its /config too"] = time.perf_counter() - start
            if command is APP:
                _locate(client, photo)
                seconds["app.py: first answer"] = time.perf_counter() - start
        if browser:
            with _served(command) as (start, client):
                page = browser.new_page()
                page.goto(str(client.base_url))
                page.wait_for_selector("#locate")
                seconds[f"{name}: seen in Chromium"] = time.perf_counter() - start
                page.close()
    return seconds


@contextmanager
def _served(command: list[str]) -> Iterator[tuple[float, httpx.Client]]:
    """Start a page in a process of its own; yields when that began, and a client, once / has been answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IMG2LOC_")}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_S, trust_env=False) as client:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        try:
            while not _answers(client):
                if process.poll() is not None or time.perf_counter() - start > START_S:
                    raise RuntimeError(f"{' '.join(command)} did not start")
                time.sleep(0.01)
            yield start, client
        finally:
            process.terminate()
            process.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").is_success
    except httpx.TransportError:
        return False


def _locate(client: httpx.Client, photo: bytes) -> None:
    """Ask as docs/api.md says, and read the stream to its end."""
    [path] = client.post("gradio_api/upload", files={"files": ("tower.jpg", photo)}).json()
    question = {"photo": {"path": path, "meta": {"_type": "gradio.FileData"}}}
    event = client.post("gradio_api/call/v2/locate", json=question).json()["event_id"]
    answer = client.get(f"gradio_api/call/locate/{event}").text
    if '"city": "Paris"' not in answer:
        raise RuntimeError(f"/locate answered {answer[:200]}")


if __name__ == "__main__":
    main()

"""app.py as a process: what it serves when all is well, when the gallery is not, and how it refuses to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from img2loc.prompt import DEFAULT_TEMPLATE
from tests.app_process import ROOT, AppProcess
from tests.openai_server import KEY


def test_a_missing_gallery_leaves_the_page_on_the_starter(tmp_path: Path):
    with AppProcess(IMG2LOC_GALLERY=str(tmp_path / "<gone>"), OPENAI_API_KEY=KEY) as app:
        config = httpx.get(f"{app.address}config")
        head = next(c["props"]["value"] for c in config.json()["components"] if c["props"].get("elem_id") == "banner")
        output = app.stop()
    assert "Gallery: starter" in head and "&lt;gone&gt;" in head and "Until then the starter gallery answers." in head
    assert "Until then the starter gallery answers." in output and "Traceback" not in output
    # The operator's key is nobody's to see; the default prompt is.
    assert KEY not in config.text and KEY not in output
    assert DEFAULT_TEMPLATE.splitlines()[0] in config.text
    public = {event["api_name"] for event in config.json()["dependencies"] if event["api_visibility"] != "private"}
    assert public == {"locate", "neighbours"}


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"IMG2LOC_GALERY": "starter"}, 2, "did you mean IMG2LOC_GALLERY?"),
        ({"IMG2LOC_BACKEND": "oracle"}, 2, "IMG2LOC_BACKEND"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(settings: dict[str, str], status: int, words: str):
    app = AppProcess(**settings)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=app.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status and words in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""

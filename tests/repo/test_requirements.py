"""A Space can install what the app asks for: pip works out the very line that its build runs, and installs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions

import pytest
import yaml

from tests.paths import ROOT

SDK = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])["sdk_version"]


@pytest.fixture(scope="module")
def said() -> str:
    """What pip would do; it needs a registry, as the installation of the tests themselves did."""
    line = ["-r", "requirements.txt", f"gradio[oauth,mcp]=={SDK}", "uvicorn", "websockets", "spaces"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--disable-pip-version-check", *line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"pip finds no way, or no registry: {done.stderr[-2000:]}"
    return done.stdout


def test_a_space_installs_beside_what_is_tested(said):
    """What the Space adds must not change a version that the tests ran with."""
    wanted = re.search(r"^Would install (.*)$", said, re.MULTILINE)
    added = dict(item.rsplit("-", 1) for item in wanted[1].split()) if wanted else {}
    tested = {package.metadata["Name"].replace("_", "-").lower(): package.version for package in distributions()}
    changed = {name: number for name, number in added.items() if name.replace("_", "-").lower() in tested}
    assert changed == {}


def test_torch_stays_a_range_for_zero_gpu():
    """ZeroGPU runs torch 2.8 to 2.11, whatever the tests run with."""
    (torch,) = re.findall(r"^torch(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert torch == ">=2.8"

"""The package: what is in the wheel works outside of the checkout, offline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import gradio as gr
import pytest

import img2loc
from tests.paths import ROOT

TOWER = gr.get_image("tower.jpg")
SCRIPT = """
from img2loc import Locator
print(Locator.open("starter").locate("{photo}").position)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building leaves folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if name.startswith(("img2loc/", "index_builder/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(out), str(source)], check=True, timeout=300)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands' folder of an environment that has the wheel; the packages that it needs are those of the tests."""
    home = tmp_path_factory.mktemp("elsewhere") / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True, timeout=300)
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(command: list[str], folder: Path) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMG2LOC_", "PYTHON"))}
    environment = {**inherited, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_asks_for_what_requirements_txt_lists(wheel: Path):
    with ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    asked = {
        re.split(r"[^\w.-]", line.removeprefix("Requires-Dist: "))[0]
        for line in text.splitlines()
        if line.startswith("Requires-Dist")
    }
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {re.split(r"[^\w.-]", line)[0] for line in lines if line and not line.startswith("#")}
    assert asked == listed and f"Version: {img2loc.__version__}\n" in text


def test_the_commands_work_anywhere(elsewhere: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "tower.jpg").write_bytes(Path(TOWER).read_bytes())
    (tmp_path / "positions.csv").write_text("file,lat,lon\ntower.jpg,48.8584,2.2945\n")
    build = [str(elsewhere / "img2loc-index"), "build", "--photos", "photos", "--positions", "positions.csv"]
    run([*build, "--encoder", "lite0", "--out", "gallery"], tmp_path)
    assert json.loads((tmp_path / "gallery" / "manifest.json").read_text())["count"] == 1
    found = json.loads(run([str(elsewhere / "img2loc"), "locate", TOWER, "--json"], tmp_path))
    assert found[0]["place"]["city"] == "Paris"


def test_three_lines_of_python_work_anywhere(elsewhere: Path, tmp_path: Path):
    found = run([str(elsewhere / "python"), "-c", SCRIPT.format(photo=TOWER)], tmp_path)
    assert found.strip() == "48.85840, 2.29450"


def test_the_public_names_are_all_there():
    assert {name for name in img2loc.__all__ if getattr(img2loc, name) is None} == set()
    assert set(img2loc.__all__) == {*img2loc._MODULES, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Locater'"):
        img2loc.Locater  # noqa: B018

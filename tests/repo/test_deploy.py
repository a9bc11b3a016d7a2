"""One command puts Img2Loc on a Space: the real client of the Hub against a Hub on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from img2loc.policy.settings import Settings
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import MANIFEST
from tests.fakes.hub_server import Hub, Space, serve_hub
from tests.paths import ROOT

WRITTEN = yaml.safe_load((ROOT / ".huggingface" / "space.yaml").read_text(encoding="utf-8"))
SPACE = "someone/world"
UPLOADED = {"README.md", "LICENSE", "app.py", "docs/page.png", "requirements.txt", "img2loc/policy/settings.py"}


@pytest.fixture
def hub(tmp_path):
    with serve_hub() as hub:
        hub.made = tmp_path / "repositories"
        hub.made.mkdir()
        hub.build = ["RUNNING"]
        yield hub


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone of the repository, with a file that git doesn't track."""
    clone = tmp_path_factory.mktemp("clone")
    for name in (*WRITTEN["files"], "index_builder", ".huggingface", "tests/conftest.py"):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    for arguments in (["init", "--quiet"], ["add", "--force", "."]):
        subprocess.run(["git", *arguments], cwd=clone, check=True)
    (clone / "img2loc" / "notes.txt").write_text("mine")
    return clone


def environment(hub: Hub, tmp_path: Path, **more: str) -> dict[str, str]:
    ours = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": "hf_deployer", **more}
    return {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | ours


def deploy(hub: Hub, clone: Path, tmp_path: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".huggingface/deploy.py", *(arguments or (SPACE,))]
    return subprocess.run(
        command,
        cwd=clone,
        env=environment(hub, tmp_path, **more),
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def writes(hub: Hub) -> list[str]:
    """What changed something on the Hub since the last look."""
    asked = [request for request in hub.requests if not request.startswith(("GET", "HEAD"))]
    hub.requests.clear()
    return [request for request in asked if not request.endswith(("validate-yaml", "preupload/main"))]


def test_one_command_makes_a_space_that_runs(hub, clone, tmp_path):
    hub.build = ["BUILDING", "APP_STARTING", "RUNNING"]
    done = deploy(hub, clone, tmp_path, SPACE, "--private", SPACE_OPENAI_API_KEY="sk-operators")
    assert done.returncode == 0, done.stderr
    space = hub.spaces[SPACE]
    assert space.hardware == WRITTEN["hardware"] and hub.private == {f"spaces/{SPACE}"}
    assert space.variables == {**WRITTEN["variables"], "IMG2LOC_GALLERY": WRITTEN["gallery"]}
    assert space.secrets == {"OPENAI_API_KEY": "sk-operators"}  # the deployer's own HF_TOKEN is not the Space's
    assert done.stdout.splitlines()[-4:] == [
        "  building",
        "  app starting",
        "  running",
        f"{hub.url}/spaces/{SPACE}",
    ]
    assert "sk-operators" not in done.stdout and "HF_TOKEN is left out" in done.stdout
    # Just what it needs, and that exactly as it is here.
    files = set(hub.files(f"spaces/{SPACE}")) - {".gitattributes"}
    assert files >= UPLOADED and "img2loc/notes.txt" not in files
    assert {name.split("/")[0] for name in files} == {path.split("/")[0] for path in WRITTEN["files"]}
    for name in files:
        assert (hub.repos[f"spaces/{SPACE}"] / name).read_bytes() == (clone / name).read_bytes()
    # A new version never starts without its variables and secrets.
    asked = writes(hub)
    assert asked[0] == "POST /api/repos/create" and asked[-1].endswith(f"/spaces/{SPACE}/commit/main")

    # Said again, it changes nothing: neither what is there nor what was not asked for this time.
    again = deploy(hub, clone, tmp_path)
    assert again.returncode == 0 and writes(hub) == [], again.stderr
    steps = [line for line in again.stdout.splitlines() if line.startswith("- ")]
    assert len(steps) == 1 and "HF_TOKEN" in steps[0] and again.stdout.endswith(f"{hub.url}/spaces/{SPACE}\n")


def test_a_second_run_changes_only_what_differs(hub, clone, tmp_path):
    assert deploy(hub, clone, tmp_path, SPACE, "--hardware", "cpu-basic").returncode == 0
    folder, space = hub.repos[f"spaces/{SPACE}"], hub.spaces[SPACE]
    (folder / "app.py").write_text("an older one")
    (folder / "img2loc" / "gone.py").write_text("no longer in the repository")
    space.variables |= {"IMG2LOC_MODELS": "another", "IMG2LOC_BANNER": "set by hand", "IMG2LOC_GALLERY": "a/b@c"}
    hub.commits.clear()
    writes(hub)
    done = deploy(hub, clone, tmp_path, SPACE, "--hardware", "t4-small")
    assert done.returncode == 0, done.stderr
    assert sorted(hub.commits) == ["app.py", "img2loc/gone.py"] and not (folder / "img2loc" / "gone.py").exists()
    assert writes(hub) == [
        f"POST /api/spaces/{SPACE}/variables",
        f"POST /api/spaces/{SPACE}/hardware",
        f"POST /api/spaces/{SPACE}/commit/main",
    ]
    assert space.variables["IMG2LOC_MODELS"] == WRITTEN["variables"]["IMG2LOC_MODELS"]
    assert (space.variables["IMG2LOC_BANNER"], space.variables["IMG2LOC_GALLERY"]) == ("set by hand", "a/b@c")
    # Without the flag the machine stays; a paid one is never traded for the default.
    assert deploy(hub, clone, tmp_path).returncode == 0
    assert space.hardware == "t4-small" and writes(hub) == []
    assert deploy(hub, clone, tmp_path, SPACE, "--private").returncode == 0
    assert writes(hub) == [f"PUT /api/spaces/{SPACE}/settings"] and hub.private == {f"spaces/{SPACE}"}


def test_another_apps_space_is_left_alone(hub, clone, tmp_path):
    hub.repos[f"spaces/{SPACE}"] = folder = tmp_path / "space"
    folder.mkdir()
    hub.spaces[SPACE] = Space()
    for name in ("README.md", ".gitattributes", "app.py", "model.bin"):
        (folder / name).write_text("another app's")
    done = deploy(hub, clone, tmp_path)
    assert done.returncode == 2 and "has another app's files, such as app.py" in done.stderr
    assert writes(hub) == [] and len(list(folder.iterdir())) == 4


def test_a_dry_run_prints_the_plan_and_does_nothing(hub, clone, tmp_path):
    plan = deploy(hub, clone, tmp_path, SPACE, "--gallery", "geoclip", "--hardware", "t4-small", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert writes(hub) == [] and hub.repos == {} and not (clone / "galleries").exists()
    words = plan.stdout
    assert f"- create the public Space {SPACE} on t4-small" in words
    assert "- build the gallery of the whole planet" in words and f"- publish it to {SPACE}-geoclip" in words
    assert f"- set IMG2LOC_GALLERY={SPACE}-geoclip@" in words and "- ask for the secret OPENAI_API_KEY" in words
    assert "files, delete 0\nNothing was done" in words


def test_the_planets_gallery_is_published_beside_the_space_and_pinned(hub, clone, tmp_path, connect):
    assert deploy(hub, clone, tmp_path, SPACE, "--private").returncode == 0
    shutil.copytree(STARTER, clone / "galleries" / "geoclip")  # stands for one that was built before
    try:
        done = deploy(hub, clone, tmp_path, SPACE, "--gallery", "geoclip")
    finally:
        shutil.rmtree(clone / "galleries")
    assert done.returncode == 0, done.stderr
    assert hub.private == {f"spaces/{SPACE}", f"{SPACE}-geoclip"}
    name = hub.spaces[SPACE].variables["IMG2LOC_GALLERY"]
    assert name == f"{SPACE}-geoclip@{hub.commit(f'{SPACE}-geoclip')}"
    connect(hub.url)
    pulled = open_gallery(name)
    assert (pulled.manifest.count, pulled.folder.name) == (260, name.partition("@")[2])


def test_the_planets_gallery_is_built_where_there_is_none(hub, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("deploy", ROOT / ".huggingface" / "deploy.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "deploy", module)  # its dataclasses look themselves up
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def build(folder: Path) -> None:
        shutil.copytree(STARTER, folder)

    def publish(folder: Path, repo: str, *, private: bool) -> str:
        assert (folder / MANIFEST).is_file()
        return f"{repo}@{private}"

    monkeypatch.setattr("index_builder.stages.geoclip.build_geoclip", build)
    monkeypatch.setattr("index_builder.stages.publish.publish_gallery", publish)
    for words in ("build", "publish"), ("publish",):
        published: list[str] = []
        for word, step in zip(words, module._geoclip("a/b", False, published), strict=True):
            assert step.words.startswith(word)
            step.run()
        assert published == ["a/b@False"]


@pytest.mark.parametrize(
    ("stage", "words"),
    [("BUILD_ERROR", "the Space can't be built: no such package"), ("RUNTIME_ERROR", "the Space doesn't start: no")],
)
def test_a_space_that_fails_ends_with_a_sentence_and_its_log(hub, clone, tmp_path, stage, words):
    hub.build = ["BUILDING", stage]
    hub.repos[f"spaces/{SPACE}"] = tmp_path / "space"
    hub.repos[f"spaces/{SPACE}"].mkdir()
    hub.spaces[SPACE] = Space(error="Traceback\nno such package")
    done = deploy(hub, clone, tmp_path)
    assert done.returncode == 1 and hub.url not in done.stdout.splitlines()[-1]
    assert words in done.stderr and f"{hub.url}/spaces/{SPACE}?logs=container" in done.stderr
    assert "  | line 29\n" in done.stderr and "line 14" not in done.stderr and "Traceback" not in done.stderr


def test_a_space_that_was_paused_is_woken(hub, clone, tmp_path):
    assert deploy(hub, clone, tmp_path).returncode == 0
    hub.spaces[SPACE].stages = ["PAUSED"]
    done = deploy(hub, clone, tmp_path)
    assert done.returncode == 0 and hub.spaces[SPACE].restarts == 1, done.stderr


def test_a_secret_is_asked_for_without_echo(hub, clone, tmp_path):
    terminal, deployers = os.openpty()
    process = subprocess.Popen(
        [sys.executable, ".huggingface/deploy.py", SPACE],
        cwd=clone,
        env=environment(hub, tmp_path),
        stdin=deployers,
        stdout=deployers,
        stderr=deployers,
        start_new_session=True,  # so that this terminal is all it has
    )
    os.close(deployers)
    shown = b""
    answers = {b"OPENAI_API_KEY (empty to leave it out): ": b"sk-typed\n", b"HF_TOKEN (empty to leave it out): ": b"\n"}
    while True:
        try:
            shown += (piece := os.read(terminal, 1000))
        except OSError:  # Linux's word for the end of a terminal
            break
        if not piece:
            break
        for question in [question for question in answers if question in shown]:
            os.write(terminal, answers.pop(question))
    assert process.wait(timeout=60) == 0, shown
    os.close(terminal)
    assert hub.spaces[SPACE].secrets == {"OPENAI_API_KEY": "sk-typed"}
    assert b"sk-typed" not in shown and b"HF_TOKEN is left out" in shown


@pytest.mark.parametrize("arguments", [["world"], ["a/b@c"], ["a/b", "--gallery", "folder"], ["a/b", "--galery", "x"]])
def test_wrong_usage_gets_words(hub, clone, tmp_path, arguments):
    done = deploy(hub, clone, tmp_path, *arguments)
    assert done.returncode == 2 and "deploy" in done.stderr and "Traceback" not in done.stderr and not hub.requests


def test_a_hub_that_refuses_or_is_down_gets_words(hub, clone, tmp_path):
    hub.made = None
    done = deploy(hub, clone, tmp_path)
    assert done.returncode == 1 and "may write" in done.stderr and "Traceback" not in done.stderr
    down = deploy(hub, clone, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert down.returncode == 1 and "can't be reached" in down.stderr and "Traceback" not in down.stderr


def test_what_git_does_not_track_is_no_clone(hub, clone, tmp_path):
    bare = tmp_path / "download"
    shutil.copytree(clone, bare, ignore=shutil.ignore_patterns(".git"))
    done = deploy(hub, bare, tmp_path, SPACE, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert done.returncode == 2 and "from a clone" in done.stderr


def test_the_spaces_variables_are_settings_that_the_app_takes():
    Settings.from_env(WRITTEN["variables"])

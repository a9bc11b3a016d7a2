"""The documents are true: flags, variables, files, functions and links are those of the code."""

from __future__ import annotations

import argparse
import re
import shutil
import tomllib
import unicodedata
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import gradio
import pytest
import transformers
import yaml

import img2loc.__main__
import index_builder.__main__
from img2loc.answer.prompt import TEMPLATES
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.policy.settings import KEY_FIELDS, PREFIX, Settings
from img2loc.retrieval.encoders import DEFAULT_ENCODER, PINNED_REVISIONS, open_encoder
from tests.paths import ROOT

DOCUMENTS = [
    path for folder in (".", "docs", "benchmarks", ".huggingface") for path in sorted((ROOT / folder).glob("*.md"))
]
MAX_README_LINES = 200


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


README, ARCHITECTURE = read("README.md"), read("docs/architecture.md")


def flags(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """The flags of each verb; those of a verb's own verbs together."""
    verbs = next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)
    own = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")} - {"--help"}
    below = {name: set().union(own, *flags(verb).values()) for name, verb in verbs.choices.items()} if verbs else {}
    return below or {parser.prog: own}


VERBS = flags(img2loc.__main__._parser(Settings(), "img2loc"))


@pytest.mark.parametrize(
    ("document", "documented"),
    [
        ("docs/command-line.md", VERBS["locate"]),
        ("docs/evaluation.md", VERBS["evaluate"] | VERBS["calibrate"]),
        ("docs/galleries.md", set().union(*flags(index_builder.__main__._parser("img2loc-index")).values())),
    ],
)
def test_a_document_names_every_flag_and_no_other(document, documented):
    text = read(document)
    assert {flag for flag in documented if not re.search(rf"{flag}\b", text)} == set()
    tables = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    assert set(re.findall(r"`(--[a-z][\w-]*)", tables)) - documented == set()


def test_the_configuration_names_every_variable_and_no_other():
    table = re.findall(rf"^\| `({PREFIX}\w+)`", read("docs/configuration.md"), re.MULTILINE)
    assert sorted(table) == sorted(
        PREFIX + item.name.upper() for item in fields(Settings) if item.init and item.name not in KEY_FIELDS
    )


def test_every_backend_server_prompt_and_key_is_documented():
    models, configuration = read("docs/models.md"), read("docs/configuration.md")
    assert {name for name in (*BACKENDS, *SERVERS, *TEMPLATES) if f"| `{name}` |" not in models} == set()
    keys = {item.key_variable for item in (*BACKENDS.values(), *SERVERS.values()) if item.key_variable}
    assert {name for name in keys if f"`{name}`" not in configuration} == set()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("document", ["README.md", "docs/command-line.md"])
def test_the_python_example_finds_paris(document, tmp_path, monkeypatch, capsys):
    shutil.copy(gradio.get_image("tower.jpg"), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    (example,) = (
        code for code in re.findall(r"```python\n(.*?)```", read(document), re.DOTALL) if "Locator.open" in code
    )
    exec(example, {})
    assert "Paris" in capsys.readouterr().out


FRONT = yaml.safe_load(README.split("---")[1])
# As https://huggingface.co/docs/hub/spaces-config-reference has them.
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_the_front_matter_is_what_a_space_needs():
    assert FRONT["sdk"] == "gradio" and FRONT["sdk_version"] == version("gradio")
    assert FRONT["python_version"] == "3.12"  # the one that ZeroGPU has
    assert (ROOT / FRONT["app_file"]).is_file()
    assert FRONT["title"] and FRONT["emoji"] and {FRONT["colorFrom"], FRONT["colorTo"]} <= COLOURS
    assert 0 < len(FRONT["short_description"]) <= 60
    assert FRONT["license"] == "mit" and read("LICENSE").startswith("MIT License")
    assert {"geolocation", "image-geolocation", "mcp-server"} <= set(FRONT["tags"])
    assert FRONT["hf_oauth"] is True and FRONT["hf_oauth_scopes"] == ["inference-api"]
    assert FRONT["suggested_hardware"] == yaml.safe_load(read(".huggingface/space.yaml"))["hardware"]


def test_the_front_matter_preloads_just_what_the_encoder_reads(tmp_path):
    assert FRONT["models"] == [DEFAULT_ENCODER]
    (preload,) = FRONT["preload_from_hub"]
    repo, files, revision = preload.split()
    assert (repo, revision) == (DEFAULT_ENCODER, PINNED_REVISIONS[DEFAULT_ENCODER])
    # A CLIP of which these files alone are there can be opened.
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": 100, "max_position_embeddings": 8},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path / "whole")
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(tmp_path / "whole")
    (tmp_path / "preloaded").mkdir()
    for name in files.split(","):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "preloaded")
    assert open_encoder(str(tmp_path / "preloaded")).dim == 24


def tree() -> set[str]:
    """The paths of architecture.md's file tree."""
    paths: set[str] = set()
    folders: list[str] = []
    for line in ARCHITECTURE.split("## Files\n\n```\n")[1].split("```")[0].splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [*folders[: indent // 2], name]
        paths.add("".join(folders))
    return paths


def test_the_tree_is_that_of_the_code():
    named = tree()
    assert {path for path in named if not (ROOT / path).exists()} == set()
    modules = {
        path.relative_to(ROOT).as_posix()
        for part in ("img2loc", "index_builder")
        for path in (ROOT / part).rglob("*.py")
    }
    assert {path for path in modules - named if not path.endswith("/__init__.py")} == set()


def test_the_picture_has_the_rooms_in_the_order_of_the_import_contract():
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    boxes = re.findall(r"subgraph (\w+).*?\n(.*?)\n    end", ARCHITECTURE, re.DOTALL)
    rooms = [set(re.findall(r"^\s+(\w+)\[", inside, re.MULTILINE)) - {"app"} for _, inside in boxes]
    assert rooms == [set(layer.split(" | ")) for layer in contract]
    assert " --> ".join(name for name, _ in boxes) in ARCHITECTURE


def test_the_walk_passes_functions_that_are_there():
    steps = re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(steps) > 20
    for file, name in steps:
        for part in name.split("."):
            assert re.search(rf"^\s*(?:def|class) {part}\b", read(file), re.MULTILINE), (file, name)


def test_the_code_that_architecture_names_is_there():
    """What the text calls a function or class, in backticks, exists: in the file named beside it, else in the code."""
    beside = re.findall(r"`([A-Za-z_]\w*(?:\.\w+)?)`\s+\(`([\w/]+\.py)`", ARCHITECTURE)
    assert len(beside) > 20
    for name, file in beside:
        for part in name.split("."):
            definition = rf"^\s*(?:(?:async )?def|class) {part}\b|^\s*(?:self\.)?{part}\b[^=\n]*="
            assert re.search(definition, read(file), re.MULTILINE), (name, file)
    code = "\n".join(
        path.read_text("utf-8") for part in ("img2loc", "index_builder") for path in (ROOT / part).rglob("*.py")
    )
    prose = ARCHITECTURE.split("## Where to find what")[1]
    for name in {*re.findall(r"`([A-Za-z_]\w*(?:\.\w+)?)`", prose)} - {name for name, _ in beside}:
        assert all(re.search(rf"\b{part}\b", code) for part in name.split(".")), name


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub and the Hub give to a document's headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    plain = (
        "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN") for heading in headings
    )
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists() and linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_document_names_are_there(document):
    for path in re.findall(
        r"(?<![\w/.])(?:img2loc|index_builder|tests|benchmarks|docs|\.huggingface)/[\w/.-]*\w\b",
        document.read_text("utf-8"),
    ):
        assert (ROOT / path).exists(), path


def test_the_deploy_tools_readme_names_its_flags_variables_and_secrets():
    text, tool = read(".huggingface/README.md"), read(".huggingface/deploy.py")
    space = yaml.safe_load(read(".huggingface/space.yaml"))
    assert set(re.findall(r'"(--[\w-]+)"', tool)) == set(re.findall(r"^\| `(--[\w-]+)", text, re.MULTILINE))
    assert all(f"`SPACE_{name}`" in text for name in space["secrets"]) and space["hardware"] in text
    for name in ("HOURLY_PER_VISITOR", "HOURLY_TOTAL"):
        assert re.search(rf"\b{space['variables'][PREFIX + name]}\b", text)
    for path in space["files"]:
        assert (ROOT / path).exists(), path

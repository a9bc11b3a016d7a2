"""The README tells the truth: every setting and flag stands in it, and its front matter fits what is tested."""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import fields
from importlib.metadata import version

import pytest
import transformers
import yaml

import img2loc.__main__
import index_builder.__main__
from img2loc.answer.prompt import TEMPLATES
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.policy.settings import KEYS, PREFIX, Settings
from img2loc.retrieval.encoders import DEFAULT_ENCODER, PINNED_REVISIONS, open_encoder
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def flags(parser: argparse.ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--") and option != "--help"}
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= flags(sub)
    return found


@pytest.mark.parametrize(
    "parser", [img2loc.__main__._parser(Settings()), index_builder.__main__._parser()], ids=["img2loc", "index_builder"]
)
def test_every_flag_stands_in_the_readme(parser):
    assert {flag for flag in flags(parser) if not re.search(rf"{flag}\b", README)} == set()


def test_every_variable_stands_in_the_table_and_no_other():
    table = set(re.findall(rf"^\| `({PREFIX}\w+)`", README, re.MULTILINE))
    assert table == {PREFIX + item.name.upper() for item in fields(Settings) if item.init and item.name not in KEYS}


def test_every_backend_server_prompt_and_key_is_named():
    keys = {item.key_variable for item in (*BACKENDS.values(), *SERVERS.values()) if item.key_variable}
    assert {name for name in (*BACKENDS, *SERVERS, *TEMPLATES, *keys) if f"`{name}`" not in README} == set()


FRONT = yaml.safe_load(README.split("---")[1])
# As https://huggingface.co/docs/hub/spaces-config-reference has them.
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_the_front_matter_is_what_a_space_needs():
    assert FRONT["sdk"] == "gradio" and FRONT["sdk_version"] == version("gradio")
    assert FRONT["python_version"] == "3.12"  # the one that ZeroGPU has
    assert (ROOT / FRONT["app_file"]).is_file()
    assert FRONT["title"] and FRONT["emoji"] and {FRONT["colorFrom"], FRONT["colorTo"]} <= COLOURS
    assert 0 < len(FRONT["short_description"]) <= 60
    assert FRONT["license"] == "mit" and (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert {"geolocation", "image-geolocation", "mcp-server"} <= set(FRONT["tags"])
    assert FRONT["hf_oauth"] is True and FRONT["hf_oauth_scopes"] == ["inference-api"]
    space = yaml.safe_load((ROOT / ".huggingface" / "space.yaml").read_text(encoding="utf-8"))
    assert FRONT["suggested_hardware"] == space["hardware"]


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


def test_every_file_of_the_tree_is_there():
    tree = README.split("## How it works")[1].split("A gallery is a folder")[0]
    for name in re.findall(r"[\w/]+\.py\b", tree):
        assert (ROOT / name).is_file() or (ROOT / "img2loc" / name).is_file(), name


def test_every_picture_of_the_readme_is_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_the_deploy_tools_readme_names_its_flags_variables_and_secrets():
    folder = ROOT / ".huggingface"
    text = (folder / "README.md").read_text(encoding="utf-8")
    tool = (folder / "deploy.py").read_text(encoding="utf-8")
    space = yaml.safe_load((folder / "space.yaml").read_text(encoding="utf-8"))
    assert set(re.findall(r'"(--[\w-]+)"', tool)) == set(re.findall(r"^\| `(--[\w-]+)", text, re.MULTILINE))
    assert all(f"`SPACE_{name}`" in text for name in space["secrets"]) and space["hardware"] in text
    for name in ("HOURLY_PER_VISITOR", "HOURLY_TOTAL"):
        assert re.search(rf"\b{space['variables'][PREFIX + name]}\b", text)
    for path in space["files"]:
        assert (ROOT / path).exists(), path

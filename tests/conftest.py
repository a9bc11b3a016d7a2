"""What the tests share: the real photos, the real encoders, and the starter's locator, each opened once."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from img2loc.encoder import Encoder, open_encoder
from img2loc.host import Host
from img2loc.locator import Locator
from img2loc.photo import Photo, open_photo
from img2loc.settings import Settings

SHARED = Path(__file__).resolve().parents[2] / "shared"
PHOTOS = SHARED / "photos"
MOBILENET = SHARED / "models" / "hf_mobilenet_v1"


def in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Wait for a coroutine in a thread of its own: the browser's tests leave a loop that runs in the worker's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


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
def tower() -> Photo:
    """The picture of the Eiffel tower that comes with Gradio."""
    import gradio

    return open_photo(Path(gradio.get_image("tower.jpg")).read_bytes())

"""An answer that says less says it everywhere: page, maps, files, comparison, batch and API hold nothing finer."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import gradio as gr
import pytest

from img2loc.judge.sampling import Judge
from img2loc.locator import Ask, Locator
from img2loc.photo.decode import Photo
from img2loc.policy.settings import Settings
from img2loc.retrieval.calibration import Calibration, Group
from img2loc.types import LatLon
from img2loc.web.api.endpoints import Endpoints
from img2loc.web.site import Site
from img2loc.web.tabs.batch import BatchEvents
from img2loc.web.tabs.compare import CompareEvents
from img2loc.web.tabs.locate_events import LocateEvents
from img2loc.web.tabs.shared import namer
from tests.fakes.form import filled_form, locate
from tests.fakes.openai_server import KEY, OpenAIServer

TOWER = gr.get_image("tower.jpg")
BOUND_KM = 25.0
# Radius that was measured, and what is left of an answer.
KINDS = {"region": 150.0, "country": 600.0, "nothing": 5000.0}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def measured(starter: Locator, radius_km: float) -> SimpleNamespace:
    """Who answers, with a radius for everybody who may."""
    locator = Locator(starter.encoder, starter.gallery)
    groups = (Group(-1.0, radius_km, 50),)
    kinds = dict.fromkeys(("vote", "lmm m", "judge", "judge m"), groups)
    locator._calibration = Calibration("own", "2026-11-26", "g", 0.9, kinds)
    return SimpleNamespace(locator=locator, manifest=starter.gallery.manifest, notice="", pending=False)


@pytest.fixture(scope="module")
def exact(starter: Locator, tower: Photo) -> set[tuple[str, ...]]:
    """What only a whole answer may hold, all of each: coordinates, the model's words, neighbours' photos."""
    found = starter.locate(tower, Ask(nearest=50, farthest=50, judge=Judge((5,))))
    neighbours = (*found.retrieval.nearest, *found.retrieval.farthest)
    places = {found.vote.position, LatLon(48.8584, 2.2945), *(one.position for one in (*found.candidates, *neighbours))}
    words = {"An iron lattice", "data-street", *(text for n in neighbours for text in (n.photo.id, n.photo.url))}
    return {(word,) for word in words if word} | {(f"{at.lat:.4f}", f"{at.lon:.4f}") for at in places}


def opened(*shown: object) -> str:
    """What is shown, and what the files in it hold."""
    page = "".join(str(getattr(part, "plot", part)) for part in shown)
    files = [b64decode(found) for found in re.findall(r";base64,([\w+/=]+)", page)]
    packed = [ZipFile(BytesIO(file)) for file in files if file.startswith(b"PK")]
    files += [archive.read(name) for archive in packed for name in archive.namelist()]
    return page + "".join(file.decode("utf-8", "replace") for file in files)


@pytest.mark.parametrize("withheld", KINDS)
@pytest.mark.parametrize(("backend", "judge"), [("vote", ""), ("vote", "5"), ("openai", ""), ("openai", "0,10")])
def test_nothing_finer_is_left_anywhere(
    starter: Locator,
    provider: OpenAIServer,
    exact: set[tuple[str, ...]],
    withheld: str,
    backend: str,
    judge: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(Path(TOWER).parent))  # as if it had been uploaded
    host = measured(starter, KINDS[withheld])
    settings = Settings(openai_base_url=provider.base_url, abstain_km=BOUND_KM)
    model, key = ("m", KEY) if backend == "openai" else ("", "")
    asked = filled_form(backend=backend, model=model, keys={"openai": key}, judge=judge)
    api = Endpoints(Site(host, settings))
    said = {
        "the API": api.locate(TOWER, backend, model, judge=judge, x_openai_api_key=key),
        "a batch of the API": api.locate_batch([TOWER], backend, model, judge=judge, x_openai_api_key=key),
        "the page": locate(LocateEvents(Site(host, settings)), TOWER, **asked._asdict()),
        "the batch": chain(*BatchEvents(Site(host, settings)).locate_all(None, None, [TOWER], *asked)),
    }
    if not judge:
        names = [f"openai:{model}" if model else "vote"]
        compare = CompareEvents(Site(host, settings)).compare
        said["the comparison"] = list(compare(TOWER, names, {"openai": KEY}))[-1]
    assert said["the API"]["withheld"] == said["a batch of the API"]["results"][0]["prediction"]["withheld"] == withheld
    for where, shown in said.items():
        text = json.dumps(shown) if isinstance(shown, dict) else opened(*shown)
        assert {secret for secret in exact if all(part in text for part in secret)} == set(), where
    assert ("Paris" in said["the page"].answer) is (withheld == "region")


def test_a_coarse_answers_places_are_called_as_coarsely():
    middle = LatLon(47.08, 2.4)  # Bourges, which may stand for France
    assert namer(Settings())(middle).city == "Bourges"
    assert (
        namer(Settings(), "country")(middle).city == namer(Settings(precision="country"), "region")(middle).city == ""
    )
    assert "the region of" in namer(Settings(precision="city"), "region")(middle).city
    assert namer(Settings(precision="city"), "nothing")(middle).city == "Bourges"

"""Runs of twelve grey photos."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from img2loc.evaluation.data.photos import find_photos
from img2loc.evaluation.run.budget import Meter, check_budget
from img2loc.evaluation.run.journal import Journal
from img2loc.evaluation.run.record import Header
from img2loc.evaluation.run.runner import Model, Runner
from tests.evaluation.runs import ITEMS, SETUP, GridLocator


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (32, 32), (10 * number,) * 3).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def start(tmp_path, photos):
    """Run, or go on with, a journal; gives the runner's reason and the journal's record."""

    def start(
        lmm=None,
        *,
        setup=SETUP,
        concurrency=3,
        pricing=None,
        max_cost_usd=None,
        limit_usd=None,
        on_photo=lambda entry: None,
        on_meter=lambda meter: None,
        cancel=None,
        **options,
    ):
        folder = find_photos(photos, ITEMS)
        with Journal(tmp_path / "run.jsonl", Header(setup, ITEMS, (), "2026-11-23")) as journal:
            meter = Meter(pricing, journal.record.used)
            model = Model(lmm, meter, cancel or threading.Event()) if lmm else None
            run = Runner(GridLocator(), model, journal, folder, concurrency=concurrency, **options)
            preview = run.preview()
            if max_cost_usd is not None:
                check_budget([preview], max_cost_usd)
            reason = run.run(on_photo, max_cost_usd=limit_usd or max_cost_usd)
            on_meter(meter)
            return reason, journal.record

    return start


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run.jsonl"

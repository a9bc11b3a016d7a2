"""What the tests of runs share: a plain locator and a model that counts."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from img2loc.answer import prompt
from img2loc.answer.vote import vote
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.run.record import Setup
from img2loc.judge.sampling import ask_all, central_outcome
from img2loc.types import LatLon, Neighbour, PhotoRecord, Prediction, Reply, Retrieval

SETUP = Setup(
    dataset="csv",
    backend="openai",
    model="test-1",
    server="",
    temperature=None,
    samples=1,
    gallery="grid",
    gallery_sha256="0" * 64,
    gallery_count=30,
    encoder="none",
    template=prompt.DEFAULT_TEMPLATE,
    nearest=3,
    farthest=2,
    exclude_itself=True,
    exclude_author=True,
    near_duplicate=0.99,
)
ITEMS = tuple(Item(f"{n:02}.png", f"author{n % 4}", LatLon(n, 2 * n)) for n in range(12))
GALLERY = tuple(
    Neighbour(n, LatLon(n, 2 * n + 1), 0.9 - n / 100, PhotoRecord(f"{n:02}.png", f"author{n % 5}")) for n in range(30)
)


class GridLocator:
    """A locator of which every step is plain: the gallery is the same for all photos, but for what is left out."""

    def locate(self, photo, ask):
        assert ask.judge is None
        kept = [neighbour for neighbour in GALLERY if not ask.exclude(neighbour)]
        retrieval = Retrieval(tuple(kept[: ask.nearest]), tuple(kept[::-1][: ask.farthest]))
        voted = vote(kept[:16])
        text = prompt.render(ask.template, retrieval) if ask.lmm else ""
        outcomes = ask_all(ask.lmm, [text], photo.jpeg, samples=ask.samples) if ask.lmm else []
        outcome = central_outcome(outcomes) if outcomes else None
        position = outcome.position if outcome and outcome.position else voted.position
        return Prediction(position, None, "lmm" if outcome else "vote", None, voted, retrieval, text, outcome, ())


def as_older(text):
    """A journal as it was written before requests were counted one by one."""
    lines = []
    for line in map(json.loads, text.splitlines()):
        line.get("entry", {}).pop("used", None)
        if "asking" in line:
            if line["asking"]["number"] > 1:
                continue
            line["asking"] = line["asking"]["id"]
        lines.append(json.dumps(line, separators=(",", ":")) + "\n")
    return "".join(lines)


def number_of(jpeg):
    """Which of the photos it is, by its grey."""
    return round(np.asarray(Image.open(io.BytesIO(jpeg))).mean() / 10)


class Killed(BaseException):
    """As good as a kill."""


@dataclass
class CountingLMM:
    """Answers by a rule, and counts how often it was asked about each photo."""

    rule: object = None
    name: str = "counting"
    model: str = "test-1"
    asked: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, turns, jpeg):
        number = number_of(jpeg)
        with self.lock:
            self.asked[number] += 1
        found = self.rule(number) if self.rule else f"{number}.1, {2 * number}.1"
        if isinstance(found, Exception):
            raise found
        return Reply(found, "test-1-0", 0.1, input_tokens=1000, output_tokens=100)

"""Kills an evaluation twice and goes on; says whether each photo was asked once more at most, and the score stays.

The second kill waits until what the first cut short has been asked again: a photo that two kills cut short would be
left as failed, which evaluation/test_runner.py shows.

    python -m tests.evaluation.evaluation_kills --photos 200

The command line runs in processes of its own, with the starter gallery, against the loopback server. Every tenth photo
meets a fault, of every kind in turn and the same each time; the others are answered with a position some way off the
true one. With --light an encoder that knows nothing stands in for the real one, which takes seconds to load.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import img2loc.__main__
import img2loc.locator
from img2loc.evaluation.data.datasets import Item, read_truth
from img2loc.evaluation.run.journal import read_journal
from img2loc.evaluation.run.record import Record
from img2loc.geo.sphere import destination
from img2loc.locator import Locator
from img2loc.photo.decode import open_photo
from img2loc.retrieval.gallery import open_gallery
from img2loc.retrieval.manifest import Manifest
from img2loc.system.process import run
from tests.conftest import PHOTOS
from tests.fakes.openai_server import OpenAIServer, Request
from tests.paths import ROOT

FAULTS = (
    *("malformed", "length", "megabyte", "refusal", "empty", "fenced", "not_json", "cut", "slow_drip", "hang"),
    *("bad_key", "forbidden", "rate_limit_asks", "rate_limit_silent", "no_quota", "server_error", "overloaded"),
)
EVERY = 10  # photos to a fault
REAL, LIGHT = ["img2loc"], ["tests.evaluation.evaluation_kills", "light"]
TIMEOUT_S = 2  # a server that hangs costs this much


class PhotoServer(OpenAIServer):
    """Answers by the photo that is asked about, and counts."""

    def __init__(self, items: list[Item]) -> None:
        super().__init__()
        self.of_jpeg = {}
        self.behaviours: dict[str, tuple[str, str | None]] = {}
        self.asked: Counter[str] = Counter()
        for number, item in enumerate(items):
            jpeg = open_photo((PHOTOS / item.id).read_bytes()).jpeg
            self.of_jpeg[hashlib.sha256(jpeg).hexdigest()] = item.id
            at = destination(item.position, 37 * number % 360, 10 ** (number % 9 / 2))  # from 1 to 10,000 km off
            self.behaviours[item.id] = "good", json.dumps({"latitude": at.lat, "longitude": at.lon})
            if number % EVERY == EVERY // 2:
                self.behaviours[item.id] = FAULTS[number // EVERY % len(FAULTS)], None

    def next_behaviour(self, request: Request) -> tuple[str, str | None]:
        with self._lock:
            self.requests.append(request)
            id_ = self.of_jpeg[hashlib.sha256(request.jpeg).hexdigest()]
            self.asked[id_] += len(request.body["messages"]) == 1
        return self.behaviours[id_]


class LightEncoder:
    """Embeds a photo as noise drawn from its pixels, and claims to be the starter's encoder."""

    def __init__(self, manifest: Manifest) -> None:
        self.spec, self.dim = manifest.encoder, manifest.dim

    def embed(self, images):
        seeds = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:4]) for image in images]
        noise = np.stack([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds])
        return (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)


def light(arguments: list[str]) -> int:
    """The command line with that encoder, and without the names of places, which a run does not keep."""
    gallery = open_gallery("starter")
    img2loc.locator.nearest_place = lambda position: None
    Locator.open = lambda *_, **__: Locator(LightEncoder(gallery.manifest), gallery)
    return img2loc.__main__.main(arguments)


def main() -> int:
    if sys.argv[1:2] == ["light"]:
        return light(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--light", action="store_true")
    arguments = parser.parse_args()
    found = check(arguments.photos, module=LIGHT if arguments.light else REAL)
    print(json.dumps(found, indent=2))
    return 0 if found["same_answers"] and found["same_score"] and found["most_asks_of_a_photo"] <= 2 else 1


def check(photos: int, *, module: list[str]) -> dict[str, object]:
    """Run undisturbed and killed, side by side, and compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = folder / "truth.csv"
        with (PHOTOS / "photos.csv").open(newline="", encoding="utf-8") as source, truth.open("w", newline="") as file:
            rows = list(csv.DictReader(source))[:photos]
            writer = csv.writer(file)
            writer.writerow(("id", "author", "lat", "lon"))
            writer.writerows((row["file"], row["group"], row["lat"], row["lon"]) for row in rows)
        items = list(read_truth(truth).items)
        with PhotoServer(items) as first, PhotoServer(items) as second:
            calm = _start(module, truth, folder / "calm", first)
            kills = []
            cut: set[str] = set()
            for share in (1 / 3, 2 / 3):
                process = _start(module, truth, folder / "killed", second)
                while (len(second.asked) < share * photos or cut & _cut(folder)) and process.poll() is None:
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
                process.communicate()
                cut |= _cut(folder)
                kills.append(len(second.asked))
            resumed = _start(module, truth, folder / "killed", second)
            scores = [_finish(process, folder) for process in (calm, resumed)]
            # A kill may cut a request in its midst; that isn't the client's fault.
            second.faults = [fault for fault in second.faults if "JSONDecodeError" not in fault]
        journals = [_journal(folder, run) for run in ("calm", "killed")]
        answers = [{id_: (entry.kind, entry.position) for id_, entry in j.entries.items()} for j in journals]
        asked = journals[1].attempts
        return {
            "photos": photos,
            "faults": sum(behaviour != "good" for behaviour, _ in second.behaviours.values()),
            "kinds_of_fault": len({behaviour for behaviour, _ in second.behaviours.values()} - {"good"}),
            "outcomes": dict(Counter(entry.kind for entry in journals[1].entries.values())),
            "killed_after_photos": kills,
            "cut_short": len(cut),
            "most_asks_of_a_photo": max(asked.values()),
            "asked_twice": sum(count == 2 for count in asked.values()),
            "asks_undisturbed": sum(journals[0].attempts.values()),
            "requests_undisturbed": len(first.requests),
            "requests_killed": len(second.requests),
            "same_answers": answers[0] == answers[1] and len(answers[0]) == photos,
            "same_score": scores[0] == scores[1],
        }


def _start(module: list[str], truth: Path, out: Path, server: OpenAIServer) -> subprocess.Popen[str]:
    arguments = ["--truth", truth, "--photos", PHOTOS, "--out", out, "--json"]
    arguments += ["--backend", "openai", "--base-url", server.base_url, "--concurrency", "4"]
    environment = {**os.environ, "OPENAI_API_KEY": str(server.key), "IMG2LOC_TIMEOUT_S": str(TIMEOUT_S)}
    with out.with_suffix(".err").open("a") as err:  # not a pipe, which nobody reads while the kill is awaited
        return subprocess.Popen(
            [sys.executable, "-m", *module, "evaluate", "run", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )


def _journal(folder: Path, run: str) -> Record:
    return read_journal(next((folder / run).glob("*.jsonl")))


def _cut(folder: Path) -> set[str]:
    """What is under way in the run that is killed."""
    return set(_journal(folder, "killed").under_way)


def _finish(process: subprocess.Popen[str], folder: Path) -> str:
    out, _ = process.communicate()
    if process.returncode:
        raise AssertionError("\n".join(path.read_text() for path in folder.glob("*.err")))
    return out


if __name__ == "__main__":
    run(main)

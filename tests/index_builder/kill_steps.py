"""Kills `build` before each change that it makes to the disk, and runs the same command again.

    python -m tests.index_builder.kill_steps

Each time the second run has to finish with the bytes of an undisturbed one and to leave nothing but the gallery. With
--replace a reader that has the old gallery open has to keep its answers. With --twice the second run is killed, too, at
a random step, and the third has to finish. Prints a report, and exits 1 where anything else happened.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import faiss  # noqa: F401 - loaded before the forks
import numpy as np
import torch
from tqdm import tqdm

from img2loc.errors import GalleryError
from img2loc.retrieval import index
from img2loc.retrieval.encoders import Embeddings, EncoderSpec, Inputs
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.manifest import MANIFEST
from index_builder import verbs
from index_builder.__main__ import main as build_main
from tests.conftest import PHOTOS
from tests.retrieval.test_gallery import unit, write

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
PHOTO_COUNT = 5
CHILD_S = 60


class TinyEncoder:
    """Embeds a picture as its colours at 16 places."""

    spec, dim = EncoderSpec("transformers", "tiny", "sha256:0", "none"), 48

    def prepare(self, images) -> Inputs:
        return {"pixels": np.stack([np.asarray(image.resize((4, 4))).ravel() for image in images])}

    def embed_prepared(self, inputs: Inputs) -> Embeddings:
        rows = inputs["pixels"].astype(np.float32) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every Nth step (default: each)")
    parser.add_argument("--twice", action="store_true", help="kill the second run, too")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tqdm.set_lock(threading.RLock())  # its own is shared by all processes: one killed while it holds it stops the next
    torch.set_num_threads(1)
    index.processors = lambda: 1  # a fork doesn't take a second thread of FAISS's along, and waits for it
    verbs.open_encoder = lambda *_, **__: TinyEncoder()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "t.csv"
        photos = [path.name for path in sorted(PHOTOS.glob("*.jpg"))[:PHOTO_COUNT]]
        table.write_text("file,lat,lon\n" + "".join(f"{photo},10,{row}\n" for row, photo in enumerate(photos)))
        os.environ["TMPDIR"] = os.environ["SQLITE_TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        report = {
            mode: _kill_at_each_step(folder, table, mode, arguments.every, twice=arguments.twice)
            for mode in ("fresh", "replace")
        }
    print(json.dumps(report))
    return 1 if any(kind.startswith("WRONG") for counts in report.values() for kind in counts) else 0


def _kill_at_each_step(folder: Path, table: Path, mode: str, every: int, *, twice: bool) -> Counter[str]:
    """Kill a build before its first change, its second, and so on until one gets through."""
    report: Counter[str] = Counter()
    expected: dict[str, str] | None = None
    step = 0
    while True:
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        place.mkdir()
        (folder / "tmp").mkdir()
        out, reader = place / "g", None
        if mode == "replace":
            write(out, unit(20, 48))
            reader = open_gallery(str(out))
        before = _answers(reader)
        command = ["build", "--photos", str(PHOTOS), "--positions", str(table), "--workers", "1", "--out", str(out)]
        command += ["--replace"] if mode == "replace" else []
        if expected is None:
            assert _run(command, None) == 0
            expected = _hashes(out)
            continue
        step += every
        if (status := _run(command, step)) == 0:
            return report
        assert status == -signal.SIGKILL, status
        report["killed"] += 1
        report[f"left {_what_is_at(out)}"] += 1
        status = _run(command, random.randrange(1, step + 20)) if twice else None
        if status != 0:
            report["killed again"] += twice
            status = _run(command, None)
        wrong = {
            "status": status != 0,
            "bytes": not out.is_dir() or _hashes(out) != expected,
            "leftovers": sorted(path.name for path in place.iterdir()) != ["g"],
            "temporary files": any((folder / "tmp").iterdir()),
            "answers": _answers(reader) != before,
        }
        for kind, is_wrong in wrong.items():
            if is_wrong:
                report[f"WRONG {kind}"] += 1
                print(f"{mode}, step {step}: wrong {kind}, {sorted(place.iterdir())}", file=sys.stderr)


def _answers(reader: Gallery | None) -> object:
    return reader and (reader.search(unit(1, 48)[0], 20, 20), reader.records(list(range(20))))


def _what_is_at(out: Path) -> str:
    """What somebody who opens the gallery finds."""
    if not out.exists():
        return "nothing"
    try:
        return f"a gallery of {open_gallery(str(out)).manifest.count}"
    except GalleryError:
        return f"no gallery ({MANIFEST} {'is' if (out / MANIFEST).exists() else 'is not'} there)"


def _run(command: list[str], step: int | None) -> int:
    """Run in a process of its own, which is killed before a step; its exit status."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_S)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        if step is not None:
            os.dup2(null, 2)
            _die_at(step)
        try:
            os._exit(build_main(command))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _die_at(step: int) -> None:
    """Kill this process before so many changes to the disk have been made."""
    seen = 0

    def count(event: str, values: tuple[object, ...]) -> None:
        nonlocal seen
        opens = event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in CHANGES or opens:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    sys.exit(main())

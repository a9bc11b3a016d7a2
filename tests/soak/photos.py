"""Feeds files made to hurt to what opens photos, and says whether each became a good photo or a refusal in words.

    python -m tests.soak.photos --inputs 100000 --seed 0

Processes of their own open the files, so that a crash, a hang or a flood of memory is found, told and survived. It
begins with the named files of named_files.py, then makes up others; --start goes on where another run ended. It prints
a table, and exits 1 where anything else came of a file; such a file is kept in --save.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from img2loc.errors import PhotoError
from img2loc.photo.decode import JPEG_MAX_SIDE_PX, MAX_SIDE_PX, Photo, exif_position, open_photo
from img2loc.types import LatLon
from tests.soak.hostile_files import case
from tests.soak.named_files import Case, named_cases
from tests.soak.picture_files import FORMATS, SERIAL

LIMIT_S = 10.0
LIMIT_LOG_BYTES = 1000  # that native decoders write past Python
LIMIT_MB = 1500  # for the largest picture taken: 80 megapixels, of which some decoders hold four copies
BACKSTOP_MB = 6000  # of address space, so that no input takes the machine down before it is found out
JPEG_PARTS = {b"\xe0", b"\xdb", b"\xc0", b"\xc4", b"\xda"}  # JFIF's header, tables, frame, scan: no descriptions

# What came of an input: its number; "photo" or "refused"; what is wrong with that; seconds; MB above the idle process.
Result = tuple[int, str, str, float, int]


@dataclass(slots=True)
class Row:
    """One row of the table."""

    tried: int = 0
    photos: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_mb: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.photos", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first one's number (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of those that are made up (default: 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="(default: one a core)")
    parser.add_argument("--light", action="store_true", help="leave out bombs and cuts, which take most of the time")
    folder = Path(tempfile.gettempdir()) / "img2loc-soak"
    parser.add_argument("--save", type=Path, default=folder, metavar="DIR", help="for what hurt (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    numbers = range(chosen.start, chosen.start + chosen.inputs)
    if chosen.light:
        numbers = [n for n in numbers if case(chosen.seed, n).kind not in ("bomb", "cut", "pieces")]
    began = time.monotonic()
    table: dict[tuple[str, str], Row] = defaultdict(Row)
    faults = 0
    for number, outcome, fault, seconds, peak_mb in _run(numbers, chosen.seed, chosen.workers):
        one = case(chosen.seed, number)
        row = table[one.format, one.kind]
        row.tried += 1
        row.photos += outcome == "photo"
        row.refused += outcome == "refused"
        row.slowest_s, row.peak_mb = max(row.slowest_s, seconds), max(row.peak_mb, peak_mb)
        if fault:
            faults += 1
            chosen.save.mkdir(parents=True, exist_ok=True)
            kept = chosen.save / f"{chosen.seed}-{number}-{one.kind}.{one.format.lower()}"
            kept.write_bytes(one.make())
            print(f"FAULT {number} ({one.format}, {one.kind}, {one.name}): {fault}; kept as {kept}", flush=True)
    _print(table)
    print(f"{len(numbers):,} files, {faults} faults, {time.monotonic() - began:.0f} s")
    return 1 if faults else 0


def _print(table: dict[tuple[str, str], Row]) -> None:
    print(f"{'format':8}{'kind':10}{'tried':>8}{'photo':>8}{'refused':>9}{'slowest s':>11}{'peak MB':>9}")
    order = ("none", *FORMATS)
    for (format_name, kind), row in sorted(table.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        counts = f"{row.tried:8,}{row.photos:8,}{row.refused:9,}"
        print(f"{format_name:8}{kind:10}{counts}{row.slowest_s:11.2f}{row.peak_mb:9,}")


def _run(numbers: Sequence[int], seed: int, workers: int) -> Iterator[Result]:
    """Share the inputs out; a worker that dies or hangs is replaced, and its input told."""
    context = multiprocessing.get_context("spawn")
    left = [list(numbers[n::workers]) for n in range(workers)]
    running: dict[Connection, tuple[Any, list[int], Any]] = {}

    def start(todo: list[int]) -> None:
        ours, theirs = context.Pipe(duplex=False)
        began = context.Value("d", 0.0)
        process = context.Process(target=_work, args=(theirs, began, seed, todo), daemon=True)
        process.start()
        theirs.close()
        running[ours] = (process, todo, began)

    for todo in filter(None, left):
        start(todo)
    while running:
        for pipe in wait(list(running), timeout=0.5):
            process, todo, _ = running[pipe]
            try:
                result = pipe.recv()
            except EOFError:
                del running[pipe]
                process.join()
                if todo:  # it died of the first of what was left to do
                    yield todo[0], "", f"the process ended with {process.exitcode}", 0.0, 0
                    if todo[1:]:
                        start(todo[1:])
                continue
            todo.remove(result[0])
            yield result
        for process, _, began in running.values():
            if (since := began.value) and time.monotonic() - since > 3 * LIMIT_S:
                process.kill()


def _work(pipe: Connection, began: Any, seed: int, numbers: Sequence[int]) -> None:
    """Open files one by one; in a process of its own."""
    complaints: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_, **__: complaints.append(str(message))
    log = tempfile.TemporaryFile()
    os.dup2(log.fileno(), sys.stderr.fileno())
    libc = ctypes.CDLL(None)
    named = len(named_cases())
    _, idle_mb = _memory_mb()
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = virtual + BACKSTOP_MB * 1_000_000
    for number in numbers:
        one = case(seed, number)
        data = one.make()
        if number < named:  # such a file may take long to make
            libc.malloc_trim(0)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest use so far
        logged_bytes = os.fstat(log.fileno()).st_size
        began.value = start = time.monotonic()
        outcome, fault = _examine(one, data)
        seconds = time.monotonic() - start
        began.value = 0.0
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        peak_mb = _memory_mb()[0] - idle_mb
        if not fault and complaints:
            fault = f"a warning: {complaints[0]}"
        if not fault and seconds > LIMIT_S:
            fault = f"it took {seconds:.1f} s"
        if not fault and peak_mb > LIMIT_MB:
            fault = f"it took {peak_mb:,} MB"
        if not fault and (written := os.fstat(log.fileno()).st_size - logged_bytes) > LIMIT_LOG_BYTES:
            fault = f"{written:,} bytes went to the log"
        complaints.clear()
        pipe.send((number, outcome, fault, seconds, peak_mb))


def _memory_mb() -> tuple[int, int]:
    """The highest and the present use of memory."""
    found = dict(re.findall(r"Vm(HWM|RSS):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    return int(found["HWM"]) // 1000, int(found["RSS"]) // 1000


def _examine(one: Case, data: bytes) -> tuple[str, str]:
    """Open a file; what came of it, and what is wrong with that."""
    outcome, fault = "refused", ""
    try:
        photo = open_photo(data)
        outcome, fault = "photo", _flaw(photo, upright=one.must == "upright")
    except PhotoError as error:
        if not re.fullmatch(r"[A-Z][^\n]{10,250}[.]", str(error)):
            fault = f"no sentence: {error}"
    except BaseException as error:
        return "", f"{type(error).__name__}: {error}"
    try:
        position = exif_position(data)
        if not (position is None or isinstance(position, LatLon)):
            fault = f"the position is {position!r}"
    except PhotoError:
        if outcome == "photo":
            fault = "its position can't be asked for, but it is a photo"
    except BaseException as error:
        return outcome, f"exif_position: {type(error).__name__}: {error}"
    if not fault and outcome != {"open": "photo", "upright": "photo", "refuse": "refused"}.get(one.must, outcome):
        fault = f"it is {outcome}"
    return outcome, fault


def _flaw(photo: Photo, *, upright: bool) -> str:
    """What keeps a photo from being a good one; empty where nothing does."""
    image = photo.image
    if (type(image), image.mode) != (Image.Image, "RGB") or not 1 <= min(image.size) <= max(image.size) <= MAX_SIDE_PX:
        return f"the picture is {image!r}"
    if image.info or image.getexif() or not (photo.exif_position is None or isinstance(photo.exif_position, LatLon)):
        return f"metadata: {image.info}, {photo.exif_position!r}"
    if photo.format not in FORMATS:
        return f"the format is {photo.format!r}"
    jpeg = photo.jpeg
    markers = set(re.findall(rb"\xff([\xc0-\xfe])", jpeg[2 : jpeg.index(b"\xff\xda") + 2], re.DOTALL))
    if not markers <= JPEG_PARTS or SERIAL in jpeg:
        return f"the JPEG has the parts {sorted(markers)}"
    with Image.open(io.BytesIO(jpeg)) as sent:
        if sent.format != "JPEG" or max(sent.size) > JPEG_MAX_SIDE_PX:
            return f"the JPEG is {sent!r}"
    if upright:
        corners = [image.getpixel(at) for at in ((10, 8), (54, 8), (10, 40))] if image.size == (64, 48) else []
        if not corners or np.abs(np.subtract(corners, [(255, 0, 0), (0, 255, 0), (0, 0, 255)])).max() > 40:
            return f"it is not upright: {image.size}, {corners}"
    return ""


if __name__ == "__main__":
    sys.exit(main())

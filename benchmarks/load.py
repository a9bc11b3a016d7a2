"""Many visitors at once on a slow provider: nobody is lost, nobody gets another's answer, and nothing grows.

    python benchmarks/load.py --minutes 10 --out load.json

Starts the app and a provider on loopback that knows each photo by a mark in it (provider.py). Visitors ask in all ways
at once (visitors.py), each with photos, a key and an address of their own, and check every answer; some leave midway.
Before that all model slots are taken, votes are asked for meanwhile, and those who wait leave; afterwards
more is asked at the operator's expense than is allowed. Prints a table and what was violated, writes JSON, and ends
with 1 if anything was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.provider import MarkedPhoto, SlowProvider, make_photos
from benchmarks.visitors import Page, Refused, Visitor, faults_of, faults_of_page, marks_in
from img2loc.policy.limits import MODEL_SLOTS
from img2loc.web.page import MAX_SESSIONS
from tests.fakes.app_process import AppProcess

OPERATOR: Final = "sk-operator"
PER_VISITOR, TOTAL = 2, 14  # allowed in an hour at the operator's expense
SOON_S: Final = 60.0
MEMORY_S: Final = 120.0  # a shorter run says nothing about memory
WARM_UP: Final = 1 / 3  # of the time, in which memory may still grow
MAX_GROWTH: Final = 0.05  # of memory, over the rest
# How often each is asked for. Those who leave ask a model and don't wait for its answer.
KINDS: Final = {"vote": 30, "model": 25, "page": 20, "compare": 10, "batch": 8, "leave": 7}


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Args:
        visitors: How many at once; two or more.
        seconds: How long they ask.
        photos: Each visitor's own: long side in pixels, and format; three or more.
        delay_s: The shortest and the longest while that the provider takes.
        think_s: Between a visitor's requests, on average.
        sessions: How many are begun first, so that the app then holds as many as it ever does.
    """

    visitors: int
    seconds: float
    photos: tuple[tuple[int, str], ...] = ((512, "JPEG"), (1200, "PNG"), (1600, "JPEG"), (4032, "JPEG"))
    delay_s: tuple[float, float] = (1.0, 4.0)
    think_s: float = 4.0
    sessions: int = 0


@dataclass
class Report:
    """What was seen.

    Args:
        waits_s: From sending the photo to having the answer, by kind of request.
        violations: What must not be.
        facts: Whatever else was measured.
        samples: Seconds since the start, resident memory in MB, threads and open files of the app.
    """

    waits_s: dict[str, list[float]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)


class Load:
    """A run.

    Args:
        app: The app under load.
        provider: Whom it asks.
        http: The connection to the app.
        page: What its page offers.
        photos: Each visitor's own.
        size: How large it is.
    """

    def __init__(
        self,
        app: AppProcess,
        provider: SlowProvider,
        http: httpx.AsyncClient,
        page: Page,
        photos: list[list[MarkedPhoto]],
        size: Size,
    ) -> None:
        self.report = Report()
        self._size = size
        self._app, self._provider, self._photos = app, provider, photos
        self._visitors = [Visitor(http, n, page, f"visitor{n}", f"sk-visitor-{n}") for n in range(len(photos))]
        self._http = http
        self._known: dict[int, Any] = {}
        self._random = random.Random(1)

    async def everybody(self) -> None:
        """Let all visitors ask, in all ways."""
        seconds = self._size.seconds
        self._provider.delay_s = self._size.delay_s
        start = time.monotonic()
        sampling = asyncio.create_task(self._sample(start))
        await asyncio.gather(*(self._stay(visitor, start + seconds) for visitor in self._visitors))
        sampling.cancel()
        if not await _soon(lambda: not self._provider.holding):
            self._violated(f"the provider still works for {len(self._provider.holding)} who have left")
        for key, mark in self._provider.asked:
            owner = next(n for n, own in enumerate(self._photos) if any(photo.mark == mark for photo in own))
            if key != self._visitors[owner].key:
                self._violated(f"visitor {owner}'s photo {mark} was sent with the key {key}")
        self.report.facts["seconds"] = seconds
        self._judge_memory(seconds)

    async def _stay(self, visitor: Visitor, until: float) -> None:
        """Ask, look at the answer, think, and ask again."""
        ways: dict[str, Callable[[Visitor], Awaitable[list[str]]]] = {
            "vote": self._vote,
            "model": self._model,
            "page": self._page,
            "compare": self._compare,
            "batch": self._batch,
            "leave": self._leave,
        }
        await asyncio.sleep(self._random.uniform(0, min(self._size.think_s, (until - time.monotonic()) / 2)))
        while time.monotonic() < until:
            (kind,) = self._random.choices(list(KINDS), list(KINDS.values()))
            start = time.monotonic()
            try:
                for fault in await ways[kind](visitor):
                    self._violated(f"{kind}: {fault}")
            except (Refused, httpx.HTTPError, ConnectionError, KeyError, TypeError) as error:
                self._violated(f"{kind}: {type(error).__name__}: {error}")
            self.report.waits_s.setdefault(kind, []).append(time.monotonic() - start)
            await asyncio.sleep(min(self._random.expovariate(1 / self._size.think_s), max(until - time.monotonic(), 0)))

    async def _vote(self, visitor: Visitor) -> list[str]:
        photo = self._photo(visitor)
        found = await visitor.call("locate", [*await visitor.upload(photo), "vote", "", 16, 16, "", "", "", ""])
        return list(faults_of(found, photo, asked=False, known=self._known))

    async def _model(self, visitor: Visitor, *, photo: MarkedPhoto | None = None) -> list[str]:
        photo = photo or self._photo(visitor)
        found = await visitor.call("locate", _asked(*await visitor.upload(photo)))
        return list(faults_of(found, photo, asked=True, known=self._known))

    async def _page(self, visitor: Visitor) -> list[str]:
        photo = self._photo(visitor)
        (sent,) = await visitor.upload(photo)
        shown = await visitor.act("locate", [sent, "", "openai", "m", None, 16, 16, "", "", "off", ""])
        return list(faults_of_page(shown[0], shown[9], photo, shown[11]))

    async def _compare(self, visitor: Visitor) -> list[str]:
        photo = self._photo(visitor)
        (sent,) = await visitor.upload(photo)
        marks = marks_in((await visitor.act("compare", [sent, ["vote", "openai:m"], None, ""]))[0])
        return [] if marks == {photo.mark} else [f"photo {photo.mark} was compared as {sorted(marks)}"]

    async def _batch(self, visitor: Visitor) -> list[str]:
        photos = self._random.sample(self._photos[visitor.number], 3)
        found = await visitor.call("locate_batch", _asked(await visitor.upload(*photos)))
        return [
            fault
            for photo, result in zip(photos, found["results"], strict=True)
            for fault in faults_of(result["prediction"], photo, asked=True, known=self._known)
        ]

    async def _leave(self, visitor: Visitor) -> list[str]:
        await visitor.join("locate", _asked(*await visitor.upload(self._photo(visitor))))
        async with visitor.listen("locate"):
            await asyncio.sleep(self._random.uniform(0, self._size.delay_s[0]))
            if self._random.random() < 0.5:
                await visitor.cancel("locate")
        return []

    async def settle(self) -> None:
        """Give the page each visitor's key."""
        for visitor in self._visitors:
            await _give_key(visitor)

    async def full_house(self) -> None:
        """Take all model slots: votes go on, and once those who wait leave, others get their slots."""
        self._provider.delay_s = (600.0, 600.0)
        ways = [self._model, self._batch, self._page, self._compare, self._tab]
        owners = [self._visitors[n % len(self._visitors)] for n in range(MODEL_SLOTS)]
        crowd = [replace(owner, session=f"crowd{n}") for n, owner in enumerate(owners)]
        for visitor in crowd:
            await _give_key(visitor)
        asking = [asyncio.create_task(ways[n % len(ways)](visitor)) for n, visitor in enumerate(crowd)]
        if not await _soon(lambda: len(self._provider.holding) == MODEL_SLOTS):
            self._violated(f"{len(self._provider.holding)} of {MODEL_SLOTS} model slots were taken")
        one, other = self._visitors[:2]
        said = ""
        try:
            await self._model(one)
        except Refused as refusal:
            said = str(refusal)
        self.report.facts["a full house says"] = said
        if "try again" not in said.lower():
            self._violated(f"a full house says {said!r}")
        start = time.monotonic()
        for path in ("", "config", "gradio_api/info", "theme.css"):
            (await self._http.get(path)).raise_for_status()
        await one.upload(self._photo(one))
        self.report.facts["page and upload in a full house, s"] = time.monotonic() - start
        start = time.monotonic()
        for fault in await self._vote(one) + await self._page_vote(one):
            self._violated(f"in a full house: {fault}")
        self.report.facts["two votes in a full house, s"] = time.monotonic() - start
        if len(self._provider.holding) != MODEL_SLOTS:
            self._violated("a vote waited until a model had replied")
        start, left = time.monotonic(), self._provider.hung_up
        for n, (visitor, task) in enumerate(zip(crowd, asking, strict=True)):
            if ways[n % len(ways)] == self._model and n % 2:
                await visitor.cancel("locate")
            task.cancel()
        if not await _soon(lambda: self._provider.hung_up - left == MODEL_SLOTS):
            self._violated(f"the provider saw {self._provider.hung_up - left} of {MODEL_SLOTS} leave")
        self.report.facts["until the provider saw all leave, s"] = time.monotonic() - start
        self._provider.delay_s = (0.0, 0.0)
        for faults in await asyncio.gather(self._model(one), self._model(other)):
            for fault in faults:
                self._violated(f"after others left: {fault}")

    async def _page_vote(self, visitor: Visitor) -> list[str]:
        (sent,) = await visitor.upload(self._photo(visitor))
        shown = await visitor.act("locate", [sent, "", "vote", "", None, 16, 16, "", "", "off", ""])
        return [] if "<code>" in shown[0] else ["the page showed no position"]

    async def _tab(self, visitor: Visitor) -> list[str]:
        """The page's tab for many photos; here only to wait in."""
        data = [await visitor.upload(*self._photos[visitor.number]), "openai", "m", None, 16, 16, "", "", "off", ""]
        await visitor.act("locate_all", data)
        return []

    def look_at(self, app: AppProcess) -> None:
        """End an app, and see whether it was well until then."""
        running, printed = app.runs(), app.stop()
        if not running or "Traceback" in printed:
            self._violated(f"the app {'printed' if running else 'ended and printed'}: {printed[-2000:]}")

    async def limits(self, http: httpx.AsyncClient) -> None:
        """Ask at the operator's expense, more than is allowed and all at once.

        Args:
            http: The connection to an app that has bounds.
        """
        self._provider.delay_s = (0.0, 0.2)
        outcomes: Counter[str] = Counter()

        async def ask(number: int, time: int) -> None:
            visitor = Visitor(http, number, self._visitors[0].page, f"poor{number}.{time}")
            try:
                for fault in await self._model(visitor, photo=self._photos[number][0]):
                    self._violated(f"limits: {fault}")
                outcomes["answered"] += 1
            except Refused as refusal:
                outcomes[re.sub(r"\d+", "N", str(refusal))] += 1

        visitors = min(8, len(self._visitors))
        await asyncio.gather(*(ask(n, time) for n in range(visitors) for time in range(PER_VISITOR + 2)))
        paid = Counter({mark: times for (key, mark), times in self._provider.asked.items() if key == OPERATOR})
        self.report.facts["limits"] = dict(outcomes)
        if paid.total() != TOTAL or outcomes["answered"] != TOTAL:
            self._violated(f"{paid.total()} photos were paid for, and {TOTAL} allowed")
        if max(paid.values(), default=0) > PER_VISITOR:
            self._violated(f"{max(paid.values())} photos were paid for one visitor, and {PER_VISITOR} allowed")
        if sum(1 for said in outcomes if said.startswith(("You've used your N", "This site's hourly"))) != 2:
            self._violated(f"those beyond the limits were told {sorted(outcomes)}")

    def _photo(self, visitor: Visitor) -> MarkedPhoto:
        return self._random.choice(self._photos[visitor.number])

    def _violated(self, what: str) -> None:
        self.report.violations.append(what)

    async def _sample(self, start: float) -> None:
        while True:
            self.report.samples.append((time.monotonic() - start, *_usage(self._app.pid)))
            await asyncio.sleep(1)

    def _judge_memory(self, seconds: float) -> None:
        """Fit a line through the memory after the warm-up."""
        rest = np.array([sample for sample in self.report.samples if sample[0] >= seconds * WARM_UP])
        if len(rest) < 3:
            return
        slope_mb_s = float(np.polyfit(rest[:, 0], rest[:, 1], 1)[0])
        growth = slope_mb_s * seconds * (1 - WARM_UP) / float(np.median(rest[:, 1]))
        self.report.facts |= {
            "memory, MB": float(np.median(rest[:, 1])),
            "memory's slope, MB/min": slope_mb_s * 60,
            "threads, most": int(rest[:, 2].max()),
            "open files, most": int(rest[:, 3].max()),
        }
        if seconds >= MEMORY_S and growth > MAX_GROWTH:
            self._violated(f"memory grew by {growth:.0%} after the warm-up")


async def run(folder: Path, size: Size) -> Report:
    """Run it all.

    Args:
        folder: For the photos and the app's uploads.
        size: How large.
    """
    photos = make_photos(folder, size.visitors, size.photos)
    with SlowProvider(size.delay_s) as provider:
        settings = {
            "IMG2LOC_BACKENDS": "vote,openai",
            "IMG2LOC_OPENAI_BASE_URL": provider.base_url,
            "IMG2LOC_OPENAI_MODEL": "m",
            "OPENAI_API_KEY": OPERATOR,
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
        }
        bounds = {"IMG2LOC_HOURLY_PER_VISITOR": str(PER_VISITOR), "IMG2LOC_HOURLY_TOTAL": str(TOTAL)}
        with AppProcess(**settings) as app:
            async with _client(app) as http:
                page = Page.read((await http.get("config")).json())
                load = Load(app, provider, http, page, photos, size)
                for number in range(size.sessions):
                    await Visitor(http, 10_000 + number, page, f"warm{number}").call("info", [])
                await load.settle()
                await load.full_house()
                await load.everybody()
            load.look_at(app)
        # At the operator's own address all requests count, those with a visitor's key too: so with an app of its own.
        with AppProcess(**settings, **bounds) as app:
            async with _client(app) as http:
                await load.limits(http)
            load.look_at(app)
        load.report.violations += provider.faults
        provider.faults.clear()
        return load.report


def _client(app: AppProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=app.address, timeout=180, limits=httpx.Limits(max_connections=None))


def _usage(pid: int) -> tuple[float, int, int]:
    """A process's resident memory in MB, threads and open files."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _asked(photo: object) -> list[object]:
    return [photo, "openai", "", 16, 16, "", "", "", ""]


async def _give_key(visitor: Visitor) -> None:
    """Type a visitor's key into the page's first field, which is OpenAI's."""
    others = [""] * (visitor.page.key_fields - 1)
    await visitor.act("take_keys", [None, visitor.page.key_labels, visitor.key, *others])


async def _soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + SOON_S
    while not holds() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return holds()


def main() -> int:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("load.json"))
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as name:
        sessions = MAX_SESSIONS if seconds >= MEMORY_S else 0
        report = asyncio.run(run(Path(name), Size(arguments.visitors, seconds, sessions=sessions)))
    arguments.out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    print("| request | answered | p50, s | p95, s | longest, s |\n|---|---|---|---|---|")
    for kind, waits in report.waits_s.items():
        p50, p95 = np.percentile(waits, [50, 95])
        print(f"| {kind} | {len(waits)} | {p50:.1f} | {p95:.1f} | {max(waits):.1f} |")
    for name, fact in report.facts.items():
        print(f"{name}: {fact:.2f}" if isinstance(fact, float) else f"{name}: {fact}")
    for violation in report.violations[:50]:
        print(f"VIOLATED: {violation}")
    print(f"{len(report.violations)} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())

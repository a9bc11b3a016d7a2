"""Asks about every photo of a data set, once: several at a time, within a budget, each answer kept at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Final

from img2loc.answer.prompt import DEFAULT_TEMPLATE
from img2loc.answer.recorder import Recorder
from img2loc.errors import LMMError, PhotoError, describe_failure
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.data.photos import Folder
from img2loc.evaluation.run.budget import Budget, Meter, Preview, preview
from img2loc.evaluation.run.journal import Journal
from img2loc.evaluation.run.record import (
    MISSING,
    NO_POSITION,
    UNAVAILABLE,
    UNEXPECTED,
    UNREADABLE,
    VOTED,
    Asking,
    Entry,
    Setup,
    area_of,
)
from img2loc.judge.sampling import requests_of
from img2loc.lmm import LMM, Turn
from img2loc.lmm.usage import MeteredLMM
from img2loc.locator import PROMPTS_APART, Ask, Exclude, Locator
from img2loc.photo.decode import Photo, open_photo, read_photo
from img2loc.types import Neighbour, Outcome, OutcomeKind, Prediction, Reply

FAILURES_IN_A_ROW: Final = 10  # so many without a success between them end a run: all would fail
FINISH_S = 5.0  # after an interruption, for requests under way
CUT_TWICE: Final = "The run was killed twice while the model was asked about this photo; it isn't asked a third time."

OnPhoto = Callable[[Entry], None]


def exclusion(item: Item, setup: Setup) -> Exclude:
    """Which neighbours of a photo don't count: itself, its author's, and its near-duplicates.

    Args:
        item: The photo.
        setup: What the run leaves out. Itself and its author can only be told where the gallery keeps records.
    """

    def excluded(neighbour: Neighbour) -> bool:
        record = neighbour.photo
        return (
            neighbour.similarity >= setup.near_duplicate
            or (setup.exclude_itself and record is not None and record.id == item.id)
            or (setup.exclude_author and record is not None and bool(item.author) and record.author == item.author)
        )

    return excluded


class _Mute:
    """Stands in for a model that is not to be asked."""

    name = model = "mute"

    def __init__(self, why: str) -> None:
        self._why = why

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Say nothing."""
        raise LMMError(self._why)


class Runner:
    """One run of a data set. Made and then run, or run again after a kill with the same journal.

    Args:
        locator: Encoder and gallery.
        lmm: The model; None for the vote.
        journal: Where everything is kept.
        folder: The photos.
        meter: Prices, and what earlier parts of the run used.
        concurrency: Photos at a time.
        retry_failed: Ask again about photos for which the provider failed.
        cancel: Set after an interruption, to give up the requests that are still under way then.

    Attributes:
        todo: The photos that are left and can be used.
        again: Ids of those that were cut short while being asked, and are asked once more.
        given_up: Ids of those that this befell twice: they count as failed, unless retry_failed.
    """

    def __init__(
        self,
        locator: Locator,
        lmm: LMM | None,
        journal: Journal,
        folder: Folder,
        *,
        meter: Meter,
        concurrency: int,
        retry_failed: bool = False,
        cancel: threading.Event | None = None,
    ) -> None:
        self._locator, self._journal, self._folder = locator, journal, folder
        self._meter, self._concurrency = meter, concurrency
        self._lmm = lmm
        self._cancel = cancel or threading.Event()
        self._setup = journal.record.header.setup
        record = journal.record
        unusable = {
            **dict.fromkeys(folder.missing, (MISSING, "The folder has no such photo.")),
            **dict.fromkeys(folder.ambiguous, (MISSING, "Several files of the folder have this name.")),
            **dict.fromkeys(folder.unavailable, (UNAVAILABLE, "The file says that the photo is no longer available.")),
        }
        absent = (MISSING, UNAVAILABLE)  # of earlier parts of the run; the photo may have been put there since
        done = {
            id_
            for id_, entry in record.entries.items()
            if not (retry_failed and entry.failed) and not (entry.kind in absent and id_ not in unusable)
        }
        left = [item for item in record.header.items if item.id not in done]
        self._unusable = [(item, *unusable[item.id]) for item in left if item.id in unusable]
        # Those that a kill interrupted come first, so that a second kill is less likely to strike them again.
        self.todo = sorted(
            (item for item in left if item.id not in unusable), key=lambda item: item.id not in record.under_way
        )
        cut = [item.id for item in self.todo if item.id in record.under_way]
        self.given_up = [] if retry_failed else [id_ for id_ in cut if record.asked[id_] > 1]
        self.again = [id_ for id_ in cut if id_ not in self.given_up]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._reason = ""
        self._failures = 0
        self._estimate_usd = 0.0  # of one photo, as far as it is known

    @property
    def left(self) -> int:
        """How many photos have no entry yet, or one that is to be replaced."""
        return len(self.todo) + len(self._unusable)

    def preview(self) -> Preview | None:
        """Estimate the cost, without any request; None for the vote."""
        if self._lmm is None:
            return None
        asked = len(self.todo) - len(self.given_up)
        prompt = max(self._sample_prompt().split(PROMPTS_APART), key=len)
        found = preview(asked, prompt, self._meter, requests=requests_of(self._setup.judge, self._setup.samples))
        if found.cost_usd is not None:
            self._estimate_usd = found.cost_usd / max(1, found.photos)
        return found

    def run(self, on_photo: OnPhoto = lambda entry: None, *, max_cost_usd: float | None = None) -> str:
        """Ask about every photo that is left.

        Args:
            on_photo: Called, in this thread, with what became of each.
            max_cost_usd: What the run may cost in all, earlier parts included; None for no limit. It takes effect only
                where prices are known, and is kept better after a preview. Budget says how far it may be passed.

        Returns:
            Why the run stopped before its end; empty when it is whole.
        """
        budget = self._budget(max_cost_usd)
        for item, kind, message in self._unusable:
            self._journal.add(entry := Entry(item.id, kind, message=message))
            on_photo(entry)
        with ThreadPoolExecutor(self._concurrency, "evaluate") as pool:
            futures: list[Future[Entry | None]] = []
            try:
                # The first goes alone and loads what the others then share; all at once, each would load it.
                for items in (self.todo[:1], self.todo[1:]):
                    futures = [pool.submit(self._photo, item, budget) for item in items]
                    for future in as_completed(futures):
                        if (done := future.result()) is not None:
                            on_photo(done)
            except BaseException:
                self._stop.set()  # what is under way is still written down; nothing new begins
                try:
                    wait([future for future in futures if not future.cancel()], timeout=FINISH_S)
                finally:
                    self._cancel.set()
                raise
        return self._reason

    def _photo(self, item: Item, budget: Budget) -> Entry | None:
        if self._stop.is_set():
            return None
        try:
            photo = open_photo(read_photo(self._folder.paths[item.id]))
        except PhotoError as error:
            entry = Entry(item.id, UNREADABLE, message=str(error))
            self._journal.add(entry)
            return entry
        if self._lmm is not None and item.id not in self.given_up:
            return self._ask(item, photo, self._lmm, budget)
        entry = self._entry(item, photo, None if self._lmm is None else _Mute(CUT_TWICE))
        self._journal.add(entry)
        if self._lmm is None:
            self._count_failures(entry)
        return entry

    def _ask(self, item: Item, photo: Photo, lmm: LMM, budget: Budget) -> Entry | None:
        """Ask the model about a photo, within the budget."""
        if not budget.begin(item.id):
            limit, spent = budget.limit_usd or 0.0, self._meter.spent.cost_usd or 0.0
            self._end(f"The next photo could bring the cost beyond the limit of ${limit:,.2f}; spent: ${spent:,.4f}.")
            return None
        try:
            if self._stop.is_set():  # while it waited for its turn
                return None
            numbers = count(1)
            metered = MeteredLMM(
                lmm,
                on_request=lambda most: self._journal.asking(Asking(item.id, next(numbers), most)),
                on_usage=lambda usage: budget.add(item.id, self._meter.add(usage)),
            )
            entry = self._entry(item, photo, Recorder(metered, self._cancel))
            entry = replace(entry, used=tuple(metered.used))
            if self._cancel.is_set() and entry.failed and not entry.replies:
                return None  # as after a kill: it is asked again when the run goes on
            self._journal.add(entry)
        except BaseException:  # an interrupt, or a disk that is full: no further photo may begin meanwhile
            self._stop.set()
            raise
        finally:
            budget.end(item.id)
        self._count_failures(entry)
        return entry

    def _entry(self, item: Item, photo: Photo, lmm: LMM | None) -> Entry:
        """Locate a photo; an error that nobody expected is its failure alone, and replies that came are kept."""
        try:
            return _entry(item, self._locate(item, photo, lmm))
        except Exception as error:
            message = describe_failure(error)
            replies = tuple(lmm.replies) if isinstance(lmm, Recorder) else ()
            outcome = Outcome(OutcomeKind.PROVIDER_ERROR, message=message, replies=replies) if replies else None
            return Entry(item.id, UNEXPECTED, message=message, outcome=outcome)

    def _locate(self, item: Item, photo: Photo, lmm: LMM | None) -> Prediction:
        setup = self._setup
        ask = Ask(
            lmm=lmm,
            nearest=setup.nearest,
            farthest=setup.farthest,
            template=setup.template or DEFAULT_TEMPLATE,
            samples=setup.samples,
            judge=setup.judge,
            within=area_of(item, setup),
            exclude=exclusion(item, setup),
        )
        return self._locator.locate(photo, ask)

    def _sample_prompt(self) -> str:
        for item in self._journal.record.header.items:
            with suppress(Exception):  # the run itself will say what is wrong with this photo
                photo = open_photo(read_photo(self._folder.paths[item.id]))
                return self._locate(item, photo, _Mute("Not asked.")).prompt
        return ""

    def _budget(self, limit_usd: float | None) -> Budget:
        """What is left of a limit, with the highest cost of a photo so far, lost replies included."""
        record = self._journal.record
        photos = (*(entry.usages for entry in record.entries.values()), *record.under_way.values())
        highest_usd = max([self._estimate_usd, *map(self._meter.cost_usd, photos)])
        return Budget(limit_usd, spent_usd=self._meter.spent.cost_usd or 0.0, highest_usd=highest_usd)

    def _count_failures(self, entry: Entry) -> None:
        with self._lock:
            self._failures = self._failures + 1 if entry.failed else 0
            if self._failures >= FAILURES_IN_A_ROW:
                message = entry.message or (entry.outcome.message if entry.outcome else "")
                self._end(f"{self._failures} photos failed in a row, the last one so: {message}")

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stop.set()


def _entry(item: Item, prediction: Prediction) -> Entry:
    outcome = prediction.outcome
    return Entry(
        id=item.id,
        kind=outcome.kind.value if outcome else (VOTED if prediction.position else NO_POSITION),
        position=prediction.position,
        vote=prediction.vote,
        nearest=prediction.retrieval.nearest,
        farthest=prediction.retrieval.farthest,
        prompt_sha256=hashlib.sha256(prediction.prompt.encode()).hexdigest() if prediction.prompt else "",
        outcome=outcome,
        timings=prediction.timings,
        candidates=prediction.candidates,
        choice=prediction.choice,
        radius_km=prediction.radius_km if prediction.probability else None,
        probability=prediction.probability,
    )

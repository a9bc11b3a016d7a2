"""Locates every photo of a data set once: several at a time, within a budget, each answer recorded at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from img2loc.answer.prompt import DEFAULT_TEMPLATE
from img2loc.answer.recorder import Recorder
from img2loc.errors import LMMError, PhotoError, describe_failure
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.data.photos import Folder
from img2loc.evaluation.run.budget import Budget, Meter, Preview
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
from img2loc.locator import PROMPT_SEPARATOR, Ask, Exclude, Locator
from img2loc.photo.decode import Photo, open_photo, read_photo
from img2loc.types import Neighbour, Outcome, OutcomeKind, Prediction, Reply

FAILURES_IN_A_ROW: Final = 10  # this many end the run, since the rest would probably fail too
FINISH_S = 5.0  # how long requests under way may take after an interruption
KILLED_TWICE: Final = "The run was killed twice while asking about this photo; the run won't ask about it again."

OnPhoto = Callable[[Entry], None]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that a run asks."""

    lmm: LMM
    meter: Meter  # its prices, and what the run has used so far, earlier parts included
    cancel: threading.Event  # set after an interruption, to abandon the requests that are still under way


def exclusion(item: Item, setup: Setup) -> Exclude:
    """Which neighbours of a photo are left out: itself, its author's photos, and near-duplicates.

    The photo itself and photos by its author are recognised only if the gallery has records.
    """

    def excluded(neighbour: Neighbour) -> bool:
        record = neighbour.photo
        return (
            neighbour.similarity >= setup.near_duplicate
            or (setup.exclude_itself and record is not None and record.id == item.id)
            or (setup.exclude_author and record is not None and bool(item.author) and record.author == item.author)
        )

    return excluded


class _NoReply:
    """Stands in for a model that must not be asked."""

    name = model = "none"

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Send nothing."""
        raise LMMError(self._reason)


class Runner:
    """One run over a data set. After a kill, a new one with the same journal continues it.

    Args:
        locator: Encoder and gallery.
        model: None for the vote.
        journal: Where every result is recorded.
        folder: The photos.
        concurrency: Photos at a time.
        retry_failed: Ask again about photos for which the provider or the program failed.

    Attributes:
        todo: The photos that remain and can be used.
        again: Ids of those that a kill interrupted; they are asked about once more.
        given_up: Ids of those that were interrupted twice; they count as failed, unless retry_failed.
    """

    def __init__(
        self,
        locator: Locator,
        model: Model | None,
        journal: Journal,
        folder: Folder,
        *,
        concurrency: int,
        retry_failed: bool = False,
    ) -> None:
        self.journal, self.model = journal, model
        self._locator, self._folder, self._concurrency = locator, folder, concurrency
        record = journal.record
        self._setup = record.header.setup
        unusable = {
            **dict.fromkeys(folder.missing, (MISSING, "The folder has no such photo.")),
            **dict.fromkeys(folder.ambiguous, (MISSING, "Several files in the folder have this name.")),
            **dict.fromkeys(folder.unavailable, (UNAVAILABLE, "The file says that the photo is no longer available.")),
        }
        done = {
            id_
            for id_, entry in record.entries.items()
            if not (retry_failed and entry.failed)
            # The photo may have been added to the folder since an earlier part of the run.
            and not (entry.kind in (MISSING, UNAVAILABLE) and id_ not in unusable)
        }
        remaining = [item for item in record.header.items if item.id not in done]
        self._unusable = [(item, *unusable[item.id]) for item in remaining if item.id in unusable]
        # Those that a kill interrupted come first, so that a second kill is less likely to hit them again.
        self.todo = sorted(
            (item for item in remaining if item.id not in unusable), key=lambda item: item.id not in record.under_way
        )
        interrupted = [item.id for item in self.todo if item.id in record.under_way]
        self.given_up = [] if retry_failed else [id_ for id_ in interrupted if record.attempts[id_] > 1]
        self.again = [id_ for id_ in interrupted if id_ not in self.given_up]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._reason = ""
        self._failures = 0
        self._estimate_usd = 0.0  # of one photo

    @property
    def left(self) -> int:
        """How many photos have no entry yet, or one that is to be replaced."""
        return len(self.todo) + len(self._unusable)

    def preview(self) -> Preview | None:
        """Estimate the cost, without any request; None for the vote."""
        if self.model is None:
            return None
        photos = len(self.todo) - len(self.given_up)
        prompt = max(self._sample_prompt().split(PROMPT_SEPARATOR), key=len)
        requests = requests_of(self._setup.judge, self._setup.samples)
        estimate = self.model.meter.preview(photos, prompt, requests=requests)
        if estimate.cost_usd is not None:
            self._estimate_usd = estimate.cost_usd / max(1, photos)
        return estimate

    def run(self, on_photo: OnPhoto = lambda entry: None, *, max_cost_usd: float | None = None) -> str:
        """Locate every photo that is left.

        Args:
            on_photo: Called in this thread with the result for each.
            max_cost_usd: What the run may cost, earlier parts included; None for no limit. No effect if prices are
                unknown. Call `preview` first: its estimate is reserved for the first photos. Budget says by how much
                the limit may be exceeded.

        Returns:
            Why the run stopped early; empty if it is complete.
        """
        budget = self._budget(max_cost_usd)
        for item, kind, message in self._unusable:
            self.journal.add(entry := Entry(item.id, kind, message=message))
            on_photo(entry)
        with ThreadPoolExecutor(self._concurrency, "evaluate") as pool:
            futures: list[Future[Entry | None]] = []
            try:
                # The first goes alone and loads what the others share; otherwise each would load it.
                for items in (self.todo[:1], self.todo[1:]):
                    futures = [pool.submit(self._photo, item, budget) for item in items]
                    for future in as_completed(futures):
                        if (result := future.result()) is not None:
                            on_photo(result)
            except BaseException:
                self._stop.set()  # results under way are still recorded; nothing new begins
                try:
                    wait([future for future in futures if not future.cancel()], timeout=FINISH_S)
                finally:
                    if self.model is not None:
                        self.model.cancel.set()
                raise
        return self._reason

    def _photo(self, item: Item, budget: Budget) -> Entry | None:
        if self._stop.is_set():
            return None
        try:
            photo = open_photo(read_photo(self._folder.paths[item.id]))
        except PhotoError as error:
            entry = Entry(item.id, UNREADABLE, message=str(error))
            self.journal.add(entry)
            return entry
        if self.model is not None and item.id not in self.given_up:
            return self._ask(item, photo, self.model, budget)
        entry = self._answer(item, photo, None if self.model is None else _NoReply(KILLED_TWICE))
        self.journal.add(entry)
        if self.model is None:
            self._count_failures(entry)
        return entry

    def _ask(self, item: Item, photo: Photo, model: Model, budget: Budget) -> Entry | None:
        if not budget.begin(item.id):
            limit, spent = budget.limit_usd or 0.0, model.meter.spent.cost_usd or 0.0
            self._end(f"The next photo could exceed the limit of ${limit:,.2f}; spent so far: ${spent:,.4f}.")
            return None
        try:
            if self._stop.is_set():  # while it waited for the budget
                return None
            numbers = count(1)
            metered = MeteredLMM(
                model.lmm,
                on_request=lambda most: self.journal.asking(Asking(item.id, next(numbers), most)),
                on_usage=lambda usage: budget.add(item.id, model.meter.add(usage)),
            )
            entry = self._answer(item, photo, Recorder(metered, model.cancel))
            entry = replace(entry, used=tuple(metered.used))
            if model.cancel.is_set() and entry.failed and not entry.replies:
                return None  # as after a kill, it is asked about again when the run continues
            self.journal.add(entry)
        except BaseException:  # an interrupt, or a full disk: no further photo may begin meanwhile
            self._stop.set()
            raise
        finally:
            budget.end(item.id)
        self._count_failures(entry)
        return entry

    def _answer(self, item: Item, photo: Photo, lmm: LMM | None) -> Entry:
        """Locate a photo. An unexpected error fails this photo only, and keeps the replies that came."""
        try:
            return entry_of(item, self._locate(item, photo, lmm))
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
        for item in self.journal.record.header.items:
            with suppress(Exception):  # the run itself reports what is wrong with this photo
                photo = open_photo(read_photo(self._folder.paths[item.id]))
                return self._locate(item, photo, _NoReply("Not asked.")).prompt
        return ""

    def _budget(self, limit_usd: float | None) -> Budget:
        """The budget that is left, with the highest cost of a photo so far, lost replies included."""
        if self.model is None:
            return Budget(None, spent_usd=0.0, highest_usd=0.0)
        record, meter = self.journal.record, self.model.meter
        photos = (*(entry.usages for entry in record.entries.values()), *record.under_way.values())
        highest_usd = max([self._estimate_usd, *map(meter.cost_usd, photos)])
        return Budget(limit_usd, spent_usd=meter.spent.cost_usd or 0.0, highest_usd=highest_usd)

    def _count_failures(self, entry: Entry) -> None:
        with self._lock:
            self._failures = self._failures + 1 if entry.failed else 0
            if self._failures >= FAILURES_IN_A_ROW:
                message = entry.message or (entry.outcome.message if entry.outcome else "")
                self._end(f"{self._failures} photos failed in a row. The last failure: {message}")

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stop.set()


def entry_of(item: Item, prediction: Prediction) -> Entry:
    """The journal's entry for a prediction."""
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
        message=prediction.note,
        timings=prediction.timings,
        candidates=prediction.candidates,
        choice=prediction.choice,
        radius_km=prediction.radius_km if prediction.probability else None,
        probability=prediction.probability,
    )

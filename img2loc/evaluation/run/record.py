"""What a run is made of, what became of each photo, and what is known of both from its journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from img2loc.evaluation.data.datasets import Item
from img2loc.geo.areas import Area, country_of, read_area
from img2loc.judge.sampling import Judge, requests_of
from img2loc.lmm.request import MAX_OUTPUT_TOKENS
from img2loc.lmm.usage import MAX_PHOTO_TOKENS, Usage, usage_of
from img2loc.types import Candidate, LatLon, Neighbour, Outcome, OutcomeKind, Reply, Vote

VERSION: Final = 1

# How a photo ended, beside OutcomeKind's: there was no model to ask, or nothing to ask it about.
VOTED: Final = "voted"
NO_POSITION: Final = "no_position"
MISSING: Final = "missing"
UNAVAILABLE: Final = "unavailable"
UNREADABLE: Final = "unreadable"
UNEXPECTED: Final = "unexpected_error"
NOT_RUN: Final = "not_run"

# The most that a request may use whose prompt isn't known: 50 + 50 lines of a list, and the template.
_MAX_USAGE: Final = Usage(MAX_PHOTO_TOKENS + 25_000, MAX_OUTPUT_TOKENS, exact=False)

OWN_COUNTRY: Final = "own-country"  # of Setup.within


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is made of; one that is resumed must have the same.

    Args:
        dataset: The data set's exact name.
        backend: Who answers.
        model: The model's name, as it was asked for; empty for the vote.
        server: The server asked: a preset's name or a host; empty where there is none to choose.
        temperature: Asked for; None for the provider's own.
        samples: How often each photo is asked.
        gallery: The gallery's name.
        gallery_sha256: Of its manifest.
        gallery_count: How many positions it holds.
        encoder: What embeds the photos.
        template: The prompt's text; empty for the vote.
        nearest: How many of the most similar photos are retrieved for the prompt.
        farthest: How many of the most dissimilar.
        exclude_itself: Neighbours with the query's id are left out.
        exclude_author: Neighbours by the query's author are left out.
        near_duplicate: Neighbours at least this similar are left out.
        within: Where all photos are taken to be, in words; OWN_COUNTRY for each in the country of its truth; empty for
            anywhere.
        judge: How the model is asked where its answers are judged; None where nothing is.
    """

    dataset: str
    backend: str
    model: str
    server: str
    temperature: float | None
    samples: int
    gallery: str
    gallery_sha256: str
    gallery_count: int
    encoder: str
    template: str
    nearest: int
    farthest: int
    exclude_itself: bool
    exclude_author: bool
    near_duplicate: float
    judge: Judge | None = None
    within: str = ""


def area_of(item: Item, setup: Setup) -> Area | None:
    """Where a photo is taken to be: as the run says, or in the country of its truth, at sea anywhere."""
    return country_of(item.position) if setup.within == OWN_COUNTRY else read_area(setup.within)


@dataclass(frozen=True, slots=True)
class Header:
    """A journal's first line.

    Args:
        setup: What the run is made of.
        items: The ground truth, whole: N comes from here.
        notes: What was odd about the listing or the photos.
        started: The day, as YYYY-MM-DD.
        version: Of this format.
    """

    setup: Setup
    items: tuple[Item, ...]
    notes: tuple[str, ...]
    started: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one photo.

    Args:
        id: The photo's.
        kind: An OutcomeKind's value where a model was asked, else one of this module's.
        position: The system's answer: the model's, else the vote's.
        vote: The neighbours' vote.
        nearest: The neighbours retrieved, most similar first.
        farthest: Most dissimilar first.
        prompt_sha256: Of the exact text sent; empty where none was.
        outcome: How asking the model ended, with every reply as it came.
        message: Why there is nothing else, for a photo that could not be used or whose work failed.
        timings: Seconds of each stage.
        candidates: What was judged, the best first.
        choice: How asking the model to choose among them ended; None when it wasn't.
        radius_km: The answer's, where it is calibrated; None else.
        probability: With which it should hold the truth; likewise.
        used: What each request is counted with, answered or not; None in older journals.
    """

    id: str
    kind: str
    position: LatLon | None = None
    vote: Vote | None = None
    nearest: tuple[Neighbour, ...] = ()
    farthest: tuple[Neighbour, ...] = ()
    prompt_sha256: str = ""
    outcome: Outcome | None = None
    message: str = ""
    timings: tuple[tuple[str, float], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    choice: Outcome | None = None
    radius_km: float | None = None
    probability: float | None = None
    used: tuple[Usage, ...] | None = ()

    @property
    def usages(self) -> tuple[Usage, ...]:
        """What each request is counted with; of older journals only those that were answered."""
        return tuple(usage_of(reply, _MAX_USAGE) for reply in self.replies) if self.used is None else self.used

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Every reply that was paid for."""
        return tuple(reply for outcome in (self.outcome, self.choice) if outcome for reply in outcome.replies)

    @property
    def failed(self) -> bool:
        """Whether the provider or the program, not the model, is to blame, so that asking again may help."""
        return self.kind in (OutcomeKind.PROVIDER_ERROR, UNEXPECTED)


@dataclass(frozen=True, slots=True)
class Asking:
    """A line of a journal that says that a request about a photo is about to be sent.

    Args:
        id: The photo's.
        number: Which of the photo's requests it is, from 1.
        most: The most that it may use.
    """

    id: str
    number: int
    most: Usage


@dataclass
class Record:
    """What a journal holds.

    Args:
        header: Its first line.
        entries: The last entry of each photo, by id.
        asked: How often each photo was asked in all.
        under_way: The most that each request may use that no entry follows, by the photo's id. If the run was cut
            short, the replies are lost, and may be billed.
        settled: What each other request is counted with, of superseded entries too.
    """

    header: Header
    entries: dict[str, Entry] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, list[Usage]] = field(default_factory=dict)
    settled: list[Usage] = field(default_factory=list)

    @property
    def used(self) -> list[Usage]:
        """What each request of the run is counted with."""
        return [*self.settled, *(usage for usages in self.under_way.values() for usage in usages)]

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        self.entries[entry.id] = entry
        sent = self.under_way.pop(entry.id, [])
        count = self._planned if entry.used is None else len(entry.used)
        lost = sent[: max(0, len(sent) - count)]  # by an earlier part of the run
        self.settled += [*lost, *entry.usages]

    def add_asking(self, asking: Asking) -> None:
        """Take in that a request is about to be sent."""
        self.asked[asking.id] = self.asked.get(asking.id, 0) + (asking.number == 1)
        self.under_way.setdefault(asking.id, []).append(asking.most)

    def add_old_asking(self, id_: str) -> None:
        """Take in that a photo is about to be asked about, however often: older journals say no more."""
        for number in range(1, self._planned + 1):
            self.add_asking(Asking(id_, number, _MAX_USAGE))

    @property
    def _planned(self) -> int:
        """How many requests a photo takes."""
        return requests_of(self.header.setup.judge, self.header.setup.samples)

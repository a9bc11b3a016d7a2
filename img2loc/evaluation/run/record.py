"""What a journal records: how the run is set up, the result for each photo, and which requests may be billed."""

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

# Results beside OutcomeKind's: no model was asked.
VOTED: Final = "voted"
NO_POSITION: Final = "no_position"
MISSING: Final = "missing"
UNAVAILABLE: Final = "unavailable"
UNREADABLE: Final = "unreadable"
UNEXPECTED: Final = "unexpected_error"
NOT_RUN: Final = "not_run"

# The most that a request can use if its prompt is unknown: a list of 50 + 50 lines, and the template.
_MAX_USAGE: Final = Usage(MAX_PHOTO_TOKENS + 25_000, MAX_OUTPUT_TOKENS, exact=False)

OWN_COUNTRY: Final = "own-country"  # a value of Setup.within


@dataclass(frozen=True, slots=True)
class Setup:
    """How a run is set up; a resumed run must have the same setup."""

    dataset: str  # the data set's exact name
    backend: str  # who answers
    model: str  # the model's name as requested; empty for the vote
    server: str  # a known server's name, or a host; empty if the backend has no choice of servers
    temperature: float | None  # None for the provider's default
    samples: int  # how often each prompt is sent
    gallery: str
    gallery_sha256: str  # of its manifest
    gallery_count: int  # how many positions it holds
    encoder: str  # what embeds the photos
    template: str  # the prompt's text; empty for the vote
    nearest: int  # how many of the most similar photos the prompt lists
    farthest: int  # how many of the most dissimilar
    exclude_itself: bool  # whether neighbours with the photo's own id are left out
    exclude_author: bool  # whether neighbours by the photo's own author are left out
    near_duplicate: float  # neighbours at least this similar are left out
    judge: Judge | None = None  # the prompts whose answers are judged; None if nothing is judged
    # The area that all photos are known to be from; OWN_COUNTRY for the country of each photo's true position; empty
    # for anywhere.
    within: str = ""


def area_of(item: Item, setup: Setup) -> Area | None:
    """The area that answers for a photo must lie in; None for anywhere, as for a photo taken at sea."""
    return country_of(item.position) if setup.within == OWN_COUNTRY else read_area(setup.within)


@dataclass(frozen=True, slots=True)
class Header:
    """A journal's first line."""

    setup: Setup
    items: tuple[Item, ...]  # the complete ground truth; N is the number of these
    notes: tuple[str, ...]  # what a report must say about the listing, the photos and the gallery
    started: str  # the day, as YYYY-MM-DD
    version: int = VERSION  # of this format


@dataclass(frozen=True, slots=True)
class Entry:
    """The result for one photo."""

    id: str
    kind: str  # an OutcomeKind's value if a model was asked, else one of this module's
    position: LatLon | None = None  # the system's answer: the model's, else the vote's
    vote: Vote | None = None
    nearest: tuple[Neighbour, ...] = ()  # the most similar neighbours, in order
    farthest: tuple[Neighbour, ...] = ()  # the most dissimilar neighbours, in order
    prompt_sha256: str = ""  # of the exact text sent; empty if none was
    outcome: Outcome | None = None  # how asking the model ended, with every raw reply
    message: str = ""  # why a photo could not be used, what is missing of it, or what failed
    timings: tuple[tuple[str, float], ...] = ()  # seconds of each stage
    candidates: tuple[Candidate, ...] = ()  # what was judged, best first
    choice: Outcome | None = None  # how asking the model to choose among them ended; None if it wasn't asked
    radius_km: float | None = None  # the answer's calibrated radius; None without a calibration
    probability: float | None = None  # with which that radius should contain the true position; None likewise
    used: tuple[Usage, ...] | None = ()  # the tokens counted for each request, answered or not; None in older journals

    @property
    def usages(self) -> tuple[Usage, ...]:
        """The tokens counted for each request; in older journals only for those that were answered."""
        return tuple(usage_of(reply, _MAX_USAGE) for reply in self.replies) if self.used is None else self.used

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Every reply that was paid for."""
        return tuple(reply for outcome in (self.outcome, self.choice) if outcome for reply in outcome.replies)

    @property
    def failed(self) -> bool:
        """Whether the provider or the program failed, not the model, so that asking again may help."""
        return self.kind in (OutcomeKind.PROVIDER_ERROR, UNEXPECTED)


@dataclass(frozen=True, slots=True)
class Asking:
    """A journal's line before a request is sent."""

    id: str
    number: int  # which of the photo's requests it is, from 1
    most: Usage  # the most tokens that it can use


@dataclass
class Record:
    """The content of a journal."""

    header: Header  # its first line
    entries: dict[str, Entry] = field(default_factory=dict)  # the last entry of each photo, by id
    # How often the model was asked about each photo, over all parts of the run.
    attempts: dict[str, int] = field(default_factory=dict)
    # By photo id, the most tokens for each request that no entry follows yet. If the run was killed, those replies
    # are lost and may still be billed.
    under_way: dict[str, list[Usage]] = field(default_factory=dict)
    # The tokens counted for every other request, those of replaced entries included.
    settled: list[Usage] = field(default_factory=list)

    @property
    def used(self) -> list[Usage]:
        """The tokens counted for every request of the run."""
        return [*self.settled, *(usage for usages in self.under_way.values() for usage in usages)]

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self.entries[entry.id] = entry
        sent = self.under_way.pop(entry.id, [])
        count = self._requests_per_photo if entry.used is None else len(entry.used)
        lost = sent[: max(0, len(sent) - count)]  # sent by a part of the run that was killed
        self.settled += [*lost, *entry.usages]

    def add_asking(self, asking: Asking) -> None:
        """Add a request that is about to be sent."""
        self.attempts[asking.id] = self.attempts.get(asking.id, 0) + (asking.number == 1)
        self.under_way.setdefault(asking.id, []).append(asking.most)

    def add_old_asking(self, id_: str) -> None:
        """Add an older journal's line, which only says that a photo's requests are about to be sent."""
        for number in range(1, self._requests_per_photo + 1):
            self.add_asking(Asking(id_, number, _MAX_USAGE))

    @property
    def _requests_per_photo(self) -> int:
        return requests_of(self.header.setup.judge, self.header.setup.samples)

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
    """How a run is set up; a resumed run must have the same setup.

    Args:
        dataset: The data set's exact name.
        backend: Who answers.
        model: The model's name as requested; empty for the vote.
        server: A known server's name, or a host; empty if the backend has no choice of servers.
        temperature: None for the provider's default.
        samples: How often each prompt is sent.
        gallery: The gallery's name.
        gallery_sha256: Of its manifest.
        gallery_count: How many positions it holds.
        encoder: What embeds the photos.
        template: The prompt's text; empty for the vote.
        nearest: How many of the most similar photos the prompt lists.
        farthest: How many of the most dissimilar.
        exclude_itself: Whether neighbours with the photo's own id are left out.
        exclude_author: Whether neighbours by the photo's own author are left out.
        near_duplicate: Neighbours at least this similar are left out.
        judge: The prompts whose answers are judged; None if nothing is judged.
        within: The area that all photos are known to be from; OWN_COUNTRY for the country of each photo's true
            position; empty for anywhere.
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
    """The area that answers for a photo must lie in; None for anywhere, as for a photo taken at sea."""
    return country_of(item.position) if setup.within == OWN_COUNTRY else read_area(setup.within)


@dataclass(frozen=True, slots=True)
class Header:
    """A journal's first line.

    Args:
        setup: How the run is set up.
        items: The complete ground truth; N is the number of these.
        notes: What a report must say about the listing, the photos and the gallery.
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
    """The result for one photo.

    Args:
        id: The photo's.
        kind: An OutcomeKind's value if a model was asked, else one of this module's.
        position: The system's answer: the model's, else the vote's.
        vote: The neighbours' vote.
        nearest: The most similar neighbours, in order.
        farthest: The most dissimilar neighbours, in order.
        prompt_sha256: Of the exact text sent; empty if none was.
        outcome: How asking the model ended, with every raw reply.
        message: Why a photo could not be used, or what failed.
        timings: Seconds of each stage.
        candidates: What was judged, best first.
        choice: How asking the model to choose among them ended; None if it wasn't asked.
        radius_km: The answer's calibrated radius; None without a calibration.
        probability: With which that radius should contain the true position; None likewise.
        used: The tokens counted for each request, answered or not; None in older journals.
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
    """A journal's line before a request is sent.

    Args:
        id: The photo's.
        number: Which of the photo's requests it is, from 1.
        most: The most tokens that it can use.
    """

    id: str
    number: int
    most: Usage


@dataclass
class Record:
    """The content of a journal.

    Args:
        header: Its first line.
        entries: The last entry of each photo, by id.
        attempts: How often the model was asked about each photo, over all parts of the run.
        under_way: By photo id, the most tokens for each request that no entry follows yet. If the run was killed, those
            replies are lost and may still be billed.
        settled: The tokens counted for every other request, those of replaced entries included.
    """

    header: Header
    entries: dict[str, Entry] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, list[Usage]] = field(default_factory=dict)
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

"""What a run is made of, what became of each photo, and what is known of both from its journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from img2loc.area import Area, country_of, read_area
from img2loc.evaluation.datasets import Item
from img2loc.sampling import Judge
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

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Every reply that was paid for."""
        return tuple(reply for outcome in (self.outcome, self.choice) if outcome for reply in outcome.replies)

    @property
    def failed(self) -> bool:
        """Whether the provider or the program, not the model, is to blame, so that asking again may help."""
        return self.kind in (OutcomeKind.PROVIDER_ERROR, UNEXPECTED)


@dataclass
class Record:
    """What a journal holds.

    Args:
        header: Its first line.
        entries: The last entry of each photo, by id.
        asked: How often each photo was asked in all.
        interrupted: Ids that were being asked when the run was cut short: their replies, perhaps paid for, are lost.
        paid: Every reply that came, of superseded entries too.
        lost: How often a photo was asked without an entry after it: those replies, too, may have been paid for.
    """

    header: Header
    entries: dict[str, Entry] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    interrupted: set[str] = field(default_factory=set)
    paid: list[Reply] = field(default_factory=list)
    lost: int = 0

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        self.entries[entry.id] = entry
        self.lost -= entry.id in self.interrupted
        self.interrupted.discard(entry.id)
        self.paid += entry.replies

    def add_asking(self, id_: str) -> None:
        """Take in that a photo is about to be asked."""
        self.asked[id_] = self.asked.get(id_, 0) + 1
        self.interrupted.add(id_)
        self.lost += 1

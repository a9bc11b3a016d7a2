"""The values that pass between stages: frozen, and checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


@dataclass(frozen=True, slots=True)
class LatLon:
    """A position on Earth.

    Raises:
        ValueError: A value is not finite or out of range. Nothing is clamped.
    """

    lat: float  # degrees, [-90, 90], WGS-84
    lon: float  # degrees, [-180, 180); 180 becomes -180, which is the same meridian

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lat) and -90 <= self.lat <= 90):
            raise ValueError(f"latitude must be between -90 and 90 degrees, not {self.lat!r}")
        if not (math.isfinite(self.lon) and -180 <= self.lon <= 180):
            raise ValueError(f"longitude must be between -180 and 180 degrees, not {self.lon!r}")
        if self.lon == 180:
            object.__setattr__(self, "lon", -180.0)

    def __str__(self) -> str:
        return f"{self.lat:.5f}, {self.lon:.5f}"


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """Where a gallery's photo comes from; empty strings where unknown."""

    id: str
    author: str = ""
    url: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A gallery photo that was found for a query."""

    row: int  # in the gallery, from 0
    position: LatLon
    similarity: float  # cosine of the two embeddings, [-1, 1]
    photo: PhotoRecord | None = None  # None where the gallery keeps no records


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The neighbours of a query."""

    nearest: tuple[Neighbour, ...]  # the most similar photos, similarity falling
    farthest: tuple[Neighbour, ...]  # the least similar photos, similarity rising


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer without a model: the mode of the neighbours' density."""

    position: LatLon
    radius_km: float  # half of the density lies within this great-circle distance of the mode
    neighbours: int  # how many voted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place where the photo may have been taken; its score combines the shares below it, see judge/candidates.py."""

    position: LatLon
    score: float  # all candidates' scores sum to 1
    answers: int  # how many of the model's answers lie here
    agreement: float  # share of the model's answers, weighted by how close together they lie
    density: float  # share of the neighbours' density
    likelihood: float  # share of how well the photo fits the places; 0 for all where the gallery has no such encoder
    choice: float = 0.0  # 1 for the one that the model chose among the best; 0 for all where it chose none


@dataclass(frozen=True, slots=True)
class Place:
    """The populated place nearest to a position."""

    city: str  # empty where an answer is coarser
    country: str
    country_code: str  # ISO 3166-1 alpha-2
    distance_km: float  # on a great circle, from the position

    def __str__(self) -> str:
        near = "" if self.distance_km < 15 else f"{self.distance_km:,.0f} km from "
        return near + ", ".join(filter(None, (self.city, self.country)))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a large multimodal model sent back."""

    text: str
    model: str  # as the provider calls it
    latency_s: float
    input_tokens: int | None = None  # as counted by the provider; None where it gives no believable number
    output_tokens: int | None = None  # likewise
    refused: bool = False  # the provider flagged the reply as a refusal
    truncated: bool = False  # at the token limit


class OutcomeKind(StrEnum):
    """How asking a model ended."""

    ANSWERED = "answered"  # its first reply gave a position
    REPAIRED = "repaired"  # its second reply did
    REFUSED = "refused"
    UNPARSEABLE = "unparseable"
    OUTSIDE = "outside"  # twice, of the area where the photo is known to have been taken
    PROVIDER_ERROR = "provider_error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How asking a model ended, with a position only where it gave one."""

    kind: OutcomeKind
    position: LatLon | None = None  # None unless answered or repaired
    place: str = ""  # as the model wrote it
    reasoning: str = ""  # as the model wrote it
    message: str = ""  # what a person should know of a failure
    replies: tuple[Reply, ...] = ()  # in order

    def __post_init__(self) -> None:
        if (self.position is not None) != (self.kind in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED)):
            raise ValueError(f"an outcome of kind {self.kind} with position {self.position}")


Method = Literal["lmm", "vote", "judge", "none"]  # who answered: the model, the vote, the judge or nobody


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a photo was taken, with the evidence."""

    position: LatLon | None  # None where nobody answered: there were no neighbours and no model's answer
    # The vote's radius, or the candidates' spread where they were judged; None for a model's exact answer. A coarse
    # answer always has a rounded one, and a calibrated answer the radius that belongs to its probability.
    radius_km: float | None
    method: Method
    place: Place | None
    vote: Vote | None  # None only where there were no neighbours
    retrieval: Retrieval  # as many neighbours as were asked for
    prompt: str  # the exact text that was sent to the model; empty where none was asked
    outcome: Outcome | None  # None where no model was asked
    timings: tuple[tuple[str, float], ...]  # the stages in order, with their seconds
    candidates: tuple[Candidate, ...] = ()  # the best first; empty where nothing was judged
    choice: Outcome | None = None  # of asking the model to choose among the candidates; None where it wasn't asked
    # That the truth lies within the radius; None where the gallery isn't calibrated for such answers.
    probability: float | None = None
    # What the operator's bound on the radius left of the answer: its region, its country or nothing; "" for all of it.
    withheld: Literal["", "region", "country", "nothing"] = ""
    within: str = ""  # the area where the photo is known to have been taken; no position lies outside
    note: str = ""  # what a person should know of the photo itself: that not all of the picture is there

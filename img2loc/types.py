"""The values that pass between stages: frozen, and checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


@dataclass(frozen=True, slots=True)
class LatLon:
    """A position on Earth.

    Args:
        lat: Latitude in degrees, [-90, 90], WGS-84.
        lon: Longitude in degrees, [-180, 180). 180 itself is the same meridian as -180 and becomes it.

    Raises:
        ValueError: A value is not finite or out of range. Nothing is clamped.
    """

    lat: float
    lon: float

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
    """A gallery photo found for a query.

    Args:
        row: Its row in the gallery, from 0.
        position: Where it was taken.
        similarity: Cosine of the two embeddings, [-1, 1].
        photo: Its origin, where the gallery keeps records.
    """

    row: int
    position: LatLon
    similarity: float
    photo: PhotoRecord | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a gallery answers to one query.

    Args:
        nearest: The most similar photos, similarity falling.
        farthest: The most dissimilar photos, similarity rising.
    """

    nearest: tuple[Neighbour, ...]
    farthest: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """The keyless answer: the mode of the neighbours' density.

    Args:
        position: The mode.
        radius_km: Half of the density lies within this great-circle distance of the mode.
        neighbours: How many neighbours voted.
    """

    position: LatLon
    radius_km: float
    neighbours: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place where the photo may have been taken.

    Args:
        position: Where it is.
        score: What the parts below come to, by the rule of candidates.py; all candidates' scores sum to 1.
        answers: How many of the model's answers lie here.
        agreement: Its share of the model's answers, as they lie close to each other.
        density: Its share of the neighbours' density.
        likelihood: Its share of how well the photo fits the places; 0 for all where the gallery can't tell.
        choice: 1 where the model, asked to choose among the best, chose it; 0 for all where it wasn't asked, or chose
            none.
    """

    position: LatLon
    score: float
    answers: int
    agreement: float
    density: float
    likelihood: float
    choice: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """The populated place nearest to a position.

    Args:
        city: Its name; empty where an answer is coarser.
        country: Its country's name.
        country_code: ISO 3166-1 alpha-2.
        distance_km: Great-circle distance from the position.
    """

    city: str
    country: str
    country_code: str
    distance_km: float

    def __str__(self) -> str:
        near = "" if self.distance_km < 15 else f"{self.distance_km:,.0f} km from "
        return near + ", ".join(filter(None, (self.city, self.country)))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a large multimodal model sent back.

    Args:
        text: Its raw words, always kept.
        model: The name the provider gives the model.
        latency_s: Seconds from request to reply.
        input_tokens: As counted by the provider; None where it gives no believable number.
        output_tokens: Likewise.
        refused: The provider flagged the reply as a refusal.
        truncated: The reply was cut at the token limit.
    """

    text: str
    model: str
    latency_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    refused: bool = False
    truncated: bool = False


class OutcomeKind(StrEnum):
    """How asking a model ended."""

    ANSWERED = "answered"
    REPAIRED = "repaired"
    REFUSED = "refused"
    UNPARSEABLE = "unparseable"
    OUTSIDE = "outside"
    PROVIDER_ERROR = "provider_error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How asking a model ended, with a position only where it gave one.

    Args:
        kind: answered (first reply read), repaired (second reply read), refused, unparseable, outside (of where the
            photo is known to have been taken, twice) or provider_error.
        position: Where the model places the photo; None unless answered or repaired.
        place: The model's own name for the place, as it wrote it.
        reasoning: The model's own reasons, as it wrote them.
        message: What a person should know of a failure; empty when there is none.
        replies: Every reply, in order.
    """

    kind: OutcomeKind
    position: LatLon | None = None
    place: str = ""
    reasoning: str = ""
    message: str = ""
    replies: tuple[Reply, ...] = ()

    def __post_init__(self) -> None:
        if (self.position is not None) != (self.kind in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED)):
            raise ValueError(f"an outcome of kind {self.kind} with position {self.position}")


Method = Literal["lmm", "vote", "judge", "none"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a photo was taken, with the evidence.

    Args:
        position: The answer: the model's where it gave one, else the vote's. None only where nothing could be said:
            no neighbours to vote and no model's answer.
        radius_km: The vote's radius when the vote answers, and the candidates' spread when they were judged; None for a
            model's answer, which comes with no radius; of a coarse answer a round one, whoever answers.
        method: Who answered: the model, the vote, or the judge among candidates.
        place: The populated place nearest to the position.
        vote: The vote, always taken; None only for an empty list of neighbours.
        retrieval: The neighbours that were asked for.
        prompt: The exact text sent to the model; empty when none was asked.
        outcome: How asking the model ended; None when none was asked.
        timings: Seconds of each stage, in order.
        candidates: Where it may have been taken, the best first; empty where nothing was judged.
        choice: How asking the model to choose among them ended, its position being a candidate's; None when it wasn't.
        probability: With which the truth lies within the radius, if the gallery was calibrated for such answers; None
            where the radius is a spread, or there is none.
        withheld: What the operator's bound on the radius left of the answer: its region, its country or nothing; empty
            where it is whole.
        within: Where the photo was known to have been taken, in words; empty for anywhere. No position lies elsewhere.
    """

    position: LatLon | None
    radius_km: float | None
    method: Method
    place: Place | None
    vote: Vote | None
    retrieval: Retrieval
    prompt: str
    outcome: Outcome | None
    timings: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...] = ()
    choice: Outcome | None = None
    probability: float | None = None
    withheld: Literal["", "region", "country", "nothing"] = ""
    within: str = ""

"""The JSON of the client API and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from img2loc.geo.coarse import Precision
from img2loc.retrieval.manifest import Manifest
from img2loc.types import (
    Candidate,
    LatLon,
    Method,
    Neighbour,
    Outcome,
    OutcomeKind,
    PhotoRecord,
    Place,
    Prediction,
    Reply,
    Retrieval,
    Vote,
)

SCHEMA_VERSION: Literal[1] = 1


class NeighbourJson(TypedDict):
    """A neighbour. rank 1 is the first of its list; row is -1 where the row is withheld."""

    rank: int
    row: int
    similarity: float
    position: LatLon
    photo: PhotoRecord | None


class OutcomeJson(TypedDict):
    """How asking a model ended. model is the provider's name for it; it is empty if no reply came."""

    kind: OutcomeKind
    position: LatLon | None
    place: str
    reasoning: str
    message: str
    model: str
    replies: list[Reply]


class RetrievalJson(TypedDict):
    """The neighbours of one photo."""

    nearest: list[NeighbourJson]
    farthest: list[NeighbourJson]


class PredictionJson(RetrievalJson):
    """Where a photo was taken, with the evidence. timings holds seconds; note says if the picture isn't complete."""

    position: LatLon | None
    radius_km: float | None
    method: Method
    place: Place | None
    vote: Vote | None
    outcome: OutcomeJson | None
    prompt: str
    timings: dict[str, float]
    probability: float | None
    withheld: Literal["", "region", "country", "nothing"]
    within: str
    candidates: list[Candidate]
    choice: OutcomeJson | None
    note: str


class GalleryJson(TypedDict):
    """Where the neighbours come from."""

    name: str
    source: str
    licence: str
    count: int


class VersionedJson(TypedDict):
    """What every result carries. The version rises when something is renamed or removed."""

    schema_version: Literal[1]


class SourcedJson(VersionedJson):
    """A result that rests on a gallery, given as precisely as the operator allows."""

    gallery: GalleryJson
    precision: Precision


class LocateJson(PredictionJson, SourcedJson):
    """The result of /locate."""


class NeighboursJson(RetrievalJson, SourcedJson):
    """The result of /neighbours."""


class BatchItemJson(TypedDict):
    """One photo of a batch: its prediction, or the error that prevented one."""

    photo: str
    prediction: PredictionJson | None
    error: str


class BatchJson(SourcedJson):
    """The result of /locate_batch, in the photos' order."""

    results: list[BatchItemJson]


class ServerJson(TypedDict):
    """A provider for the backend openai, asked with your own key."""

    name: str
    label: str
    models: list[str]


class BackendJson(ServerJson):
    """A backend that may be asked. key_header names the header for your own key; key_needed: whether it is required."""

    key_header: str
    key_needed: bool


class BackendsJson(VersionedJson):
    """The result of /backends; the first model of each is its default, the first backend and prompt the page's."""

    backends: list[BackendJson]
    servers: list[ServerJson]
    prompts: list[str]


class LimitsJson(TypedDict):
    """The limits; null means none. The hourly ones, and the models, apply to requests at the operator's expense."""

    hourly_per_visitor: int | None
    hourly_total: int | None
    hourly_tokens: int | None
    models: list[str]
    neighbours: int
    photos_a_batch: int
    photo_bytes: int


class InfoJson(SourcedJson):
    """The result of /info. notice says why the configured gallery doesn't answer; banner is the operator's."""

    version: str
    about: str
    notice: str
    banner: str
    limits: LimitsJson


@cache
def _adapter(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def json_schema(shape: type) -> dict[str, Any]:
    """The JSON schema of one of this module's types."""
    return _adapter(shape).json_schema(mode="serialization")


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """Turn a prediction into a PredictionJson that json.dumps can write."""
    shaped: PredictionJson = {
        "position": prediction.position,
        "radius_km": prediction.radius_km,
        "method": prediction.method,
        "place": prediction.place,
        "vote": prediction.vote,
        "outcome": _outcome(prediction.outcome),
        **_retrieval(prediction.retrieval),
        "prompt": prediction.prompt,
        "timings": dict(prediction.timings),
        "candidates": list(prediction.candidates),
        "choice": _outcome(prediction.choice),
        "probability": prediction.probability,
        "withheld": prediction.withheld,
        "within": prediction.within,
        "note": prediction.note,
    }
    return dict(_adapter(PredictionJson).dump_python(shaped, mode="json"))


def retrieval_json(retrieval: Retrieval) -> dict[str, Any]:
    """Turn neighbours into a RetrievalJson that json.dumps can write."""
    return dict(_adapter(RetrievalJson).dump_python(_retrieval(retrieval), mode="json"))


def gallery_json(manifest: Manifest) -> GalleryJson:
    """Describe a gallery."""
    return {"name": manifest.name, "source": manifest.source, "licence": manifest.licence, "count": manifest.count}


def _outcome(outcome: Outcome | None) -> OutcomeJson | None:
    if outcome is None:
        return None
    return {
        "kind": outcome.kind,
        "position": outcome.position,
        "place": outcome.place,
        "reasoning": outcome.reasoning,
        "message": outcome.message,
        "model": outcome.replies[-1].model if outcome.replies else "",
        "replies": list(outcome.replies),
    }


def _retrieval(retrieval: Retrieval) -> RetrievalJson:
    return {"nearest": _neighbours(retrieval.nearest), "farthest": _neighbours(retrieval.farthest)}


def _neighbours(neighbours: Sequence[Neighbour]) -> list[NeighbourJson]:
    return [
        {
            "rank": rank,
            "row": neighbour.row,
            "similarity": neighbour.similarity,
            "position": neighbour.position,
            "photo": neighbour.photo,
        }
        for rank, neighbour in enumerate(neighbours, start=1)
    ]

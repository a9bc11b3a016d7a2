"""Results as JSON, GeoJSON and CSV: the shapes that the client API and the command line share."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
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
# Where a spreadsheet would begin a formula; some take the wide signs for the plain ones.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"^(?=[{_SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[{_SIGNS}])")


class NeighbourJson(TypedDict):
    """A gallery photo found for a query; rank 1 is the first of its list, row -1 is one that is withheld."""

    rank: int
    row: int
    similarity: float
    position: LatLon
    photo: PhotoRecord | None


class OutcomeJson(TypedDict):
    """How asking a model ended; model is the name that the provider gives it, empty where no reply came."""

    kind: OutcomeKind
    position: LatLon | None
    place: str
    reasoning: str
    message: str
    model: str
    replies: list[Reply]


class RetrievalJson(TypedDict):
    """What a gallery answers to one query."""

    nearest: list[NeighbourJson]
    farthest: list[NeighbourJson]


class PredictionJson(RetrievalJson):
    """Where a photo was taken, with the evidence; timings are seconds a stage."""

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


class GalleryJson(TypedDict):
    """Where the neighbours come from."""

    name: str
    source: str
    licence: str
    count: int


class VersionedJson(TypedDict):
    """What every result carries. A number stands for a shape: whatever is renamed or taken away raises it."""

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
    """One photo of many: what was predicted, or the sentence that says why nothing was."""

    photo: str
    prediction: PredictionJson | None
    error: str


class BatchJson(SourcedJson):
    """The result of /locate_batch, in the photos' order."""

    results: list[BatchItemJson]


class BackendJson(TypedDict):
    """Who may be asked. key_header names the header for one's own key; key_needed says whether it must be there."""

    name: str
    label: str
    models: list[str]
    key_header: str
    key_needed: bool


class ServerJson(TypedDict):
    """Another provider for the backend openai, asked with one's own key."""

    name: str
    label: str
    models: list[str]


class BackendsJson(VersionedJson):
    """The result of /backends; the first model of each is its default, the first backend and prompt the page's."""

    backends: list[BackendJson]
    servers: list[ServerJson]
    prompts: list[str]


class LimitsJson(TypedDict):
    """How much may be asked, null for no bound. Those by the hour, and the models, are at the operator's expense."""

    hourly_per_visitor: int | None
    hourly_total: int | None
    hourly_tokens: int | None
    models: list[str]
    neighbours: int
    photos_a_batch: int
    photo_bytes: int


class InfoJson(SourcedJson):
    """The result of /info. notice says why another gallery answers than the operator's; banner is the operator's."""

    version: str
    about: str
    notice: str
    banner: str
    limits: LimitsJson


@cache
def _adapter(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def json_schema(shape: type) -> dict[str, Any]:
    """Describe one of this module's shapes as a JSON schema."""
    return _adapter(shape).json_schema(mode="serialization")


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """Turn a prediction into what json.dumps takes, of the shape PredictionJson."""
    shaped: PredictionJson = {
        "position": prediction.position,
        "radius_km": prediction.radius_km,
        "method": prediction.method,
        "place": prediction.place,
        "vote": prediction.vote,
        "outcome": _outcome(prediction.outcome),
        "nearest": _neighbours(prediction.retrieval.nearest),
        "farthest": _neighbours(prediction.retrieval.farthest),
        "prompt": prediction.prompt,
        "timings": dict(prediction.timings),
        "candidates": list(prediction.candidates),
        "choice": _outcome(prediction.choice),
        "probability": prediction.probability,
        "withheld": prediction.withheld,
        "within": prediction.within,
    }
    return dict(_adapter(PredictionJson).dump_python(shaped, mode="json"))


def retrieval_json(retrieval: Retrieval) -> dict[str, Any]:
    """Turn neighbours into what json.dumps takes, of the shape RetrievalJson."""
    shaped: RetrievalJson = {
        "nearest": _neighbours(retrieval.nearest),
        "farthest": _neighbours(retrieval.farthest),
    }
    return dict(_adapter(RetrievalJson).dump_python(shaped, mode="json"))


def gallery_json(manifest: Manifest) -> GalleryJson:
    """Say where the neighbours come from."""
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


def _neighbours(neighbours: Sequence[Neighbour]) -> list[NeighbourJson]:
    return [
        {"rank": rank, "row": n.row, "similarity": n.similarity, "position": n.position, "photo": n.photo}
        for rank, n in enumerate(neighbours, start=1)
    ]


# A photo's name, and what was predicted for it or why it could not be read.
Result = tuple[str, Prediction | str]

CSV_COLUMNS = ("photo", "lat", "lon", "radius_km", "method", "city", "country", "outcome", "message")


def to_feature(name: str, result: Prediction | str) -> dict[str, Any]:
    """Turn a prediction into a GeoJSON feature (RFC 7946: longitude first); without a position it has no geometry."""
    properties = _row(name, result)
    lat, lon = properties.pop("lat"), properties.pop("lon")
    geometry = {"type": "Point", "coordinates": [lon, lat]} if lat is not None else None
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def to_csv(results: Iterable[Result], *, header: bool = True) -> str:
    """Turn predictions into CSV; what is not known gives an empty cell.

    Args:
        results: What became of each photo.
        header: Whether the columns' names stand first.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    for name, result in results:
        writer.writerow({column: no_formula(cell) for column, cell in _row(name, result).items()})
    return text.getvalue()


def no_formula(cell: str | float | None) -> str | float | None:
    """Keep a text of a CSV file from being a formula to a spreadsheet, whatever that takes for the cells' separator."""
    return _FORMULA.sub("'", cell) if isinstance(cell, str) else cell


def _row(name: str, result: Prediction | str) -> dict[str, str | float | None]:
    if isinstance(result, str):
        return {**dict.fromkeys(CSV_COLUMNS), "photo": name, "message": result}
    position, place, outcome = result.position, result.place, result.outcome
    return {
        "photo": name,
        "lat": position.lat if position else None,
        "lon": position.lon if position else None,
        "radius_km": result.radius_km,
        "method": result.method,
        "city": place.city if place else None,
        "country": place.country if place else None,
        "outcome": outcome.kind.value if outcome else None,
        "message": outcome.message if outcome else None,
    }

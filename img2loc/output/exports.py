"""Results as files for other programs: GeoJSON, KML, CSV, and a zip of all three."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal
from xml.etree import ElementTree

from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import geodesic_km
from img2loc.output.csv_text import Cell, csv_text
from img2loc.types import LatLon, PhotoRecord, Place, Prediction

Role = Literal["answer", "vote", "truth", "nearest", "farthest"]

MEDIA_TYPES: Final = {
    "geojson": "application/geo+json",
    "kml": "application/vnd.google-earth.kml+xml",
    "csv": "text/csv;charset=utf-8",
    "zip": "application/zip",
}
_KML = "http://www.opengis.net/kml/2.2"
# Characters that XML 1.0 can't represent. Source: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One position of a result, or a photo that has none."""

    photo: str
    role: Role  # what the position is
    who: str = ""  # the model that gave the answer, or "vote"; empty for the positions of photos
    rank: int | None = None  # a neighbour's rank, from 1; None for other roles
    position: LatLon | None = None  # None where there is no answer
    place: str = ""  # the populated place nearest to it
    radius_km: float | None = None  # the answer's or the vote's radius; None for other roles
    distance_km: float | None = None  # geodesic distance from the answer; None for the answer itself
    similarity: float | None = None  # a neighbour's similarity
    author: str = ""  # of a neighbour's photo; empty where unknown, like the next two
    url: str = ""
    licence: str = ""
    message: str = ""  # why there is no answer, or what a person should know about it


def answer_row(photo: str, result: Prediction | str) -> Row:
    """Describe the answer alone: a prediction, or why there is none."""
    if isinstance(result, str):
        return Row(photo, "answer", message=result)
    outcome = result.outcome
    return Row(
        photo,
        "answer",
        who=outcome.replies[-1].model if outcome and outcome.replies else "vote",
        position=result.position,
        place=str(result.place or ""),
        radius_km=result.radius_km,
        message=message_of(result),
    )


def message_of(prediction: Prediction) -> str:
    """What a person should know of a prediction: why the model gave no position, and what is missing of the photo."""
    failure = prediction.outcome.message if prediction.outcome else ""
    return " ".join(filter(None, (failure, prediction.note)))


def rows(
    photo: str,
    prediction: Prediction,
    truth: LatLon | None = None,
    place_of: Callable[[LatLon], Place] = nearest_place,
) -> list[Row]:
    """List every position of a result: the answer, the vote beside a model's answer, the truth and the neighbours.

    Args:
        photo: The photo's name.
        prediction: The result.
        truth: Where the photo was really taken; None if unknown.
        place_of: Names the place at a position.
    """
    answer, vote = prediction.position, prediction.vote

    def row(role: Role, position: LatLon) -> Row:
        distance_km = geodesic_km(answer, position) if answer else None
        return Row(photo, role, position=position, place=str(place_of(position)), distance_km=distance_km)

    listed = [answer_row(photo, prediction)]
    if prediction.method in ("lmm", "judge") and vote:
        listed.append(replace(row("vote", vote.position), who="vote", radius_km=vote.radius_km))
    if truth:
        listed.append(row("truth", truth))
    lists: tuple[Role, Role] = ("nearest", "farthest")
    for role, neighbours in zip(lists, (prediction.retrieval.nearest, prediction.retrieval.farthest), strict=True):
        for rank, neighbour in enumerate(neighbours, start=1):
            record = neighbour.photo or PhotoRecord(id="")
            listed.append(
                replace(
                    row(role, neighbour.position),
                    rank=rank,
                    similarity=neighbour.similarity,
                    author=record.author,
                    url=record.url,
                    licence=record.licence,
                )
            )
    return listed


def feature(position: LatLon | None, properties: Mapping[str, Cell]) -> dict[str, Any]:
    """Build a GeoJSON feature (RFC 7946: longitude first); without a position it has no geometry."""
    geometry = {"type": "Point", "coordinates": [position.lon, position.lat]} if position else None
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def to_geojson(listed: Iterable[Row]) -> str:
    """Write a GeoJSON FeatureCollection."""
    features = [feature(row.position, _properties(row)) for row in listed]
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1)


def to_csv(listed: Iterable[Row]) -> str:
    """Write CSV. It begins with a byte order mark, without which Excel doesn't read it as UTF-8."""
    names = [item.name for item in fields(Row)]
    position = names.index("position")
    columns = [*names[:position], "lat", "lon", *names[position + 1 :]]
    cells = [
        _properties(row) | ({"lat": row.position.lat, "lon": row.position.lon} if row.position else {})
        for row in listed
    ]
    return "\ufeff" + csv_text(columns, cells, line_end="\r\n")


def to_kml(listed: Iterable[Row]) -> str:
    """Write KML 2.2, one folder for each role. Characters that XML can't represent are left out."""
    kml = ElementTree.Element("kml", xmlns=_KML)
    document = _child(kml, "Document")
    _child(document, "name", "Img2Loc")
    folders: dict[str, ElementTree.Element] = {}
    for row in listed:
        if row.role not in folders:
            folders[row.role] = _child(document, "Folder")
            _child(folders[row.role], "name", row.role)
        placemark = _child(folders[row.role], "Placemark")
        label = row.photo if row.rank is None else f"{row.role} {row.rank}"
        _child(placemark, "name", " · ".join(filter(None, (label, row.place))))
        data = _child(placemark, "ExtendedData")
        for name, value in _properties(row).items():
            if value not in (None, ""):
                entry = _child(data, "Data")
                entry.set("name", name)
                _child(entry, "value", str(value))
        if row.position:  # last, as the schema's order requires
            _child(_child(placemark, "Point"), "coordinates", f"{row.position.lon},{row.position.lat}")
    ElementTree.indent(kml)
    return ElementTree.tostring(kml, encoding="unicode", xml_declaration=True)


WRITERS: Final = {"geojson": to_geojson, "kml": to_kml, "csv": to_csv}


def to_zip(listed: Sequence[Row]) -> bytes:
    """Put all three files into one; the same rows give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for suffix, write in WRITERS.items():
            archive.writestr(zipfile.ZipInfo(f"img2loc.{suffix}"), _encoded(write(listed)), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def data_url(content: str | bytes, suffix: str) -> str:
    """Put a file into a data: address, so that the browser saves it and the server keeps no copy."""
    raw = content if isinstance(content, bytes) else _encoded(content)
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(raw).decode()}"


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # of a lone surrogate, JSON's own escape


def _properties(row: Row) -> dict[str, Cell]:
    return {item.name: getattr(row, item.name) for item in fields(row) if item.name != "position"}


def _child(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = _NOT_XML.sub("", text) or None
    return child

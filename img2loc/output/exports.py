"""Results as files that other programs open: GeoJSON, KML and CSV, and all three of them as a zip."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal
from xml.etree import ElementTree

from img2loc.geo.places import nearest_place
from img2loc.geo.sphere import geodesic_km
from img2loc.output.schema import no_formula
from img2loc.types import LatLon, Neighbour, PhotoRecord, Place, Prediction, Retrieval

Role = Literal["answer", "vote", "truth", "nearest", "farthest"]

MEDIA_TYPES = {
    "geojson": "application/geo+json",
    "kml": "application/vnd.google-earth.kml+xml",
    "csv": "text/csv;charset=utf-8",
    "zip": "application/zip",
}
_KML = "http://www.opengis.net/kml/2.2"
# What XML 1.0 has no way to write. Source: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One position of a result, or a photo that has none.

    Args:
        photo: The photo's name.
        role: What the position is.
        who: The model that gave the answer, or vote; empty for positions of photos.
        rank: A neighbour's rank, from 1; None for the others.
        position: None where nothing could be said.
        place: The populated place nearest to it.
        radius_km: The answer's or the vote's radius; None for the others.
        distance_km: Geodesic distance from the answer; None for the answer itself.
        similarity: A neighbour's similarity.
        author: Of a neighbour's photo; empty where unknown, like the next two.
        url: Its address.
        licence: Its licence.
        message: What a person should know of a failure.
    """

    photo: str
    role: Role
    who: str = ""
    rank: int | None = None
    position: LatLon | None = None
    place: str = ""
    radius_km: float | None = None
    distance_km: float | None = None
    similarity: float | None = None
    author: str = ""
    url: str = ""
    licence: str = ""
    message: str = ""


def answer_row(photo: str, result: Prediction | str) -> Row:
    """Take the answer alone.

    Args:
        photo: The photo's name.
        result: What was predicted, or why nothing was.
    """
    if isinstance(result, str):
        return Row(photo, "answer", message=result)
    return Row(
        photo,
        "answer",
        who=result.outcome.replies[-1].model if result.outcome and result.outcome.replies else "vote",
        position=result.position,
        place=str(result.place or ""),
        radius_km=result.radius_km,
        message=result.outcome.message if result.outcome else "",
    )


def rows(
    photo: str,
    prediction: Prediction,
    truth: LatLon | None = None,
    name: Callable[[LatLon], Place] = nearest_place,
) -> list[Row]:
    """List every position of a result: the answer, the vote beside a model's answer, the truth and the neighbours.

    Args:
        photo: The photo's name.
        prediction: What was found.
        truth: Where the photo was really taken, if that is known.
        name: How positions are called.
    """
    answer, vote = prediction.position, prediction.vote

    def row(role: Role, position: LatLon, radius_km: float | None = None) -> Row:
        away_km = geodesic_km(answer, position) if answer else None
        place = str(name(position))
        return Row(
            photo,
            role,
            who="vote" if role == "vote" else "",
            position=position,
            place=place,
            radius_km=radius_km,
            distance_km=away_km,
        )

    listed = [answer_row(photo, prediction)]
    if prediction.method in ("lmm", "judge") and vote:
        listed.append(row("vote", vote.position, vote.radius_km))
    if truth:
        listed.append(row("truth", truth))
    for role, neighbours in _lists(prediction.retrieval):
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


def to_geojson(listed: Iterable[Row]) -> str:
    """Write a GeoJSON FeatureCollection (RFC 7946: longitude first); no position gives a feature without geometry."""
    features = []
    for row in listed:
        at = row.position
        geometry = {"type": "Point", "coordinates": [at.lon, at.lat]} if at else None
        features.append({"type": "Feature", "geometry": geometry, "properties": _properties(row)})
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1)


def to_csv(listed: Iterable[Row]) -> str:
    """Write CSV with a header; what is not known gives an empty cell, and no text is a formula to a spreadsheet.

    It begins with a byte order mark, without which Excel doesn't read it as UTF-8.
    """
    text = io.StringIO()
    columns = ["photo", "role", "who", "rank", "lat", "lon", *(item.name for item in fields(Row)[5:])]
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    for row in listed:
        cells = {name: no_formula(cell) for name, cell in _properties(row).items()}
        at = {"lat": row.position.lat, "lon": row.position.lon} if row.position else {}
        writer.writerow({**cells, **at})
    return f"\ufeff{text.getvalue()}"


def to_kml(listed: Iterable[Row]) -> str:
    """Write KML 2.2, a folder for each role; what XML can't hold is left out."""
    kml = ElementTree.Element("kml", xmlns=_KML)
    document = _child(kml, "Document")
    _child(document, "name", "Img2Loc")
    folders: dict[str, ElementTree.Element] = {}
    for row in listed:
        if row.role not in folders:
            folders[row.role] = _child(document, "Folder")
            _child(folders[row.role], "name", row.role)
        mark = _child(folders[row.role], "Placemark")
        named = row.photo if row.rank is None else f"{row.role} {row.rank}"
        _child(mark, "name", " · ".join(filter(None, (named, row.place))))
        data = _child(mark, "ExtendedData")
        for name, value in _properties(row).items():
            if value not in (None, ""):
                entry = _child(data, "Data")
                entry.set("name", name)
                _child(entry, "value", str(value))
        if row.position:  # last, in the order that the schema asks for
            _child(_child(mark, "Point"), "coordinates", f"{row.position.lon},{row.position.lat}")
    ElementTree.indent(kml)
    return ElementTree.tostring(kml, encoding="unicode", xml_declaration=True)


WRITERS = {"geojson": to_geojson, "kml": to_kml, "csv": to_csv}


def to_zip(listed: Sequence[Row]) -> bytes:
    """Put all three files into one; the same rows give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for suffix, write in WRITERS.items():
            archive.writestr(zipfile.ZipInfo(f"img2loc.{suffix}"), write(listed), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def data_url(content: str | bytes, suffix: str) -> str:
    """Wrap a file in its own address, so that the browser saves it and the server keeps none."""
    raw = content if isinstance(content, bytes) else content.encode()
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(raw).decode()}"


def _lists(retrieval: Retrieval) -> Iterator[tuple[Role, Sequence[Neighbour]]]:
    yield "nearest", retrieval.nearest
    yield "farthest", retrieval.farthest


def _properties(row: Row) -> dict[str, str | float | None]:
    return {item.name: getattr(row, item.name) for item in fields(row) if item.name != "position"}


def _child(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, name)
    made.text = _NOT_XML.sub("", text) if text is not None else None
    return made

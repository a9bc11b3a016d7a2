"""A table's columns, recognised by their usual names; where two could be meant, the table is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from img2loc.errors import DataError
from img2loc.system.names import printable_name

# What a table is: the listing or the predictions of an evaluation, photos for a gallery, the JSON beside a photo, or
# photos that a gallery must not have.
Role = Literal["truth", "predictions", "source", "json", "excluded"]
# For each column, patterns of its usual names in small letters and digits only. The first pattern that a name in the
# header matches counts; where two names match it, it isn't clear which is meant, and the table is refused.
Names = Mapping[str, Sequence[str]]

_FILES: Final = (
    "file filename filepath imagefile imagefilename imagename imagepath imgname imgpath photo photofile photoname "
    "photopath image img picture path relativepath relpath sourcefile"
).split()
_IDS: Final = "imgid id photoid imageid pictureid".split()
_REST: Final[Names] = {
    "author": [
        *("author user owner photographer nsid attribution creatorusername".split()),
        *("(author|user|owner|creator)id", "username"),
    ],
    "lat_ref": ["(gps)?lat(itude)?ref"],
    "lon_ref": ["(gps)?(lon|lng|long|longitude)ref"],
}
_PHOTO: Final[Names] = {"id": [*_IDS, *_FILES, "name"], **_REST}
_SOURCE: Final[Names] = {  # of pictures for a gallery
    "id": _IDS,
    "file": [*_FILES, *_IDS],
    "url": ["url", "photourl"],
    "licence": ["licence", "license"],
    **_REST,
}
_NAMES: Final[dict[Role, Names]] = {
    "truth": _PHOTO,
    "predictions": _PHOTO,
    "source": _SOURCE,
    "json": _SOURCE,
    "excluded": _PHOTO,
}
_NEEDED: Final[dict[Role, Sequence[str]]] = {
    "truth": ("id", "lat", "lon"),
    "predictions": ("id", "lat", "lon"),
    "source": ("file", "lat", "lon"),
    "json": ("lat", "lon"),
    "excluded": ("id",),
}
# The flag that names columns on the command line; empty where there is none.
FLAGS: Final[dict[Role, str]] = {
    "truth": "--truth-columns",
    "predictions": "--columns",
    "source": "--columns",
    "json": "--columns",
    "excluded": "",
}
MAX_NAMED: Final = 8  # of a list of ids or lines in a message

_AXES: Final = {"lat": "latitude|lat", "lon": "longitude|long|lon|lng"}
_ROLES: Final = {
    "predictions": "predictions|predicted|prediction|predict|preds|pred|guessed|guess|estimated|estimate|est",
    "truth": "ground|truth|true|actual|real|gt",
    "": "composite|gps|geo|decimal|dec|degrees|degree|deg|dd|wgs84|location|photo|image|camera",
}
_QUALIFIED: Final = {
    axis: re.compile(rf"((?:{'|'.join(_ROLES.values())})*)(?:{axis_names})((?:{'|'.join(_ROLES.values())})*)")
    for axis, axis_names in _AXES.items()
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a table's columns; empty where it has none, or where they are to be recognised."""

    id: str = ""
    author: str = ""
    lat: str = ""
    lon: str = ""
    file: str = ""
    url: str = ""
    licence: str = ""
    lat_ref: str = ""  # the hemisphere, where it has a column of its own
    lon_ref: str = ""

    @classmethod
    def parse(cls, text: str, *, keys: Sequence[str] = ("id", "author", "lat", "lon")) -> Columns:
        """Read what a person wrote: "id=NAME,lat=NAME,lon=NAME,author=NAME", any of them.

        Raises:
            DataError: A part isn't such a pair.
        """
        values: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            key, _, name = part.partition("=")
            if key.strip() not in keys or not name.strip():
                forms = [f"{each}=NAME" for each in keys]
                raise DataError(f"{part!r} isn't of the form {', '.join(forms[:-1])} or {forms[-1]}.")
            values[key.strip()] = name.strip()
        return cls(**values)


def parse_source(text: str) -> Columns:
    """Read the names of the columns of a table of pictures.

    Raises:
        DataError: See Columns.parse.
    """
    return Columns.parse(text, keys=("file", "lat", "lon", "id", "author", "url", "licence"))


def recognise(table: str, header: Sequence[str], role: Role, given: Columns | None = None) -> Columns:
    """Recognise a table's columns by their names.

    Args:
        table: What it is called in messages.
        header: Its columns' names.
        role: What it is.
        given: Columns that were named on the command line.

    Raises:
        DataError: A needed column is missing, or it isn't clear which it is.
    """
    names, needed, flag = _NAMES[role], _NEEDED[role], FLAGS[role]
    if len(header) == 1 and re.search(r"\w\s+\w", header[0]):
        raise DataError(
            f"{table} has only one column, {printable_name(header[0])!r}. Separate columns by commas, semicolons, tabs "
            "or |."
        )
    columns: dict[str, str] = {}
    for key in (*names, "lat", "lon"):
        advice = f"with {flag} {key}=NAME" if flag else f"{key!r} in its header"
        name: str = getattr(given or Columns(), key)
        if name and header.count(name) != 1:
            raise DataError(f"{table} has {header.count(name)} columns {name!r}; it has: {named(header)}.")
        if not name:
            matches = (
                find_axis(header, key, role)
                if key in _AXES
                else next(filter(None, (matching(pattern, header) for pattern in names[key])), [])
            )
            if len(matches) > 1 and (key in needed or key not in _AXES):
                which = f" with {'predicted' if role == 'predictions' else 'true'} positions" if key in _AXES else ""
                raise DataError(
                    f"{table} has several columns for the {key}: {named(matches)}. Name only the one{which} {advice}."
                )
            name = matches[0] if len(matches) == 1 else ""
        if not name and key in needed:
            raise DataError(
                f"{table} has no column that looks like the {key}; it has: {named(header)}. Name it {advice}."
            )
        columns[key] = name
    if "lat" in needed and not (given and given.lat and given.lon) and not _are_a_pair(columns["lat"], columns["lon"]):
        raise DataError(
            f"{table} has the columns {columns['lat']!r} and {columns['lon']!r}, which don't look like one position. "
            f"Name those of the position{f' with {flag} lat=NAME,lon=NAME' if flag else ' lat and lon'}."
        )
    return Columns(**columns)


def matching(pattern: str, header: Iterable[str]) -> list[str]:
    """The names of a header that one of the patterns of Names matches."""
    return [name for name in header if re.fullmatch(pattern, _letters(name))]


def find_axis(header: Sequence[str], axis: str, role: Role) -> list[str]:
    """The columns that may hold the wanted latitude or longitude: one where that is clear.

    Predictions are never taken from a column that another one beside it makes doubtful, since that could be the truth.
    """
    kinds = {name: kind for name in header if (kind := _kind(name, axis)) is not None}
    of_kind = {kind: [name for name in kinds if kinds[name] == kind] for kind in set(kinds.values())}
    if role == "predictions":
        return of_kind.get(role) or [name for name, kind in kinds.items() if kind != "truth"]
    return of_kind.get("truth") or of_kind.get("plain") or of_kind.get("", [])


def _kind(name: str, axis: str) -> str | None:
    """What kind of latitude or longitude a column's name says: its role, "plain", "" for a word of no weight, "other".

    Returns:
        None where it names neither.
    """
    letters = _letters(name)
    if re.fullmatch(_AXES[axis], letters):
        return "plain"
    group, colon, _ = name.rpartition(":")  # of exiftool: EXIF's own values have no sign, the composite ones do
    match = _QUALIFIED[axis].fullmatch(letters)
    if match and (not colon or group.lower() == "composite"):
        words = match[1] + match[2]
        roles = [role for role in ("predictions", "truth") if re.search(_ROLES[role], words)]
        return "other" if len(roles) > 1 else "".join(roles)
    words_of_name = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    is_reference = letters.endswith("ref")
    return "other" if not is_reference and any(re.fullmatch(_AXES[axis], w.lower()) for w in words_of_name) else None


def _are_a_pair(lat: str, lon: str) -> bool:
    """Whether the names say the same but for the axis."""
    rests = [re.sub(_AXES[axis], "", _letters(name), count=1) for axis, name in (("lat", lat), ("lon", lon))]
    kinds = {_kind(lat, "lat") or "plain", _kind(lon, "lon") or "plain"}
    return rests[0] == rests[1] or (len(kinds) == 1 and "other" not in kinds)


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def named(items: Sequence[object]) -> str:
    """Some of a list, and how many more."""
    more = f" and {len(items) - MAX_NAMED:,} more" if len(items) > MAX_NAMED else ""
    return ", ".join(printable_name(str(item)) for item in items[:MAX_NAMED]) + more

"""What each argument of the client API must be, checked before Gradio reads it, and one sentence for what isn't that.

Gradio's own checks differ from one way of calling to the next, and their messages repeat what was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gradio.data_classes import FileData

from img2loc.errors import ConfigError, quoted
from img2loc.hardening.errors import GENERIC_MESSAGE
from img2loc.hardening.fetching import is_data_uri, is_uploaded
from img2loc.judge.sampling import MAX_NEIGHBOURS

_WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument."""

    expected: str  # to stand after "must be"
    accepts: Callable[[object], bool]  # whether a JSON value can be one
    required: bool = False  # in a call by names


Arguments = Mapping[str, Mapping[str, Argument]]  # of each endpoint, in their order


def api_arguments(backends: Sequence[str], *, for_agents: bool) -> Arguments:
    """List the arguments of all endpoints; agents send photos as text, clients of the API as files."""
    count = Argument(f"an integer from 0 to {MAX_NEIGHBOURS}", _is_count)
    text = Argument("text", _is_text)
    backend = Argument(f"one of: {', '.join(backends)}", lambda value: value in backends)
    if for_agents:
        photo_text, is_photo = "a public http(s) address or a data: URI in base64, as text", _is_address
        photos_text, is_listed = "a list of photos, each an address as text", _is_text
    else:
        photo_text = (
            'a file, {"path": ..., "meta": {"_type": "gradio.FileData"}}, at an http(s) address or uploaded here'
        )
        photos_text, is_photo = f"a list of photos, each an address as text, or {photo_text}", _is_file

        def is_listed(value: object) -> bool:
            return _is_text(value) or _is_file(value)

    photo = Argument(photo_text, is_photo, required=True)
    photos = Argument(photos_text, lambda value: isinstance(value, list) and all(map(is_listed, value)), required=True)
    counts = {"nearest": count, "farthest": count}
    others = {"backend": backend, "model": text, **counts}
    others |= dict.fromkeys(("prompt", "base_url", "judge", "within"), text)
    return {
        "locate": {"photo": photo, **others},
        "locate_batch": {"photos": photos, **others},
        "neighbours": {"photo": photo, **counts, "within": text},
        "backends": {},
        "info": {},
    }


def endpoint_arguments(arguments: Arguments, name: str, kind: str = "endpoint") -> Mapping[str, Argument]:
    """Look an endpoint up.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in arguments:
        raise ConfigError(f"There is no {kind} {quoted(name)}; there are {', '.join(arguments)}.")
    return arguments[name]


def check_names(arguments: Mapping[str, Argument], given: Mapping[str, object]) -> None:
    """Check the names of a call by names.

    Raises:
        ConfigError: One is unknown, or one that is required is missing.
    """
    for name in given:
        if name not in arguments:
            known = f"; there are {', '.join(arguments)}" if arguments else "; none is taken"
            raise ConfigError(f"There is no argument {quoted(name)}{known}.")
    for name, argument in arguments.items():
        if argument.required and name not in given:
            raise ConfigError(f"{name} is missing; it must be {argument.expected}.")


def check_call(endpoints: Arguments, name: str, values: Sequence[object]) -> None:
    """Check a call by position; events of the page, which aren't endpoints, are left to Gradio.

    Raises:
        ConfigError: It has too many values or too few, or one is not what it must be.
    """
    if name not in endpoints:
        return
    arguments = endpoints[name]
    if len(values) != len(arguments):
        raise ConfigError(f"This endpoint takes {len(arguments)} arguments, not {len(values)}: {', '.join(arguments)}.")
    check_values(arguments, dict(zip(arguments, values, strict=True)))


def unreadable(endpoints: Arguments, name: str) -> str:
    """The message for values that were checked: only the photo, the first, can still be at a wrong address."""
    for argument in endpoints.get(name, ()):
        return f"{argument} can't be read from its address. Check it for typing errors, or upload the photo."
    return GENERIC_MESSAGE


def check_values(arguments: Mapping[str, Argument], given: Mapping[str, object]) -> None:
    """Check the values of a call, whose names are known.

    Raises:
        ConfigError: One is not what it must be.
    """
    for name, value in given.items():
        if not arguments[name].accepts(value):
            raise ConfigError(f"{name} must be {arguments[name].expected}; {_described(value)} was sent.")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_NEIGHBOURS  # True is an int, too


def _is_text(value: object) -> bool:
    """Whether a value is text that can be sent on: JSON may hold half a character, which UTF-8 can't."""
    with suppress(UnicodeEncodeError):
        return isinstance(value, str) and bool(value.encode() or True)
    return False


def _is_address(value: object) -> bool:
    return isinstance(value, str) and _is_text(value) and (value.startswith(_WEB) or is_data_uri(value))


def _is_file(value: object) -> bool:
    """Whether a value is a file as Gradio takes it: with a web address, or uploaded here."""
    if not (isinstance(value, dict) and FileData.is_file_data(value) and _is_text(value["path"])):
        return False
    path, meta = value["path"], value.get("meta")
    if meta is not None and meta.get("_type") != "gradio.FileData":
        return False
    with suppress(ValueError):  # no file has such a path
        return (meta is not None and path.startswith(_WEB)) or is_uploaded(path)
    return False


def _described(value: object) -> str:
    """Name a wrong value, without repeating more than a piece of it."""
    if isinstance(value, str):
        return f"the text {quoted(value)}" if _is_text(value) else "text with half a character"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value)[:20]

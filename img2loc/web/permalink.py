"""Settings in the page's address: what a link may set, and how it is read. Never a key, a photo or a prompt's own text.

A prompt that came with a link would be paid for by whoever follows it, so that only a template's name is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from img2loc.answer.prompt import TEMPLATES
from img2loc.errors import ConfigError
from img2loc.geo.areas import read_area
from img2loc.judge.sampling import MAX_NEIGHBOURS, OFF, read_judge
from img2loc.lmm.servers import SERVERS

MAX_MODEL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Preset:
    """What a link sets; None for what it leaves alone."""

    backend: str | None = None
    server: str | None = None  # its name in lmm/servers.py
    model: str | None = None
    nearest: int | None = None
    farthest: int | None = None
    prompt: str | None = None  # a template's name
    judge: str | None = None  # as judge.sampling.read_judge reads it
    within: str | None = None  # as geo.areas.read_area reads it
    problems: tuple[str, ...] = ()  # what the link asks for and can't have, in words for a person


def read_preset(parameters: Mapping[str, str], backends: Collection[str]) -> Preset:
    """Read the parameters of the page's address by name; what can't be used is left out and named.

    Unknown parameters are somebody else's.
    """
    choices = {
        "backend": list(backends),
        "server": [server.name for server in SERVERS.values() if server.public and server.base_url],
        "prompt": list(TEMPLATES),
    }
    values: dict[str, Any] = {}
    problems = []
    for name, names in choices.items():
        if value := parameters.get(name):
            if value in names:
                values[name] = value
            else:
                problems.append(f"{name} in this page's address must be one of: {', '.join(names)}.")
    for name in ("nearest", "farthest"):
        if value := parameters.get(name):
            if re.fullmatch(r"[0-9]{1,2}", value) and int(value) <= MAX_NEIGHBOURS:
                values[name] = int(value)
            else:
                problems.append(f"{name} in this page's address must be a number from 0 to {MAX_NEIGHBOURS}.")
    for name, read, empty in (("judge", read_judge, OFF), ("within", read_area, "")):
        if value := parameters.get(name, "").strip():
            try:
                values[name] = str(read(value) or empty)
            except ConfigError as error:
                problems.append(str(error))
    if model := parameters.get("model", "").strip():
        if len(model) <= MAX_MODEL_LENGTH and model.isprintable():
            values["model"] = model
        else:
            problems.append("model in this page's address is not a valid name.")
    return Preset(**values, problems=tuple(problems))

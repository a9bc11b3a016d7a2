"""What goes into a chat.completions request: the conversation, the answer's schema, and the parameters."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from img2loc.lmm.base import Turn

MAX_OUTPUT_TOKENS: Final = 8000  # an answer takes 150; the rest is for models that think first
SMALL_OUTPUT_TOKENS: Final = 1000  # for models whose whole context is a few thousand, LLaVA-1.5 among them

_TOO_LONG = re.compile(
    r"too (?:large|long|high|big|many)|context (?:length|window|size)|maximum|at most \d|less than or equal|<= ?\d"
    r"|exceed|range of|supported range",
    re.I,
)
# "strict" and "additionalProperties" stand in the schema that we send.
_NO_FORMAT = re.compile(
    r"response[ _]?(?:format|schema)|json[ _]schema|structured[ _]outputs?|guided|grammar|additionalProperties"
    r"|'strict'",
    re.I,
)

# Strict mode wants every key required and no others. Our parser checks ranges, which not all servers accept here.
# Source: https://platform.openai.com/docs/guides/structured-outputs
ANSWER_SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "latitude": {"type": "number", "description": "Decimal degrees, negative in the south."},
        "longitude": {"type": "number", "description": "Decimal degrees, negative in the west."},
        "place": {"type": "string", "description": "The name of the place."},
        "reasoning": {"type": "string", "description": "One or two sentences on what decided it."},
    },
    "required": ["latitude", "longitude", "place", "reasoning"],
    "additionalProperties": False,
}

LimitName = Literal["max_completion_tokens", "max_tokens"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What goes with the messages. Servers and models differ in what they accept; `without` adapts to complaints."""

    temperature: float | None = None  # models that reason refuse any other than their own default, None
    limit: int = MAX_OUTPUT_TOKENS
    limit_name: LimitName = "max_completion_tokens"  # OpenAI's reasoning models accept this name only
    limit_renamed: bool = False  # the limit's other name was tried already
    schema: bool = True  # send the answer's JSON schema
    letters: tuple[str, ...] = ()  # offered by this request's schema; empty for the schema of a position
    pictures: bool = False  # send the addresses of pictures with this request

    def without(self, complaint: str) -> Parameters | None:
        """Leave out or change what a server complains of.

        Args:
            complaint: The server's words, in an answer of status 400 or 422.

        Returns:
            Other parameters, or None where nothing can be changed.
        """
        if self.limit > SMALL_OUTPUT_TOKENS and "token" in complaint and _TOO_LONG.search(complaint):
            return replace(self, limit=SMALL_OUTPUT_TOKENS)
        if self.schema and _NO_FORMAT.search(complaint):
            return replace(self, schema=False)
        if self.temperature is not None and "temperature" in complaint:
            return replace(self, temperature=None)
        if not self.limit_renamed and self.limit_name in complaint:
            other: LimitName = "max_tokens" if self.limit_name == "max_completion_tokens" else "max_completion_tokens"
            return replace(self, limit_name=other, limit_renamed=True)
        if self.pictures:  # whatever the words: a server may accept no addresses, or one picture only, or find none
            return replace(self, pictures=False)
        return None


def request_body(model: str, turns: Sequence[Turn], jpeg: bytes, parameters: Parameters) -> dict[str, Any]:
    """Put a conversation into the protocol's shape."""
    body: dict[str, Any] = {
        "model": model,  # first, since some routers read only the beginning
        "messages": _messages(turns, jpeg, pictures=parameters.pictures),
        parameters.limit_name: parameters.limit,
    }
    if parameters.schema:
        body["response_format"] = _response_format(parameters.letters)
    if parameters.temperature is not None:
        body["temperature"] = parameters.temperature
    return body


def _messages(turns: Sequence[Turn], jpeg: bytes, *, pictures: bool) -> list[dict[str, Any]]:
    """The turns, the photo after the first one's text, then its pictures, each after its label."""
    first, *rest = turns
    images = [(first.text, "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii"))]
    if pictures:
        images += [(picture.label, picture.url) for picture in first.pictures]
    content: list[dict[str, Any]] = []
    for text, url in images:
        content += [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}, *({"role": turn.role, "content": turn.text} for turn in rest)]


def _response_format(letters: Sequence[str]) -> dict[str, Any]:
    """The answer's schema: one of the letters, or a position where there are none."""
    name, schema = ("choice", _choice_schema(letters)) if letters else ("position", ANSWER_SCHEMA)
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def _choice_schema(letters: Sequence[str]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {
            "choice": {"type": "string", "enum": list(letters), "description": "The letter of the place."},
            "reasoning": {"type": "string", "description": "One or two sentences on what decided it."},
        },
        "required": ["choice", "reasoning"],
        "additionalProperties": False,
    }

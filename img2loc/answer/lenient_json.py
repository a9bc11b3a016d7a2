"""JSON as models write it: found in prose, and read with the slips that they make."""

from __future__ import annotations

import json
import re

_SLIP = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*+")
    | '(?P<single>(?:[^'\\]|\\.)*+)'
    | (?P<comment>//[^\n]*+ | \#[^\n]*+)
    | (?P<word>[A-Za-z_]\w*+)
    | (?P<comma>,(?=\s{0,200}[}\]]))
    | (?P<plus>\+(?=\d))
    """,
    re.VERBOSE | re.DOTALL,
)
_CURLY_QUOTES = str.maketrans("\u201c\u201d\u201e\u2018\u2019", '"""\'\'')
_CONSTANTS = {"None": "null", "undefined": "null", "True": "true", "False": "false"}
_JSON_WORDS = ("null", "true", "false", "NaN", "Infinity")
_SIBLINGS = re.compile(r"\s*+,\s*+")


def objects(text: str) -> list[dict[str, object]]:
    """Find the JSON objects in a text, fenced, bare or in the midst of prose.

    Read as JSON first; failing that with trailing commas, single or curly quotes, bare keys, Python's constants and
    comments put right. Of objects that stand in one list only the first counts: models list their guesses best first.
    Takes time linear in the text.

    Args:
        text: Anything.

    Returns:
        The outermost objects that could be read, in the order of the text.
    """
    found = []
    previous_end: int | None = None
    for start, end in _braces(text):
        is_sibling = previous_end is not None and _SIBLINGS.fullmatch(text, previous_end, start)
        previous_end = end
        if not is_sibling and isinstance(value := _load(text[start:end]), dict):
            found.append(value)
    return found


def _braces(text: str) -> list[tuple[int, int]]:
    """Spans of balanced braces that lie in no other such span."""
    open_at: list[int] = []
    spans: list[tuple[int, int]] = []
    for brace in re.finditer("[{}]", text):
        if brace[0] == "{":
            open_at.append(brace.start())
        elif open_at:
            start = open_at.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, brace.end()))
    return spans


def _load(text: str) -> object:
    for spelling in (str, _relaxed):
        try:
            return json.loads(spelling(text), strict=False)
        except (ValueError, RecursionError):  # ValueError: no JSON, or an integer of thousands of digits
            continue
    return None


def _relaxed(text: str) -> str:
    return _SLIP.sub(_put_right, text.translate(_CURLY_QUOTES))


def _put_right(slip: re.Match[str]) -> str:
    if slip["string"] is not None:
        return slip["string"]
    if slip["single"] is not None:
        return json.dumps(slip["single"].replace("\\'", "'"))
    if (word := slip["word"]) is not None:
        return word if word in _JSON_WORDS else _CONSTANTS.get(word, json.dumps(word))
    return ""

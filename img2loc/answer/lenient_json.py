"""JSON as models write it: found in prose, and read despite the usual mistakes.

It is our own because json-repair takes time quadratic in nested braces and turns a number that is cut off into another.
"""

from __future__ import annotations

import json
import re

_MISTAKE = re.compile(
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
_SIBLINGS = re.compile(
    r"\s*+,\s*+|[ \t.;]{0,9}\n\s{0,9}(?:[-*•]|\d{1,2}[.)])[ \t](?:(?!final|answer)[^\n]){0,80}", re.I
)


def find_objects(text: str) -> list[dict[str, object]]:
    """Find the outermost JSON objects in any text, fenced, bare or in the middle of prose, in order.

    Trailing commas, single or curly quotes, bare keys, Python's constants and comments are corrected. Of objects in one
    list only the first counts: models list their guesses best first. Takes time linear in the text.
    """
    objects = []
    previous_end: int | None = None
    for start, end in _braces(text):
        is_sibling = previous_end is not None and _SIBLINGS.fullmatch(text, previous_end, start)
        previous_end = end
        if not is_sibling and isinstance(value := _load(text[start:end]), dict):
            objects.append(value)
    return objects


def _braces(text: str) -> list[tuple[int, int]]:
    """The outermost spans of balanced braces."""
    starts: list[int] = []
    spans: list[tuple[int, int]] = []
    for brace in re.finditer("[{}]", text):
        if brace[0] == "{":
            starts.append(brace.start())
        elif starts:
            start = starts.pop()
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
    return _MISTAKE.sub(_correct, text.translate(_CURLY_QUOTES))


def _correct(mistake: re.Match[str]) -> str:
    if mistake["string"] is not None:
        return mistake["string"]
    if mistake["single"] is not None:
        return json.dumps(mistake["single"].replace("\\'", "'"))
    if (word := mistake["word"]) is not None:
        return word if word in _JSON_WORDS else _CONSTANTS.get(word, json.dumps(word))
    return ""

"""Prints answers one by one as text, JSON, GeoJSON or CSV, so that what has been answered can't be lost later."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from img2loc.api import prediction_json, to_csv, to_feature
from img2loc.errors import OutputError
from img2loc.terminal import say, write_out
from img2loc.types import Prediction


def as_text(name: str, result: Prediction | str) -> str:
    """Write a line: where, the name of the place, who says so, and how surely."""
    if isinstance(result, str) or result.position is None:
        return f"{name}\tno position\n"
    radius = ""
    if result.radius_km is not None:
        whose = "candidates' score" if result.method == "judge" else "vote"
        of = f"{result.probability:.0%} sure" if result.probability else f"half of the {whose}"
        radius = f"\t{of} within {result.radius_km:,.0f} km"
    return f"{name}\t{result.position}\t{result.place}\t{result.method}{radius}\n"


def as_json(name: str, result: Prediction | str) -> str:
    """Write an object: the prediction, or the error."""
    answer = {"error": result} if isinstance(result, str) else prediction_json(result)
    return "\n" + textwrap.indent(json.dumps({"photo": name, **answer}, indent=2, ensure_ascii=False), "  ")


def as_geojson(name: str, result: Prediction | str) -> str:
    """Write a feature."""
    return "\n" + json.dumps(to_feature(name, result), ensure_ascii=False)


def as_csv(name: str, result: Prediction | str) -> str:
    """Write a row."""
    return to_csv([(name, result)], header=False)


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write answers.

    Args:
        item: Writes one.
        start: Stands before the first.
        between: Between two.
        end: After the last.
        is_json: Whether the whole is JSON.
        holds_replies: Whether an answer holds all that the model replied.
    """

    item: Callable[[str, Prediction | str], str]
    start: str = ""
    between: str = ""
    end: str = ""
    is_json: bool = False
    holds_replies: bool = False


FORMATS: Final = {
    "text": Format(as_text),
    "json": Format(as_json, "[", ",", "\n]\n", is_json=True, holds_replies=True),
    "geojson": Format(as_geojson, '{"type": "FeatureCollection", "features": [', ",", "\n]}\n", is_json=True),
    "csv": Format(as_csv, to_csv([])),
}


class Printer:
    """Prints answers to standard output. Each has left the process when `add` returns; JSON is closed at the end.

    Args:
        form: How they are written.
    """

    def __init__(self, form: Format) -> None:
        self.form = form
        self._is_first = self._is_writable = True

    def __enter__(self) -> Self:
        self._write(self.form.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_writable:
            return
        with suppress(OutputError) if kind else nullcontext():  # what already ends the command is more important
            self._write(self.form.end)

    def add(self, item: str) -> None:
        """Print an answer as the format's `item` wrote it.

        Raises:
            OutputError: It can't be printed, and stands on standard error instead.
        """
        lead = "" if self._is_first else self.form.between
        self._is_first = False
        try:
            self._write(f"{lead}{item}")
        except OutputError as error:
            say(item.strip())
            raise OutputError(
                f"{error} The last answer stands on standard error; no further photo was asked."
            ) from None

    def _write(self, text: str) -> None:
        try:
            write_out(text, as_json=self.form.is_json)
        except OutputError:
            self._is_writable = False
            raise

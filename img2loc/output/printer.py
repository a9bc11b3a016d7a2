"""Prints answers one by one as text, JSON, GeoJSON or CSV, so that what has been answered can't be lost later."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from img2loc.errors import OutputError
from img2loc.output.schema import prediction_json, to_csv, to_feature
from img2loc.system.names import escape_controls
from img2loc.system.process import hold_interrupts
from img2loc.system.terminal import write_err, write_out
from img2loc.types import Prediction


def as_text(name: str, result: Prediction | str) -> str:
    """Write a line: where, the name of the place, who says so, and how surely."""
    name = escape_controls(name)
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
    text = json.dumps({"photo": name, **answer}, indent=2, ensure_ascii=False)
    return f"\n{text}".replace("\n", "\n  ")  # textwrap would take characters inside a string for line breaks, too


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


STDERR: Final = 2  # its file descriptor


class Printer:
    """Prints answers to standard output. Each has left the process when `add` returns; JSON is closed at the end.

    Ctrl-C cuts no answer: where nobody takes the output, it waits, and a second one ends that.

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
            with hold_interrupts(partial(_say_that_it_waits, "")):
                self._write(self.form.end)

    def add(self, item: str) -> None:
        """Print an answer as the format's `item` wrote it.

        Raises:
            OutputError: It can't be printed, and stands on standard error instead.
            KeyboardInterrupt: It is printed; or, after a second interrupt, it stands on standard error instead.
        """
        lead = "" if self._is_first else self.form.between
        self._is_first = False
        with hold_interrupts(partial(_say_that_it_waits, item)):
            try:
                self._write(f"{lead}{item}")
            except OutputError as error:
                write_err(item.strip())
                raise OutputError(
                    f"{error} The last answer stands on standard error; no further photo was asked."
                ) from None
            except KeyboardInterrupt:
                write_err(item.strip())
                raise

    def _write(self, text: str) -> None:
        try:
            write_out(text, as_json=self.form.is_json)
        except (OutputError, KeyboardInterrupt):
            self._is_writable = False
            raise


def _say_that_it_waits(item: str) -> None:
    message = "img2loc: Stopping as soon as standard output has taken the last answer; Ctrl-C again stops at once."
    with suppress(OSError):  # not by sys.stderr: this may come amid a write to it
        os.write(STDERR, f"{message}\n{item.strip()}\n".encode(errors="backslashreplace"))

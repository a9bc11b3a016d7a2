"""The command line's answers as text, JSON, GeoJSON or CSV, printed one by one so that none can be lost later."""

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
from img2loc.output.csv_text import Cell, csv_text
from img2loc.output.exports import feature, message_of
from img2loc.output.schema import prediction_json
from img2loc.system.names import escape_controls
from img2loc.system.process import hold_interrupts
from img2loc.system.terminal import write_err, write_out
from img2loc.types import Prediction

STDERR: Final = 2  # its file descriptor
_COLUMNS: Final = ("photo", "lat", "lon", "radius_km", "method", "city", "country", "outcome", "message")


def as_text(name: str, result: Prediction | str) -> str:
    """Write one line: the position, the place, the method and the radius."""
    name = escape_controls(name)
    if isinstance(result, str) or result.position is None:
        return f"{name}\tno position\n"
    radius = ""
    if result.radius_km is not None:
        whole = "candidates' score" if result.method == "judge" else "vote"
        part = f"{result.probability:.0%} sure" if result.probability else f"half of the {whole}"
        radius = f"\t{part} within {result.radius_km:,.0f} km"
    return f"{name}\t{result.position}\t{result.place}\t{result.method}{radius}\n"


def as_json(name: str, result: Prediction | str) -> str:
    """Write an object: the prediction or the error."""
    answer = {"error": result} if isinstance(result, str) else prediction_json(result)
    text = json.dumps({"photo": name, **answer}, indent=2, ensure_ascii=False)
    return f"\n{text}".replace("\n", "\n  ")  # textwrap would treat characters inside a string as line breaks, too


def as_geojson(name: str, result: Prediction | str) -> str:
    """Write a feature."""
    position = None if isinstance(result, str) else result.position
    properties = {column: cell for column, cell in _row(name, result).items() if column not in ("lat", "lon")}
    return "\n" + json.dumps(feature(position, properties), ensure_ascii=False)


def as_csv(name: str, result: Prediction | str) -> str:
    """Write a row."""
    return csv_text(_COLUMNS, [_row(name, result)], header=False)


def _row(name: str, result: Prediction | str) -> dict[str, Cell]:
    if isinstance(result, str):
        return {**dict.fromkeys(_COLUMNS), "photo": name, "message": result}
    position, place, outcome = result.position, result.place, result.outcome
    return {
        "photo": name,
        "lat": position.lat if position else None,
        "lon": position.lon if position else None,
        "radius_km": result.radius_km,
        "method": result.method,
        "city": place.city if place else None,
        "country": place.country if place else None,
        "outcome": outcome.kind.value if outcome else None,
        "message": message_of(result) or None,
    }


@dataclass(frozen=True, slots=True)
class Format:
    """A way to print answers."""

    # Writes one answer, given the photo's name and the prediction or the error.
    item: Callable[[str, Prediction | str], str]
    start: str = ""  # printed before the first
    between: str = ""  # printed between two
    end: str = ""  # printed after the last
    is_json: bool = False  # whether the whole is JSON
    holds_replies: bool = False  # whether an answer includes all that the model replied


FORMATS: Final = {
    "text": Format(as_text),
    "json": Format(as_json, "[", ",", "\n]\n", is_json=True, holds_replies=True),
    "geojson": Format(as_geojson, '{"type": "FeatureCollection", "features": [', ",", "\n]}\n", is_json=True),
    "csv": Format(as_csv, csv_text(_COLUMNS, [])),
}


class Printer:
    """Prints answers to standard output. Each has left the process when `add` returns; JSON is closed at the end.

    Ctrl-C cuts no answer in half: it waits until the output is taken, and a second Ctrl-C ends the wait.
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
        with suppress(OutputError) if kind else nullcontext():  # the error that ends the command matters more
            with hold_interrupts(partial(_announce_wait, "")):
                self._write(self.form.end)

    def add(self, item: str) -> None:
        """Print an answer that the format's `item` wrote.

        Raises:
            OutputError: It can't be printed, and is on standard error instead.
            KeyboardInterrupt: It is printed; or, after a second interrupt, it is on standard error instead.
        """
        lead = "" if self._is_first else self.form.between
        self._is_first = False
        with hold_interrupts(partial(_announce_wait, item)):
            try:
                self._write(f"{lead}{item}")
            except OutputError as error:
                write_err(item.strip())
                message = f"{error} The last answer is on standard error instead; no further photo was located."
                raise OutputError(message) from None
            except KeyboardInterrupt:
                write_err(item.strip())
                raise

    def _write(self, text: str) -> None:
        try:
            write_out(text, as_json=self.form.is_json)
        except (OutputError, KeyboardInterrupt):
            self._is_writable = False
            raise


def _announce_wait(item: str) -> None:
    message = "img2loc: Stopping as soon as standard output has taken the last answer; Ctrl-C again stops at once."
    with suppress(OSError):  # not by sys.stderr: this may interrupt a write to it
        os.write(STDERR, f"{message}\n{item.strip()}\n".encode(errors="backslashreplace"))

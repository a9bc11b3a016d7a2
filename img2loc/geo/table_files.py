"""The lines of a table's file, one after another: CSV in its dialects, JSON as exiftool writes it, or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

from img2loc.errors import DataError

SEPARATORS: Final = ",;\t|"
PARQUET_ROWS: Final = 4096
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_READABLE: Final = "Give a CSV file, a Parquet file, or JSON as exiftool -json writes it"

Lines = Iterator[tuple[int, list[str]]]


def read_lines(path: Path) -> Lines:
    """Read a table line by line, so that it may be longer than memory (JSON in one piece apart).

    Args:
        path: A Parquet file if its name ends in .parquet; JSON if in .json, .jsonl or .ndjson; else CSV with commas,
            semicolons, tabs or |, in UTF-8 or UTF-16.

    Yields:
        The line's number, from 1, and its cells; the header first. Blank lines are left out.

    Raises:
        DataError: It can't be read, or has no header.
    """
    suffix = path.suffix.lower()
    read = {".parquet": _parquet_lines, ".json": _json_lines, ".jsonl": _json_lines, ".ndjson": _json_lines}
    try:
        for number, cells in read.get(suffix, _csv_lines)(path):
            yield number, [cell.strip() for cell in cells]
    except UnicodeError as error:
        raise DataError(f"{path} can't be read: it isn't text in UTF-8 or UTF-16. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _csv_lines(path: Path) -> Lines:
    with path.open("rb") as raw:
        head = raw.read(4)
    if head.startswith(b"PK\3\4"):
        raise DataError(f"{path} can't be read: it is a spreadsheet or a zip file. Save the table as CSV.")
    with path.open(newline="", encoding="utf-16" if head[:2] in _UTF_16 else "utf-8-sig") as file:
        first = file.readline()
        start = 0
        separator = max(SEPARATORS, key=first.count)
        if first.lower().startswith("sep=") and len(first.strip("\r\n")) == len("sep=;"):  # a line of Excel's own
            separator, start, first = first[4], file.tell(), file.readline()
        if not first.strip():
            raise DataError(f"{path} is empty, or begins with an empty line instead of a header.")
        file.seek(start)
        lines = csv.reader(file, delimiter=separator, skipinitialspace=True)
        width = 0
        try:
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    width = width or len(cells)
                    # Spreadsheets end lines with separators to the width of the sheet.
                    is_padded = len(cells) > width and not any(cell.strip() for cell in cells[width:])
                    yield lines.line_num + (start > 0), cells[:width] if is_padded else cells
        except csv.Error as error:
            raise DataError(f"{path}, line {lines.line_num}, can't be read: {error}.") from error


def _json_lines(path: Path) -> Lines:
    header = list(dict.fromkeys(name for item in _json_objects(path) for name in item))
    if not header:
        raise DataError(f"{path} is empty.")
    yield 1, header
    for number, item in enumerate(_json_objects(path), 2):
        yield number, [_text(item.get(name)) for name in header]


def _json_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a list, or of lines; without their nested values."""
    with path.open(encoding="utf-8-sig") as file:
        try:
            items = json.load(file) if path.suffix.lower() == ".json" else map(json.loads, filter(str.strip, file))
            if not isinstance(items, list | map):
                raise DataError(f"{path} can't be read: it isn't a list of objects. {_READABLE}.")
            for item in items:
                if not isinstance(item, dict):
                    raise DataError(f"{path} can't be read: it isn't a list of objects. {_READABLE}.")
                yield {name: value for name, value in item.items() if not isinstance(value, dict | list)}
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path} can't be read: it isn't JSON ({error}). {_READABLE}.") from error


def _parquet_lines(path: Path) -> Lines:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            # Pictures and nested values in a data set's own Parquet are of no use here, and large.
            names = [
                f.name for f in file.schema_arrow if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))
            ]
            yield 1, names
            batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=names)
            for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 2):
                yield number, [_text(value) for value in row.values()]
    except pa.ArrowException as error:
        raise DataError(f"{path} can't be read: {error}.") from error


def _text(value: object) -> str:
    return "" if value is None else str(value)

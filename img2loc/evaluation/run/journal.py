"""The journal of a run: a line before each request and one for each finished photo, on disk before work goes on."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from pydantic import TypeAdapter, ValidationError

from img2loc.errors import DataError
from img2loc.evaluation.run.record import VERSION, Asking, Entry, Header, Record, Setup
from img2loc.geo.columns import named
from img2loc.lmm.usage import token_count
from img2loc.system.terminal import print_message, write_err

_START: Final = b'{"header":{"setup":{"dataset":"'
_TYPES: Final[dict[str, type]] = {"header": Header, "asking": Asking, "entry": Entry}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_TYPES[kind])


def read_journal(path: Path) -> Record:
    """Read a journal, of a finished run or not. An incomplete last line is ignored.

    Raises:
        DataError: The file can't be read, isn't a journal, or is damaged elsewhere than at its end.
    """
    try:
        with path.open("rb") as file:
            record, _ = _read(file, path)
    except OSError as error:
        raise DataError(f"The journal {path} can't be read: {error.strerror or error}.") from error
    if record is None:
        raise DataError(f"The journal {path} has no complete first line; start the run again.")
    return record


class Journal:
    """A journal that is being written. Threads may share it.

    Args:
        path: The file; it is created, or continued.
        header: This run's. Its date and notes may differ from those in the file.

    Raises:
        DataError: The file belongs to another run, is damaged, or another process is writing it.
    """

    def __init__(self, path: Path, header: Header) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._path = path
        # O_APPEND, so that nothing that was paid for is ever overwritten. Unbuffered, so that a failure to write is
        # known at once.
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b", buffering=0)
        try:
            _lock_file(self._file, path)
            record, complete_bytes = _read(self._file, path)
            if record is None:
                _check_ours(self._file, path)
            if record is None or not (record.entries or record.attempts):
                # Nothing was done yet: a dry run, or one that would have cost too much.
                self._file.truncate(0)
                self.record = Record(header)
                self._append("header", header)
            else:
                _check_same(path, record.header, header)
                self._file.truncate(complete_bytes)
                self._end_line()
                self.record = record
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def asking(self, asking: Asking) -> None:
        """Record that a request is about to be sent.

        Raises:
            OSError: It can't be written; then the request must not be sent.
        """
        with self._lock:
            self._append("asking", asking)
            self.record.add_asking(asking)

    def add(self, entry: Entry) -> None:
        """Record the result for a photo; it is on the disk when this returns.

        Raises:
            OSError: It can't be written. An answer that was paid for is then on standard error.
        """
        with self._lock:
            try:
                self._append("entry", entry)
            except OSError:
                if entry.replies:
                    print_message(
                        f"img2loc: {self._path} can't be written. To keep this answer, append the next line to it:"
                    )
                    write_err(json.dumps(json.loads(_line("entry", entry))))  # in ASCII, as a terminal shows it
                raise
            self.record.add(entry)

    def _end_line(self) -> None:
        """Add the line break that a complete last line may lack."""
        self._file.seek(-1, os.SEEK_END)
        if self._file.read(1) != b"\n":
            self._file.write(b"\n")

    def _append(self, kind: str, value: object) -> None:
        """Write a complete line, or none of it, so that another can follow."""
        line = memoryview(_line(kind, value))
        size = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(size)
            error.filename = self._path
            raise


def _line(kind: str, value: object) -> bytes:
    body = _adapter(kind).dump_python(value, mode="json", warnings=False)
    if kind == "entry":
        body = _without_impossible_counts(body)
    text = json.dumps({kind: body}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # lone surrogates become JSON's own escapes


def _read(file: BinaryIO, path: Path) -> tuple[Record | None, int]:
    """The content of a journal, and how many of its bytes are complete lines."""
    record: Record | None = None
    complete_bytes = 0
    for number, line in enumerate(_complete_lines(file), start=1):
        complete_bytes += len(line)
        try:
            ((kind, value),) = json.loads(line).items()
            if record is None:
                if kind != "header" or value["version"] != VERSION:
                    raise ValueError("no header of this version")
                record = Record(_adapter(kind).validate_python(value))
            elif kind == "asking" and isinstance(value, str):
                record.add_old_asking(value)
            elif kind == "asking":
                record.add_asking(_adapter(kind).validate_python(value))
            elif kind == "entry":
                record.add(_adapter(kind).validate_python({"used": None, **_without_impossible_counts(value)}))
            else:
                raise ValueError(f"a line of the unknown kind {kind!r}")
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            raise DataError(
                f"Line {number} of {path} can't be read ({type(error).__name__}): the file is not a journal, or was "
                "changed. Use another file, or remove the line to have its photo asked about again."
            ) from error
    return record, complete_bytes


def _without_impossible_counts(entry: dict[str, Any]) -> dict[str, Any]:
    """Replace impossible token counts, which a server may have sent, by None; the cost is then estimated."""
    for outcome in (entry.get("outcome"), entry.get("choice")):
        for reply in outcome["replies"] if outcome else ():
            for name in ("input_tokens", "output_tokens"):
                reply[name] = token_count(reply.get(name))
    return entry


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    for line in file:
        # Only the last line can lack its line break, if the process was killed while writing. A part of an object is
        # not valid JSON, so a last line that is valid lacks nothing else.
        if line.endswith(b"\n") or _is_json(line):
            yield line


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _check_ours(file: BinaryIO, path: Path) -> None:
    """Refuse a file without a complete line that isn't the beginning of a journal: somebody else's."""
    file.seek(0)
    if not _START.startswith(file.read(len(_START))):
        raise DataError(f"{path} is not a journal. Move it away, or give this run another folder.")


def _check_same(path: Path, recorded: Header, ours: Header) -> None:
    differing = [
        item.name for item in fields(Setup) if getattr(recorded.setup, item.name) != getattr(ours.setup, item.name)
    ]
    if recorded.items != ours.items:
        differing.append("photos of the listing")
    if differing:
        reason = f"it differs in {named(differing)}"
        raise DataError(f"The journal {path} belongs to another run: {reason}. Give this run another folder.")


def _lock_file(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none; there the user must not start two
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DataError(f"Another process is writing the journal {path}; wait for it, or stop it.") from None

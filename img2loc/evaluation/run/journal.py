"""The journal of a run: a line a photo, on disk before the next is asked, so that a kill costs nothing twice."""

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
from img2loc.geo.tables import named
from img2loc.lmm.usage import token_count
from img2loc.system.terminal import print_message, write_err

_START: Final = b'{"header":{"setup":{"dataset":"'
_SHAPES: Final[dict[str, type]] = {"header": Header, "asking": Asking, "entry": Entry}


@cache
def _adapter(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def read_journal(path: Path) -> Record:
    """Read a journal, of a finished run or not. A last line that was cut short is left aside.

    Raises:
        DataError: The file can't be read, is no journal, or is damaged elsewhere than at its end.
    """
    try:
        with path.open("rb") as file:
            record, _ = _read(file, path)
    except OSError as error:
        raise DataError(f"The journal {path} can't be read: {error.strerror or error}.") from error
    if record is None:
        raise DataError(f"The journal {path} has no whole first line; begin the run again.")
    return record


class Journal:
    """A journal that is being written. Threads may share it.

    Args:
        path: The file; it is made, or gone on with where it stands.
        header: What this run is. Its date and notes may differ from those in the file.

    Raises:
        DataError: The file belongs to another run, is damaged, or another process is writing it.
    """

    def __init__(self, path: Path, header: Header) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._path = path
        # O_APPEND: whatever happens, nothing that was paid for is written over. Unbuffered: what can't be written is
        # known at once, and not written later.
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b", buffering=0)
        try:
            _lock_file(self._file, path)
            found, whole = _read(self._file, path)
            if found is None:
                _check_ours(self._file, path)
            if found is None or not (found.entries or found.asked):
                # Nothing was done yet, but perhaps planned: a dry run, or one that would have cost too much.
                self._file.truncate(0)
                self.record = Record(header)
                self._append("header", header)
            else:
                _check_same(path, found.header, header)
                self._file.truncate(whole)
                self._end_line()
                self.record = found
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
        """Write down that a request is about to be sent.

        Raises:
            OSError: It can't be written; then it mustn't be sent.
        """
        with self._lock:
            self._append("asking", asking)
            self.record.add_asking(asking)

    def add(self, entry: Entry) -> None:
        """Write down what became of a photo; it is on the disk when this returns.

        Raises:
            OSError: It can't be written. Then an answer that was paid for stands on standard error.
        """
        with self._lock:
            try:
                self._append("entry", entry)
            except OSError:
                if entry.replies:
                    print_message(
                        f"img2loc: {self._path} can't be written; to keep this answer, append the following line to it:"
                    )
                    write_err(json.dumps(json.loads(_line("entry", entry))))  # in ASCII, as a terminal shows it
                raise
            self.record.add(entry)

    def _end_line(self) -> None:
        """Give the last line, if it is whole but for its line break, the line break."""
        self._file.seek(-1, os.SEEK_END)
        if self._file.read(1) != b"\n":
            self._file.write(b"\n")

    def _append(self, kind: str, value: object) -> None:
        """Write a line whole, or nothing of it, so that another may follow."""
        line = memoryview(_line(kind, value))
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(whole)
            error.filename = self._path
            raise


def _line(kind: str, value: object) -> bytes:
    body = _adapter(_SHAPES[kind]).dump_python(value, mode="json", warnings=False)
    if kind == "entry":
        body = _with_sane_counts(body)
    text = json.dumps({kind: body}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # half a character pair, escaped as JSON does it


def _read(file: BinaryIO, path: Path) -> tuple[Record | None, int]:
    """What a file holds, and up to which byte it is whole."""
    record: Record | None = None
    whole = 0
    for number, line in enumerate(_whole_lines(file), start=1):
        whole += len(line)
        try:
            ((kind, value),) = json.loads(line).items()
            if record is None:
                if kind != "header" or value["version"] != VERSION:
                    raise ValueError("no header of this version")
                record = Record(_adapter(Header).validate_python(value))
            elif kind == "asking" and isinstance(value, str):
                record.add_old_asking(value)
            elif kind == "asking":
                record.add_asking(_adapter(Asking).validate_python(value))
            elif kind == "entry":
                record.add(_adapter(Entry).validate_python({"used": None, **_with_sane_counts(value)}))
            else:
                raise ValueError(f"a line of the unknown kind {kind!r}")
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            raise DataError(
                f"Line {number} of {path} can't be read ({type(error).__name__}): it is no journal of a run, or was "
                "changed. Use another file, or take the line out to have its photo asked again."
            ) from error
    return record, whole


def _with_sane_counts(entry: dict[str, Any]) -> dict[str, Any]:
    """Take away counts of tokens that can't be any, which a server may have sent: the cost is then estimated."""
    for outcome in (entry.get("outcome"), entry.get("choice")):
        for reply in outcome["replies"] if outcome else ():
            for name in ("input_tokens", "output_tokens"):
                reply[name] = token_count(reply.get(name))
    return entry


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    for line in file:
        # Only a last line can lack its break: the process was killed while it wrote. No part of an object is JSON, so
        # what is JSON lacks nothing else.
        if line.endswith(b"\n") or _is_json(line):
            yield line


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _check_ours(file: BinaryIO, path: Path) -> None:
    """Refuse a file without a whole line that isn't the beginning of a journal: it is somebody else's."""
    file.seek(0)
    start = file.read(len(_START))
    if not _START.startswith(start):
        raise DataError(f"{path} is no journal of a run. Move it away, or give this run another folder.")


def _check_same(path: Path, found: Header, ours: Header) -> None:
    differing = [
        item.name for item in fields(Setup) if getattr(found.setup, item.name) != getattr(ours.setup, item.name)
    ]
    differing += ["photos of the listing"] if found.items != ours.items else []
    if differing:
        raise DataError(
            f"The journal {path} is of another run: it differs in {named(differing)}. Give this run another folder."
        )


def _lock_file(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none; there it is the user who must not start two
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DataError(f"Another process is writing the journal {path}; wait for it, or stop it.") from None

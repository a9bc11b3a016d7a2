"""A gallery's records of where its photos come from, read a group of rows at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from img2loc.errors import GalleryError
from img2loc.types import PhotoRecord

COLUMNS = tuple(field.name for field in fields(PhotoRecord))


class Records:
    """A gallery's records; safe to use from many threads at once.

    All are read once at opening, so that damaged ones are noticed then: a million rows take 0.4 s.

    Args:
        content: The Parquet file, mapped.

    Raises:
        ValueError, pyarrow.ArrowException: The content isn't a gallery's records.
    """

    def __init__(self, content: mmap.mmap) -> None:
        self._content = pa.py_buffer(content)
        self._metadata = pq.read_metadata(pa.BufferReader(self._content))
        columns = {column.name: column.type for column in self._metadata.schema.to_arrow_schema()}
        if columns != dict.fromkeys(COLUMNS, pa.string()):
            raise ValueError(f"its records have other columns than texts: {columns}")
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self.count: int = self._metadata.num_rows
        self._group_rows = max(sizes, default=1)
        if any(size != self._group_rows for size in sizes[:-1]) or sum(sizes) != self.count:
            raise ValueError("its records' groups are not of equal size")
        with self._open() as file:
            for group, size in enumerate(sizes):
                table = file.read_row_group(group, use_threads=False)
                table.validate(full=True)  # also that texts are UTF-8
                if len(table) != size:
                    raise ValueError(f"its records' group {group} has {len(table)} rows instead of {size}")

    def read(self, rows: list[int]) -> dict[int, PhotoRecord]:
        """The records of some rows, read from just the groups that have them.

        Raises:
            GalleryError: The file is not what it claims to be.
        """
        photos: dict[int, PhotoRecord] = {}
        try:
            with self._open() as file:
                for group in sorted({row // self._group_rows for row in rows}):
                    in_group = [row for row in rows if row // self._group_rows == group]
                    table = file.read_row_group(group, use_threads=False)
                    records = table.take([row % self._group_rows for row in in_group]).to_pylist()
                    photos |= {row: _record(values) for row, values in zip(in_group, records, strict=True)}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise GalleryError(f"The gallery's records can't be read ({error}). Download the gallery again.") from error
        return photos

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All records in order, a number of rows at a time."""
        with self._open() as file:
            yield from file.iter_batches(rows)

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(pa.BufferReader(self._content), metadata=self._metadata)


def _record(values: dict[str, Any]) -> PhotoRecord:
    return PhotoRecord(**{name: value or "" for name, value in values.items()})  # null means unknown

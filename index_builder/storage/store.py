"""The folder between the embed stage and the index stage: a plan, and a pair of files a shard.

plan.json         what is embedded, by what, and how it is cut; work that doesn't fit it is refused
00000.npy         float32 (rows, dim), unit rows; zeros where a photo could not be read
00000.json        written last, so that its presence means that the shard is whole: sha256 of the array, unreadable rows
bfloat16.npy      float32 (2, n, dim): the first readable photos embedded in float32 and in bfloat16
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from img2loc.errors import ConfigError
from img2loc.retrieval.encoders import Embeddings, EncoderSpec
from img2loc.system.durable import write_whole

PLAN, BFLOAT16 = "plan.json", "bfloat16.npy"
BLOCK_ROWS = 4096  # read at a time where a shard is longer


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Which rows of a listing each shard holds: row = shard * size + offset.

    Raises:
        ValueError: A number is out of range.
    """

    count: int  # rows of the listing
    size: int  # rows of every shard but the last, which holds what is left

    def __post_init__(self) -> None:
        if self.count < 0 or self.size < 1:
            raise ValueError(f"a plan of {self.count} rows in shards of {self.size}")

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.size)

    def rows(self, shard: int) -> range:
        """The rows that a shard holds.

        Raises:
            IndexError: There is no such shard.
        """
        if not 0 <= shard < self.shards:
            raise IndexError(f"shard {shard} of {self.shards}")
        return range(shard * self.size, min((shard + 1) * self.size, self.count))

    def batches(self, shard: int, batch: int) -> list[range]:
        """A shard's rows in batches that never cross its border, so that a batch is the same however work is shared."""
        rows = self.rows(shard)
        return [rows[start : start + batch] for start in range(0, len(rows), batch)]


@dataclass(frozen=True, slots=True)
class Job:
    """What has to stay the same until the last shard is done, for the bytes to be the same."""

    listing: str  # sha256 of its file
    count: int  # its rows
    size: int  # rows a shard
    batch: int  # pictures in one pass of the network: another number may change the last digits
    dtype: str  # the network's number format
    threads: int  # of the CPU's matrix products: another number may change the last digits, too
    dim: int  # length of an embedding
    encoder: EncoderSpec


class Store:
    """The shards of one job in a folder."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        self.job = job
        self.plan = ShardPlan(job.count, job.size)

    @classmethod
    def create(cls, folder: Path, job: Job) -> Store:
        """Begin a job in a folder, or continue it.

        Raises:
            ConfigError: The folder holds another job's shards, or something else.
        """
        if (folder / PLAN).exists():
            store = cls.open(folder)
            ours, theirs = asdict(job), asdict(store.job)
            differing = [f"{key} {theirs[key]!r} there, {ours[key]!r} now" for key in ours if ours[key] != theirs[key]]
            if differing:
                raise ConfigError(
                    f"{folder} holds the shards of another job: {'; '.join(differing)}. "
                    "Continue with the same settings, or give --out a new folder."
                )
            return store
        if folder.exists() and (not folder.is_dir() or any(not f.name.startswith(".") for f in folder.iterdir())):
            raise ConfigError(f"{folder} holds something other than shards; give --out a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / PLAN, asdict(job))
        return cls(folder, job)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open a job's folder.

        Raises:
            ConfigError: It is none.
        """
        try:
            values = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            return cls(folder, Job(**{**values, "encoder": EncoderSpec(**values["encoder"])}))
        except (OSError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise ConfigError(f"{folder} has no {PLAN} that can be read ({error}); run the embed stage.") from error

    def names(self) -> set[str]:
        """The names of all files that the folder has when the job is done."""
        shards = range(self.plan.shards)
        return {PLAN, BFLOAT16, *(file(shard).name for shard in shards for file in (self.array, self.marker))}

    def missing(self) -> list[int]:
        """The shards that are not done."""
        return [shard for shard in range(self.plan.shards) if not self.marker(shard).exists()]

    def array(self, shard: int) -> Path:
        """The file of a shard's embeddings."""
        return self.folder / f"{shard:05}.npy"

    def marker(self, shard: int) -> Path:
        """The file that says that a shard is whole."""
        return self.folder / f"{shard:05}.json"

    def write(self, shard: int, embeddings: Embeddings, unreadable: Mapping[int, str]) -> None:
        """Write a shard, whose bytes are the same whoever writes it, and how often.

        Args:
            shard: Its number.
            embeddings: (rows, dim) float32.
            unreadable: Reasons by row of the shard, from 0.

        Raises:
            OSError: It can't be written; it is not done then.
        """
        buffer = io.BytesIO()
        np.save(buffer, embeddings, allow_pickle=False)
        data = buffer.getbuffer()
        with write_whole(self.array(shard)) as file:
            file.write(data)
        marker = {
            "rows": len(embeddings),
            "sha256": hashlib.sha256(data).hexdigest(),
            "unreadable": {str(row): unreadable[row] for row in sorted(unreadable)},
        }
        _write_json(self.marker(shard), marker)

    def unreadable(self, shard: int) -> dict[int, str]:
        """A done shard's unreadable rows, from 0, with the reasons."""
        return {int(row): reason for row, reason in self._marker(shard)["unreadable"].items()}

    def readable(self, shard: int) -> npt.NDArray[np.bool_]:
        """Which of a done shard's rows hold an embedding."""
        mask = np.ones(len(self.plan.rows(shard)), bool)
        mask[list(self.unreadable(shard))] = False
        return mask

    def check(self, shard: int) -> None:
        """Make sure that a shard is what its marker says.

        Raises:
            ConfigError: It is not there, or changed since.
        """
        try:
            with self.array(shard).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"The shard {self.array(shard)} can't be read: {error}.") from error
        if sha256 != self._marker(shard)["sha256"]:
            raise ConfigError(
                f"The shard {self.array(shard)} has changed since it was embedded; remove {self.marker(shard).name} "
                "beside it and run the embed stage again."
            )

    def _marker(self, shard: int) -> dict[str, Any]:
        try:
            marker: dict[str, Any] = json.loads(self.marker(shard).read_text(encoding="utf-8"))
            return {"sha256": marker["sha256"], "unreadable": dict(marker["unreadable"])}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"The shard {shard} in {self.folder} is not done; run the embed stage.") from error

    def blocks(self) -> Iterator[Embeddings]:
        """The readable photos' embeddings, in order, a piece at a time: whole shards are never held."""
        for shard in range(self.plan.shards):
            array = np.load(self.array(shard), mmap_mode="r", allow_pickle=False)
            mask = self.readable(shard)
            for start in range(0, len(array), BLOCK_ROWS):
                yield np.ascontiguousarray(array[start : start + BLOCK_ROWS][mask[start : start + BLOCK_ROWS]])


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with write_whole(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")

"""The shard plan: which rows of a listing each shard holds. Pure arithmetic; row = shard * size + offset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """How a listing is cut.

    Args:
        count: Rows of the listing.
        size: Rows of every shard but the last, which holds what is left.

    Raises:
        ValueError: A number is out of range.
    """

    count: int
    size: int

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

"""Work done ahead by a pool, handed out in order; at most a few results wait, whatever the length of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Generator[Result, None, None]:
    """Apply a function to items in a pool and give the results in the items' order.

    Args:
        pool: Threads or processes.
        function: What to apply; it can be pickled where the pool is of processes.
        items: Read as far ahead as results are made, never further.
        ahead: How many results may be under way or wait to be taken.

    Yields:
        A result an item. What the function raises is raised here, at that item's place.
    """
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()

"""The shard plan is arithmetic; work ahead keeps its order and its bounds; files are there whole or not at all."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.system.durable import sweep, write_whole
from index_builder.storage.prefetch import ordered_map
from index_builder.storage.store import ShardPlan


@given(count=st.integers(0, 500), size=st.integers(1, 70), batch=st.integers(1, 30))
@settings(deadline=None)
def test_every_row_stands_in_one_shard_and_one_batch(count, size, batch):
    plan = ShardPlan(count, size)
    rows = [row for shard in range(plan.shards) for row in plan.rows(shard)]
    assert rows == list(range(count))
    assert all(row == shard * size + i for shard in range(plan.shards) for i, row in enumerate(plan.rows(shard)))
    for shard in range(plan.shards):
        batches = plan.batches(shard, batch)
        assert [row for rows in batches for row in rows] == list(plan.rows(shard))
        assert all(len(rows) == batch for rows in batches[:-1]) and len(plan.rows(shard)) > 0


@pytest.mark.parametrize(("count", "size"), [(-1, 5), (5, 0), (5, -1)])
def test_a_plan_that_makes_no_sense_is_refused(count, size):
    with pytest.raises(ValueError, match="a plan of"):
        ShardPlan(count, size)


@pytest.mark.parametrize("shard", [-1, 3])
def test_there_is_no_shard_beyond_the_last(shard):
    with pytest.raises(IndexError, match="of 3"):
        ShardPlan(9, 4).rows(shard)


def test_results_come_in_order_and_the_source_is_read_only_so_far_ahead():
    taken = []

    def source():
        for item in range(40):
            taken.append(item)
            yield item

    def slow_first(item):
        time.sleep(0.02 if item % 5 == 0 else 0)
        return item * 2

    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(ordered_map(pool, slow_first, source(), ahead=6)):
            assert result == number * 2
            assert len(taken) <= number + 7


def test_an_error_comes_at_its_own_place():
    def fail(item):
        if item == 3:
            raise OSError("gone")
        return item

    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(OSError, match="gone"):
        for result in ordered_map(pool, fail, range(10), ahead=4):
            found.append(result)
    assert found == [0, 1, 2]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"
    with write_whole(path) as file:
        file.write(b"old")
    with pytest.raises(KeyboardInterrupt), write_whole(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_only_what_our_own_writers_left_is_swept(tmp_path):
    left = tmp_path / ".file.1.tmp"
    others = [tmp_path / name for name in (".notes.1.tmp", ".file.tmp", ".tmp", ".file.x.tmp", "file")]
    for path in (left, *others):
        path.write_bytes(b"half")
    sweep(tmp_path, {"file"})
    assert not left.exists() and all(path.exists() for path in others)


def test_a_link_with_the_name_of_an_unfinished_file_is_not_followed(tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    for link in (os.symlink, os.link):
        link(thesis, tmp_path / f".plan.json.{os.getpid()}.tmp")
        with write_whole(tmp_path / "plan.json") as file:
            file.write(b"{}")
        assert thesis.read_text() == "years of work" and (tmp_path / "plan.json").read_text() == "{}"
    assert len(list(tmp_path.iterdir())) == 2

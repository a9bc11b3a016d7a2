"""Checksums: a large file's is computed once, and again as soon as the file changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from img2loc.retrieval import checksums


def cached_sha256(path):
    with path.open("rb") as file:
        return checksums.cached_sha256(file)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Files from 100 bytes on count as large; every computation is noted."""
    computed = []
    real = checksums.sha256_of
    monkeypatch.setattr(checksums, "MIN_CACHED_BYTES", 100)
    monkeypatch.setattr(checksums, "sha256_of", lambda file: computed.append(Path(file.name)) or real(file))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return computed


def test_a_large_file_is_read_once(counted, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 200)
    assert cached_sha256(path) == cached_sha256(path) == hashlib.sha256(b"a" * 200).hexdigest()
    assert counted == [path]


def test_a_change_is_seen_even_with_the_same_size_and_time(counted, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 200)
    state = path.stat()
    cached_sha256(path)
    path.write_bytes(b"b" * 200)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cached_sha256(path) == hashlib.sha256(b"b" * 200).hexdigest()
    assert len(counted) == 2


def test_a_small_file_is_read_each_time(counted, tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"a")
    cached_sha256(path)
    cached_sha256(path)
    assert len(counted) == 2
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_broken_notebook_is_written_anew(counted, tmp_path, content):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 200)
    notebook = tmp_path / "cache" / "img2loc" / "checksums.json"
    notebook.parent.mkdir(parents=True)
    notebook.write_bytes(content)
    cached_sha256(path)
    cached_sha256(path)
    assert len(counted) == 1


def test_without_a_place_to_write_it_is_computed_each_time(counted, tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 200)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached_sha256(path) == cached_sha256(path)
    assert len(counted) == 2


def test_only_so_many_are_remembered(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "MAX_CACHED", 2)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"a" * 200)
        cached_sha256(path)
    cached_sha256(paths[2])
    assert len(counted) == 3
    cached_sha256(paths[0])
    assert len(counted) == 4

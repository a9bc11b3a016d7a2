"""Galleries made to hurt: whatever is in one, it is opened, or refused in words that say what is wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from img2loc.errors import GalleryError
from img2loc.retrieval.gallery import STARTER, open_gallery
from img2loc.retrieval.manifest import CALIBRATION, INDEX, MANIFEST, POSITIONS, RECORDS
from tests.retrieval.test_gallery import reseal, unit
from tests.soak.faults import write_planet


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(STARTER, tmp_path / "starter"))


def every_use(folder):
    """Open a gallery and use all of it."""
    gallery = open_gallery(str(folder))
    found = gallery.search(unit(1, gallery.manifest.dim)[0], 20, 20)
    return gallery.records(list(range(gallery.manifest.count))), found, gallery.location, gallery.manifest.identity


WEIRD = (
    None, True, -1, 0, 1, 2, 10**9, 10**30, 1e400, float("nan"), -0.5, "", "x", "\udcff", "\0", "9" * 5000, [], [1], {},
    {"a": 1}, {"path": "/etc/passwd"}, [[[]]] * 50,
)  # fmt: skip


def mutated(value, rng):
    """A JSON value with one part of it, at any depth, exchanged, taken out or added to."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        how = rng.random()
        if how < 0.15:
            return {name: part for name, part in value.items() if name != key}
        if how < 0.3:
            return value | {rng.choice(["extra", "dim", "..", key + "x"]): rng.choice(WEIRD)}
        return value | {key: mutated(value[key], rng)}
    return rng.choice(WEIRD)


def test_whatever_a_manifest_says_it_is_opened_or_refused_in_words(copied):
    rng = random.Random(0)
    whole = json.loads((copied / MANIFEST).read_text(encoding="utf-8"))
    opened = 0
    for _ in range(150):
        (copied / MANIFEST).write_text(json.dumps(mutated(whole, rng)), encoding="utf-8")
        try:
            every_use(copied)
            opened += 1
        except GalleryError as error:
            assert "\n" not in str(error) and len(str(error)) < 7000
    assert 0 < opened < 75


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000, b'{"a":' * 100_000,
        b'{"schema_version":' + b"1" * 10_000 + b"}", b" " * 10_000_000, b'{"schema_version": 1}',
        b'{"schema_version": 1, "schema_version": 1}',
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_in_words(copied, content):
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(GalleryError, match="can't be read"):
        open_gallery(str(copied))


@pytest.mark.parametrize("name", [MANIFEST, INDEX, POSITIONS, RECORDS])
def test_a_folder_or_a_pipe_in_a_files_place_is_refused_in_words(copied, name):
    for make in (Path.mkdir, os.mkfifo):
        (copied / name).unlink() if (copied / name).is_file() else (copied / name).rmdir()
        make(copied / name)
        with pytest.raises(GalleryError, match=f"has no {name}"):
            open_gallery(str(copied))


@pytest.mark.parametrize("name", ["~no-such-user/x", "x" * 5000, "a\0b", "\udcff"])
def test_a_name_that_no_folder_can_have_is_refused_in_words(name):
    with pytest.raises(GalleryError, match="can't be opened"):
        open_gallery(name)


@pytest.mark.parametrize("name", [POSITIONS, RECORDS, CALIBRATION, "location_encoder.safetensors"])
def test_whatever_is_in_its_files_a_gallery_is_opened_or_refused_in_words(tmp_path, name):
    """With checksums that fit. What FAISS makes of an index is its own: SECURITY.md."""
    folder = tmp_path / "planet"
    write_planet(folder, 0)
    if name != CALIBRATION:  # which would be another gallery's as soon as anything else changes
        (folder / CALIBRATION).unlink()
    if name == RECORDS:
        shutil.rmtree(folder)
        shutil.copytree(STARTER, folder)
    rng, opened = random.Random(0), 0
    whole = (folder / name).read_bytes()
    for _ in range(30):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 20])):
            at = rng.randrange(len(data))
            if rng.random() < 0.15:
                del data[at : at + rng.randrange(1, 200)]
            elif rng.random() < 0.2:
                data[at:at] = rng.randbytes(rng.randrange(1, 50))
            else:
                data[at] ^= 1 << rng.randrange(8)
            data = data or bytearray(b"x")
        (folder / name).write_bytes(data)
        reseal(folder)
        with suppress(GalleryError):
            every_use(folder)
            opened += 1
    assert opened > 0

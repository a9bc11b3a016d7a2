"""A gallery's manifest.json, which is checked as untrusted input."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from img2loc.errors import GalleryError, first_fault, quoted
from img2loc.retrieval.checksums import file_sha256
from img2loc.retrieval.encoders.base import EncoderSpec

SCHEMA_VERSION = 1
MANIFEST, INDEX, POSITIONS, RECORDS, HEAD, LOCATION, CALIBRATION = (
    "manifest.json",
    "index.faiss",
    "positions.npy",
    "records.parquet",
    "head.safetensors",
    "location_encoder.safetensors",
    "calibration.json",
)
REQUIRED_FILES = (INDEX, POSITIONS)
OPTIONAL_FILES = (RECORDS, HEAD, LOCATION, CALIBRATION)
CARD = "README.md"
MAX_MANIFEST_BYTES = 1 << 18  # a manifest has about 2 kB
MAX_SEARCH_SETTING = 1 << 16  # FAISS takes memory in proportion to k_factor and nprobe

Share = Annotated[float, Field(ge=0, le=1)]
SearchSetting = Annotated[int, Field(ge=1, le=MAX_SEARCH_SETTING)]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a gallery."""

    sha256: str
    bytes: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a gallery holds, and how it was made and measured."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    about: str  # one or two sentences for visitors: what it knows and what it doesn't
    source: str  # the data set that it was made from
    licence: str  # of that data set
    count: Annotated[int, Field(ge=1)]  # photos, or positions
    dim: Annotated[int, Field(ge=1)]  # of an embedding
    encoder: EncoderSpec
    factory: str  # the index, as FAISS's index_factory writes it
    recall: dict[str, Share]  # measured share of the true 16 neighbours found, for "nearest" and "farthest"
    files: dict[str, StoredFile]  # all but the manifest and the card
    bfloat16_keeps_neighbours: bool = False  # a sample embedded in bfloat16 too had the same neighbours
    # How an approximate index is searched, as its recall was measured: "k_factor", candidates per neighbour that are
    # compared exactly, and "nprobe", cells looked into. Empty for the index's defaults.
    search: dict[str, SearchSetting] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @property
    def identity(self) -> str:
        """Which gallery this is: the sha256 of its manifest without the calibration, which is added later."""
        files = {name: file for name, file in self.files.items() if name != CALIBRATION}
        return hashlib.sha256(replace(self, files=files).to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: It isn't a manifest of this schema; the message names the part that is wrong.
        """
        values = from_json(text)
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(f"it has schema version {quoted(version)}, and this program reads {SCHEMA_VERSION}")
        try:
            manifest = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise ValueError(first_fault(error)) from None
        if set(manifest.recall) != {"nearest", "farthest"}:
            raise ValueError("recall: it must have nearest and farthest")
        if not set(manifest.search) <= {"k_factor", "nprobe"} or (
            "Refine" in manifest.factory and "k_factor" not in manifest.search
        ):
            raise ValueError("search: it doesn't say how the index is searched")
        if not {*REQUIRED_FILES} <= {*manifest.files} <= {*REQUIRED_FILES, *OPTIONAL_FILES}:
            raise ValueError(f"files: it lists {sorted(manifest.files)}")
        return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read a gallery's manifest, and nothing else of it.

    Raises:
        GalleryError: It has none, or one that can't be read.
    """
    path = folder / MANIFEST
    try:
        if not path.is_file():
            raise GalleryError(
                f"{folder} has no {MANIFEST}: it isn't a gallery, or not a complete one. Build or download it again."
            )
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise ValueError(f"it has more than {MAX_MANIFEST_BYTES:,} bytes")
        return Manifest.from_json(text)
    except (OSError, ValueError) as error:
        raise GalleryError(
            f"The {MANIFEST} in {folder} can't be read ({error}). Build or download the gallery again."
        ) from error


def describe_file(path: Path) -> StoredFile:
    """A file as a manifest lists it."""
    return StoredFile(file_sha256(path), path.stat().st_size)

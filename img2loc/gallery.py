"""The gallery: embeddings of geotagged photos with their positions, in a folder that proves itself whole."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from img2loc.area import Area, Inside
from img2loc.calibration import Calibration, read_calibration
from img2loc.checksums import file_sha256, known_sha256
from img2loc.coarse import Cities, CoarseArea, nearest_cities
from img2loc.encoder import Encoder, EncoderSpec
from img2loc.errors import GalleryError, GalleryMismatchError, HubError
from img2loc.hub import OnBytes, fetch, ignore_bytes, split_revision
from img2loc.search import Among, Searcher, open_index
from img2loc.types import LatLon, Neighbour, PhotoRecord, Retrieval

if TYPE_CHECKING:
    from img2loc.location import LocationEncoder

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
STARTER = Path(__file__).parent / "starter"
MEASURED_K = 16  # recall is measured for so many
KEPT_AREAS = 16  # whose rows are remembered: a bit a row
CITIES_BLOCK_ROWS = 1 << 21  # so many at a time have their cities looked up, which takes some 70 bytes each
UNIT_TOLERANCE = 1e-3  # an embedding computed in bfloat16 and normalised in float32 is far within it


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a gallery says of itself.

    Args:
        name: Its short name.
        about: One or two sentences for visitors: what it knows and what it can't.
        source: The data set that it was made from.
        licence: The licence of that data.
        count: How many photos or positions.
        dim: Length of an embedding.
        encoder: What made the embeddings.
        factory: The index, in FAISS's words.
        recall: Measured share of the true 16 neighbours found, for "nearest" and "farthest".
        files: Each file's sha256 and size in bytes.
        bfloat16_keeps_neighbours: The builder embedded its sample in bfloat16 too and every neighbour stayed the same.
        search: How an approximate index is to be searched, as its recall was measured: "k_factor" (candidates of the
            codes for each neighbour, compared exactly) and "nprobe" (cells looked into); empty for the index's own way.
        schema_version: Of this format.
    """

    name: str
    about: str
    source: str
    licence: str
    count: int
    dim: int
    encoder: EncoderSpec
    factory: str
    recall: dict[str, float]
    files: dict[str, dict[str, Any]]
    bfloat16_keeps_neighbours: bool = False
    search: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The manifest as it is written to manifest.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @property
    def identity(self) -> str:
        """Which gallery this is: the sha256 of its manifest, but for the calibration, which comes to it later."""
        files = {name: file for name, file in self.files.items() if name != CALIBRATION}
        return hashlib.sha256(replace(self, files=files).to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError, TypeError, KeyError: It is no manifest of this schema.
        """
        values = json.loads(text)
        if values["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {values['schema_version']}, and this program reads {SCHEMA_VERSION}")
        read = cls(**{**values, "encoder": EncoderSpec(**values["encoder"])})
        texts = (read.name, read.about, read.source, read.licence, read.factory, *read.encoder.as_dict().values())
        if not all(isinstance(text, str) for text in texts):  # what shows them might take {"path": ...} for a file
            raise TypeError("one of its texts is none")
        if set(read.recall) != {"nearest", "farthest"} or any(
            set(f) != {"bytes", "sha256"} for f in read.files.values()
        ):
            raise ValueError("its recall or a file's description has other parts than it should")
        if not set(read.search) <= {"k_factor", "nprobe"} or (
            "Refine" in read.factory and "k_factor" not in read.search
        ):
            raise ValueError("it doesn't say how the index is searched")
        return read


@dataclass(frozen=True)
class Gallery:
    """An opened gallery: memory-mapped, read only, shared by all requests."""

    folder: Path
    manifest: Manifest
    _searcher: Searcher = field(repr=False)
    _positions: npt.NDArray[np.float32] = field(repr=False)
    _records: Any = field(repr=False)
    _finding_cities: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def search(
        self, embedding: npt.NDArray[np.float32], nearest: int, farthest: int, within: Area | None = None
    ) -> Retrieval:
        """Find the photos most and least similar to a query, both in one call of the index.

        The farthest from q in inner product are the nearest to -q.

        Args:
            embedding: (dim,) float32 of unit norm.
            nearest: How many of the most similar; 0 for none. No more than the gallery holds are returned.
            farthest: How many of the most dissimilar; likewise.
            within: Photos taken elsewhere don't count; None for anywhere.

        Raises:
            GalleryError: The query has another dimension, is not finite or not of unit norm, or a count is negative.
        """
        query = np.asarray(embedding, dtype=np.float32)
        if query.shape != (self.manifest.dim,):
            raise GalleryError(
                f"The query has shape {query.shape}; the gallery {self.manifest.name!r} takes ({self.manifest.dim},)."
            )
        if not abs(float(np.linalg.norm(query)) - 1) < UNIT_TOLERANCE:
            raise GalleryError(
                "The query is not a finite vector of unit length; embed the photo with the gallery's encoder."
            )
        if nearest < 0 or farthest < 0:
            raise GalleryError(f"The numbers of neighbours must be 0 or more, not {nearest} and {farthest}.")
        nearest, farthest = min(nearest, self.manifest.count), min(farthest, self.manifest.count)
        queries = [query] * (nearest > 0) + [-query] * (farthest > 0)
        if not queries:
            return Retrieval((), ())
        k = min(max(nearest, farthest, MEASURED_K), self.manifest.count)  # fewer would also compare fewer candidates
        among = None if within is None else self._rows_within(within)
        similarities, rows = self._searcher.search(np.stack(queries), k, among)
        near = self._neighbours(rows[0][:nearest], similarities[0], within) if nearest else ()
        far = self._neighbours(rows[-1][:farthest], -similarities[-1], within) if farthest else ()
        return Retrieval(near, far)

    def use_gpu(self, device: str) -> None:
        """Search on a GPU from now on, where there is one with room; see Searcher."""
        self._searcher.use_gpu(device)

    @cached_property
    def _rows_within(self) -> Callable[[Area], Among]:
        """Which rows lie within an area: looked up once, not at each search."""
        return lru_cache(KEPT_AREAS)(lambda area: Among(self._inside(area)))

    def _inside(self, area: Area) -> Inside:
        if isinstance(area, CoarseArea):
            return area.holds_cities()[self._nearest_cities]
        return area.holds(self._positions)

    @property
    def _nearest_cities(self) -> Cities:
        """Each row's, as nearest_cities has it: found once, when the first coarse area needs it."""
        with self._finding_cities:  # seconds where there are millions of rows; all wait for the first
            return self._found_cities

    @cached_property
    def _found_cities(self) -> Cities:
        blocks = range(0, self.manifest.count, CITIES_BLOCK_ROWS)
        return np.concatenate(
            [nearest_cities(_rounded(self._positions[start : start + CITIES_BLOCK_ROWS])) for start in blocks]
        )

    def _neighbours(
        self, rows: npt.NDArray[np.int64], similarities: npt.NDArray[np.float32], within: Area | None
    ) -> tuple[Neighbour, ...]:
        found = [int(row) for row in rows if row >= 0]  # an approximate index fills up with -1
        photos = self.records(found)
        degrees = _rounded(self._positions[found])
        # One that lies on the very edge may fall off it by being rounded.
        inside = np.ones(len(found), bool) if within is None else within.holds(degrees)
        return tuple(
            Neighbour(row, LatLon(lat, lon), float(np.clip(similarity, -1, 1)), photos.get(row))
            for row, (lat, lon), similarity, kept in zip(found, degrees.tolist(), similarities, inside, strict=False)
            if kept
        )

    def records(self, rows: list[int]) -> dict[int, PhotoRecord]:
        """The records of some rows, read from just the row groups that hold them; empty where none are kept."""
        if self._records is None or not rows:
            return {}
        import pyarrow.parquet as pq  # noqa: PLC0415

        photos: dict[int, PhotoRecord] = {}
        group_size = self._records.row_group(0).num_rows
        with pq.ParquetFile(self.folder / RECORDS, metadata=self._records, memory_map=True) as file:
            for group in sorted({row // group_size for row in rows}):
                inside = [row for row in rows if row // group_size == group]
                table = file.read_row_group(group, use_threads=False).take([row % group_size for row in inside])
                photos |= {row: PhotoRecord(**record) for row, record in zip(inside, table.to_pylist(), strict=True)}
        return photos

    def check_encoder(self, encoder: Encoder) -> None:
        """Make sure that an encoder's embeddings can be compared with this gallery's.

        Raises:
            GalleryMismatchError: They can't; the message says in what they differ.
        """
        ours, theirs = self.manifest.encoder.as_dict(), encoder.spec.as_dict()
        differing = [key for key in ours if ours[key] != theirs[key]]
        if differing:
            raise GalleryMismatchError(
                f"The gallery {self.manifest.name!r} was made with another encoder: "
                + "; ".join(f"{key} {ours[key]!r} there, {theirs[key]!r} here" for key in differing)
                + ". Set IMG2LOC_ENCODER to the gallery's encoder, or build the gallery again with this one."
            )
        if encoder.dim != self.manifest.dim:
            raise GalleryMismatchError(
                f"The gallery {self.manifest.name!r} holds {self.manifest.dim}-d embeddings and the encoder makes "
                f"{encoder.dim}-d ones; build the gallery again."
            )

    @property
    def head(self) -> Path | None:
        """The projection to put after the encoder, where the gallery brings one."""
        return self.folder / HEAD if HEAD in self.manifest.files else None

    @cached_property
    def calibration(self) -> Calibration | None:
        """What is known of how far off answers are; opened when first asked for.

        Raises:
            GalleryError: It is another gallery's, or can't be read.
        """
        if CALIBRATION not in self.manifest.files:
            return None
        found = read_calibration(self.folder / CALIBRATION)
        if found.gallery != self.manifest.identity:
            raise GalleryError(f"The calibration in {self.folder} is another gallery's; make it again, or take it out.")
        return found

    @cached_property
    def location(self) -> LocationEncoder | None:
        """What tells how well a photo fits any place, where the gallery brings it; opened when first asked for."""
        if LOCATION not in self.manifest.files:
            return None
        from img2loc.location import open_location  # noqa: PLC0415 - torch

        return open_location(self.folder / LOCATION, self.manifest.dim)


def _rounded(positions: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    # float32 keeps about seven digits; more would pretend to know metres that are not there.
    return np.asarray(np.round(positions.astype(np.float64), 5), dtype=np.float64)


def open_gallery(name: str, *, on_bytes: OnBytes = ignore_bytes) -> Gallery:
    """Open a gallery, checked against its manifest.

    Args:
        name: "starter", a folder, or a Hub repo as owner/name[@revision].
        on_bytes: Called with the number of bytes received so far while it is pulled.

    Raises:
        GalleryError: It is missing, torn, tampered with, or the Hub can't be reached.
    """
    folder = STARTER if name == "starter" else Path(name).expanduser()
    if not folder.is_dir():
        try:
            repo, revision = split_revision(name)
            folder = fetch(repo, revision, (MANIFEST, *REQUIRED_FILES, *OPTIONAL_FILES), on_bytes=on_bytes)
        except HubError as error:
            raise GalleryError(
                f"The gallery {name!r} can't be opened: {error}. "
                "Set IMG2LOC_GALLERY to starter, a folder, or owner/name[@revision]."
            ) from error
    return _open_folder(folder)


def _open_folder(folder: Path) -> Gallery:
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)
    import faiss  # noqa: PLC0415 - a quarter of a second

    try:
        index = open_index(folder / INDEX)
        positions = np.load(folder / POSITIONS, mmap_mode="r", allow_pickle=False)
        records = None
        if RECORDS in manifest.files:
            import pyarrow as pa  # noqa: PLC0415
            import pyarrow.parquet as pq  # noqa: PLC0415

            records = pq.read_metadata(folder / RECORDS)
            columns = {column.name: column.type for column in records.schema.to_arrow_schema()}
            if columns != dict.fromkeys(PhotoRecord.__dataclass_fields__, pa.string()):
                raise ValueError(f"{RECORDS} has other columns than texts: {columns}")
    except (RuntimeError, ValueError, OSError) as error:
        raise GalleryError(f"The gallery in {folder} can't be read ({error}); get it again.") from error
    checks = (
        (index.ntotal, index.d) == (manifest.count, manifest.dim),
        index.metric_type == faiss.METRIC_INNER_PRODUCT,
        (positions.shape, positions.dtype) == ((manifest.count, 2), np.float32),
        records is None or records.num_rows == manifest.count,
    )
    if not all(checks):
        raise GalleryError(
            f"The files of the gallery in {folder} contradict its manifest: it says {manifest.count} x {manifest.dim}, "
            f"the index {index.ntotal} x {index.d}, the positions {positions.shape}; build or get it again."
        )
    return Gallery(folder, manifest, Searcher(index, manifest.search), positions, records)


def describe_file(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def read_manifest(folder: Path) -> Manifest:
    """Read what a gallery says of itself, and nothing else of it.

    Raises:
        GalleryError: It has no manifest, or one that can't be read.
    """
    try:
        manifest = Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GalleryError(
            f"{folder} holds no {MANIFEST}: it is no gallery, or one whose making was cut short; build or get it again."
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GalleryError(
            f"The {MANIFEST} in {folder} can't be read ({error}); build or get the gallery again."
        ) from error
    unknown = set(manifest.files) - {*REQUIRED_FILES, *OPTIONAL_FILES}
    missing = set(REQUIRED_FILES) - set(manifest.files)
    if unknown or missing or manifest.count < 1:
        raise GalleryError(
            f"The {MANIFEST} in {folder} lists {sorted(manifest.files)} for {manifest.count} rows; get it again."
        )
    return manifest


def _check_file(folder: Path, name: str, expected: dict[str, Any]) -> None:
    path = folder / name
    if not path.is_file():
        raise GalleryError(f"The gallery in {folder} has no {name}, which its manifest lists; get it again.")
    if path.stat().st_size != expected["bytes"] or known_sha256(path) != expected["sha256"]:
        raise GalleryError(f"The file {name} in {folder} is not the one its manifest describes; get the gallery again.")

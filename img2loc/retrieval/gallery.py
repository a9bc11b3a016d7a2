"""The gallery: embeddings of geotagged photos with their positions, in a folder checked against its manifest."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache, partial
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from img2loc.errors import GalleryError, GalleryMismatchError, HubError, first_line
from img2loc.geo.areas import Area, Inside
from img2loc.geo.coarse import Cities, CoarseArea, nearest_cities
from img2loc.retrieval.calibration import Calibration, read_calibration
from img2loc.retrieval.checksums import cached_sha256
from img2loc.retrieval.encoders import Encoder
from img2loc.retrieval.hub import OnBytes, fetch, ignore_bytes, split_revision
from img2loc.retrieval.index import RowFilter, Searcher, open_index
from img2loc.retrieval.manifest import (
    CALIBRATION,
    HEAD,
    INDEX,
    LOCATION,
    MANIFEST,
    OPTIONAL_FILES,
    POSITIONS,
    RECORDS,
    REQUIRED_FILES,
    Manifest,
    StoredFile,
    read_manifest,
)
from img2loc.types import LatLon, Neighbour, PhotoRecord, Retrieval

if TYPE_CHECKING:
    from img2loc.retrieval.location_encoder import LocationEncoder
    from img2loc.retrieval.records import Records

T = TypeVar("T")

STARTER = Path(__file__).parents[1] / "starter"
MEASURED_K = 16  # the manifest's recall was measured for so many neighbours
CACHED_AREAS = 16  # each takes a bit a row
CITIES_BLOCK_ROWS = 1 << 21  # looking up the cities takes some 70 bytes a row
UNIT_TOLERANCE = 1e-3  # an embedding computed in bfloat16 and normalised in float32 is far within it
CHECKED_ROWS = 1 << 16  # positions checked at a time


@dataclass(frozen=True)
class Gallery:
    """An opened gallery: memory-mapped, read only, shared by all requests.

    Nothing is read by its path again, so that another gallery may take this one's place. Everything is read or checked
    at opening, so that a bad file refuses the gallery and not each request.
    """

    folder: Path
    manifest: Manifest
    searcher: Searcher = field(repr=False)
    positions: npt.NDArray[np.float32] = field(repr=False)  # (count, 2) degrees, lat first
    all_records: Records | None = field(repr=False)
    head: bytes | None = field(repr=False)  # a safetensors file: the projection to put after the encoder
    calibration: Calibration | None = field(repr=False)
    location: LocationEncoder | None = field(repr=False)
    _cities_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def search(
        self, embedding: npt.NDArray[np.float32], nearest: int, farthest: int, within: Area | None = None
    ) -> Retrieval:
        """Find the photos most and least similar to a query, both in one call of the index.

        The farthest from q in inner product are the nearest to -q.

        Args:
            embedding: (dim,) float32 of unit norm.
            nearest: How many of the most similar; fewer are returned where the gallery has no more.
            farthest: How many of the least similar; likewise.
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
        queries = [query] * (nearest > 0) + [-query] * (farthest > 0)
        if not queries:
            return Retrieval((), ())
        k = min(max(nearest, farthest, MEASURED_K), self.manifest.count)  # fewer would also compare fewer candidates
        row_filter = None if within is None else self._rows_within(within)
        similarities, rows = self.searcher.search(np.stack(queries), k, row_filter)
        near = self._neighbours(rows[0][:nearest], similarities[0][:nearest], within) if nearest else ()
        far = self._neighbours(rows[-1][:farthest], -similarities[-1][:farthest], within) if farthest else ()
        return Retrieval(near, far)

    @cached_property
    def _rows_within(self) -> Callable[[Area], RowFilter]:
        return lru_cache(CACHED_AREAS)(lambda area: RowFilter(self._inside(area)))

    def _inside(self, area: Area) -> Inside:
        if isinstance(area, CoarseArea):
            with self._cities_lock:  # seconds where there are millions of rows; all wait for the first
                cities = self._nearest_cities
            return area.holds_cities()[cities]
        return area.holds(self.positions)

    @cached_property
    def _nearest_cities(self) -> Cities:
        blocks = range(0, self.manifest.count, CITIES_BLOCK_ROWS)
        return np.concatenate(
            [nearest_cities(_rounded(self.positions[start : start + CITIES_BLOCK_ROWS])) for start in blocks]
        )

    def _neighbours(
        self, rows: npt.NDArray[np.int64], similarities: npt.NDArray[np.float32], within: Area | None
    ) -> tuple[Neighbour, ...]:
        # An approximate index fills up with -1; other invalid rows or similarities can only come from a damaged one.
        usable = (rows >= 0) & (rows < self.manifest.count) & np.isfinite(similarities)
        rows, similarities = rows[usable], np.clip(similarities[usable], -1, 1)
        positions = _rounded(self.positions[rows])
        if within is not None:  # rounding can push a position on the very edge outside
            inside = within.holds(positions)
            rows, similarities, positions = rows[inside], similarities[inside], positions[inside]
        photos = self.records(rows.tolist())
        return tuple(
            Neighbour(row, LatLon(lat, lon), similarity, photos.get(row))
            for row, (lat, lon), similarity in zip(
                rows.tolist(), positions.tolist(), similarities.tolist(), strict=True
            )
        )

    def records(self, rows: list[int]) -> dict[int, PhotoRecord]:
        """The records of some rows, read from just the row groups that hold them; empty where none are kept."""
        return {} if self.all_records is None or not rows else self.all_records.read(rows)

    def check_encoder(self, encoder: Encoder) -> None:
        """Make sure that an encoder's embeddings can be compared with this gallery's.

        Raises:
            GalleryMismatchError: They can't; the message says in what they differ.
        """
        ours, theirs = asdict(self.manifest.encoder), asdict(encoder.spec)
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


def _rounded(positions: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    # float32 keeps about seven digits; more would pretend to know metres that are not there.
    return np.asarray(np.round(positions.astype(np.float64), 5), dtype=np.float64)


def open_gallery(name: str, *, on_bytes: OnBytes = ignore_bytes) -> Gallery:
    """Open a gallery, checked against its manifest.

    Args:
        name: "starter", a folder, or a Hub repo as owner/name[@revision]; a folder where there is one called owner.
        on_bytes: Called with the number of bytes received so far while it is downloaded.

    Raises:
        GalleryError: It is missing, damaged, tampered with, or the Hub can't be reached.
    """
    try:
        folder = STARTER if name == "starter" else Path(name).expanduser()
        if not folder.is_dir():
            # A folder that is missing for now, as while a build replaces it, must not become a stranger's repository.
            if folder.parent != Path() and folder.parent.is_dir():
                raise HubError(f"the folder {folder.parent} has no folder {folder.name!r}")
            repo, revision = split_revision(name)
            folder = fetch(repo, revision, (MANIFEST, *REQUIRED_FILES, *OPTIONAL_FILES), on_bytes=on_bytes)
    except (HubError, OSError, RuntimeError) as error:  # RuntimeError: ~ where there is no home
        raise GalleryError(
            f"The gallery {name!r} can't be opened: {error}. "
            "Set IMG2LOC_GALLERY to starter, a folder, or owner/name[@revision]."
        ) from error
    manifest = read_manifest(folder)
    with ExitStack() as stack:
        files = {name: _open_checked(stack, folder, name, file) for name, file in manifest.files.items()}
        return _read_gallery(folder, manifest, files)


def _read_gallery(folder: Path, manifest: Manifest, files: Mapping[str, BufferedReader]) -> Gallery:
    """Map or read a gallery's files, and compare their contents with the manifest."""
    import faiss  # noqa: PLC0415 - a quarter of a second

    def read(name: str, reader: Callable[[BufferedReader], T]) -> T:
        try:
            return reader(files[name])
        except Exception as error:  # FAISS, NumPy, Arrow, torch and pydantic raise errors of their own
            reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
            raise GalleryError(
                f"The file {name} in {folder} can't be read ({reason}). Build or download the gallery again."
            ) from error

    index = read(INDEX, open_index)
    positions = read(POSITIONS, _map_positions)
    records = read(RECORDS, _read_records) if RECORDS in files else None
    if not (
        (index.ntotal, index.d) == (manifest.count, manifest.dim)
        and index.metric_type == faiss.METRIC_INNER_PRODUCT
        and positions.shape == (manifest.count, 2)
        and (records is None or records.count == manifest.count)
    ):
        raise GalleryError(
            f"The files of the gallery in {folder} contradict its manifest: it says {manifest.count} x {manifest.dim}, "
            f"the index {index.ntotal} x {index.d}, the positions {positions.shape}. Build or download it again."
        )
    if (row := first_off_earth(positions)) is not None:
        lat, lon = positions[row].tolist()
        raise GalleryError(
            f"Row {row} of the gallery in {folder} is not on Earth: latitude {lat}, longitude {lon}. "
            "Correct its position and build the gallery again."
        )
    calibration = read(CALIBRATION, lambda file: read_calibration(file.read())) if CALIBRATION in files else None
    if calibration and calibration.gallery != manifest.identity:
        raise GalleryError(
            f"The calibration in {folder} is another gallery's. Make it again, or build the gallery without it."
        )
    if manifest.encoder.head != (f"sha256:{manifest.files[HEAD].sha256}" if HEAD in files else ""):
        raise GalleryError(
            f"The {MANIFEST} in {folder} contradicts itself: its encoder has another head than the one that it lists. "
            "Build or download the gallery again."
        )
    head = read(HEAD, partial(_read_head, dim=manifest.dim)) if HEAD in files else None
    location = read(LOCATION, partial(_read_location, dim=manifest.dim)) if LOCATION in files else None
    searcher = read(INDEX, lambda _: Searcher(index, manifest.search))
    return Gallery(folder, manifest, searcher, positions, records, head, calibration, location)


def _read_records(file: BufferedReader) -> Records:
    from img2loc.retrieval.records import Records  # noqa: PLC0415 - Arrow

    return Records(_mapped(file))


def _read_head(file: BufferedReader, dim: int) -> bytes:
    from img2loc.retrieval.encoders.head import read_head  # noqa: PLC0415 - torch

    content = file.read()
    if (outputs := read_head(content)[-1].out_features) != dim:
        raise ValueError(f"it makes {outputs}-d embeddings and the gallery has {dim}-d ones")
    return content


def _read_location(file: BufferedReader, dim: int) -> LocationEncoder:
    from img2loc.retrieval.location_encoder import read_location  # noqa: PLC0415 - torch

    return read_location(file.read(), dim)


def _open_checked(stack: ExitStack, folder: Path, name: str, expected: StoredFile) -> BufferedReader:
    path = folder / name
    if not path.is_file():
        raise GalleryError(
            f"The gallery in {folder} has no {name}, which its manifest lists. Build or download it again."
        )
    try:
        file = stack.enter_context(path.open("rb"))
        is_whole = os.fstat(file.fileno()).st_size == expected.bytes and cached_sha256(file) == expected.sha256
    except OSError as error:
        raise GalleryError(f"The file {name} in {folder} can't be read ({error.strerror or error}).") from error
    if not is_whole:
        raise GalleryError(
            f"The file {name} in {folder} is not the one its manifest describes. Build or download the gallery again."
        )
    return file


def _mapped(file: BufferedReader) -> mmap.mmap:
    """Map a file, read only; the mapping outlives the open file and its name."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _map_positions(file: BufferedReader) -> npt.NDArray[np.float32]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{POSITIONS} has version {version} of NumPy's format instead of (1, 0)")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if is_fortran or dtype != np.dtype("<f4") or len(shape) != 2:
        raise ValueError(f"{POSITIONS} holds {dtype} of shape {shape} instead of float32 of shape (rows, 2)")
    values = np.frombuffer(_mapped(file), "<f4", offset=file.tell())
    return values.reshape(shape)


def first_off_earth(positions: npt.NDArray[Any]) -> int | None:
    """The first of n positions, (n, 2) degrees, that is not on Earth: latitude beyond 90 or longitude beyond 180."""
    for start in range(0, len(positions), CHECKED_ROWS):
        wrong = ~(np.abs(positions[start : start + CHECKED_ROWS]) <= (90, 180)).all(axis=1)  # NaN is neither
        if wrong.any():
            return start + int(wrong.argmax())
    return None

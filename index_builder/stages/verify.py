"""The verify stage: a gallery's checksums, counts and vectors, and a sample of its rows against their photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from img2loc.errors import ConfigError, GalleryError, PhotoError
from img2loc.photo.decode import open_photo
from img2loc.retrieval.checksums import file_sha256
from img2loc.retrieval.encoders import Encoder
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.types import PhotoRecord
from index_builder.stages.index import first_not_unit
from index_builder.stages.listing import Listing
from index_builder.stages.merge import stored_vectors
from index_builder.storage.pieces import Piece, read_pieces
from index_builder.storage.rows import BLOCK_ROWS

SAMPLE = 32
MIN_COSINE = 0.999  # half precision and another machine's kernels cost 1e-4; another encoder costs far more
MAX_DEGREES_OFF = 1e-4  # float32 holds a longitude to 1.5e-5 degrees


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and is sound."""

    rows: int  # all of the gallery's
    photos: int = 0  # rows embedded again and compared
    absent: int = 0  # rows of the sample whose photo is not there any more


def verify_gallery(
    folder: Path, *, encoder: Encoder | None = None, photos: Path | None = None, listing: Listing | None = None
) -> Report:
    """Check a gallery.

    Args:
        folder: The gallery's.
        encoder: What made it, to compare a sample of rows with their photos.
        photos: The folder that has the photos under their ids.
        listing: The listing that the gallery was built from; positions are compared, too.

    Raises:
        GalleryError: It is torn, or contradicts its photos; the message names the row.
        GalleryMismatchError: The encoder is not the gallery's.
        ConfigError: The gallery can't be compared with photos.
    """
    gallery = open_gallery(str(folder))
    for name, expected in gallery.manifest.files.items():  # opening may have remembered a large one's
        if file_sha256(folder / name) != expected.sha256:
            raise GalleryError(f"The file {name} in {folder} is not the one its manifest describes; build it again.")
    if gallery.searcher.vectors is not None:
        _check_vectors(gallery)
    if encoder is None:
        return Report(gallery.manifest.count)
    gallery.check_encoder(encoder)
    return _compare(gallery, encoder, photos, listing)


def _check_vectors(gallery: Gallery) -> None:
    for start in range(0, gallery.manifest.count, BLOCK_ROWS):
        block = gallery.searcher.vectors.reconstruct_n(start, min(BLOCK_ROWS, gallery.manifest.count - start))
        if (row := first_not_unit(block)) is not None:
            raise GalleryError(
                f"Row {start + row} of {gallery.folder} is not a finite unit vector; build the gallery again."
            )


def _compare(gallery: Gallery, encoder: Encoder, photos: Path | None, listing: Listing | None) -> Report:
    count = gallery.manifest.count
    rows = [int(row) for row in np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int))]
    records = gallery.records(rows)
    if not records:
        raise ConfigError(f"{gallery.folder} keeps no records, so that its rows' photos aren't known.")
    places = _places(records, photos, listing)
    vectors = stored_vectors(gallery)
    absent = 0
    for row in tqdm(rows, unit="photo", desc="verify"):
        piece, degrees = places.get(row, (None, None))
        data = read_pieces([piece])[0] if piece else None
        if not isinstance(data, bytes):
            absent += 1
            continue
        photo, position = records[row].id, gallery.positions[row]
        if degrees is not None and np.abs(position - degrees).max() > MAX_DEGREES_OFF:
            raise GalleryError(f"Row {row} ({photo}) lies at {position}, and its photo at {degrees}.")
        try:
            cosine = float(vectors.reconstruct(row) @ encoder.embed([open_photo(data).image])[0])
        except PhotoError as error:
            raise GalleryError(f"The photo of row {row} ({photo}) can't be read: {error}") from error
        if cosine < MIN_COSINE:
            raise GalleryError(
                f"Row {row} of {gallery.folder} is not the embedding of its photo {photo} (cosine {cosine:.4f}); build "
                "it again."
            )
    return Report(count, len(rows) - absent, absent)


# Where a photo's bytes lie, and where it was taken, in degrees, if that is known.
_Place = tuple[Piece, tuple[float, float] | None]


def _places(records: dict[int, PhotoRecord], photos: Path | None, listing: Listing | None) -> dict[int, _Place]:
    if photos is not None:
        return {row: (Piece(str(photos / record.id)), None) for row, record in records.items()}
    if listing is None:
        raise ConfigError("Give --photos or --listing to compare rows with their photos.")
    rows = {record.id: row for row, record in records.items()}
    places: dict[int, _Place] = {}
    for table in listing.columns(("id", "file", "offset", "length", "lat", "lon")):
        for index, name in enumerate(table["id"].to_pylist()):
            if name in rows:
                _, file, offset, length, lat, lon = (table[column][index].as_py() for column in table.column_names)
                places[rows[name]] = (Piece(file, offset, length), (lat, lon))
    return places

"""The builder's command line: python -m index_builder build ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from img2loc.encoder import DEFAULT_ENCODER, open_encoder
from img2loc.errors import ConfigError, Img2LocError
from index_builder.build import build_gallery
from index_builder.listing import Counts, list_csv, list_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage.

    Args:
        argv: The arguments; the process's own by default.

    Returns:
        The exit code: 0, or 1 where the work failed. Wrong usage exits with 2.
    """
    arguments = _parser().parse_args(argv)
    try:
        build(arguments)
    except Img2LocError as error:
        print(f"index_builder: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"index_builder: the gallery can't be written: {error}", file=sys.stderr)
        return 1
    return 0


def build(arguments: argparse.Namespace) -> None:
    """Build a gallery from photos on this machine."""
    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "manifest.json").exists())):
        raise ConfigError(f"{out} holds something that is no gallery; give --out a new folder.")
    counts = Counts()
    if arguments.positions:
        listing = list_csv(arguments.positions, arguments.photos, counts, url=arguments.url)
    else:
        listing = list_folder(arguments.photos, counts)
    encoder = open_encoder(arguments.encoder, device=arguments.device)
    manifest = build_gallery(
        listing,
        counts,
        encoder,
        out,
        name=arguments.name or out.resolve().name,
        about=arguments.about,
        source=arguments.source,
        licence=arguments.licence,
    )
    print(counts)
    print(
        f"{out}: {manifest.count:,} x {manifest.dim}, {manifest.factory}, "
        f"recall@16 {manifest.recall['nearest']:.3f} nearest, {manifest.recall['farthest']:.3f} farthest"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m index_builder", description=__doc__)
    stages = parser.add_subparsers(title="stages", required=True, metavar="STAGE")
    stage = stages.add_parser("build", help="photos on this machine into a gallery", description=build.__doc__)
    stage.add_argument("--photos", type=Path, required=True, metavar="DIR", help="the folder with the pictures")
    stage.add_argument(
        "--positions",
        type=Path,
        metavar="CSV",
        help="file, lat, lon in degrees, and where known id, author, url, licence; without it EXIF GPS is read",
    )
    stage.add_argument("--url", default="", metavar="PATTERN", help="each photo's address, with $column of the CSV")
    stage.add_argument(
        "--encoder",
        default=DEFAULT_ENCODER,
        metavar="lite0|HUB-ID|FOLDER",
        help="what embeds the pictures (default: %(default)s)",
    )
    stage.add_argument("--device", default="auto", help="where the encoder runs (default: %(default)s)")
    stage.add_argument("--out", type=Path, required=True, metavar="DIR", help="the gallery's folder")
    stage.add_argument("--name", default="", help="the gallery's name (default: the folder's)")
    stage.add_argument("--about", default="", help="what it knows and what it can't, in a sentence for visitors")
    stage.add_argument("--source", default="", help="the data set")
    stage.add_argument("--licence", default="", help="the data set's licence")
    return parser


if __name__ == "__main__":
    sys.exit(main())

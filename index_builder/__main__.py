"""The builder's command line, a stage a verb: python -m index_builder listing|embed|index|publish|..."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from img2loc.system.signals import exit_on_interrupt

        exit_on_interrupt()  # what follows takes a second
    except KeyboardInterrupt:
        sys.exit(130)

import argparse
import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from img2loc.errors import ConfigError, DataError, Img2LocError
from img2loc.geo.columns import Columns, parse_source
from img2loc.retrieval.encoders import DEFAULT_ENCODER
from img2loc.system.environment import prepare_environment
from img2loc.system.process import INTERRUPTED, run
from img2loc.system.terminal import Parser, parse_arguments, positive, print_message
from index_builder import verbs
from index_builder.stages.embed import SHARD_ROWS
from index_builder.storage.layout import TARGET

MAX_WORKERS = 16


def main(argv: Sequence[str] | None = None, *, program: str = "python -m index_builder") -> int:
    """Run one stage.

    Args:
        argv: The arguments; the process's own by default.
        program: How the command line was called, for its help.

    Returns:
        The exit code: 0, 1 where the work failed, 2 for a wrong setting, or 130 where Ctrl-C or SIGTERM ended it. Wrong
        usage exits with 2.
    """
    arguments = parse_arguments(_parser(program), argv, any_path=False)  # neither Arrow nor FAISS takes other paths
    try:
        prepare_environment()
        arguments.run(arguments)
    except Img2LocError as error:
        print_message(f"index_builder: {error}")
        return 2 if isinstance(error, ConfigError) else 1
    except (OSError, sqlite3.Error) as error:
        print_message(
            f"index_builder: {error}. Nothing that was done is lost; fix this and run the same command again."
        )
        return 1
    except KeyboardInterrupt:
        print_message("index_builder: Stopped. Run the same command again to continue.")
        return INTERRUPTED
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Parser(prog=program, description="Builds, checks and publishes galleries, a stage a command.")
    parsers = parser.add_subparsers(title="stages", required=True, metavar="STAGE")

    stage = _add_stage(parsers, "build", verbs.build, "build a gallery from photos in one go")
    _add_source(stage)
    _add_encoder(stage)
    _add_work(stage)
    stage.set_defaults(shard_rows=SHARD_ROWS)
    _add_gallery(stage)

    stage = _add_stage(parsers, "listing", verbs.listing, "list photos and check them")
    _add_source(stage)
    _add_path(stage, "--out", "FILE", "the listing, a Parquet file; only an earlier listing is overwritten")

    stage = _add_stage(parsers, "embed", verbs.embed, "embed a listing's photos into shards")
    _add_path(stage, "--listing", "FILE", "the listing to embed")
    _add_encoder(stage)
    _add_work(stage)
    stage.add_argument(
        "--shard-rows", type=positive, default=SHARD_ROWS, metavar="N", help="photos per shard (default: %(default)s)"
    )
    stage.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS|local",
        help="distribute the shards over a Ray cluster, or over Ray workers on this machine",
    )
    _add_path(stage, "--out", "DIR", "the shards' folder, visible to all workers: a new one, or the one to continue")

    stage = _add_stage(parsers, "index", verbs.index, "make a gallery of the shards")
    _add_path(stage, "--listing", "FILE", "the listing that was embedded")
    _add_path(stage, "--embeddings", "DIR", "the shards' folder")
    _add_gallery(stage)

    stage = _add_stage(parsers, "merge", verbs.merge, "merge galleries of the same encoder")
    stage.add_argument("galleries", type=Path, nargs="+", metavar="GALLERY", help="their folders, in this order")
    _add_gallery(stage)

    stage = _add_stage(parsers, "verify", verbs.verify, "check a gallery")
    stage.add_argument("gallery", type=Path, metavar="GALLERY", help="its folder")
    stage.add_argument("--photos", type=Path, metavar="DIR", help="the folder that has its photos under their ids")
    stage.add_argument("--listing", type=Path, metavar="FILE", help="the listing that it was built from")
    _add_encoder(stage)

    stage = _add_stage(parsers, "publish", verbs.publish, "upload a gallery to the Hugging Face Hub")
    stage.add_argument("gallery", type=Path, metavar="GALLERY", help="its folder")
    stage.add_argument("repo", metavar="OWNER/NAME", help="a model repository; created if it doesn't exist")
    stage.add_argument("--private", action="store_true", help="create it as a private repository")

    stage = _add_stage(parsers, "geoclip", verbs.geoclip, "build a gallery of GeoCLIP's places")
    _add_out(stage)
    stage.add_argument("--wheel", type=Path, metavar="FILE", help="GeoCLIP's wheel (default: pip downloads it)")
    return parser


def _add_stage(
    parsers: argparse._SubParsersAction[Parser], name: str, run: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    stage = parsers.add_parser(name, help=summary, description=run.__doc__)
    stage.set_defaults(run=run)
    return stage


def _add_path(stage: argparse.ArgumentParser, flag: str, metavar: str, about: str) -> None:
    stage.add_argument(flag, type=Path, required=True, metavar=metavar, help=about)


def _add_source(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--photos",
        nargs="+",
        required=True,
        metavar="DIR|TAR",
        help="a folder of pictures, or tar shards (WebDataset) here or at hf://datasets/owner/name/*.tar",
    )
    stage.add_argument(
        "--positions",
        type=Path,
        metavar="TABLE",
        help="CSV, Parquet or exiftool's JSON with the columns file, lat and lon in degrees, and optionally id, "
        "author, url and licence, such as MP-16's metadata (default: positions from the tars' JSON, or from EXIF or "
        "XMP)",
    )
    stage.add_argument(
        "--columns",
        type=_columns,
        metavar="file=NAME,...",
        help="names of the columns file, lat, lon, id, author, url, licence of --positions, or of the tars' JSON "
        "(default: recognised by their usual names)",
    )
    stage.add_argument(
        "--url",
        default="",
        metavar="PATTERN",
        help="address of each photo, with $column for the table's columns and $photo_number",
    )
    stage.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="TABLE",
        help="a test set whose photos and photographers are left out; may be repeated",
    )


def _columns(text: str) -> Columns:
    try:
        return parse_source(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_encoder(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--encoder",
        default=DEFAULT_ENCODER,
        metavar="lite0|HUB-ID|FOLDER",
        help="the encoder that embeds the pictures (default: %(default)s)",
    )
    stage.add_argument("--device", default="auto", help="where the encoder runs (default: %(default)s)")


def _add_work(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="the encoder's number format (default: %(default)s)",
    )
    stage.add_argument(
        "--batch", type=positive, default=0, metavar="N", help="pictures in one pass (default: suits the device)"
    )
    stage.add_argument(
        "--workers",
        type=positive,
        default=min(os.cpu_count() or 1, MAX_WORKERS),
        metavar="N",
        help="how many threads read and decode pictures; on an accelerator, how many processes (default: %(default)s)",
    )


def _add_out(stage: argparse.ArgumentParser) -> None:
    _add_path(stage, "--out", "DIR", "the gallery's folder, new or empty unless --replace is given")
    stage.add_argument("--replace", action="store_true", help="replace the gallery in that folder")


def _add_gallery(stage: argparse.ArgumentParser) -> None:
    _add_out(stage)
    stage.add_argument("--name", default="", help="the gallery's name (default: the folder's)")
    stage.add_argument(
        "--about", default="", help="a sentence for visitors: what the gallery covers and what it doesn't"
    )
    stage.add_argument("--source", default="", help="the data set")
    stage.add_argument("--licence", default="", help="the data set's licence")
    stage.add_argument(
        "--factory", default="", metavar="WORDS", help="the index, as a FAISS factory string (default: suits the size)"
    )
    stage.add_argument(
        "--k-factor",
        type=positive,
        metavar="N",
        help="candidates compared exactly for each neighbour, for a --factory with Refine (default: the fewest that "
        f"find {TARGET:.0%}% of the 16 nearest and of the 16 farthest)",
    )
    stage.add_argument(
        "--nprobe", type=positive, metavar="N", help="cells searched, for a --factory with IVF (default: likewise)"
    )


def command() -> NoReturn:
    """Run the installed command."""
    run(partial(main, program="img2loc-index"))


if __name__ == "__main__":
    run(main)

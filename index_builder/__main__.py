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
from pathlib import Path
from typing import NoReturn

from img2loc.errors import ConfigError, Img2LocError
from img2loc.retrieval.encoders import DEFAULT_ENCODER
from img2loc.system.environment import prepare_environment
from img2loc.system.process import INTERRUPTED, run
from img2loc.system.terminal import Parser, parse_arguments, positive, print_message
from index_builder import verbs
from index_builder.stages.embed import SHARD_ROWS
from index_builder.storage.layout import TARGET

MAX_WORKERS = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage.

    Args:
        argv: The arguments; the process's own by default.

    Returns:
        The exit code: 0, 1 where the work failed, 2 for a wrong setting, or 130 where Ctrl-C or SIGTERM ended it. Wrong
        usage exits with 2.
    """
    arguments = parse_arguments(_parser(), argv, any_path=False)  # neither Arrow nor FAISS takes other paths
    try:
        prepare_environment()
    except ConfigError as error:
        print_message(f"index_builder: {error}")
        return 2
    try:
        arguments.run(arguments)
    except Img2LocError as error:
        print_message(f"index_builder: {error}")
        return 1
    except (OSError, sqlite3.Error) as error:
        print_message(
            f"index_builder: {error}. Nothing that was done is lost; fix this and run the same command again."
        )
        return 1
    except KeyboardInterrupt:
        print_message("index_builder: Stopped. Run the same command again to go on.")
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m index_builder", description=__doc__)
    parsers = parser.add_subparsers(title="stages", required=True, metavar="STAGE")

    stage = _add_stage(parsers, "build", verbs.build, "photos into a gallery, in one go")
    _add_source(stage)
    _add_encoder(stage)
    _add_work(stage)
    _add_gallery(stage)

    stage = _add_stage(parsers, "listing", verbs.listing, "photos into a checked listing")
    _add_source(stage)
    stage.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the listing, a Parquet file; one that is there is replaced, any other file left alone",
    )

    _add_embed(_add_stage(parsers, "embed", verbs.embed, "a listing into shards of embeddings"))

    stage = _add_stage(parsers, "index", verbs.index, "shards into a gallery")
    stage.add_argument("--listing", type=Path, required=True, metavar="FILE", help="what the listing stage wrote")
    stage.add_argument("--embeddings", type=Path, required=True, metavar="DIR", help="what the embed stage wrote")
    _add_gallery(stage)

    stage = _add_stage(parsers, "merge", verbs.merge, "galleries of one encoder into one")
    stage.add_argument("galleries", type=Path, nargs="+", metavar="GALLERY", help="their folders, in this order")
    _add_gallery(stage)

    stage = _add_stage(parsers, "verify", verbs.verify, "check a gallery")
    stage.add_argument("gallery", type=Path, metavar="GALLERY", help="its folder")
    stage.add_argument("--photos", type=Path, metavar="DIR", help="the folder in which its photos lie under their ids")
    stage.add_argument("--listing", type=Path, metavar="FILE", help="the listing that it was built from")
    _add_encoder(stage)

    stage = _add_stage(parsers, "publish", verbs.publish, "a gallery to the Hugging Face Hub")
    stage.add_argument("gallery", type=Path, metavar="GALLERY", help="its folder")
    stage.add_argument("repo", metavar="OWNER/NAME", help="a model repository, made where there is none")
    stage.add_argument("--private", action="store_true", help="make it so that only its owner sees it")

    stage = _add_stage(parsers, "geoclip", verbs.geoclip, "GeoCLIP's places into a gallery")
    _add_out(stage)
    stage.add_argument(
        "--wheel", type=Path, metavar="FILE", help="GeoCLIP's wheel from PyPI; without it pip downloads it"
    )
    return parser


def _add_stage(
    parsers: argparse._SubParsersAction[Parser], name: str, run: Callable[[argparse.Namespace], None], about: str
) -> argparse.ArgumentParser:
    stage = parsers.add_parser(name, help=about, description=run.__doc__)
    stage.set_defaults(run=run)
    return stage


def _add_embed(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--listing", type=Path, required=True, metavar="FILE", help="what the listing stage wrote")
    _add_encoder(stage)
    _add_work(stage)
    stage.add_argument(
        "--shard-rows", type=positive, default=SHARD_ROWS, metavar="N", help="photos a shard (default: %(default)s)"
    )
    stage.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS|local",
        help="share the shards among a Ray cluster, or the actors of this machine",
    )
    stage.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the shards' folder, seen by all workers: a new one, or the one to go on with",
    )


def _add_source(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--photos",
        nargs="+",
        required=True,
        metavar="DIR|TAR",
        help="a folder with the pictures, or tar shards (WebDataset) here or at hf://datasets/owner/name/*.tar",
    )
    stage.add_argument(
        "--positions",
        type=Path,
        metavar="TABLE",
        help="CSV or Parquet: file, lat, lon in degrees, and where known id, author, url, licence; MP-16's metadata "
        "is one. Without it positions come from the tars' JSON, else from EXIF",
    )
    stage.add_argument(
        "--url", default="", metavar="PATTERN", help="each photo's address, with $column of the table and $photo_number"
    )
    stage.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="TABLE",
        help="a test set, whose photos and photographers are left out; may be given again",
    )


def _add_encoder(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--encoder",
        default=DEFAULT_ENCODER,
        metavar="lite0|HUB-ID|FOLDER",
        help="what embeds the pictures (default: %(default)s)",
    )
    stage.add_argument("--device", default="auto", help="where the encoder runs (default: %(default)s)")


def _add_work(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="the network's number format (default: %(default)s)",
    )
    stage.add_argument(
        "--batch", type=positive, default=0, metavar="N", help="pictures in one pass (default: what suits the device)"
    )
    stage.add_argument(
        "--workers",
        type=positive,
        default=min(os.cpu_count() or 1, MAX_WORKERS),
        metavar="N",
        help="readers and decoders beside the network: threads, or processes where it runs on an accelerator "
        "(default: %(default)s)",
    )


def _add_out(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the gallery's folder: a new or an empty one, without --replace",
    )
    stage.add_argument("--replace", action="store_true", help="replace the gallery that is there, if there is one")


def _add_gallery(stage: argparse.ArgumentParser) -> None:
    _add_out(stage)
    stage.add_argument("--name", default="", help="the gallery's name (default: the folder's)")
    stage.add_argument("--about", default="", help="what it knows and what it can't, in a sentence for visitors")
    stage.add_argument("--source", default="", help="the data set")
    stage.add_argument("--licence", default="", help="the data set's licence")
    stage.add_argument(
        "--factory", default="", metavar="WORDS", help="the index, in FAISS's words (default: what suits the size)"
    )
    stage.add_argument(
        "--k-factor",
        type=positive,
        metavar="N",
        help="candidates compared exactly for each neighbour, for a --factory with Refine (default: the fewest that "
        f"find {TARGET:.0%}% of the nearest and of the farthest 16)",
    )
    stage.add_argument(
        "--nprobe", type=positive, metavar="N", help="cells looked into, for a --factory with IVF (default: likewise)"
    )


def command() -> NoReturn:
    """Run the command line as this process; what the installed command calls."""
    run(main)


if __name__ == "__main__":
    command()

"""The arguments of the evaluation's verbs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from img2loc.answer.prompt import TEMPLATES
from img2loc.errors import ConfigError
from img2loc.evaluation.data.datasets import DATA_SETS
from img2loc.evaluation.outputs import RULE
from img2loc.evaluation.run.record import OWN_COUNTRY
from img2loc.geo.areas import Area, read_area
from img2loc.judge.sampling import CHOICE, MAX_NEIGHBOURS, MAX_PROMPTS, MAX_SAMPLES, OFF, Judge, read_judge
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.locator import DEFAULT_NEIGHBOURS
from img2loc.policy.settings import Settings
from img2loc.system.terminal import whole_number

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

# The most alike of 260 different photos had 0.92 by MobileNet; one photo saved twice has more than 0.99.
NEAR_DUPLICATE: Final = 0.99
CONCURRENCY: Final = 4
MAX_CONCURRENCY: Final = 256


def add_verb(verbs: Verbs, settings: Settings) -> None:
    """Add the verb evaluate, with its own verbs, to the command line.

    Args:
        verbs: The command line's verbs.
        settings: The operator's, for the defaults.
    """
    about = "measure how well photos are located"
    own = verbs.add_parser("evaluate", help=about, description=about).add_subparsers(
        title="verbs", required=True, metavar="VERB", dest="evaluate"
    )
    _add_run(own, settings)
    _add_score(own)
    about = "score finished or unfinished runs from their journals, reading every reply again; nothing is asked"
    replay = own.add_parser("replay", help=about, description=about)
    _add_journals(replay)
    replay.add_argument(
        "--predictions", type=Path, metavar="DIR", help=f"write every row's predictions there as CSV; {RULE}"
    )
    replay.add_argument("--json", action="store_true", help="print JSON")
    about = "write runs up as a Markdown file and an HTML page"
    report = own.add_parser("report", help=about, description=about)
    _add_journals(report)
    report.add_argument(
        "--out", required=True, metavar="PATH", help=f"without extension: PATH.md and PATH.html; {RULE}"
    )
    report.add_argument("--title", default="Img2Loc: an evaluation", metavar="TEXT", help="the report's title")
    report.add_argument("--note", type=Path, metavar="FILE", help="plain text that stands first in the report")


def _add_run(verbs: Verbs, settings: Settings) -> None:
    about = "locate every photo of a data set; run again after a kill to go on"
    run = verbs.add_parser("run", help=about, description=about)
    _add_truth(run)
    run.add_argument("--photos", type=Path, required=True, metavar="DIR", help="the folder with the photos")
    run.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where the journals go, one a setting; a journal that is there is gone on with, any other file left alone",
    )
    run.add_argument(
        "--sample",
        type=whole_number,
        default=0,
        metavar="N",
        help="only so many photos, drawn at random (default: all)",
    )
    run.add_argument(
        "--unavailable-md5",
        action="append",
        default=[],
        metavar="MD5",
        help="a placeholder's, beside Flickr's known one; may be given again",
    )
    run.add_argument("--backend", choices=BACKENDS, default=settings.backend, help="who answers (default: %(default)s)")
    run.add_argument("--model", default="", help="the model's name (default: the configured one, or the backend's)")
    run.add_argument(
        "--base-url", default="", metavar="URL", help=f"a server's address, or one of {', '.join(SERVERS)}"
    )
    run.add_argument(
        "--prompt", type=Path, default=Path(settings.prompt), metavar="NAME", help=f"{', '.join(TEMPLATES)}, or a file"
    )
    run.add_argument("--temperature", type=_amount, metavar="T", help="0 to 2 (default: the provider's own)")
    add_samples(run, settings)
    add_judge(run, settings, several=True)
    add_within(run, also=OWN_COUNTRY)
    for name, kind in (("nearest", "similar"), ("farthest", "dissimilar")):
        run.add_argument(
            f"--{name}",
            type=_counts,
            default=[DEFAULT_NEIGHBOURS],
            metavar="N[,N...]",
            help=f"most {kind} photos in the prompt (default: {DEFAULT_NEIGHBOURS}); several numbers make a run each",
        )
    run.add_argument(
        "--near-duplicate",
        type=_amount,
        default=NEAR_DUPLICATE,
        metavar="S",
        help="neighbours at least this similar are left out; above 1 none is (default: %(default)s)",
    )
    run.add_argument("--keep-author", action="store_true", help="keep neighbours by the photo's own author")
    run.add_argument("--keep-itself", action="store_true", help="keep the neighbour with the photo's own id")
    _add_limits(run)
    run.add_argument("--dry-run", action="store_true", help="only report what there is to do and what it will cost")
    run.add_argument("--retry-failed", action="store_true", help="ask again where the provider failed")
    run.add_argument("--json", action="store_true", help="print JSON")


def _add_limits(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--concurrency", type=_threads, default=CONCURRENCY, metavar="N", help="photos at a time (default: %(default)s)"
    )
    run.add_argument(
        "--rate", type=_amount, default=0.0, metavar="N", help="at most so many requests a minute, retries too"
    )
    run.add_argument(
        "--max-cost",
        type=_amount,
        metavar="USD",
        help="ask about no further photo that could bring the cost of all beyond this, if it costs no more than the "
        "dearest so far; photos that cost more can exceed it by the difference, as many as run at a time",
    )
    for name in ("input", "output"):
        run.add_argument(
            f"--price-{name}", type=_amount, metavar="USD", help=f"for a million {name} tokens, in place of the list's"
        )


def add_calibrate(verbs: Verbs) -> None:
    """Add the verb calibrate to the command line.

    Args:
        verbs: The command line's verbs.
    """
    about = "measure, from journals of evaluate run, the radius that holds the true position with 90% probability"
    verb = verbs.add_parser("calibrate", help=about.replace("%", "%%"), description=about.replace("%", "%%"))
    verb.add_argument(
        "--data", nargs="+", type=Path, required=True, metavar="JOURNAL", help="a journal for each answerer"
    )
    verb.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"GALLERY/calibration.json, which the gallery then lists; {RULE}",
    )
    verb.set_defaults(calibrate=True)


def add_samples(verb: argparse.ArgumentParser, settings: Settings) -> None:
    """Add the argument --samples, which locate has too.

    Args:
        verb: What to add it to.
        settings: The operator's, for the default.
    """
    verb.add_argument(
        "--samples",
        type=_samples,
        default=settings.samples,
        metavar="N",
        help="ask the model N times and take the answer closest to the others (default: %(default)s)",
    )


def add_judge(verb: argparse.ArgumentParser, settings: Settings, *, several: bool = False) -> None:
    """Add the argument --judge, which locate has too.

    Args:
        verb: What to add it to.
        settings: The operator's, for the default.
        several: Whether it takes several sets, which make a run each.
    """
    verb.add_argument(
        "--judge",
        type=_judge,
        nargs="+" if several else None,
        default=[settings.judge] if several else settings.judge,
        metavar="N[,N...][+choice]",
        help="ask with so many neighbours each way, a prompt each, and judge among all answers and the neighbours' "
        "modes; +choice asks once more, to choose among the best (default: "
        f"{settings.judge or 'off, one prompt, whose answer stands'}; 0,5,10,15 is a good set)"
        + ("; several sets make a run each" if several else ""),
    )


def add_within(verb: argparse.ArgumentParser, *, also: str = "") -> None:
    """Add the argument --within.

    Args:
        verb: The verb's parser.
        also: A word that is taken besides, as it is.
    """

    def read(text: str) -> Area | str | None:
        try:
            return text if also and text == also else read_area(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    verb.add_argument(
        "--within",
        type=read,
        metavar="AREA",
        help="where the photos are known to have been taken: countries or regions of the world, with semicolons "
        "between, or a circle, as 'Paris, 50 km' or '48.86, 2.35, 50 km'"
        + (f"; {also}: each in the country of its truth" if also else "")
        + " (default: anywhere)",
    )


def _add_score(verbs: Verbs) -> None:
    about = "score anybody's predictions"
    score = verbs.add_parser("score", help=about, description=about)
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS.csv")
    _add_truth(score)
    score.add_argument("--columns", default="", metavar="id=NAME,...", help="the predictions' columns: id, lat, lon")
    score.add_argument(
        "--match",
        choices=("exact", "name"),
        default="exact",
        help="compare ids exactly, or by the file's name without folder and extension (default: %(default)s)",
    )
    score.add_argument("--json", action="store_true", help="print JSON")


def _add_truth(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--truth", type=Path, required=True, metavar="TRUTH.csv", help="photo ids, authors, positions")
    verb.add_argument(
        "--dataset", choices=DATA_SETS, default="csv", help="which data set the listing is of (default: %(default)s)"
    )
    verb.add_argument(
        "--truth-columns", default="", metavar="id=NAME,...", help="the listing's columns: id, author, lat, lon"
    )
    verb.add_argument("--skip-bad-rows", action="store_true", help="leave rows without a position out of N")
    _add_seed(verb)


def _add_journals(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("journals", nargs="+", type=Path, metavar="JOURNAL", help="a journal, or a folder of them")
    verb.add_argument("--drop-absent", action="store_true", help="leave photos that could not be had out of N")
    _add_seed(verb)


def _add_seed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of samples and intervals (default: 0)")


def _samples(text: str) -> int:
    samples = whole_number(text)
    if not 1 <= samples <= MAX_SAMPLES:
        raise argparse.ArgumentTypeError(f"it must be 1 to {MAX_SAMPLES} (got {samples}).")
    return samples


def _judge(text: str) -> Judge | None:
    try:
        return read_judge(text)
    except ConfigError:
        raise argparse.ArgumentTypeError(
            f"up to {MAX_PROMPTS} numbers from 0 to {MAX_NEIGHBOURS}, comma-separated, optionally followed by "
            f"+{CHOICE}; or {OFF} (got {text[:40]!r})."
        ) from None


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(whole_number(part) for part in text.split(",")))


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 0.")
    return value


def _threads(text: str) -> int:
    threads = whole_number(text)
    if not 1 <= threads <= MAX_CONCURRENCY:
        raise argparse.ArgumentTypeError(f"it must be 1 to {MAX_CONCURRENCY} (got {threads}).")
    return threads

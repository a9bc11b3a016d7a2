"""The arguments of the verbs evaluate and calibrate, and those that locate shares with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from img2loc.answer.prompt import TEMPLATES
from img2loc.errors import Img2LocError
from img2loc.evaluation.data.datasets import DATA_SETS
from img2loc.evaluation.outputs import RULE
from img2loc.evaluation.run.record import OWN_COUNTRY
from img2loc.geo.areas import Area, read_area
from img2loc.geo.columns import Columns
from img2loc.judge.sampling import MAX_SAMPLES, read_judge
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.locator import DEFAULT_NEIGHBOURS
from img2loc.policy.settings import Settings
from img2loc.system.terminal import whole_number

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

T = TypeVar("T")

# The most similar of 260 different photos had 0.92 with MobileNet; the same photo saved twice has more than 0.99.
NEAR_DUPLICATE: Final = 0.99
CONCURRENCY: Final = 4
MAX_CONCURRENCY: Final = 256
MAX_TEMPERATURE: Final = 2


def add_evaluate(verbs: Verbs, settings: Settings) -> None:
    """Add the verb evaluate, with verbs of its own, to the command line."""
    evaluate = _verb(verbs, "evaluate", "measure how accurately photos are located")
    inner = evaluate.add_subparsers(title="verbs", required=True, metavar="VERB", dest="evaluate")
    _add_run(_verb(inner, "run", "locate every photo of a data set; run the command again to continue"), settings)

    score = _verb(inner, "score", "score predictions from any source")
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS.csv", help="photo ids and predicted positions")
    _add_truth(score)
    score.add_argument(
        "--columns",
        type=_checked(Columns.parse),
        metavar="id=NAME,...",
        help="names of the predictions' columns id, lat, lon",
    )
    score.add_argument(
        "--match",
        choices=("exact", "name"),
        default="exact",
        help="compare ids exactly, or only file names without folder and extension (default: %(default)s)",
    )
    score.add_argument("--json", action="store_true", help="print JSON")

    replay = _verb(inner, "replay", "score journals, reading every reply again; sends no requests")
    _add_journals(replay)
    replay.add_argument(
        "--predictions", type=Path, metavar="DIR", help=f"write the predictions of each row to DIR as CSV; {RULE}"
    )
    replay.add_argument("--json", action="store_true", help="print JSON")

    report = _verb(inner, "report", "write a report on journals, as Markdown and as an HTML page")
    _add_journals(report)
    report.add_argument("--out", required=True, metavar="PATH", help=f"write PATH.md and PATH.html; {RULE}")
    report.add_argument("--title", default="Img2Loc: an evaluation", metavar="TEXT", help="the report's title")
    report.add_argument("--note", type=Path, metavar="FILE", help="plain text to put first in the report")


def add_calibrate(verbs: Verbs) -> None:
    """Add the verb calibrate to the command line."""
    verb = _verb(verbs, "calibrate", "measure the radius that contains the true position with 90% probability")
    verb.add_argument(
        "--data",
        nargs="+",
        type=Path,
        required=True,
        metavar="JOURNAL",
        help="journals of evaluate run, one for each model and for the vote",
    )
    verb.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"GALLERY/calibration.json, which is then added to the gallery's manifest; {RULE}",
    )
    verb.set_defaults(calibrate=True)


def add_locating(verb: argparse.ArgumentParser, settings: Settings, *, several: bool = False) -> None:
    """Add the arguments that say how photos are located.

    With `several`, --nearest, --farthest and --judge take several values, which give a run each, and --within takes
    OWN_COUNTRY.
    """
    _add_model(verb, settings)
    also = "; several give a run each" if several else ""
    for name, kind in (("nearest", "similar"), ("farthest", "dissimilar")):
        verb.add_argument(
            f"--{name}",
            type=_counts if several else whole_number,
            default=[DEFAULT_NEIGHBOURS] if several else DEFAULT_NEIGHBOURS,
            metavar="N[,N...]" if several else "N",
            help=f"how many of the most {kind} photos the prompt lists (default: {DEFAULT_NEIGHBOURS}){also}",
        )
    verb.add_argument(
        "--judge",
        type=_checked(read_judge),
        nargs="+" if several else None,
        default=[settings.judge] if several else settings.judge,
        metavar="N[,N...][+choice]",
        help="ask with a separate prompt for each number of neighbours, then judge among all answers and the peaks of "
        "the neighbours' density; +choice asks the model once more, to choose among the best (default: "
        f"{settings.judge or 'off: one prompt, no judging'}; 0,5,10,15 is a good set){also}",
    )
    also = f"; {OWN_COUNTRY}: the country of each photo's true position" if several else ""
    verb.add_argument(
        "--within",
        type=_checked(_area_or_own_country if several else read_area),
        metavar="AREA",
        help="where the photos are known to have been taken: countries or regions of the world, separated by "
        f"semicolons, or a circle such as 'Paris, 50 km' or '48.86, 2.35, 50 km'{also} (default: anywhere)",
    )


def _add_model(verb: argparse.ArgumentParser, settings: Settings) -> None:
    add = verb.add_argument
    add("--backend", choices=BACKENDS, default=settings.backend, help="who answers (default: %(default)s)")
    add("--model", default="", help="the model's name (default: the configured one, or the backend's)")
    servers = ", ".join(SERVERS)
    add("--base-url", default="", metavar="URL", help=f"address of an OpenAI-compatible server, or one of {servers}")
    add(
        "--prompt",
        type=Path,
        default=Path(settings.prompt),
        metavar="NAME",
        help=f"{', '.join(TEMPLATES)}, or a file with $nearest and $farthest (default: %(default)s)",
    )
    temperature = _between(0, MAX_TEMPERATURE)
    add("--temperature", type=temperature, metavar="T", help=f"0 to {MAX_TEMPERATURE} (default: the provider's)")
    add(
        "--samples",
        type=_whole_between(1, MAX_SAMPLES),
        default=settings.samples,
        metavar="N",
        help="ask the model N times and take the answer closest to the others (default: %(default)s)",
    )


def _add_run(run: argparse.ArgumentParser, settings: Settings) -> None:
    _add_truth(run)
    add = run.add_argument
    add("--photos", type=Path, required=True, metavar="DIR", help="the folder with the photos")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder for the journals, one for each run; existing journals are continued, other files left alone",
    )
    add("--sample", type=whole_number, default=0, metavar="N", help="only N photos, drawn at random (default: all)")
    add(
        "--unavailable-md5",
        action="append",
        default=[],
        metavar="MD5",
        help="MD5 of a placeholder picture, besides Flickr's, which is known; may be repeated",
    )
    add_locating(run, settings, several=True)
    add(
        "--near-duplicate",
        type=_between(0),
        default=NEAR_DUPLICATE,
        metavar="S",
        help="leave out neighbours at least this similar; above 1 none is left out (default: %(default)s)",
    )
    add("--keep-author", action="store_true", help="keep neighbours by the photo's own author")
    add("--keep-itself", action="store_true", help="keep the neighbour with the photo's own id")
    threads = _whole_between(1, MAX_CONCURRENCY)
    add("--concurrency", type=threads, default=CONCURRENCY, metavar="N", help="photos at a time (default: %(default)s)")
    add("--rate", type=_between(0), default=0.0, metavar="N", help="at most N requests a minute, retries included")
    add(
        "--max-cost",
        type=_between(0),
        metavar="USD",
        help="start no photo that could bring the total cost above this; only photos that cost more than all before "
        "them can exceed it, by the difference",
    )
    for name in ("input", "output"):
        add(
            f"--price-{name}",
            type=_between(0),
            metavar="USD",
            help=f"price of a million {name} tokens, in place of the known price",
        )
    add("--dry-run", action="store_true", help="only say what there is to do and what it will cost")
    add("--retry-failed", action="store_true", help="ask again about photos for which the provider failed")
    add("--json", action="store_true", help="print JSON")
    run.set_defaults(usage_error=run.error)


def _add_truth(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("--truth", type=Path, required=True, metavar="TRUTH.csv", help="photo ids, authors and true positions")
    add("--dataset", choices=DATA_SETS, default="csv", help="the data set that --truth lists (default: %(default)s)")
    columns = "names of the columns id, author, lat, lon of --truth"
    add("--truth-columns", type=_checked(Columns.parse), metavar="id=NAME,...", help=columns)
    add("--skip-bad-rows", action="store_true", help="leave rows without a position out of N")
    _add_seed(verb)


def _add_journals(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("journals", nargs="+", type=Path, metavar="JOURNAL", help="a journal, or a folder of journals")
    verb.add_argument("--drop-absent", action="store_true", help="leave photos that were not available out of N")
    _add_seed(verb)


def _add_seed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--seed", type=whole_number, default=0, metavar="N", help="for random samples and intervals (default: 0)"
    )


def _verb(verbs: Verbs, name: str, about: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=about.replace("%", "%%"), description=about)


def _between(least: float, most: float = float("inf")) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most or value == float("inf"):
            limits = f"from {least} to {most}" if most < float("inf") else f"from {least}"
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number {limits}.")
        return value

    return read


def _whole_between(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = whole_number(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}.")
        return value

    return read


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(whole_number(part) for part in text.split(",")))


def _checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """Turn an error of ours into one that argparse shows as wrong usage."""

    def read_argument(text: str) -> T:
        try:
            return read(text)
        except Img2LocError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read_argument


def _area_or_own_country(text: str) -> Area | str | None:
    return text if text == OWN_COUNTRY else read_area(text)

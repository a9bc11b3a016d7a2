"""The command line: python -m img2loc locate PHOTO..., and evaluate, whose verbs have a package of their own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from img2loc.api import Result, prediction_json, to_csv, to_geojson
from img2loc.environment import prepare_environment
from img2loc.errors import ConfigError, Img2LocError, PhotoError
from img2loc.evaluation.arguments import add_calibrate, add_judge, add_within
from img2loc.evaluation.arguments import add_verb as add_evaluate
from img2loc.evaluation.calibrate import calibrate
from img2loc.evaluation.cli import evaluate
from img2loc.evaluation.cost import Pace
from img2loc.expense import dollars, expense, prices_of
from img2loc.lmm import BACKENDS, LMM, open_lmm
from img2loc.lmm.servers import SERVERS
from img2loc.locator import DEFAULT_NEIGHBOURS, Locator
from img2loc.photo import open_photo
from img2loc.prompt import TEMPLATES, check_template, template_named
from img2loc.sampling import check_samples
from img2loc.settings import Settings
from img2loc.types import OutcomeKind, Prediction


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The arguments; the process's own by default.

    Returns:
        The exit code: 0, or 1 where something failed. Wrong usage and wrong settings exit with 2.
    """
    try:
        prepare_environment()
        settings = Settings.from_env()
    except ConfigError as error:
        print(f"img2loc: {error}", file=sys.stderr)
        return 2
    try:
        arguments = _parser(settings).parse_args(argv)
        if "calibrate" in arguments:
            return calibrate(arguments)
        if "evaluate" in arguments:
            return evaluate(arguments, settings, open_lmm=_open_lmm, read_template=_template)
        return locate(arguments, settings)
    except Img2LocError as error:
        print(f"img2loc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def locate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Say where photos were taken."""
    lmm = _open_lmm(arguments, settings)
    template = _template(arguments.prompt)
    check_samples(arguments.samples)
    if lmm is not None:
        _say_cost(arguments, settings, template, lmm.model)
    locator = Locator.from_settings(settings)
    results: list[Result] = []
    for path in tqdm(arguments.photos, unit="photo", disable=len(arguments.photos) == 1, file=sys.stderr):
        try:
            result: Prediction | str = locator.locate(
                open_photo(_read(path)),
                lmm=lmm,
                nearest=arguments.nearest,
                farthest=arguments.farthest,
                template=template,
                samples=arguments.samples,
                judge=arguments.judge,
                within=arguments.within,
            )
        except PhotoError as error:
            result = str(error)
        results.append((str(path), result))
    print(_FORMATS[arguments.format](results))
    failures = [(name, failure) for name, result in results if (failure := _failure(result))]
    for name, failure in failures:
        print(f"img2loc: {name}: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _say_cost(arguments: argparse.Namespace, settings: Settings, template: str, model: str) -> None:
    """Say what all will take where that is more than one request, before the first."""
    server = arguments.base_url or settings.openai_base_url
    prices = prices_of(arguments.backend, server, model)
    asked = arguments.nearest, arguments.farthest
    one = expense(arguments.judge, template, *asked, samples=arguments.samples, prices=prices)
    photos = len(arguments.photos)
    if photos * one.requests > 1:
        cost = "price unknown" if one.cost_usd is None else f"about {dollars(photos * one.cost_usd)}"
        cost = "on this machine" if BACKENDS[arguments.backend].runs_here else cost
        print(f"img2loc: {photos * one.requests} requests to {model}, {cost}", file=sys.stderr)


def _open_lmm(arguments: argparse.Namespace, settings: Settings) -> LMM | None:
    options = settings.options(arguments.backend, server=arguments.base_url)
    temperature = arguments.temperature
    return open_lmm(
        arguments.backend,
        replace(
            options,
            model=arguments.model or options.model,
            temperature=options.temperature if temperature is None else temperature,
            pace=Pace(vars(arguments).get("rate", 0.0)).take,  # a flag of evaluate only
        ),
    )


def _template(prompt: Path | None) -> str:
    """Read a template by its name or from a file; the name goes first."""
    if prompt is None or str(prompt) in TEMPLATES:
        return template_named(str(prompt or "paper"))
    try:
        template = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(TEMPLATES)
        why = getattr(error, "strerror", error)
        raise ConfigError(f"The prompt in {prompt} can't be read, and it is none of {names}: {why}.") from error
    check_template(template)
    return template


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"The file can't be read: {error.strerror or error}.") from error


def _failure(result: Prediction | str) -> str:
    """What went wrong with a photo; empty where nothing did."""
    if isinstance(result, str):
        return result
    outcome = result.outcome
    if outcome is not None and outcome.kind not in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        return f"{outcome.message} The position is the neighbours' vote."
    if result.position:
        return ""
    if result.within:
        return f"The gallery has no photo from within this area, so there is no position: {result.within}."
    return "There are no neighbours to vote, so there is no position."


def _as_text(results: list[Result]) -> str:
    """A line a photo: where, how surely, the name of the place, who says so."""
    lines = []
    for name, result in results:
        if isinstance(result, str) or result.position is None:
            lines.append(f"{name}\tno position")
            continue
        radius = ""
        if result.radius_km is not None:
            whose = "candidates' score" if result.method == "judge" else "vote"
            of = f"{result.probability:.0%} sure" if result.probability else f"half of the {whose}"
            radius = f"\t{of} within {result.radius_km:,.0f} km"
        lines.append(f"{name}\t{result.position}\t{result.place}\t{result.method}{radius}")
    return "\n".join(lines)


def _as_json(results: list[Result]) -> str:
    """An array with an object a photo: its prediction, or the error."""
    return json.dumps(
        [
            {"photo": name, "error": result} if isinstance(result, str) else {"photo": name, **prediction_json(result)}
            for name, result in results
        ],
        indent=2,
        ensure_ascii=False,
    )


def _as_geojson(results: list[Result]) -> str:
    return json.dumps(to_geojson(results), ensure_ascii=False)


def _as_csv(results: list[Result]) -> str:
    return to_csv(results).rstrip("\n")


_FORMATS = {"text": _as_text, "json": _as_json, "geojson": _as_geojson, "csv": _as_csv}


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m img2loc", description="Where on Earth was this photo taken?")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    verb = verbs.add_parser("locate", help="say where photos were taken", description=locate.__doc__)
    verb.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    verb.add_argument(
        "--backend", choices=BACKENDS, default=settings.backend, help="who answers (default: %(default)s)"
    )
    verb.add_argument("--model", default="", help="the model's name (default: the configured one, or the backend's)")
    verb.add_argument(
        "--base-url",
        default="",
        metavar="URL",
        help=f"a server that speaks OpenAI's protocol: its address, or one of {', '.join(SERVERS)}",
    )
    verb.add_argument(
        "--nearest",
        type=_count,
        default=DEFAULT_NEIGHBOURS,
        metavar="N",
        help="most similar photos in the prompt (default: %(default)s)",
    )
    verb.add_argument(
        "--farthest",
        type=_count,
        default=DEFAULT_NEIGHBOURS,
        metavar="N",
        help="most dissimilar photos in the prompt (default: %(default)s)",
    )
    verb.add_argument(
        "--prompt",
        type=Path,
        default=Path(settings.prompt),
        metavar="NAME",
        help=f"{', '.join(TEMPLATES)}, or a file with $nearest and $farthest (default: %(default)s)",
    )
    verb.add_argument("--temperature", type=float, metavar="T", help="0 to 2 (default: the provider's own)")
    verb.add_argument(
        "--samples",
        type=_count,
        default=settings.samples,
        metavar="N",
        help="ask the model N times and take the answer in their midst (default: %(default)s)",
    )
    add_judge(verb, settings)
    add_within(verb)
    shape = verb.add_mutually_exclusive_group()
    for name in ("json", "geojson", "csv"):
        shape.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    verb.set_defaults(format="text")
    add_evaluate(verbs, settings)
    add_calibrate(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The command line: python -m img2loc locate PHOTO..., and evaluate, whose verbs have a package of their own."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from img2loc.system.signals import exit_on_interrupt

        exit_on_interrupt()  # what follows takes a second
    except KeyboardInterrupt:
        sys.exit(130)

import argparse
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from img2loc.answer.prompt import TEMPLATES, check_template, template_named
from img2loc.answer.recorder import Recorder
from img2loc.errors import ConfigError, Img2LocError, PhotoError, describe_failure
from img2loc.evaluation.arguments import add_calibrate, add_evaluate, add_locating
from img2loc.evaluation.calibrate import calibrate
from img2loc.evaluation.cli import evaluate
from img2loc.evaluation.run.budget import Pace
from img2loc.lmm import BACKENDS, LMM, open_lmm
from img2loc.locator import Ask, Locator
from img2loc.output.printer import FORMATS, Format, Printer
from img2loc.photo.decode import Photo, open_photo, read_photo
from img2loc.policy.cost import dollars, expense, prices_of
from img2loc.policy.settings import Settings
from img2loc.system.environment import prepare_environment
from img2loc.system.names import printable_name
from img2loc.system.process import INTERRUPTED, hold_interrupts, run
from img2loc.system.terminal import Parser, parse_arguments, print_message
from img2loc.types import OutcomeKind, Prediction


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The arguments; the process's own by default.

    Returns:
        The exit code: 0, 1 where something failed, or 130 where Ctrl-C, SIGTERM or SIGHUP ended it. Wrong usage and
        wrong settings exit with 2.
    """
    try:
        prepare_environment()
        settings = Settings.from_env()
    except ConfigError as error:
        print_message(f"img2loc: {error}")
        return 2
    try:
        arguments = parse_arguments(_parser(settings), argv)
        if "calibrate" in arguments:
            return calibrate(arguments)
        if "evaluate" in arguments:
            return evaluate(arguments, settings, open_lmm=_open_lmm, read_template=_template)
        return locate(arguments, settings)
    except Img2LocError as error:
        print_message(f"img2loc: {error}")
        return 1
    except KeyboardInterrupt as interrupt:
        print_message(f"img2loc: Stopped. {interrupt}".rstrip())
        return INTERRUPTED


def locate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Say where photos were taken."""
    cancel = threading.Event()
    lmm = _open_lmm(arguments, settings, cancel)
    template = _template(arguments.prompt)
    if lmm is not None:
        _say_cost(arguments, settings, template, lmm.model)
    locator = Locator.open(settings.gallery, encoder=settings.encoder, device=settings.device, dtype=settings.dtype)
    ask = Ask(
        nearest=arguments.nearest,
        farthest=arguments.farthest,
        template=template,
        samples=arguments.samples,
        judge=arguments.judge,
        within=arguments.within,
    )
    failed = False
    with Printer(FORMATS[arguments.format]) as printer:
        for path in tqdm(arguments.photos, unit="photo", disable=len(arguments.photos) == 1, file=sys.stderr):
            name = printable_name(path)
            recorder = None if lmm is None else Recorder(lmm, cancel)
            locate_photo = partial(locator.locate, ask=replace(ask, lmm=recorder))
            failure = _locate_one(path, name, locate_photo, recorder, printer)
            if failure:
                failed = True
                print_message(f"img2loc: {name}: {failure}")
    return 1 if failed else 0


def _locate_one(
    path: Path,
    name: str,
    locate_photo: Callable[[Photo], Prediction],
    recorder: Recorder | None,
    printer: Printer,
) -> str:
    """Print where a photo was taken.

    The model's replies go to standard error where they can't be read from what is printed: they were paid for.

    Returns:
        What went wrong with the photo, which stops no other; empty where nothing did.
    """
    has_replies = False  # on standard output or standard error
    try:
        item, failure, holds_replies = _answer(path, name, locate_photo, printer.form)
        with hold_interrupts():
            try:
                printer.add(item)
            finally:
                has_replies = holds_replies
        return failure
    finally:
        with hold_interrupts():
            for reply in recorder.replies if recorder and not has_replies else ():
                print_message(f"img2loc: {name}: The model replied: {_on_one_line(reply.text)}")


def _answer(path: Path, name: str, locate_photo: Callable[[Photo], Prediction], form: Format) -> tuple[str, str, bool]:
    """An answer as it is printed, what went wrong, and whether nothing of the model's replies is missing from it."""
    try:
        prediction = locate_photo(open_photo(_read(path)))
        failure = _failure(prediction)
        return form.item(name, prediction), failure, form.holds_replies or not failure
    except Exception as error:
        failure = describe_failure(error)
        return form.item(name, failure), failure, False


def _on_one_line(text: str) -> str:
    """Write a text as a JSON string without a character that a terminal may act on."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted)


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
        print_message(f"img2loc: {photos * one.requests} requests to {model}, {cost}")


def _open_lmm(arguments: argparse.Namespace, settings: Settings, cancel: threading.Event) -> LMM | None:
    options = settings.options(arguments.backend, server=arguments.base_url)
    temperature = arguments.temperature
    return open_lmm(
        arguments.backend,
        replace(
            options,
            model=arguments.model or options.model,
            temperature=options.temperature if temperature is None else temperature,
            pace=Pace(vars(arguments).get("rate", 0.0), wait=cancel.wait).take,  # a flag of evaluate only
            cancel=cancel,
            resend_billed=vars(arguments).get("max_cost") is None,  # likewise; each request that may be billed counts
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
    if os.path.isdir(path):
        raise PhotoError(f"That is a folder; give its photos, for example {printable_name(path / '*.jpg')}.")
    if not os.path.exists(path):
        if str(path) == "-":
            raise PhotoError("Standard input isn't supported; give file names.")
        if set(str(path)) & set("*?["):  # a pattern that the shell left as it was
            raise PhotoError("No file matches this pattern.")
    return read_photo(path)


def _failure(prediction: Prediction) -> str:
    """What went wrong with a photo; empty where nothing did."""
    outcome = prediction.outcome
    if outcome is not None and outcome.kind not in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        return f"{outcome.message}{_INSTEAD.get(prediction.method, '')}"
    if prediction.position:
        return ""
    if prediction.within:
        return f"The gallery has no photo from within this area, so there is no position: {prediction.within}."
    return "There are no neighbours to vote, so there is no position."


# What stands in place of a model's answer that failed, by Prediction.method.
_INSTEAD = {
    "vote": " Showing the neighbours' vote instead.",
    "judge": " Showing the judge's choice among the other candidates instead.",
}


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="python -m img2loc", description="Where on Earth was this photo taken?"
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    verb = verbs.add_parser("locate", help="say where photos were taken", description=locate.__doc__)
    verb.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    add_locating(verb, settings)
    shape = verb.add_mutually_exclusive_group()
    for name in ("json", "geojson", "csv"):
        shape.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    verb.set_defaults(format="text")
    add_evaluate(verbs, settings)
    add_calibrate(verbs)
    return parser


def command() -> NoReturn:
    """Run the command line as this process; what the installed command calls."""
    run(main)


if __name__ == "__main__":
    command()

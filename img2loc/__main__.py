"""The command line: the verb locate, and the verbs evaluate and calibrate, which are in img2loc/evaluation/."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from img2loc.system.signals import exit_on_interrupt

        exit_on_interrupt()  # the imports take a second
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
from img2loc.errors import (
    ConfigError,
    EncoderError,
    GalleryError,
    HubUnavailableError,
    Img2LocError,
    PhotoError,
    describe_failure,
)
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


def main(argv: Sequence[str] | None = None, *, program: str = "python -m img2loc") -> int:
    """Run one verb.

    Args:
        argv: The arguments; the process's own by default.
        program: How the command line was called, for its help.

    Returns:
        The exit code: 0; 1 where something failed; 2 for a wrong setting; 130 where Ctrl-C, SIGTERM or SIGHUP ended it.
        Wrong usage exits with 2.
    """
    try:
        prepare_environment()
        settings = Settings.from_env()
        arguments = parse_arguments(_parser(settings, program), argv)
        if "calibrate" in arguments:
            return calibrate(arguments)
        if "evaluate" in arguments:
            return evaluate(arguments, settings, open_lmm=_open_lmm, read_template=_read_template)
        return locate(arguments, settings)
    except Img2LocError as error:
        print_message(f"img2loc: {error}")
        is_hub_failure = isinstance(error.__cause__, HubUnavailableError)
        return 2 if isinstance(error, _WRONG_SETTING) and not is_hub_failure else 1
    except KeyboardInterrupt as interrupt:
        print_message(f"img2loc: Stopped. {interrupt}".rstrip())
        return INTERRUPTED


# Outside of a photo's own failure the last two mean that the configured gallery or encoder can't be used: a wrong
# setting, unless the Hub is down.
_WRONG_SETTING = (ConfigError, GalleryError, EncoderError)


def locate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Locate photos and print each answer as soon as it is there."""
    cancel = threading.Event()
    lmm = _open_lmm(arguments, settings, cancel)
    template = _read_template(arguments.prompt)
    if lmm is not None:
        _print_cost(arguments, settings, template, lmm.model)
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
    """Locate one photo and print the answer. A failure is returned as a message, and doesn't affect other photos.

    The model's replies were paid for, so those that the printed answer doesn't contain are printed to standard error.
    """
    replies_printed = False
    try:
        item, failure, contains_replies = _answer(path, name, locate_photo, printer.form)
        with hold_interrupts():
            try:
                printer.add(item)
            finally:
                replies_printed = contains_replies
        return failure
    finally:
        with hold_interrupts():
            for reply in recorder.replies if recorder and not replies_printed else ():
                print_message(f"img2loc: {name}: The model replied: {_on_one_line(reply.text)}")


def _answer(path: Path, name: str, locate_photo: Callable[[Photo], Prediction], form: Format) -> tuple[str, str, bool]:
    """An answer as it is printed, its failure, and whether it contains everything that the model replied."""
    try:
        prediction = locate_photo(open_photo(_read_file(path)))
        failure = _failure(prediction)
        if prediction.note:
            print_message(f"img2loc: {name}: {prediction.note}")
        return form.item(name, prediction), failure, form.holds_replies or not failure
    except Exception as error:
        failure = describe_failure(error)
        return form.item(name, failure), failure, False


def _on_one_line(text: str) -> str:
    """Write a text as a JSON string without control characters, which a terminal might act on."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted)


def _print_cost(arguments: argparse.Namespace, settings: Settings, template: str, model: str) -> None:
    """Print the number of requests and their cost, before the first of several."""
    prices = prices_of(arguments.backend, arguments.base_url or settings.openai_base_url, model)
    counts = arguments.nearest, arguments.farthest
    per_photo = expense(arguments.judge, template, *counts, samples=arguments.samples, prices=prices)
    photos = len(arguments.photos)
    if photos * per_photo.requests > 1:
        cost = "price unknown" if per_photo.cost_usd is None else f"about {dollars(photos * per_photo.cost_usd)}"
        cost = "on this machine" if BACKENDS[arguments.backend].runs_here else cost
        print_message(f"img2loc: {photos * per_photo.requests} requests to {model}, {cost}")


def _open_lmm(arguments: argparse.Namespace, settings: Settings, cancel: threading.Event) -> LMM | None:
    options = settings.options(arguments.backend, server=arguments.base_url)
    temperature = arguments.temperature
    return open_lmm(
        arguments.backend,
        replace(
            options,
            model=arguments.model or options.model,
            temperature=options.temperature if temperature is None else temperature,
            pace=Pace(vars(arguments).get("rate", 0.0), wait=cancel.wait).take,  # only evaluate has this flag
            cancel=cancel,
            resend_billed=vars(arguments).get("max_cost") is None,  # and this; a resent request would not be counted
        ),
    )


def _read_template(prompt: Path) -> str:
    """Read a template by its name or from a file; a name goes before a file."""
    if str(prompt) in TEMPLATES:
        return template_named(str(prompt))
    try:
        template = prompt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)
        raise ConfigError(
            f"The prompt {prompt} can't be read ({reason}), and it is none of {', '.join(TEMPLATES)}."
        ) from error
    check_template(template)
    return template


def _read_file(path: Path) -> bytes:
    if os.path.isdir(path):
        raise PhotoError(f"That is a folder; give its photos, for example {printable_name(path / '*.jpg')}.")
    if not os.path.exists(path):
        if str(path) == "-":
            raise PhotoError("Standard input isn't supported; give file names.")
        if set(str(path)) & set("*?["):  # a pattern that the shell didn't expand
            raise PhotoError("No file matches this pattern.")
    return read_photo(path)


def _failure(prediction: Prediction) -> str:
    """Why there is no answer, or not the model's; empty where there is."""
    outcome = prediction.outcome
    if outcome is not None and outcome.kind not in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        return f"{outcome.message}{_FALLBACKS.get(prediction.method, '')}"
    if prediction.position:
        return ""
    if prediction.within:
        return f"The gallery has no photo within this area, so there is no position: {prediction.within}."
    return "There are no neighbours to vote, so there is no position."


# What is shown if the model fails, by Prediction.method.
_FALLBACKS = {
    "vote": " Showing the neighbours' vote instead.",
    "judge": " Showing the judge's choice among the other candidates instead.",
}


def _parser(settings: Settings, program: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(prog=program, description="Find out where photos were taken.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    verb = verbs.add_parser("locate", help="locate photos", description="Locate photos.")
    verb.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="a photo's file")
    add_locating(verb, settings)
    formats = verb.add_mutually_exclusive_group()
    for name in ("json", "geojson", "csv"):
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    verb.set_defaults(format="text")
    add_evaluate(verbs, settings)
    add_calibrate(verbs)
    return parser


def command() -> NoReturn:
    """Run the installed command img2loc."""
    run(partial(main, program="img2loc"))


if __name__ == "__main__":
    run(main)

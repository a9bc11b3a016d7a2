"""Reads and shows replies made to hurt, and says whether each came to a typed outcome and stayed text.

    python -m tests.soak.replies --inputs 100000 --seed 0

A good answer amid rubbish must be read to its position; of all else anything may come but an exception, a position off
Earth, a word that is more than text, or more than a moment's work. --growth measures whether the readers' work grows
with the length of what they read, and no faster. Exits 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from img2loc.answer.angles import Unreadable, read_angle
from img2loc.answer.ask import MAX_PLACE_CHARS, MAX_QUOTED_CHARS, MAX_REASONING_CHARS, Answer, ask, parse
from img2loc.answer.coordinates import read_coordinates
from img2loc.answer.lenient_json import find_objects
from img2loc.errors import ConfigError
from img2loc.lmm import Turn
from img2loc.maps import figures
from img2loc.output import exports
from img2loc.output.csv_text import no_formula
from img2loc.output.schema import prediction_json
from img2loc.types import LatLon, Outcome, OutcomeKind, Place, Prediction, Reply, Retrieval, Vote
from img2loc.web.render import prediction as report
from img2loc.web.render.html import text as escaped
from img2loc.web.request import parse_position
from tests.soak.hostile_replies import UNITS, Said, reply
from tests.soak.shown import TEMPLATE_SIGNS, elements

LIMIT_S, GROWTH_LIMIT_S = 5, 60
CHUNK = 500
EVERYWHERE = 20  # one reply in so many is put into maps and files too, which take the most time
# Four times the text may take ten times as long, and no longer: sixteen times would be the square.
GROWTH, LEAST_S = 10, 0.02
PLACE = Place("Somewhere", "Nowhere", "XX", 3.0)
KINDS = {OutcomeKind.ANSWERED, OutcomeKind.UNPARSEABLE, OutcomeKind.REFUSED}


@dataclass(slots=True)
class Says:
    """A model that says the same each time."""

    words: str
    turns: Sequence[Turn] = ()
    name: str = "says"
    model: str = "says-1"

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        self.turns = turns
        return Reply(self.words, self.model, 0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.replies", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="the first one's number (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="(default: one a core)")
    parser.add_argument("--growth", action="store_true", help="measure how the work grows with the text")
    chosen = parser.parse_args(arguments)
    last = chosen.start + chosen.inputs
    pieces = [(chosen.seed, at, min(at + CHUNK, last)) for at in range(chosen.start, last, CHUNK)]
    table: dict[str, Counter[str]] = defaultdict(Counter)
    slowest: dict[str, float] = defaultdict(float)
    faults = 0
    with multiprocessing.get_context("spawn").Pool(chosen.workers) as pool:
        for results in pool.imap(_read_all, pieces):
            for number, kind, outcome, fault, seconds in results:
                table[kind][outcome] += 1
                slowest[kind] = max(slowest[kind], seconds)
                if fault:
                    faults += 1
                    print(f"FAULT {number} ({kind}): {fault}: {reply(chosen.seed, number).text[:200]!r}", flush=True)
    print(f"{'kind':12}{'tried':>9}{'position':>10}{'none':>9}{'slowest s':>11}")
    for kind, found in sorted(table.items()):
        print(f"{kind:12}{found.total():9,}{found['position']:10,}{found['none']:9,}{slowest[kind]:11.3f}")
    print(f"{chosen.inputs:,} replies, {faults} faults")
    return 1 if faults or (chosen.growth and not _growth_is_linear()) else 0


def _read_all(piece: tuple[int, int, int]) -> list[tuple[int, str, str, str, float]]:
    seed, first, last = piece
    signal.signal(signal.SIGALRM, _too_long)
    results = []
    for number in range(first, last):
        said = reply(seed, number)
        began = time.perf_counter()
        signal.alarm(LIMIT_S)
        try:
            outcome, fault = examine(said, everywhere=number % EVERYWHERE == 0)
        except Exception as error:
            outcome, fault = "", f"{type(error).__name__}: {error}"
        signal.alarm(0)
        results.append((number, said.kind, outcome, fault, time.perf_counter() - began))
    return results


def _too_long(*_: object) -> None:
    raise TimeoutError("it takes too long")


def examine(said: Said, *, everywhere: bool = True) -> tuple[str, str]:
    """Read a reply and show what came of it.

    Args:
        said: The reply.
        everywhere: On maps and in files too, not on the card alone.

    Returns:
        "position" or "none", and what is wrong with that; empty where nothing is.
    """
    found = parse(said.text)
    if isinstance(found, Answer):
        for words, limit in ((found.place, MAX_PLACE_CHARS), (found.reasoning, MAX_REASONING_CHARS)):
            if not words.isprintable() or len(words) > limit:
                return "position", f"no plain text: {words[:100]!r}"
    elif not (isinstance(found, Unreadable) and found.reason.startswith("it") and len(found.reason) < 200):
        return "none", f"the outcome is {found!r}"
    if said.means and not (isinstance(found, Answer) and _near(found.position, said.means)):
        return "none", f"{said.means} was read as {found!r}"
    for value in (said.text, said.text[:99], *said.text.split(maxsplit=8)[:8]):
        read_angle(value)
    if not isinstance(read_coordinates(said.text[:5000]), LatLon | Unreadable):
        return "none", "prose has no typed outcome"
    model = Says(said.text)
    outcome = ask(model, "Where?", b"")
    if outcome.kind not in KINDS or any(len(turn.text) > MAX_QUOTED_CHARS for turn in model.turns):
        return "none", f"asking ended as {outcome.kind}"
    return ("position" if outcome.position else "none"), _flaw(outcome, everywhere)


def _near(a: LatLon, b: LatLon) -> bool:
    return abs(a.lat - b.lat) < 1e-4 and abs(a.lon - b.lon) < 1e-4


def predicted(outcome: Outcome) -> Prediction:
    """What the page would be given to show."""
    answer = outcome.position or LatLon(1.5, 2.5)
    method = "lmm" if outcome.position else "vote"
    return Prediction(answer, None, method, PLACE, Vote(answer, 5.0, 16), Retrieval((), ()), "", outcome, ())


@cache
def _plain_elements(kind: OutcomeKind, has_reasons: bool) -> list[tuple[str, ...]]:
    """The card of an outcome of harmless words."""
    position = LatLon(1.5, 2.5) if kind is OutcomeKind.ANSWERED else None
    outcome = Outcome(kind, position, "", "plain" * has_reasons, "plain", (Reply("plain", "plain", 0.1),))
    return elements(report.answer(predicted(outcome), truth=None, name=lambda _: PLACE))


def _flaw(outcome: Outcome, everywhere: bool) -> str:
    """What of an outcome would be more than text; empty where nothing would."""
    # A model is called as it likes, and its reasons may come from elsewhere than our parser.
    rough = outcome.replies[-1].text[:300]
    outcome = replace(outcome, replies=(replace(outcome.replies[-1], model=rough or "a model"),))
    if outcome.position:
        outcome = replace(outcome, reasoning=rough.strip() and rough)
    prediction = predicted(outcome)
    card = report.answer(prediction, truth=None, name=lambda _: PLACE)
    if TEMPLATE_SIGNS & set(card):
        return "the card holds a template"
    if elements(card) != _plain_elements(outcome.kind, bool(outcome.reasoning.strip())):
        return f"the card holds more than its own elements: {card[:2000]}"
    if not everywhere:
        return ""
    drawn = figures.answers_map([figures.Mark("A", prediction.position, rough)], None, lambda _: PLACE)
    (hover,) = drawn.data[-1].hovertext
    if elements(hover) != [("b",), ("/b",), ("br",), ("br",)]:
        return f"the map's words hold markup: {hover}"
    json.dumps(prediction_json(prediction))
    for write in exports.WRITERS.values():
        write(exports.rows(rough[:50], prediction, None, lambda _: PLACE))
    return ""


def _growth_is_linear() -> bool:
    readers: dict[str, tuple[Callable[[str], object], int]] = {
        "parse": (parse, 1_000_000),
        "read_coordinates": (read_coordinates, 40_000),
        "find_objects": (find_objects, 100_000),
        "parse_position": (_typed, 100_000),
        "escaped": (escaped, 1_000_000),
        "no_formula": (no_formula, 1_000_000),
    }
    signal.signal(signal.SIGALRM, _too_long)
    found = []
    for name, (read, length) in readers.items():
        for unit in UNITS:
            whole_s = _seconds(read, unit * (length // len(unit)))
            if whole_s > LEAST_S:
                quarter_s = _seconds(read, unit * (length // 4 // len(unit)))
                found.append((whole_s / quarter_s, whole_s, f"{name} of {length:,} characters {unit!r}"))
    for title, (growth, whole_s, what) in {"growth": max(found), "time": max(found, key=lambda one: one[1])}.items():
        print(f"most {title}: {what}: {whole_s:.2f} s, {growth:.1f} times as long as for a quarter")
    return max(found)[0] < GROWTH


def _typed(text: str) -> object:
    try:
        return parse_position(text)
    except ConfigError as error:
        return error


def _seconds(read: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    signal.alarm(GROWTH_LIMIT_S)
    read(text)
    signal.alarm(0)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())

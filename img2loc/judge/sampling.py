"""Asks a model several times, and chooses the answer that is closest to the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from img2loc.answer.ask import ask
from img2loc.errors import ConfigError
from img2loc.geo.areas import Area
from img2loc.geo.sphere import haversine_km
from img2loc.lmm import LMM
from img2loc.types import LatLon, Outcome, OutcomeKind

MAX_SAMPLES = 20
MAX_PROMPTS = 8
MAX_NEIGHBOURS = 50
OFF = "off"
CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Judge:
    """How a model is asked if its answers are judged; as a text, in read_judge's form."""

    counts: tuple[int, ...] = ()  # how many neighbours each way, one prompt each
    choice: bool = False  # whether it is asked once more at the end, to choose among the best candidates

    def __str__(self) -> str:
        return ",".join(map(str, self.counts)) + f"+{CHOICE}" * self.choice


def requests_of(judge: Judge | None, samples: int = 1) -> int:
    """How many requests a photo takes, if every reply can be read and each prompt is sent `samples` times."""
    return samples if judge is None else samples * len(judge.counts) + judge.choice


def check_samples(samples: int) -> None:
    """Check how often a model is to be asked.

    Raises:
        ConfigError: It isn't a number from 1 to MAX_SAMPLES.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be 1 to {MAX_SAMPLES} (got {samples}).")


def read_judge(text: str) -> Judge | None:
    """Read a Judge, such as "0,5,10,15" or "0,5+choice"; None for "off" and for an empty text.

    Raises:
        ConfigError: The text has another form, or too many or too large numbers.
    """
    text = text.strip().lower()
    if text in ("", OFF):
        return None
    numbers = text.removesuffix(CHOICE)
    choice = numbers != text
    if choice:
        numbers = numbers.rstrip().removesuffix("+")  # decoding a URL may have turned the "+" into a space
    parts = [part.strip() for part in numbers.split(",")]
    if len(parts) > 99 or not all(re.fullmatch(r"[0-9]{1,2}", part) and int(part) <= MAX_NEIGHBOURS for part in parts):
        parts = []
    counts = tuple(dict.fromkeys(map(int, parts)))
    if not 1 <= len(counts) <= MAX_PROMPTS:
        raise ConfigError(
            f"judge must be {OFF}, or 1 to {MAX_PROMPTS} numbers from 0 to {MAX_NEIGHBOURS} separated by commas, "
            f"such as 0,5,10,15, optionally followed by +{CHOICE} (got {text[:40]!r})."
        )
    return Judge(counts, choice)


def ask_all(
    lmm: LMM, texts: Sequence[str], jpeg: bytes, *, samples: int = 1, within: Area | None = None
) -> list[Outcome]:
    """Ask a model each of several prompts, several times, up to the first provider error.

    Args:
        lmm: The model; its replies to one prompt differ only at a temperature above 0.
        texts: The prompts.
        jpeg: The photo, without metadata.
        samples: How often to ask each, 1 to MAX_SAMPLES.
        within: Where the photo is known to have been taken; None for anywhere.

    Returns:
        The outcomes in order, one or more.
    """
    check_samples(samples)
    outcomes: list[Outcome] = []
    for text in texts:
        for _ in range(samples):
            outcomes.append(ask(lmm, text, jpeg, within))
            if outcomes[-1].kind is OutcomeKind.PROVIDER_ERROR:
                return outcomes
    return outcomes


def central_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Choose the outcome whose position has the least sum of great-circle distances to the others'.

    A mean would lie in the sea between two good guesses.

    Args:
        outcomes: One or more.

    Returns:
        The first of several such, with the replies of all; where none has a position, the last.
    """
    return _closest(outcomes, [outcome.position for outcome in outcomes if outcome.position])


def nearest_outcome(outcomes: Sequence[Outcome], position: LatLon | None) -> Outcome:
    """Choose the outcome nearest to a position, with the replies of all; the last where there is no position."""
    return _closest(outcomes, [position] if position else [])


def _closest(outcomes: Sequence[Outcome], positions: Sequence[LatLon]) -> Outcome:
    def summed_km(position: LatLon) -> float:
        return sum(haversine_km(position, other) for other in positions)

    replies = tuple(reply for outcome in outcomes for reply in outcome.replies)
    placed = [(summed_km(outcome.position), outcome) for outcome in outcomes if outcome.position]
    chosen = min(placed, key=lambda pair: pair[0])[1] if placed and positions else outcomes[-1]
    return replace(chosen, replies=replies)

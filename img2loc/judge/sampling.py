"""Several answers of one model to one question, or to several, and the one that the others lie closest to."""

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
    """How a model is asked where its answers are judged; as a text, as read_judge has it.

    Args:
        counts: With how many neighbours each way, a prompt each.
        choice: Whether it is asked once more at the end, to choose among the best candidates.
    """

    counts: tuple[int, ...] = ()
    choice: bool = False

    def __str__(self) -> str:
        return ",".join(map(str, self.counts)) + f"+{CHOICE}" * self.choice


def requests_of(judge: Judge | None, samples: int = 1) -> int:
    """How many requests a photo takes, if every reply can be read.

    Args:
        judge: How the model is asked; None for one prompt.
        samples: How often with each prompt.
    """
    return samples if judge is None else samples * len(judge.counts) + judge.choice


def check_samples(samples: int) -> None:
    """Check how often a model is to be asked.

    Raises:
        ConfigError: It is no number from 1 to MAX_SAMPLES.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be 1 to {MAX_SAMPLES} (got {samples}).")


def read_judge(text: str) -> Judge | None:
    """Read how a model is to be asked for its answers to be judged.

    Args:
        text: Numbers of neighbours each way with commas between, a prompt each, and "+choice" after them where the
            model is to choose at the end; empty, or off, for one prompt and no judging.

    Raises:
        ConfigError: They are none, too many or too large.
    """
    whole = text.strip().lower()
    if whole in ("", OFF):
        return None
    numbers = whole.removesuffix(CHOICE)
    choice = numbers != whole
    if choice:
        numbers = numbers.rstrip().removesuffix("+")  # in an address a plus is a blank
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


def ask_often(lmm: LMM, text: str, jpeg: bytes, *, samples: int = 1, within: Area | None = None) -> Outcome:
    """Ask a model where a photo was taken, several times over.

    Args:
        lmm: The model; its replies differ only at a temperature above 0.
        text: The prompt.
        jpeg: The photo, without metadata.
        samples: How often to ask, 1 to MAX_SAMPLES. No answer is asked for after a provider's error.
        within: Where the photo is known to have been taken; None for anywhere.

    Returns:
        The outcome whose position has the least sum of great-circle distances to the others' (the first of several
        such), with the replies of all; where none has a position, the last. A mean would lie in the sea between two
        good guesses.
    """
    return central_outcome(ask_all(lmm, [text], jpeg, samples=samples, within=within))


def ask_all(
    lmm: LMM, texts: Sequence[str], jpeg: bytes, *, samples: int = 1, within: Area | None = None
) -> list[Outcome]:
    """Ask a model each of several prompts, several times over.

    Args:
        lmm: The model.
        texts: The prompts.
        jpeg: The photo, without metadata.
        samples: How often to ask each, 1 to MAX_SAMPLES. No answer is asked for after a provider's error.
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
    """Choose the outcome that the others lie closest to.

    Args:
        outcomes: One or more.

    Returns:
        As ask_often has it.
    """
    replies = tuple(reply for outcome in outcomes for reply in outcome.replies)
    positions = [outcome.position for outcome in outcomes if outcome.position]
    if not positions:
        return replace(outcomes[-1], replies=replies)

    def summed_km(position: LatLon) -> float:
        return sum(haversine_km(position, other) for other in positions)

    best = min(positions, key=summed_km)
    return replace(next(outcome for outcome in outcomes if outcome.position == best), replies=replies)


def nearest_outcome(outcomes: Sequence[Outcome], position: LatLon | None) -> Outcome:
    """Choose the outcome that speaks for a position.

    Args:
        outcomes: One or more.
        position: Where the photo was taken, as somebody has it; None where nobody has.

    Returns:
        The one whose position lies nearest to it, with the replies of all; where none has a position, the last.
    """
    replies = tuple(reply for outcome in outcomes for reply in outcome.replies)
    placed = [(outcome.position, outcome) for outcome in outcomes if outcome.position]
    if position is None or not placed:
        return replace(outcomes[-1], replies=replies)
    return replace(min(placed, key=lambda pair: haversine_km(pair[0], position))[1], replies=replies)

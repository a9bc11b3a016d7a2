"""Several answers of one model to one question, and the one that the others lie closest to."""

from __future__ import annotations

from dataclasses import replace

from img2loc.answer import ask
from img2loc.errors import ConfigError
from img2loc.geo import haversine_km
from img2loc.lmm import LMM
from img2loc.types import LatLon, Outcome, OutcomeKind

MAX_SAMPLES = 20


def check_samples(samples: int) -> None:
    """Check how often a model is to be asked.

    Raises:
        ConfigError: It is no number from 1 to MAX_SAMPLES.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples is {samples}; it must be a whole number from 1 to {MAX_SAMPLES}.")


def ask_often(lmm: LMM, text: str, jpeg: bytes, *, samples: int = 1) -> Outcome:
    """Ask a model where a photo was taken, several times over.

    Args:
        lmm: The model; its replies differ only at a temperature above 0.
        text: The prompt.
        jpeg: The photo, without metadata.
        samples: How often to ask, 1 to MAX_SAMPLES. No answer is asked for after a provider's error.

    Returns:
        The outcome whose position has the least sum of great-circle distances to the others' (the first of several
        such), with the replies of all; where none has a position, the last. A mean would lie in the sea between two
        good guesses.
    """
    check_samples(samples)
    outcomes: list[Outcome] = []
    for _ in range(samples):
        outcomes.append(ask(lmm, text, jpeg))
        if outcomes[-1].kind is OutcomeKind.PROVIDER_ERROR:
            break
    replies = tuple(reply for outcome in outcomes for reply in outcome.replies)
    positions = [outcome.position for outcome in outcomes if outcome.position]
    if not positions:
        return replace(outcomes[-1], replies=replies)

    def strangeness(position: LatLon) -> float:
        return sum(haversine_km(position, other) for other in positions)

    best = min(positions, key=strangeness)
    return replace(next(outcome for outcome in outcomes if outcome.position == best), replies=replies)

"""Models and galleries whose law of error is known, so that it is known which choice among their answers is right.

A scene lies somewhere. A model that knows it answers nearby; one that doesn't names one of a few places that look
alike, or any other. Neighbours lie at the scene or at its lookalikes, and the image-to-position model likes the scene
better than other places, but for noise. How many neighbours a prompt holds changes how often it is right, by what kind
of scene it is: landmarks are best asked about without neighbours, others with ten. Source of that law, not of its
figures: G3, section 5, https://arxiv.org/abs/2405.14702.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from img2loc.geo.sphere import FloatArray, arc_km, destination, haversine_km, to_latlon, unit_vectors
from img2loc.judge.candidates import rank_candidates, with_choice
from img2loc.judge.choice import MAX_OPTIONS
from img2loc.types import Candidate, LatLon, Neighbour

COUNTS = (0, 5, 10, 15)  # neighbours each way, a prompt each
SAMPLES = 3  # of each
KNOWS = {  # how often a prompt's answer is right, by the kind of scene
    "landmark": (0.65, 0.55, 0.5, 0.45),
    "scene": (0.08, 0.16, 0.22, 0.2),
}
WRONG_ALIKE = 0.4  # of the wrong answers, so many are a lookalike: they agree with each other
NEIGHBOUR_HIT = {"landmark": 0.25, "scene": 0.06}
FIT_GAIN, FIT_NOISE = 2.0, 1.5  # of the logarithm of the likelihood
# How often a model that is asked to choose takes the right place, if it is shown: as one study found of good systems;
# the same of the photos whose place was in their pool (38 of 59); and a better one.
CHOOSES = (0.38, 0.64, 0.8)


@dataclass(frozen=True)
class Scene:
    """A photo whose place is known, with all that the witnesses say of it.

    Args:
        truth: Where it is.
        answers: Of each prompt, its samples.
        neighbours: Of the gallery.
        seed: Of the fit's noise.
    """

    truth: LatLon
    answers: tuple[tuple[LatLon, ...], ...]
    neighbours: tuple[Neighbour, ...]
    seed: int

    def error_km(self, place: LatLon) -> float:
        """How far off a place is."""
        return haversine_km(place, self.truth)

    def fit(self, places: Sequence[LatLon]) -> FloatArray:
        """How well the photo fits places: the closer the better, and the same place always the same."""
        away_km = arc_km(unit_vectors(places), unit_vectors([self.truth]))[:, 0]
        noise = [np.random.default_rng([self.seed, *_digits(place)]).normal() for place in places]
        return FIT_GAIN * np.exp(-away_km / 200) + FIT_NOISE * np.array(noise)

    def choice(self, shown: Sequence[Candidate], chooses: float, random: random.Random) -> LatLon:
        """What a model takes of the places it is shown; where it is wrong, mostly what it said itself."""
        right = [one for one in shown if self.error_km(one.position) <= 25]
        if right and random.random() < chooses:
            return right[0].position
        wrong = [one for one in shown if one not in right] or shown
        return random.choices(wrong, [one.agreement + 1e-6 for one in wrong])[0].position


def _digits(place: LatLon) -> tuple[int, int]:
    return round((place.lat + 90) * 1e5), round((place.lon + 180) * 1e5)


def scenes(count: int, *, seed: int = 0) -> list[Scene]:
    """Draw scenes, half of them landmarks."""
    drawn = np.random.default_rng(seed)
    return [_scene(drawn, kind, int(drawn.integers(1 << 31))) for kind in ("landmark", "scene") * (count // 2)]


def _scene(random: np.random.Generator, kind: str, seed: int) -> Scene:
    truth, *alike = (_anywhere(random) for _ in range(4))

    def near(place: LatLon, scale_km: float) -> LatLon:
        return destination(place, random.uniform(0, 360), scale_km * random.exponential())

    def answer(knows: float) -> LatLon:
        if random.random() < knows:
            return near(truth, 5.0)
        return near(alike[random.integers(3)], 5.0) if random.random() < WRONG_ALIKE else _anywhere(random)

    def neighbour(row: int) -> Neighbour:
        hit = random.random() < NEIGHBOUR_HIT[kind]
        similarity = float(np.clip(random.normal(0.62 if hit else 0.55, 0.06), 0, 0.99))
        position = near(truth, 3.0) if hit else near(alike[random.integers(3)], 3.0)
        return Neighbour(row, position if hit or random.random() < 0.4 else _anywhere(random), similarity)

    return Scene(
        truth,
        tuple(tuple(answer(knows) for _ in range(SAMPLES)) for knows in KNOWS[kind]),
        tuple(neighbour(row) for row in range(16)),
        seed,
    )


def _anywhere(random: np.random.Generator) -> LatLon:
    return to_latlon(random.normal(size=3))


def ablation(drawn: Sequence[Scene]) -> dict[str, float]:
    """How often each way of choosing is right, within city level."""
    right: Counter[str] = Counter()
    picks, chooser = random.Random(1), random.Random(2)
    for scene in drawn:
        answers = [answer for prompt in scene.answers for answer in prompt]
        chosen = {
            "random": picks.choice(answers),
            "majority": rank_candidates(answers, ())[0].position,
            "vote": rank_candidates((), scene.neighbours)[0].position,
            "without fit": rank_candidates(answers, scene.neighbours)[0].position,
            "without neighbours": rank_candidates(answers, (), scene.fit)[0].position,
            "without answers": rank_candidates((), scene.neighbours, scene.fit)[0].position,
        }
        for count, prompt in zip(COUNTS, scene.answers, strict=True):
            chosen[f"prompt {count}, one answer"] = prompt[0]
            chosen[f"prompt {count}, the midst of three"] = min(
                prompt, key=lambda one: sum(haversine_km(one, other) for other in prompt)
            )
        found = rank_candidates(answers, scene.neighbours, scene.fit)
        chosen["the rule"] = found[0].position
        voices = rank_candidates(answers, scene.neighbours)
        for chooses in CHOOSES:
            alone = scene.choice(found[:MAX_OPTIONS], chooses, chooser)
            chosen[f"a choice that is right {chooses:.0%} of the time, alone"] = alone
            chosen[f"the rule with a choice that is right {chooses:.0%} of the time"] = _best(found, alone)
            heard = _best(voices, scene.choice(voices[:MAX_OPTIONS], chooses, chooser))
            chosen[f"without fit, with a choice that is right {chooses:.0%} of the time"] = heard
        chosen["the best there was"] = min((one.position for one in found), key=scene.error_km)
        right.update(name for name, position in chosen.items() if scene.error_km(position) <= 25)
    return {name: count / len(drawn) for name, count in right.items()}


def _best(found: Sequence[Candidate], choice: LatLon) -> LatLon:
    return with_choice(found, choice)[0].position


def main() -> None:
    """Print how often each way of choosing is right, the worst first."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--scenes", type=int, default=4000)
    count = arguments.parse_args().scenes
    print(f"| way of choosing | right within 25 km, of {count:,} |\n|---|---|")
    for name, share in sorted(ablation(scenes(count)).items(), key=lambda pair: pair[1]):
        print(f"| {name} | {share:.1%} |")


if __name__ == "__main__":
    main()

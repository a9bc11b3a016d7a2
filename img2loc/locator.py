"""The only place where the stages meet: a photo in, a Prediction out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from img2loc.answer import prompt
from img2loc.answer.coarsen import coarsen_outcome, coarsen_retrieval
from img2loc.answer.vote import vote
from img2loc.devices import cpu_has_bfloat16
from img2loc.errors import ConfigError, GalleryError, quoted
from img2loc.geo.areas import Area
from img2loc.geo.coarse import EXACT, Precision, coarse_area
from img2loc.geo.places import nearest_place
from img2loc.judge.candidates import Fit, candidates, spread_km, with_choice
from img2loc.judge.choice import choose, options, worded
from img2loc.judge.sampling import Judge, ask_all, central_outcome, nearest_outcome
from img2loc.lmm import LMM
from img2loc.photo.decode import Photo, PhotoSource, load_photo
from img2loc.retrieval.encoders import Encoder, open_encoder
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.hub import OnBytes, ignore_bytes
from img2loc.retrieval.index import processors
from img2loc.retrieval.manifest import Manifest
from img2loc.types import Candidate, LatLon, Method, Neighbour, Outcome, OutcomeKind, Prediction, Retrieval, Vote

DEFAULT_NEIGHBOURS = 16  # each way, as in the authors' own app
VOTE_NEIGHBOURS = 16  # the vote never uses fewer, so that it is there when a prompt is sent without neighbours
# With some neighbours left out, the search begins with this many more and goes on to at most so many.
SPARE_NEIGHBOURS = 48
MAX_SEARCHED = 2048

PROMPTS_APART = "\n\n--- another prompt ---\n\n"

OnStage = Callable[[str], None]
Exclude = Callable[[Neighbour], bool]


def ignore_stage(stage: str) -> None:
    """Do nothing as a stage begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked of a photo.

    Args:
        lmm: The model to ask; None for the vote alone.
        nearest: How many of the most similar photos go into the prompt and into the prediction.
        farthest: How many of the most dissimilar.
        template: The prompt's text, with prompt.py's placeholders.
        samples: How often the model is asked; the answer is the one that the others lie closest to.
        judge: With how many neighbours each way the model is asked instead, a prompt each; all its answers and the
            neighbours' modes are candidates, among which the model may be asked to choose, and candidates.py's rule
            decides. None for no judging.
        within: Where the photo is known to have been taken: nothing elsewhere is looked at or answered. None for
            anywhere.
        precision: From how precise positions the answer is made: the neighbours' are made coarse as soon as they are
            found and the model's as soon as they are read, and `within` is compared with coarse positions, so that
            vote, prompt and candidates know no others. precision.coarsen has to follow.
        exclude: Says which neighbours are left out, before any are counted; for evaluation.

    Raises:
        ConfigError: The template has a missing or unknown placeholder.
    """

    lmm: LMM | None = None
    nearest: int = DEFAULT_NEIGHBOURS
    farthest: int = DEFAULT_NEIGHBOURS
    template: str = prompt.DEFAULT_TEMPLATE
    samples: int = 1
    judge: Judge | None = None
    within: Area | None = None
    precision: Precision = EXACT
    exclude: Exclude | None = None

    def __post_init__(self) -> None:
        prompt.check_template(self.template)


class Locator:
    """An encoder and its gallery, shared by all requests and never changed by one."""

    def __init__(self, encoder: Encoder, gallery: Gallery) -> None:
        gallery.check_encoder(encoder)
        self.encoder = encoder
        self.gallery = gallery
        self._calibration = gallery.calibration  # read now, so that a wrong one stops the opening and no visitor
        # Threads of its own: each that has run a network once keeps memory for it, and more of them than processors
        # embed no faster together, but slower.
        self._embedders = ThreadPoolExecutor(processors(), thread_name_prefix="embed")

    @classmethod
    def open(
        cls,
        gallery: str = "starter",
        *,
        encoder: str = "",
        device: str = "auto",
        dtype: str = "auto",
        on_bytes: OnBytes = ignore_bytes,
    ) -> Locator:
        """Open a gallery and the encoder that it was made with.

        Args:
            gallery: "starter", a folder, or a Hub repo as owner/name[@revision].
            encoder: Overrides where the gallery's encoder is loaded from: "lite0", a Hub repo or a folder.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            dtype: The network's number format: "auto" for bfloat16 where the machine has it and the builder saw it
                change no neighbour, else float32; or "float32", "bfloat16", "float16".
            on_bytes: Called with the number of bytes received so far while the gallery is downloaded.

        Raises:
            ConfigError: The gallery's encoder came from a folder and `encoder` doesn't say where that is.
            GalleryError: The gallery can't be had, is torn, or doesn't fit the encoder.
            EncoderError: The encoder can't be had or loaded.
        """
        opened = open_gallery(gallery, on_bytes=on_bytes)
        if dtype == "auto":
            dtype = "bfloat16" if opened.manifest.bfloat16_keeps_neighbours and cpu_has_bfloat16() else "float32"
        source = encoder or _encoder_source(opened.manifest)
        loaded = open_encoder(source, head=opened.head, device=device, dtype=dtype)
        opened.searcher.use_gpu(device)  # with the encoder there, what is left is known
        return cls(loaded, opened)

    def neighbours(
        self, photo: Photo, *, nearest: int, farthest: int, within: Area | None = None, precision: Precision = EXACT
    ) -> Retrieval:
        """Find the gallery's photos most and least similar to a photo.

        Args:
            photo: The query.
            nearest: How many of the most similar; 0 for none.
            farthest: How many of the most dissimilar; 0 for none.
            within: Photos taken elsewhere don't count; None for anywhere.
            precision: How precisely the photos' positions are known outside of the gallery, to `within` as well.
        """
        found = self.gallery.search(self._embed(photo), nearest, farthest, coarse_area(within, precision))
        return coarsen_retrieval(found, precision)

    def locate(self, photo: PhotoSource, ask: Ask | None = None, *, on_stage: OnStage = ignore_stage) -> Prediction:
        """Say where a photo was taken.

        Args:
            photo: A path, a file's bytes, a picture of Pillow's, or an open photo; its EXIF position is never looked
                at.
            ask: What is asked for; by default the vote of the usual number of neighbours.
            on_stage: Called with each stage's name as it begins.

        Returns:
            The prediction. If the model fails in any way it carries the vote's position and the reason.

        Raises:
            PhotoError: It can't be read, or is no photo.
        """
        photo, ask = load_photo(photo), ask or Ask()
        within = coarse_area(ask.within, ask.precision)
        stages = _Stages(on_stage)
        with stages("embed"):
            embedding = self._embed(photo)
        with stages("search"):
            found = coarsen_retrieval(self._search(embedding, ask, within), ask.precision)
        with stages("vote"):
            voted = vote(found.nearest[: max(ask.nearest, VOTE_NEIGHBOURS)], within=within)
        evidence = _Evidence(photo, found, voted, self._fit(embedding), within)
        if ask.judge is not None:
            estimate = _by_judge(ask, ask.judge, evidence, stages)
        elif ask.lmm is not None:
            estimate = _by_model(ask, ask.lmm, evidence, stages)
        else:
            estimate = _by_vote(evidence)
        with stages("place"):
            place = nearest_place(estimate.position) if estimate.position else None
        radius_km, probability = self._radius(ask, estimate, found)
        return Prediction(
            position=estimate.position,
            radius_km=radius_km,
            method=estimate.method,
            place=place,
            vote=voted,
            retrieval=Retrieval(found.nearest[: ask.nearest], found.farthest[: ask.farthest]),
            prompt=PROMPTS_APART.join(estimate.prompts),
            outcome=estimate.outcome,
            timings=tuple(stages.timings),
            candidates=estimate.candidates,
            choice=estimate.choice,
            probability=probability,
            within=str(within or ""),
        )

    def _radius(self, ask: Ask, estimate: _Estimate, found: Retrieval) -> tuple[float | None, float | None]:
        """The answer's radius in km, and the probability that it holds the truth where the gallery was calibrated.

        What was measured on answers from anywhere doesn't hold for those that somebody held to an area.
        """
        calibration = self._calibration
        if calibration and found.nearest and estimate.position and ask.within is None:
            model = ask.lmm.model if ask.lmm else ""
            measured_km = calibration.radius_km(estimate.method, model, found.nearest[0].similarity)
            if measured_km is not None:
                return measured_km, calibration.probability
        return estimate.radius_km, None

    def _fit(self, embedding: npt.NDArray[np.float32]) -> Fit | None:
        """How well a photo fits places; None where the gallery can't tell."""
        location = self.gallery.location
        return None if location is None else partial(location.fit, embedding)

    def _embed(self, photo: Photo) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = self._embedders.submit(self.encoder.embed, [photo.image]).result()[0]
        return embedding

    def _search(self, embedding: npt.NDArray[np.float32], ask: Ask, within: Area | None) -> Retrieval:
        """Search for as many neighbours as any step needs; fewer come back where the gallery has no more to give."""
        most = max(ask.judge.counts, default=0) if ask.judge else 0
        nearest, farthest = max(ask.nearest, most, VOTE_NEIGHBOURS), max(ask.farthest, most)
        if ask.exclude is None:
            return self.gallery.search(embedding, nearest, farthest, within)
        end = min(MAX_SEARCHED, self.gallery.manifest.count)
        wide = min(max(nearest, farthest) + SPARE_NEIGHBOURS, end)
        while True:
            found = self.gallery.search(embedding, wide if nearest else 0, wide if farthest else 0, within)
            near = [neighbour for neighbour in found.nearest if not ask.exclude(neighbour)]
            far = [neighbour for neighbour in found.farthest if not ask.exclude(neighbour)]
            if wide == end or (len(near) >= nearest and len(far) >= farthest):
                return Retrieval(tuple(near[:nearest]), tuple(far[:farthest]))
            wide = min(4 * wide, end)


class _Stages:
    """Times the stages of one request, and tells the caller as each begins."""

    def __init__(self, on_stage: OnStage) -> None:
        self.timings: list[tuple[str, float]] = []
        self._on_stage = on_stage

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._on_stage(name)
        start = time.perf_counter()
        yield
        self.timings.append((name, time.perf_counter() - start))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the strategies answer from.

    Args:
        found: As many neighbours as any step needs.
        fit: How well the photo fits places; None where the gallery can't tell.
        within: Where the photo is known to have been taken, as precisely as the answer may be.
    """

    photo: Photo
    found: Retrieval
    vote: Vote | None
    fit: Fit | None
    within: Area | None

    def prompt(self, template: str, nearest: int, farthest: int) -> str:
        retrieval = Retrieval(self.found.nearest[:nearest], self.found.farthest[:farthest])
        return prompt.render(template, retrieval, self.within)


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What a strategy came to; the fields are those of Prediction."""

    position: LatLon | None = None
    radius_km: float | None = None
    method: Method = "none"
    prompts: tuple[str, ...] = ()
    outcome: Outcome | None = None
    candidates: tuple[Candidate, ...] = ()
    choice: Outcome | None = None


def _by_vote(evidence: _Evidence) -> _Estimate:
    if evidence.vote is None:
        return _Estimate()
    return _Estimate(evidence.vote.position, evidence.vote.radius_km, "vote")


def _by_model(ask: Ask, lmm: LMM, evidence: _Evidence, stages: _Stages) -> _Estimate:
    """Take the model's answer, or the vote where it gives none."""
    with stages("ask"):
        text = evidence.prompt(ask.template, ask.nearest, ask.farthest)
        outcomes = ask_all(lmm, [text], evidence.photo.to_jpeg(), samples=ask.samples, within=evidence.within)
        outcome = central_outcome([coarsen_outcome(outcome, ask.precision) for outcome in outcomes])
    if outcome.position is None:
        return replace(_by_vote(evidence), prompts=(text,), outcome=outcome)
    return _Estimate(outcome.position, None, "lmm", (text,), outcome)


def _by_judge(ask: Ask, judge: Judge, evidence: _Evidence, stages: _Stages) -> _Estimate:
    """Take the best of the candidates that the neighbours and the model's answers make, or the vote if there are none.

    The model, if there is one, is asked once with each number of neighbours, and perhaps to choose in the end.
    """
    voters = evidence.found.nearest[:VOTE_NEIGHBOURS]
    texts: list[str] = []
    outcomes: list[Outcome] = []
    jpeg = b""
    if ask.lmm is not None:
        with stages("ask"):
            texts = [evidence.prompt(ask.template, count, count) for count in dict.fromkeys(judge.counts)]
            jpeg = evidence.photo.to_jpeg()
            outcomes = ask_all(ask.lmm, texts, jpeg, samples=ask.samples, within=evidence.within)
            outcomes = [coarsen_outcome(outcome, ask.precision) for outcome in outcomes]
    with stages("judge"):
        answers = [outcome.position for outcome in outcomes if outcome.position]
        judged = candidates(answers, voters, evidence.fit, within=evidence.within)
    choice: Outcome | None = None
    failed = bool(outcomes) and outcomes[-1].kind is OutcomeKind.PROVIDER_ERROR
    if ask.lmm is not None and judge.choice and len(judged) > 1 and not failed:
        with stages("choose"):
            shown = options(judged, voters)
            texts.append(worded(shown, guesses=len(answers), neighbours=len(voters)))
            choice = choose(ask.lmm, shown, texts[-1], jpeg, precision=ask.precision)
            judged = with_choice(judged, choice.position)
    best = _Estimate(judged[0].position, spread_km(judged), "judge") if judged else _by_vote(evidence)
    outcome = nearest_outcome(outcomes, judged[0].position if judged else None) if outcomes else None
    return replace(best, prompts=tuple(texts), outcome=outcome, candidates=judged, choice=choice)


def _encoder_source(manifest: Manifest) -> str:
    """Where the encoder that made a gallery is loaded from."""
    spec = manifest.encoder
    if spec.kind == "lite0":
        return "lite0"
    if spec.kind != "transformers":
        raise GalleryError(f"The gallery {manifest.name!r} has an encoder of the unknown kind {quoted(spec.kind)}.")
    if spec.revision.startswith("sha256:"):
        raise ConfigError(
            f"The gallery {manifest.name!r} was made with the encoder in a folder called {spec.source!r}; "
            "set IMG2LOC_ENCODER to that folder."
        )
    return f"{spec.source}@{spec.revision}"

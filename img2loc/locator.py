"""The pipeline, where all stages meet: a photo in, a Prediction out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from img2loc.judge.candidates import Fit, rank_candidates, spread_km, with_choice
from img2loc.judge.choice import choose, make_options, write_question
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
VOTE_NEIGHBOURS = 16  # the vote asks for at least this many, even if the prompt lists none
# If neighbours are excluded, the first search asks for SPARE_NEIGHBOURS more; later ones for up to MAX_SEARCHED in all.
SPARE_NEIGHBOURS = 48
MAX_SEARCHED = 2048

PROMPT_SEPARATOR = "\n\n--- another prompt ---\n\n"

OnStage = Callable[[str], None]
Exclude = Callable[[Neighbour], bool]


def ignore_stage(stage: str) -> None:
    """Do nothing as a stage begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked about a photo.

    Raises:
        ConfigError: The template has a missing or unknown placeholder.
    """

    lmm: LMM | None = None  # the model to ask; None for the vote alone
    nearest: int = DEFAULT_NEIGHBOURS  # how many of the most similar photos are in the prompt and in the prediction
    farthest: int = DEFAULT_NEIGHBOURS  # how many of the most dissimilar
    template: str = prompt.DEFAULT_TEMPLATE  # the prompt, with the placeholders that check_template describes
    samples: int = 1  # how often the model is asked; the answer is the one closest to the others
    # Ask with several numbers of neighbours instead, and choose among all answers and the neighbours' modes by the rule
    # in img2loc/judge/candidates.py.
    judge: Judge | None = None
    within: Area | None = None  # where the photo is known to have been taken; everything outside is ignored
    # Positions (neighbours', the model's, `within`) are made this coarse before anything uses them. The caller must
    # still pass the prediction to policy.precision.coarsen.
    precision: Precision = EXACT
    exclude: Exclude | None = None  # which neighbours are ignored; for evaluation

    def __post_init__(self) -> None:
        prompt.check_template(self.template)


class Locator:
    """An encoder and its gallery, shared by all requests and changed by none."""

    def __init__(self, encoder: Encoder, gallery: Gallery) -> None:
        gallery.check_encoder(encoder)
        self.encoder = encoder
        self.gallery = gallery
        self._calibration = gallery.calibration  # read now, so that a wrong one is found when the gallery is opened
        # A pool of its own: each thread that has run a network keeps memory for it, and more threads than processors
        # are slower together.
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
            dtype: The network's number format: "auto" for bfloat16 where the machine has it and the builder found that
                it changes no neighbour, else float32; or "float32", "bfloat16", "float16".
            on_bytes: Called with the number of bytes received so far while the gallery is downloaded.

        Raises:
            ConfigError: The gallery's encoder came from a folder and `encoder` doesn't say where that is.
            GalleryError: The gallery can't be found or read, or doesn't fit the encoder.
            EncoderError: The encoder can't be found or loaded.
        """
        opened = open_gallery(gallery, on_bytes=on_bytes)
        if dtype == "auto":
            dtype = "bfloat16" if opened.manifest.bfloat16_keeps_neighbours and cpu_has_bfloat16() else "float32"
        source = encoder or _encoder_source(opened.manifest)
        loaded = open_encoder(source, head=opened.head, device=device, dtype=dtype)
        opened.searcher.use_gpu(device)  # after the encoder, so that the memory left is known
        return cls(loaded, opened)

    def neighbours(
        self, photo: Photo, *, nearest: int, farthest: int, within: Area | None = None, precision: Precision = EXACT
    ) -> Retrieval:
        """Find the gallery's photos most and least similar to a photo; the parameters are those of Ask."""
        retrieval = self.gallery.search(self._embed(photo), nearest, farthest, coarse_area(within, precision))
        return coarsen_retrieval(retrieval, precision)

    def locate(self, photo: PhotoSource, ask: Ask | None = None, *, on_stage: OnStage = ignore_stage) -> Prediction:
        """Locate a photo.

        Args:
            photo: A path, a file's bytes, a Pillow picture, or an open photo. A position in its EXIF is ignored.
            ask: By default the vote of the usual number of neighbours.
            on_stage: Called with each stage's name as it begins.

        Returns:
            The prediction. If the model fails, the position is the vote's, or with a judge the best candidate's;
            `outcome` has the reason.

        Raises:
            PhotoError: It can't be read, or isn't a photo.
        """
        photo, ask = load_photo(photo), ask or Ask()
        within = coarse_area(ask.within, ask.precision)
        stages = _Stages(on_stage)
        with stages("embed"):
            embedding = self._embed(photo)
        with stages("search"):
            retrieval = coarsen_retrieval(self._search(embedding, ask, within), ask.precision)
        with stages("vote"):
            voted = vote(retrieval.nearest[: max(ask.nearest, VOTE_NEIGHBOURS)], within=within)
        evidence = _Evidence(photo, retrieval, voted, self._fit(embedding), within)
        if ask.judge is not None:
            estimate = _by_judge(ask, ask.judge, evidence, stages)
        elif ask.lmm is not None:
            estimate = _by_model(ask, ask.lmm, evidence, stages)
        else:
            estimate = _by_vote(evidence)
        with stages("place"):
            place = nearest_place(estimate.position) if estimate.position else None
        radius_km, probability = self._radius(ask, estimate, retrieval)
        return Prediction(
            position=estimate.position,
            radius_km=radius_km,
            method=estimate.method,
            place=place,
            vote=voted,
            retrieval=Retrieval(retrieval.nearest[: ask.nearest], retrieval.farthest[: ask.farthest]),
            prompt=PROMPT_SEPARATOR.join(estimate.prompts),
            outcome=estimate.outcome,
            timings=tuple(stages.timings),
            candidates=estimate.candidates,
            choice=estimate.choice,
            probability=probability,
            within=str(within or ""),
            note=photo.note,
        )

    def _radius(self, ask: Ask, estimate: _Estimate, retrieval: Retrieval) -> tuple[float | None, float | None]:
        """The answer's radius in km, and the probability that it contains the truth where the gallery is calibrated.

        A calibration is measured on answers from anywhere, so it doesn't hold for answers within an area.
        """
        calibration = self._calibration
        if calibration and retrieval.nearest and estimate.position and ask.within is None:
            model = ask.lmm.model if ask.lmm else ""
            radius_km = calibration.radius_km(estimate.method, model, retrieval.nearest[0].similarity)
            if radius_km is not None:
                return radius_km, calibration.probability
        return estimate.radius_km, None

    def _fit(self, embedding: npt.NDArray[np.float32]) -> Fit | None:
        """How well a photo fits places; None where the gallery can't tell."""
        location = self.gallery.location
        return None if location is None else partial(location.fit, embedding)

    def _embed(self, photo: Photo) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = self._embedders.submit(self.encoder.embed, [photo.image]).result()[0]
        return embedding

    def _search(self, embedding: npt.NDArray[np.float32], ask: Ask, within: Area | None) -> Retrieval:
        """Search for as many neighbours as any step needs; there may be fewer in the gallery."""
        judged = max(ask.judge.counts, default=0) if ask.judge else 0
        nearest, farthest = max(ask.nearest, judged, VOTE_NEIGHBOURS), max(ask.farthest, judged)
        if ask.exclude is None:
            return self.gallery.search(embedding, nearest, farthest, within)
        limit = min(MAX_SEARCHED, self.gallery.manifest.count)
        count = min(max(nearest, farthest) + SPARE_NEIGHBOURS, limit)
        while True:
            retrieval = self.gallery.search(embedding, count if nearest else 0, count if farthest else 0, within)
            near = [neighbour for neighbour in retrieval.nearest if not ask.exclude(neighbour)]
            far = [neighbour for neighbour in retrieval.farthest if not ask.exclude(neighbour)]
            if count == limit or (len(near) >= nearest and len(far) >= farthest):
                return Retrieval(tuple(near[:nearest]), tuple(far[:farthest]))
            count = min(4 * count, limit)


class _Stages:
    """Measures the time of each stage of one request, and reports its beginning."""

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
    """What the strategies answer from."""

    photo: Photo
    retrieval: Retrieval  # as many neighbours as any step needs
    vote: Vote | None
    fit: Fit | None
    within: Area | None  # no more precise than the answer may be


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A strategy's result; the fields are those of Prediction."""

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
    prompts, outcomes = _ask_model(ask, lmm, evidence, stages, [(ask.nearest, ask.farthest)])
    outcome = central_outcome(outcomes)
    if outcome.position is None:
        return replace(_by_vote(evidence), prompts=prompts, outcome=outcome)
    return _Estimate(outcome.position, None, "lmm", prompts, outcome)


def _by_judge(ask: Ask, judge: Judge, evidence: _Evidence, stages: _Stages) -> _Estimate:
    """Take the best candidate among the neighbours' modes and the model's answers, if a model is asked.

    Without any candidate, take the vote.
    """
    voters = evidence.retrieval.nearest[:VOTE_NEIGHBOURS]
    prompts: tuple[str, ...] = ()
    outcomes: list[Outcome] = []
    if ask.lmm is not None:
        prompts, outcomes = _ask_model(ask, ask.lmm, evidence, stages, [(count, count) for count in judge.counts])
    answers = [outcome.position for outcome in outcomes if outcome.position]
    with stages("judge"):
        candidates = rank_candidates(answers, voters, evidence.fit, within=evidence.within)
    choice = None
    failed = bool(outcomes) and outcomes[-1].kind is OutcomeKind.PROVIDER_ERROR
    if ask.lmm is not None and judge.choice and len(candidates) > 1 and not failed:
        with stages("choose"):
            options = make_options(candidates, voters)
            question = write_question(options, answers=len(answers), neighbours=len(voters))
            choice = choose(ask.lmm, options, question, evidence.photo.jpeg, precision=ask.precision)
            candidates = with_choice(candidates, choice.position)
        prompts += (question,)
    best = candidates[0].position if candidates else None
    estimate = _Estimate(best, spread_km(candidates), "judge") if candidates else _by_vote(evidence)
    outcome = nearest_outcome(outcomes, best) if outcomes else None
    return replace(estimate, prompts=prompts, outcome=outcome, candidates=candidates, choice=choice)


def _ask_model(
    ask: Ask, lmm: LMM, evidence: _Evidence, stages: _Stages, counts: Sequence[tuple[int, int]]
) -> tuple[tuple[str, ...], list[Outcome]]:
    """Send one prompt for each pair of numbers of nearest and farthest neighbours; return prompts and outcomes."""
    with stages("ask"):
        nearest, farthest = evidence.retrieval.nearest, evidence.retrieval.farthest
        retrievals = [Retrieval(nearest[:near], farthest[:far]) for near, far in counts]
        prompts = tuple(prompt.render(ask.template, retrieval, evidence.within) for retrieval in retrievals)
        outcomes = ask_all(lmm, prompts, evidence.photo.jpeg, samples=ask.samples, within=evidence.within)
        return prompts, [coarsen_outcome(outcome, ask.precision) for outcome in outcomes]


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

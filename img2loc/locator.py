"""The only place where the stages meet: a photo in, a Prediction out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt

from img2loc.answer import prompt
from img2loc.answer.vote import vote
from img2loc.errors import ConfigError
from img2loc.geo.areas import Area
from img2loc.geo.coarse import EXACT, Precision, coarse_area
from img2loc.geo.sphere import nearest_place
from img2loc.judge.candidates import Fit, candidates, spread_km, with_choice
from img2loc.judge.choice import choose, options, worded
from img2loc.judge.sampling import Judge, ask_all, central_outcome, nearest_outcome
from img2loc.lmm import LMM
from img2loc.photo.decode import Photo
from img2loc.policy.precision import coarsen_outcome, coarsen_retrieval
from img2loc.policy.settings import Settings
from img2loc.retrieval.encoder import Encoder, cpu_has_bfloat16, open_encoder
from img2loc.retrieval.gallery import Gallery, open_gallery
from img2loc.retrieval.hub import OnBytes, ignore_bytes
from img2loc.retrieval.index import processors
from img2loc.retrieval.manifest import Manifest
from img2loc.types import Candidate, LatLon, Method, Neighbour, Outcome, OutcomeKind, Prediction, Retrieval

DEFAULT_NEIGHBOURS = 16  # each way, as in the authors' own app
VOTE_NEIGHBOURS = 16  # the vote never uses fewer, so that it is there when a prompt is sent without neighbours
# With some neighbours left out, the search begins with this many more and goes on to at most so many.
SPARE_NEIGHBOURS = 48
MAX_SEARCHED = 2048

PROMPTS_APART = "\n\n--- another prompt ---\n\n"

OnStage = Callable[[str], None]
Exclude = Callable[[Neighbour], bool]


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
    def from_settings(cls, settings: Settings, *, on_bytes: OnBytes = ignore_bytes) -> Locator:
        """Open the gallery that the settings name, and the encoder that it was made with.

        Args:
            settings: Which gallery, and how the encoder runs.
            on_bytes: Called with the number of bytes received so far while the gallery is pulled.

        Raises:
            ConfigError: The gallery's encoder came from a folder and the settings don't say where that is.
            GalleryError: The gallery can't be had, is torn, or doesn't fit the encoder.
            EncoderError: The encoder can't be had or loaded.
        """
        gallery = open_gallery(settings.gallery, on_bytes=on_bytes)
        encoder = open_encoder(
            settings.encoder or _encoder_source(gallery.manifest),
            head=gallery.head,
            device=settings.device,
            dtype=_dtype(settings, gallery.manifest),
        )
        gallery.use_gpu(settings.device)  # with the encoder there, what is left is known
        return cls(encoder, gallery)

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

    def locate(
        self,
        photo: Photo,
        *,
        lmm: LMM | None = None,
        nearest: int = DEFAULT_NEIGHBOURS,
        farthest: int = DEFAULT_NEIGHBOURS,
        template: str = prompt.DEFAULT_TEMPLATE,
        samples: int = 1,
        judge: Judge | None = None,
        within: Area | None = None,
        precision: Precision = EXACT,
        exclude: Exclude | None = None,
        on_stage: OnStage = lambda stage: None,
    ) -> Prediction:
        """Say where a photo was taken.

        Args:
            photo: The photo; its EXIF position is never looked at.
            lmm: The model to ask; None for the vote alone.
            nearest: How many of the most similar photos go into the prompt.
            farthest: How many of the most dissimilar.
            template: The prompt's text, with prompt.py's placeholders.
            samples: How often the model is asked; the answer is the one that the others lie closest to.
            judge: With how many neighbours each way the model is asked instead, a prompt each; all its answers and the
                neighbours' modes are candidates, among which the model may be asked to choose, and candidates.py's rule
                decides. None for no judging.
            within: Where the photo is known to have been taken: nothing elsewhere is looked at or answered. None for
                anywhere.
            precision: From how precise positions the answer is made: the neighbours' are made coarse as soon as they
                are found and the model's as soon as they are read, and `within` is compared with coarse positions, so
                that vote, prompt and candidates know no others. precision.coarsen has to follow.
            exclude: Says which neighbours are left out, before any are counted; for evaluation.
            on_stage: Called with each stage's name as it begins.

        Returns:
            The prediction. If the model fails in any way it carries the vote's position and the reason.

        Raises:
            ConfigError: The template has a missing or unknown placeholder.
        """
        prompt.check_template(template)
        within = coarse_area(within, precision)
        timings: list[tuple[str, float]] = []

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            on_stage(name)
            start = time.perf_counter()
            yield
            timings.append((name, time.perf_counter() - start))

        with stage("embed"):
            embedding = self._embed(photo)
        with stage("search"):
            most = max(judge.counts, default=0) if judge else 0
            found = self._search(embedding, max(nearest, most, VOTE_NEIGHBOURS), max(farthest, most), exclude, within)
            found = coarsen_retrieval(found, precision)
            retrieval = Retrieval(found.nearest[:nearest], found.farthest[:farthest])
        with stage("vote"):
            voted = vote(found.nearest[: max(nearest, VOTE_NEIGHBOURS)], within=within)
        text, outcome, outcomes = "", None, list[Outcome]()
        if lmm is not None:
            with stage("ask"):
                texts = (
                    _prompts(template, found, judge.counts, within)
                    if judge is not None
                    else [prompt.render(template, retrieval, within)]
                )
                text = PROMPTS_APART.join(texts)
                outcomes = ask_all(lmm, texts, photo.to_jpeg(), samples=samples, within=within)
                outcomes = [coarsen_outcome(outcome, precision) for outcome in outcomes]
        judged: tuple[Candidate, ...] = ()
        choice: Outcome | None = None
        if judge is not None:
            with stage("judge"):
                answers = [one.position for one in outcomes if one.position]
                voters = found.nearest[:VOTE_NEIGHBOURS]
                judged = candidates(answers, voters, self._fit(embedding), within=within)
            failed = bool(outcomes) and outcomes[-1].kind is OutcomeKind.PROVIDER_ERROR
            if lmm is not None and judge.choice and len(judged) > 1 and not failed:
                with stage("choose"):
                    shown = options(judged, voters)
                    question = worded(shown, guesses=len(answers), neighbours=len(voters))
                    text += f"{PROMPTS_APART}{question}"
                    choice = choose(lmm, shown, question, photo.to_jpeg(), precision=precision)
                    judged = with_choice(judged, choice.position)
            if outcomes:
                outcome = nearest_outcome(outcomes, judged[0].position if judged else None)
        elif outcomes:
            outcome = central_outcome(outcomes)
        with stage("place"):
            position: LatLon | None = None
            method: Method = "none"
            if judged:
                position, method = judged[0].position, "judge"
            elif outcome is not None and outcome.position is not None:
                position, method = outcome.position, "lmm"
            elif voted is not None:
                position, method = voted.position, "vote"
            place = nearest_place(position) if position else None
        radius_km = voted.radius_km if voted is not None and method == "vote" else None
        if judged:
            radius_km = spread_km(judged)
        probability = None
        # What was measured on answers from anywhere doesn't hold for those that somebody held to an area.
        if (calibration := self._calibration) and found.nearest and position and within is None:
            measured_km = calibration.radius_km(method, lmm.model if lmm else "", found.nearest[0].similarity)
            if measured_km is not None:
                radius_km, probability = measured_km, calibration.probability
        return Prediction(
            position=position,
            radius_km=radius_km,
            method=method,
            place=place,
            vote=voted,
            retrieval=retrieval,
            prompt=text,
            outcome=outcome,
            timings=tuple(timings),
            candidates=judged,
            choice=choice,
            probability=probability,
            within=str(within or ""),
        )

    def _fit(self, embedding: npt.NDArray[np.float32]) -> Fit | None:
        """How well a photo fits places; None where the gallery can't tell."""
        location = self.gallery.location
        return None if location is None else partial(location.fit, embedding)

    def _embed(self, photo: Photo) -> npt.NDArray[np.float32]:
        embedding: npt.NDArray[np.float32] = self._embedders.submit(self.encoder.embed, [photo.image]).result()[0]
        return embedding

    def _search(
        self,
        embedding: npt.NDArray[np.float32],
        nearest: int,
        farthest: int,
        exclude: Exclude | None,
        within: Area | None,
    ) -> Retrieval:
        """Search, and search wider where some are left out; fewer come back where the gallery has no more to give."""
        if exclude is None:
            return self.gallery.search(embedding, nearest, farthest, within)
        end = min(MAX_SEARCHED, self.gallery.manifest.count)
        wide = min(max(nearest, farthest) + SPARE_NEIGHBOURS, end)
        while True:
            found = self.gallery.search(embedding, wide if nearest else 0, wide if farthest else 0, within)
            near = [neighbour for neighbour in found.nearest if not exclude(neighbour)]
            far = [neighbour for neighbour in found.farthest if not exclude(neighbour)]
            if wide == end or (len(near) >= nearest and len(far) >= farthest):
                return Retrieval(tuple(near[:nearest]), tuple(far[:farthest]))
            wide = min(4 * wide, end)


def _prompts(template: str, found: Retrieval, counts: Sequence[int], within: Area | None) -> list[str]:
    """The prompts with so many neighbours each way."""
    return [
        prompt.render(template, Retrieval(found.nearest[:count], found.farthest[:count]), within)
        for count in dict.fromkeys(counts)
    ]


def _encoder_source(manifest: Manifest) -> str:
    """Where the encoder that made a gallery is loaded from."""
    spec = manifest.encoder
    if spec.kind == "lite0":
        return "lite0"
    if spec.revision.startswith("sha256:"):
        raise ConfigError(
            f"The gallery {manifest.name!r} was made with the encoder in a folder called {spec.source!r}; "
            "set IMG2LOC_ENCODER to that folder."
        )
    return f"{spec.source}@{spec.revision}"


def _dtype(settings: Settings, manifest: Manifest) -> str:
    """The network's number format: bfloat16 where the machine has it and the builder saw it change no neighbour."""
    if settings.dtype != "auto":
        return settings.dtype
    return "bfloat16" if manifest.bfloat16_keeps_neighbours and cpu_has_bfloat16() else "float32"

"""What happens under Locate when a visitor acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import gradio as gr

from img2loc.answer.prompt import check_template, chosen_template, template_named
from img2loc.errors import ConfigError, Img2LocError, PhotoError, page_message
from img2loc.geo.areas import read_area
from img2loc.geo.coarse import EXACT
from img2loc.hardening.queue import is_ending
from img2loc.judge.sampling import OFF, Judge, read_judge, requests_of
from img2loc.lmm import backend_named, list_models
from img2loc.maps import figures
from img2loc.output import exports
from img2loc.policy.cost import dollars, expense, prices_of
from img2loc.policy.offers import models_of, provided
from img2loc.types import LatLon, Prediction
from img2loc.web.i18n import Translate, marked, translator_for, without_marks
from img2loc.web.permalink import Preset, read_preset
from img2loc.web.render import evidence
from img2loc.web.render import prediction as report
from img2loc.web.render.html import render, text
from img2loc.web.request import Keys, LocateRequest, known_position, parse_position, provider_of, require_photo
from img2loc.web.site import Site
from img2loc.web.tabs.contestants import keyed_providers
from img2loc.web.tabs.form import Form, server_of
from img2loc.web.tabs.shared import RIGHT, Update, checked, namer, plot, provided_note

LIST_MODELS_S: Final = 10.0
# How often an open page asks which gallery answers: while one is on its way, and while a later try may open it.
PENDING_EVERY_S, RETRIED_EVERY_S = 2, 60
TAB: Final = "locate"  # a visitor may cancel what was requested on it


class Shown(NamedTuple):
    """The parts of the page that show a result: their values, or the components themselves."""

    answer: Any
    evidence: Any
    prediction_plot: Any
    beside: Any
    nearest_plot: Any
    nearest_table: Any
    farthest_plot: Any
    farthest_table: Any
    conversation: Any
    reasoning: Any
    reply: Any
    prompt: Any
    timings: Any


class Chosen(NamedTuple):
    """The parts of the page that depend on the backend and its server: their values, or the components themselves.

    Each provider's key field does, too.
    """

    model_settings: Any
    server: Any
    model: Any
    provided: Any


class Linked(NamedTuple):
    """The fields that a link may set, besides those of Chosen: their values, or the components themselves."""

    backend: Any
    nearest: Any
    farthest: Any
    named_template: Any
    template: Any
    judge: Any
    within: Any


class LocateEvents:
    """What happens when a visitor acts: plain functions from inputs to what the page shows."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = site.settings
        self._keyed = keyed_providers(site.settings)

    def banner(self) -> str:
        """Say which gallery answers now, and what keeps another from it."""
        host, settings = self._site.host, self._settings
        return render(
            "page.banner",
            manifest=host.manifest,
            notice=host.notice,
            operator=settings.banner,
            precision=settings.precision,
        )

    def follow_gallery(self) -> tuple[str, gr.Timer]:
        """Bring the banner up to date: often while the gallery is on its way, seldom while a later try may open it."""
        host = self._site.host
        pending, can_change = host.pending, host.can_change  # before the banner, which can only be newer
        return self.banner(), gr.Timer(PENDING_EVERY_S if pending else RETRIED_EVERY_S, active=can_change)

    def choose_backend(
        self, backend: str, server: str = "", model: str | None = None, http_request: gr.Request | None = None
    ) -> tuple[Any, ...]:
        """Show the server, the model and the provider's key field where a backend needs them.

        Args:
            backend: Its exact name.
            server: A provider's name; empty for the operator's choice.
            model: A model's name; None for the first suggested.
            http_request: From Gradio, for the language.

        Returns:
            All of Chosen, and the visibility of each provider's key field, in contestants.keyed_providers' order.
        """
        models = [name for name in (model, *models_of(self._settings, backend, server)) if name]
        chosen = Chosen(
            model_settings=gr.update(visible=backend_named(backend).needs_key),
            server=gr.update(visible=backend == "openai", value=server),
            model=gr.update(choices=list(dict.fromkeys(models)), value=next(iter(models), "")),
            provided=gr.update(
                visible=provided(self._settings, backend, server),
                value=provided_note(self._settings, translator_for(http_request)),
            ),
        )
        provider = provider_of(backend, server)
        return *chosen, *(gr.update(visible=name == provider) for name in self._keyed)

    def expense(self, http_request: gr.Request | None, *fields: Any) -> tuple[Update, Update]:  # noqa: ANN401
        """Say how many requests a photo will take, and about how much money, before any is sent.

        Args:
            http_request: From Gradio, for the language.
            fields: The values of Form.

        Returns:
            For beside the button, and for beside the choice of how often the model is asked.
        """
        form, translate = Form(*fields), translator_for(http_request)
        backend, options = backend_named(form.backend), self._settings.options(form.backend)
        try:
            template = form.template or ""
            check_template(template)
            estimate = expense(
                read_judge(form.judge or ""),
                template,
                form.nearest,
                form.farthest,
                samples=self._settings.samples,
                prices=prices_of(form.backend, form.server or options.base_url, (form.model or options.model).strip()),
            )
        except ConfigError:  # the visitor is told when the photo is located
            return gr.update(visible=False), gr.update(visible=False)
        name = "cost_here" if backend.runs_here else "cost_unknown" if estimate.cost_usd is None else "cost_known"
        words = translate(name, count=estimate.requests, cost=dollars(estimate.cost_usd or 0))
        note = gr.update(visible=backend.needs_key or backend.runs_here, value=render("parts.note", words=words))
        return note, dict(note)  # Gradio changes an update that it takes

    def follow_link(self, http_request: gr.Request) -> tuple[Any, ...]:
        """Set what the page's address asks for.

        Returns:
            All of Linked, and all that choose_backend returns.
        """
        settings = self._settings
        preset = read_preset(dict(http_request.query_params), settings.offered)
        if preset.problems:
            gr.Warning(text(" ".join(preset.problems)))
        unchanged = Linked(*[gr.skip()] * len(Linked._fields))
        if preset == Preset(problems=preset.problems):
            note = gr.update(value=provided_note(settings, translator_for(http_request)))
            chosen = Chosen(*[gr.skip()] * len(Chosen._fields))._replace(provided=note)
            return *unchanged, *chosen, *[gr.skip()] * len(self._keyed)
        backend = preset.backend or ("openai" if preset.server else settings.backend)
        prompt = preset.prompt or settings.prompt
        linked = unchanged._replace(backend=backend, named_template=prompt, template=template_named(prompt))
        given = {
            name: value for name in ("nearest", "farthest", "within") if (value := getattr(preset, name)) is not None
        }
        if preset.judge is not None:
            choices = judge_choices(settings.judge, read_judge(preset.judge))
            given["judge"] = gr.update(choices=choices, value=preset.judge)
        server = server_of(backend, preset.server)
        return *linked._replace(**given), *self.choose_backend(backend, server, preset.model, http_request)

    def list_models(self, backend: str, server: str, model: str, keys: Keys) -> tuple[Update, Update]:
        """Offer the models that the visitor's key opens; any other's name may still be typed.

        Returns:
            The models, and what is wrong with the key.
        """
        right = gr.update(visible=False, value="")
        try:
            request = LocateRequest(None, backend, keys=keys, base_url=server_of(backend, server))
            if not request.own_key:
                return gr.update(), right
            names = list_models(backend, replace(request.options(self._settings), timeout_s=LIST_MODELS_S))
        except Img2LocError as error:
            return gr.update(), gr.update(visible=True, value=_warning(error))
        return gr.update(choices=list(dict.fromkeys([model, *names]))), right

    def check(self, photo: str | None, truth: str | None, *fields: Any) -> list[Update]:  # noqa: ANN401
        """Say at its field that the photo is missing, or what is wrong with true position, template or area.

        Gradio calls it before locate, which alone reads the photo: decoding it takes too long to be done twice.
        """
        form = Form(*fields)
        wrong = Form(*[RIGHT] * len(fields))._replace(
            template=checked(lambda: form.template and chosen_template(form.template)),
            within=checked(lambda: read_area(form.within or "")),
        )
        return [checked(lambda: require_photo(photo)), checked(lambda: parse_position(truth or "")), *wrong]

    def check_chosen(self, photo: str | None, truth: str | None, *fields: Any) -> list[Update]:  # noqa: ANN401
        """Do the same before locate_unless_paid, where the photo may just have been taken away."""
        return self.check(photo, truth, *fields) if photo else [RIGHT] * (2 + len(fields))

    def change_photo(
        self, photo: str | None, backend: str, http_request: gr.Request | None = None
    ) -> tuple[str, Update]:
        """Take away what was said of the photo before, and give up what is about to be said of it."""
        if http_request:
            self._site.sessions.leave(http_request, TAB, chosen=photo)
        waiting = photo and backend_named(backend).needs_key
        return marked("html_ready" if waiting else "html_empty"), gr.update(visible=False)

    def show_area(self, within: str, http_request: gr.Request | None = None) -> tuple[str, Update]:
        """Say which area the visitor's words stand for, or why they stand for none, and draw it."""
        translate = translator_for(http_request)
        try:
            area = read_area(within or "")
        except Img2LocError as error:
            return _warning(error), gr.update(value=plot(figures.area_map(None)), visible=True)
        words = translate("within_only", area=area) if area else translate("within_anywhere")
        note = render("parts.note", words=words, role="status")
        return note, gr.update(value=plot(figures.area_map(area)), visible=True)

    def cancel(self, http_request: gr.Request) -> tuple[str, Update]:
        """Give up what the visitor was waiting for."""
        self._site.sessions.leave(http_request, TAB)
        return marked("html_cancelled"), gr.update(visible=False)

    def locate_unless_paid(
        self,
        http_request: gr.Request | None,
        token: gr.OAuthToken | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
        photo: str | None = None,
        truth: str | None = "",
        *fields: Any,  # noqa: ANN401
    ) -> Shown:
        """Locate a photo as soon as it is chosen, where that costs nothing and sends it nowhere."""
        if not photo or backend_named(Form(*fields).backend).needs_key:
            return _unchanged()
        return self.locate(http_request, token, progress, photo, truth, *fields)

    def locate(
        self,
        http_request: gr.Request | None,
        token: gr.OAuthToken | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
        photo: str | None = None,
        truth: str | None = "",
        *fields: Any,  # noqa: ANN401
    ) -> Shown:
        """Locate the photo and lay out the result, or say in its place why the photo can't be read.

        Args:
            http_request: From Gradio.
            token: The visitor's account on a Space.
            progress: Shows the stages.
            photo: The uploaded file.
            truth: The true position, if the visitor gave one.
            fields: The values of Form.
        """
        site, form, translate, stages = self._site, Form(*fields), translator_for(http_request), list(report.STAGES)

        def on_stage(stage: str) -> None:
            progress((stages.index(stage), len(stages)), desc=translate(report.STAGES[stage]))

        with site.answering(http_request, TAB, form.backend, photo=photo) as cancel:
            typed = parse_position(truth or "")
            request = form.request(photo, http_request, token, cancel)
            try:
                opened = request.photo()
            except PhotoError as error:
                failure = render("answer.failure", words=page_message(error))
                return _unchanged()._replace(answer=failure, evidence=gr.update(visible=False))
            prediction = request.locate(opened, site.host.locator, site, on_stage=on_stage)
        if cancel.is_set() and not is_ending():  # the page says so already
            return _unchanged()
        known = typed or known_position(opened, self._settings)
        source = "error_given" if typed else "error_exif" if opened.exif_position else "error_xmp"
        return self._shown(prediction, known, source, Path(photo or "").name, translate)

    def _shown(
        self, prediction: Prediction, truth: LatLon | None, truth_source: str, photo_name: str, translate: Translate
    ) -> Shown:
        name = namer(self._settings, prediction.withheld)
        outcome, retrieval, position = prediction.outcome, prediction.retrieval, prediction.position
        coarse = self._settings.precision != EXACT or prediction.withheld
        return Shown(
            answer=report.answer(prediction, truth=truth, truth_source=truth_source, name=name, translate=translate),
            evidence=gr.update(visible=True),
            prediction_plot=plot(figures.prediction_map(prediction, truth, name)),
            beside=evidence.legend(prediction, truth, translate)
            + evidence.candidates(prediction, name, translate)
            + evidence.files(exports.rows(photo_name, prediction, truth, name), translate)
            + ("" if coarse else evidence.street(position, prediction.radius_km, translate)),
            nearest_plot=plot(figures.nearest_map(retrieval, name)),
            nearest_table=evidence.neighbours("nearest", retrieval.nearest, position, name, translate),
            farthest_plot=plot(figures.farthest_map(retrieval, name)),
            farthest_table=evidence.neighbours("farthest", retrieval.farthest, position, name, translate),
            conversation=gr.update(visible=bool(prediction.prompt)),  # withheld where answers are coarse
            reasoning=without_marks(report.reasons(outcome, prediction.choice)),
            reply=without_marks(report.raw_replies(outcome, prediction.choice)),
            prompt=without_marks(prediction.prompt),
            timings=evidence.timings(prediction, translate),
        )


def _unchanged() -> Shown:
    return Shown(*[gr.skip()] * len(Shown._fields))


def _warning(error: Img2LocError) -> str:
    return render("parts.warning", words=page_message(error))


def judge_choices(*more: Judge | None) -> list[tuple[str, str]]:
    """How a model may be asked: once, or with several numbers of neighbours each way, and at the end to choose (✓).

    Args:
        more: What is to be among them.

    Returns:
        Labels, with the number of requests first, and values.
    """
    four = (0, 5, 10, 15)
    choices = []
    for judge in dict.fromkeys([None, Judge((0, 10)), Judge(four), Judge(four, choice=True), *more]):
        if judge is None:
            choices.append(("1", OFF))
        else:
            label = f"{requests_of(judge)}: {', '.join(map(str, judge.counts))}{' + ✓' * judge.choice}"
            choices.append((label, str(judge)))
    return choices

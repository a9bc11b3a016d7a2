"""What happens under Locate when a visitor acts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from gradio.components.plot import PlotData

from img2loc.answer.prompt import check_template, chosen_template, template_named
from img2loc.errors import ConfigError, Img2LocError, PhotoError, page_message
from img2loc.geo.areas import read_area
from img2loc.geo.coarse import EXACT, LEVELS
from img2loc.hardening.queue import is_ending
from img2loc.hardening.visitors import single_visitor_of
from img2loc.judge.sampling import OFF, Judge, read_judge, requests_of
from img2loc.lmm import backend_named, list_models
from img2loc.maps import figures
from img2loc.output import exports
from img2loc.policy.cost import dollars, expense, prices_of
from img2loc.policy.offers import models_of, provided
from img2loc.policy.precision import place_of
from img2loc.policy.settings import Settings
from img2loc.types import LatLon, Prediction
from img2loc.web.i18n import Say, say_in, told, untold
from img2loc.web.permalink import Preset, read_preset
from img2loc.web.render import evidence
from img2loc.web.render import prediction as report
from img2loc.web.render.markup import error_html, text
from img2loc.web.request import Keys, LocateRequest, known_position, parse_position, provider_of, require_photo
from img2loc.web.site import Site, shown_errors
from img2loc.web.tabs.contestants import keyed_providers
from img2loc.web.tabs.form import Form, server_of

Update = dict[str, Any]

LIST_MODELS_S = 10.0
# How often an open page asks which gallery answers: while one is on its way, and while a later try may open it.
PENDING_EVERY_S, RETRIED_EVERY_S = 2, 60
RIGHT: Update = gr.validate(True, "")
# Wheel and finger scroll the page, not the map: it has buttons to zoom.
_PLOT_CONFIG = {"scrollZoom": False, "displayModeBar": True, "displaylogo": False}
TAB = "locate"  # what is asked on it, a visitor may give up


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


class Events:
    """What happens when a visitor acts: plain functions from inputs to what the page shows."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = site.settings
        self._keyed = keyed_providers(site.settings)

    def banner(self) -> str:
        """Say which gallery answers now, and what keeps another from it."""
        host, settings = self._site.host, self._settings
        return report.banner(host.manifest, host.notice, operator=settings.banner, precision=settings.precision)

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
            http_request: From whom, for the language.

        Returns:
            All of Chosen, and the visibility of each provider's key field, in contest.keyed_providers' order.
        """
        models = [name for name in (model, *models_of(self._settings, backend, server)) if name]
        note = provided_note(self._settings, say_to(http_request))
        chosen = Chosen(
            model_settings=gr.update(visible=backend_named(backend).needs_key),
            server=gr.update(visible=backend == "openai", value=server),
            model=gr.update(choices=list(dict.fromkeys(models)), value=next(iter(models), "")),
            provided=gr.update(visible=provided(self._settings, backend, server), value=note),
        )
        asked = provider_of(backend, server)
        return *chosen, *(gr.update(visible=name == asked) for name in self._keyed)

    def expense(self, http_request: gr.Request | None, *fields: Any) -> tuple[Update, Update]:  # noqa: ANN401
        """Say how many requests a photo will take, and about how much money, before any is sent.

        Args:
            http_request: From Gradio, for the language.
            fields: The values of Form.

        Returns:
            For beside the button, and for beside the choice of how often the model is asked.
        """
        form = Form(*fields)
        chosen, own, say = backend_named(form.backend), self._settings.options(form.backend), say_to(http_request)
        try:
            template = form.template or ""
            check_template(template)
            found = expense(
                read_judge(form.judge or ""),
                template,
                form.nearest,
                form.farthest,
                samples=self._settings.samples,
                prices=prices_of(form.backend, form.server or own.base_url, (form.model or own.model).strip()),
            )
        except ConfigError:  # said when it is asked
            return gr.update(visible=False), gr.update(visible=False)
        name = "cost_here" if chosen.runs_here else "cost_unknown" if found.cost_usd is None else "cost_known"
        words = say(name, count=found.requests, cost=dollars(found.cost_usd or 0))
        shown = gr.update(visible=chosen.needs_key or chosen.runs_here, value=f'<p class="i2l-note">{text(words)}</p>')
        return shown, dict(shown)  # Gradio changes an update that it takes

    def follow_link(self, http_request: gr.Request) -> tuple[Any, ...]:
        """Set what the page's address asks for.

        Returns:
            The backend, the numbers of nearest and farthest, the template's name and its text, how often the model is
            asked, the area, and all that choose_backend returns.
        """
        own = self._settings
        preset = read_preset(dict(http_request.query_params), own.offered)
        how = preset.judge
        if preset.problems:
            gr.Warning(text(" ".join(preset.problems)))
        if preset == Preset(problems=preset.problems):
            note = gr.update(value=provided_note(self._settings, say_to(http_request)))
            unchanged = Chosen(*[gr.skip()] * len(Chosen._fields))._replace(provided=note)
            return *[gr.skip()] * 7, *unchanged, *[gr.skip()] * len(self._keyed)
        backend = preset.backend or ("openai" if preset.server else self._settings.backend)
        server = server_of(backend, preset.server)
        prompt = preset.prompt or self._settings.prompt
        counts = [gr.skip() if count is None else count for count in (preset.nearest, preset.farthest)]
        return (
            backend,
            *counts,
            prompt,
            template_named(prompt),
            gr.skip() if how is None else gr.update(choices=judge_choices(own.judge, read_judge(how)), value=how),
            gr.skip() if preset.within is None else preset.within,
            *self.choose_backend(backend, server, preset.model, http_request),
        )

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
            words = f'<p class="i2l-warning" role="alert">{error_html(error)}</p>'
            return gr.update(), gr.update(visible=True, value=words)
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
            self._site.sessions.leave(http_request, TAB)
        waiting = photo and backend_named(backend).needs_key
        return told("html_ready" if waiting else "html_empty"), gr.update(visible=False)

    def show_area(self, within: str, http_request: gr.Request | None = None) -> tuple[str, Update]:
        """Say which area the words stand for, or why they stand for none, and draw it."""
        say = say_to(http_request)
        try:
            area = read_area(within or "")
        except Img2LocError as error:
            words = f'<p class="i2l-warning" role="alert">{error_html(error)}</p>'
            return words, gr.update(value=plot(figures.area_map(None)), visible=True)
        told_of = say("within_only", area=text(str(area))) if area else say("within_anywhere")
        words = f'<p class="i2l-note" role="status">{told_of}</p>'
        return words, gr.update(value=plot(figures.area_map(area)), visible=True)

    def cancel(self, http_request: gr.Request) -> tuple[str, Update]:
        """Give up what the visitor was waiting for."""
        self._site.sessions.leave(http_request, TAB)
        return told("html_cancelled"), gr.update(visible=False)

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
        form, say, stages = Form(*fields), say_to(http_request), list(report.STAGES)
        place = self._site.limits.place(form.backend, visitor=single_visitor_of(http_request))
        with shown_errors(error_html), place, self._site.sessions.waiting(http_request, TAB) as cancel:
            typed = parse_position(truth or "")
            request = form.request(photo, http_request, token, cancel)
            try:
                opened = request.photo()
            except PhotoError as error:
                return _unchanged()._replace(answer=report.failure(error), evidence=gr.update(visible=False))
            prediction = request.locate(
                opened,
                self._site.host.locator,
                self._site,
                on_stage=lambda stage: progress((stages.index(stage), len(stages)), desc=say(report.STAGES[stage])),
            )
        if cancel.is_set() and not is_ending():  # the page says so already
            return _unchanged()
        known = typed or known_position(opened, self._settings)
        source = "" if known is None else "error_given" if typed else "error_exif"
        return self._shown(prediction, known, source, Path(photo or "").name, say)

    def _shown(self, prediction: Prediction, truth: LatLon | None, source: str, photo: str, say: Say) -> Shown:
        """Lay out a result; `source` names the text that says where the true position comes from."""
        name = namer(self._settings, prediction.withheld)
        outcome, retrieval, position = prediction.outcome, prediction.retrieval, prediction.position
        coarse = self._settings.precision != EXACT or prediction.withheld
        return Shown(
            answer=report.answer(prediction, truth=truth, truth_source=source, name=name, say=say),
            evidence=gr.update(visible=True),
            prediction_plot=plot(figures.prediction_map(prediction, truth, name)),
            beside=evidence.legend(prediction, truth, say)
            + evidence.candidates(prediction, name, say)
            + evidence.files(exports.rows(photo, prediction, truth, name), say)
            + ("" if coarse else evidence.street(position, prediction.radius_km, say)),
            nearest_plot=plot(figures.nearest_map(retrieval, name)),
            nearest_table=evidence.neighbours("nearest", retrieval.nearest, position, name, say),
            farthest_plot=plot(figures.farthest_map(retrieval, name)),
            farthest_table=evidence.neighbours("farthest", retrieval.farthest, position, name, say),
            conversation=gr.update(visible=bool(prediction.prompt)),  # withheld where answers are coarse
            reasoning=untold(report.reasons(outcome, prediction.choice)),
            reply=untold(report.raw_replies(outcome, prediction.choice)),
            prompt=untold(prediction.prompt),
            timings=evidence.timings(prediction, say),
        )


def _unchanged() -> Shown:
    return Shown(*[gr.skip()] * len(Shown._fields))


def judge_choices(*more: Judge | None) -> list[tuple[str, str]]:
    """How a model may be asked: once, or with several numbers of neighbours each way, and at the end to choose (✓).

    Args:
        more: What is to be among them.
    """
    four = (0, 5, 10, 15)
    judges = dict.fromkeys([None, Judge((0, 10)), Judge(four), Judge(four, choice=True), *more])
    names = [OFF if judge is None else str(judge) for judge in judges]
    words = [", ".join(map(str, judge.counts)) + " + ✓" * judge.choice if judge else "" for judge in judges]
    labels = [f"{requests_of(judge)}: {text}" if judge else "1" for judge, text in zip(judges, words, strict=True)]
    return list(zip(labels, names, strict=True))


def checked(check: Callable[[], object]) -> Update:
    """What a field shows: the words of the error that a check of its value raises, or nothing."""
    try:
        check()
    except Img2LocError as error:
        return {**RIGHT, "is_valid": False, "message": page_message(error)}
    return RIGHT


def provided_note(settings: Settings, say: Say, whose: str = "") -> str:
    """What the operator pays for, and how much of it.

    Args:
        settings: The operator's choices.
        say: In whose language.
        whose: The provider's name, where there are others beside it.
    """
    bounds = {"provided_visitor": settings.hourly_per_visitor, "provided_total": settings.hourly_total}
    told_of = [say("provided"), *(say(name, count=count) for name, count in bounds.items() if count)]
    named = f"<b>{text(whose)}</b>: " if whose else ""
    return f'<p class="i2l-note">{named}{" ".join(told_of)}</p>'


def say_to(http_request: gr.Request | None) -> Say:
    """Write texts in the language of who asks."""
    return say_in(http_request.headers.get("accept-language", "") if http_request else "")


def namer(settings: Settings, withheld: str = "") -> figures.Name:
    """How positions are called here; it remembers, since one result asks for the same ones again and again.

    Args:
        settings: The operator's choices.
        withheld: Prediction.withheld: a coarse answer's positions stand for areas, and are called so.
    """
    level = max((level for level in LEVELS if level in (settings.precision, withheld)), key=LEVELS.index)
    return cache(lambda position: place_of(position, level))


def plot(figure: go.Figure) -> PlotData:
    """Wrap a figure with the configuration that Plotly's own figure object can't carry."""
    config = json.dumps(_PLOT_CONFIG)
    return PlotData(type="plotly", plot=f'{figure.to_json()[:-1]},"config":{config}}}')

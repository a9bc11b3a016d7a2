"""The Locate tab: a photo on the left, its position and three maps on the right."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from gradio.events import Dependency

from img2loc.answer.prompt import MAX_TEMPLATE_CHARS, TEMPLATES, template_named
from img2loc.geo.areas import MAX_CHARS
from img2loc.judge.sampling import MAX_NEIGHBOURS, OFF
from img2loc.lmm import BACKENDS, backend_named
from img2loc.lmm.servers import server_named
from img2loc.locator import DEFAULT_NEIGHBOURS
from img2loc.policy.settings import Settings
from img2loc.web.components import PhotoInput
from img2loc.web.i18n import marked
from img2loc.web.request import provider_of
from img2loc.web.tabs import contestants
from img2loc.web.tabs.form import Form
from img2loc.web.tabs.keys import KeyFields
from img2loc.web.tabs.locate_events import Chosen, Linked, LocateEvents, Shown, judge_choices

RADII_KM = (5, 2000, 100, 5)  # of a circle set on the map: from, to, at first, by steps of
# On a phone the result lies below the fold.
_SCROLL_JS = """() => {
  if (innerWidth < 800) document.getElementById("answer").scrollIntoView({behavior: "smooth"});
}"""
_LINK_JS = f"""(backend, server, model, nearest, farthest, prompt, judge, within) =>
  i2lLink({json.dumps(marked("link_copied"))}, {{backend, server, model, nearest, farthest, prompt, judge, within}})"""
_LABELS = {"vote": "backend_vote", "openai": "backend_openai", "llava": "backend_llava"}  # hf's is a name
# Nothing of the page is part of the API: its events carry the visitor's key, and its inputs are for people.
QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
# Whoever is quicker than the server is followed all the same: Gradio would pass over what comes while it is busy.
LATEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
# Only in the queue may an event give a warning, and does Gradio notice that a state has changed.
QUEUED: dict[str, Any] = {**QUIET, "queue": True}


def add_locate_tab(demo: gr.Blocks, events: LocateEvents, settings: Settings, keys: gr.State, *, login: bool) -> Form:
    """Add the tab's content to the Blocks that are being built; with `login`, a button to sign in with Hugging Face.

    Returns:
        The fields that an answer depends on.
    """
    tab = _LocateTab(events, settings, keys)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300, elem_id="ask"):
            tab.add_photo()
            tab.add_model_settings(login)
            tab.add_buttons()
            tab.add_area()
            tab.add_more()
        with gr.Column(scale=8, min_width=320, elem_id="result"):
            tab.shown = _result()
    tab.follow_choices(demo)
    tab.follow_photo_and_buttons()
    return tab.form


class _LocateTab:
    """The components of the tab, added from top to bottom, and the events that connect them."""

    shown: Shown

    def __init__(self, events: LocateEvents, settings: Settings, keys: gr.State) -> None:
        self._events = events
        self._settings = settings
        self._keys = keys

    @property
    def form(self) -> Form:
        return Form(
            self.backend,
            self.model,
            self._keys,
            self.nearest,
            self.farthest,
            self.template,
            self.server,
            self.judge,
            self.within,
        )

    def add_photo(self) -> None:
        settings = self._settings
        self.photo = photo_input("photo")
        gr.Examples(
            [[gr.get_image(name)] for name in ("tower.jpg", "cheetah1.jpg")],
            [self.photo],
            cache_examples=False,
            label=marked("examples"),
            elem_id="examples",
            api_visibility="private",
        )
        self.backend = gr.Dropdown(
            [(marked(_LABELS[name]) if name in _LABELS else BACKENDS[name].label, name) for name in settings.offered],
            value=settings.backend,
            label=marked("backend"),
            filterable=False,
            elem_id="backend",
        )

    def add_model_settings(self, login: bool) -> None:
        settings = self._settings
        first = Chosen(*self._events.choose_backend(settings.backend)[: len(Chosen._fields)])
        with gr.Group(visible=backend_named(settings.backend).needs_key, elem_id="model-settings") as model_settings:
            self.server = gr.Dropdown(
                [(server_named(settings.openai_base_url).label, "")]
                + [(server.label, server.name) for server in contestants.choosable_servers(settings)],
                value="",
                label=marked("server"),
                filterable=False,
                visible=settings.backend == "openai",
                elem_id="server",
            )
            self.model = gr.Dropdown(
                first.model["choices"],
                value=first.model["value"],
                allow_custom_value=True,
                label=marked("model"),
                info=marked("model_info"),
                elem_id="model",
            )
            if login:
                gr.LoginButton(marked("sign_in"), size="sm")
            provided = gr.HTML(visible=first.provided["visible"], elem_id="provided")
            self.key_fields = KeyFields(
                self._keys,
                contestants.keyed_providers(settings),
                prefix="key",
                visible=provider_of(settings.backend, ""),
            )
            self.refused = gr.HTML(visible=False, elem_id="refused")
        self.chosen = [*Chosen(model_settings, self.server, self.model, provided), *self.key_fields.rows]

    def add_buttons(self) -> None:
        self.cost = gr.HTML(visible=False, elem_id="cost")
        with gr.Row(elem_id="go"):
            self.locate = gr.Button(marked("locate"), variant="primary", scale=3, elem_id="locate")
            self.cancel = gr.Button(
                marked("cancel"), scale=1, min_width=100, elem_id="cancel", elem_classes="i2l-cancel"
            )

    def add_area(self) -> None:
        with gr.Accordion(marked("within_title"), open=False, elem_id="where") as self.where:
            self.within = gr.Textbox(
                label=marked("within"),
                placeholder=marked("within_hint"),
                info=marked("within_info"),
                max_length=MAX_CHARS,
                elem_id="within",
            )
            self.area = gr.HTML(elem_id="area")
            self.area_plot = map_plot("map_area", "area-map", visible=False)
            first_km, last_km, radius_km, step_km = RADII_KM
            gr.Slider(
                first_km,
                last_km,
                radius_km,
                step=step_km,
                label=marked("within_radius"),
                interactive=True,  # only the browser reads it
                elem_id="within-radius",
            )

    def add_more(self) -> None:
        settings = self._settings
        with gr.Accordion(marked("more"), open=False, elem_id="more"):
            self.nearest, self.farthest = (
                gr.Slider(
                    0,
                    MAX_NEIGHBOURS,
                    DEFAULT_NEIGHBOURS,
                    step=1,
                    precision=0,
                    label=marked(f"map_{name}"),
                    elem_id=name,
                )
                for name in ("nearest", "farthest")
            )
            self.judge = gr.Dropdown(
                judge_choices(settings.judge),
                value=str(settings.judge or OFF),
                label=marked("judge"),
                info=marked("judge_info"),
                filterable=False,
                elem_id="judge",
            )
            self.judge_cost = gr.HTML(visible=False, elem_id="judge-cost")
            self.truth = gr.Textbox(
                label=marked("truth"), placeholder=marked("truth_hint"), max_length=100, elem_id="truth"
            )
            self.named_template = gr.Dropdown(
                [(words, name) for name, words in TEMPLATES.items()],
                value=settings.prompt,
                label=marked("prompt"),
                filterable=False,
                elem_id="named-template",
            )
            self.template = gr.Textbox(
                template_named(settings.prompt),
                label=marked("template"),
                info=marked("template_info"),
                lines=6,
                max_lines=12,
                max_length=MAX_TEMPLATE_CHARS,
                elem_id="template",
            )
            with gr.Row():
                self.reset = gr.Button(marked("restore"), size="sm", min_width=120)
                self.link = gr.Button(marked("link"), size="sm", min_width=120, elem_id="link")

    def follow_choices(self, demo: gr.Blocks) -> None:
        """What is chosen in one field changes others, the cost, and the link to the page."""
        events, chosen = self._events, self.chosen
        linked = Linked(
            self.backend,
            self.nearest,
            self.farthest,
            self.named_template,
            self.template,
            self.judge,
            self.within,
        )
        followed = demo.load(events.follow_link, None, [*linked, *chosen], **QUEUED)
        shows_area = [self.where.expand, self.within.submit, self.within.blur]
        gr.on(shows_area, events.show_area, self.within, [self.area, self.area_plot], **LATEST)
        settled = [
            self.backend.select(events.choose_backend, self.backend, chosen, **LATEST),
            self.server.select(events.choose_backend, [self.backend, self.server], chosen, **LATEST),
        ]
        restores = [self.named_template.select, self.reset.click]
        gr.on(restores, template_named, self.named_template, self.template, **LATEST)
        listing: dict[str, Any] = {
            "fn": events.list_models,
            "inputs": [self.backend, self.server, self.model, self._keys],
            "outputs": [self.model, self.refused],
        }
        changes: list[Callable[..., Dependency]] = [self._keys.change, *(each.then for each in settled)]
        listed = [change(**listing, **QUEUED) for change in changes]
        priced: dict[str, Any] = {
            "fn": events.expense,
            "inputs": list(self.form),
            "outputs": [self.cost, self.judge_cost],
            **LATEST,
        }
        gr.on([self.model.input, self.judge.input], **priced)
        # After what sets several fields at once, and not at each one's change, which would see the others as they were.
        for each in (followed, *settled, *listed):
            each.then(**priced)
        shared = [self.backend, self.server, self.model, self.nearest, self.farthest, self.named_template]
        shared += [self.judge, self.within]
        self.link.click(None, shared, self.link, js=_LINK_JS, api_visibility="private")

    def follow_photo_and_buttons(self) -> None:
        """A photo is located once it is chosen, where that is free, and when the visitor asks for it."""
        events, shown = self._events, self.shown
        asked = [self.photo, self.truth, *self.form]
        # Events that may ask a model are limited by model slots instead, so that votes don't wait behind models.
        looking: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress_on": shown.answer,
            "concurrency_limit": None,
        }
        begun = [shown.answer, shown.evidence]
        # The photo that was chosen last is located, though the one before be under way.
        at_once = self.photo.change(events.change_photo, [self.photo, self.backend], begun, **LATEST).then(
            events.locate_unless_paid,
            asked,
            list(shown),
            validator=events.check_chosen,
            trigger_mode="always_last",
            **looking,
        )
        # A key that still stands in its box is taken first.
        pressed = self.key_fields.wire(partial(gr.on, [self.locate.click, self.truth.submit])).success(
            events.locate, asked, list(shown), validator=events.check, **looking
        )
        for run in (at_once, pressed):
            run.success(None, js=_SCROLL_JS, api_visibility="private")
        self.cancel.click(events.cancel, None, begun, cancels=[at_once, pressed], **QUIET)


def photo_input(elem_id: str) -> PhotoInput:
    """Add a box to drop, paste or take a photo."""
    return PhotoInput(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard", "webcam"],
        webcam_options=gr.WebcamOptions(mirror=False),
        label=marked("photo"),
        height=280,
        buttons=["fullscreen"],
        alt_text="The photo to locate",
        elem_id=elem_id,
    )


def map_plot(name: str, elem_id: str, *, visible: bool = True) -> gr.Plot:
    """Add a place for a map."""
    return gr.Plot(label=marked(name), elem_id=elem_id, elem_classes="i2l-map", min_width=260, visible=visible)


def _result() -> Shown:
    answer = gr.HTML(marked("html_empty"), elem_id="answer")
    with gr.Column(visible=False, elem_id="evidence") as evidence:
        prediction_plot = map_plot("map_prediction", "prediction-map")
        beside = gr.HTML(elem_id="beside")
        with gr.Row(elem_id="lists"):
            with gr.Column(min_width=300):
                nearest_plot = map_plot("map_nearest", "nearest-map")
                nearest_table = gr.HTML(elem_classes="i2l-neighbours")
            with gr.Column(min_width=300):
                farthest_plot = map_plot("map_farthest", "farthest-map")
                farthest_table = gr.HTML(elem_classes="i2l-neighbours")
        with gr.Accordion(marked("conversation"), open=False, visible=False, elem_id="conversation") as conversation:
            reasoning, reply, prompt = (
                gr.Textbox(label=marked(name), lines=lines, max_lines=20, interactive=False, buttons=["copy"])
                for name, lines in (("reasoning", 3), ("reply", 5), ("prompt_sent", 8))
            )
        with gr.Accordion(marked("timings"), open=False, elem_id="timings"):
            timings = gr.HTML()
    return Shown(
        answer=answer,
        evidence=evidence,
        prediction_plot=prediction_plot,
        beside=beside,
        nearest_plot=nearest_plot,
        nearest_table=nearest_table,
        farthest_plot=farthest_plot,
        farthest_table=farthest_table,
        conversation=conversation,
        reasoning=reasoning,
        reply=reply,
        prompt=prompt,
        timings=timings,
    )

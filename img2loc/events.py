"""What happens on the page when a visitor acts."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from gradio.components.plot import PlotData

from img2loc import maps, report
from img2loc.endpoints import shown_errors
from img2loc.lmm import backend_named
from img2loc.locator import Locator
from img2loc.query import Query, check_key, parse_position
from img2loc.settings import Settings

Update = dict[str, Any]

# Wheel and finger scroll the page, not the map: it has buttons to zoom.
_PLOT_CONFIG = {"scrollZoom": False, "displayModeBar": True, "displaylogo": False}


class Shown(NamedTuple):
    """The parts of the page that show a result: their values, or the components themselves."""

    answer: Any
    evidence: Any
    prediction_plot: Any
    legend: Any
    nearest_plot: Any
    farthest_plot: Any
    neighbours: Any
    conversation: Any
    reasoning: Any
    reply: Any
    prompt: Any
    timings: Any


class Events:
    """What happens when a visitor acts: plain functions from inputs to what the page shows."""

    def __init__(self, locator: Locator, settings: Settings) -> None:
        self._locator = locator
        self._settings = settings

    def choose_backend(self, name: str) -> tuple[Update, Update]:
        """Show the model and the key where a backend needs them."""
        backend = backend_named(name)
        model = self._settings.openai_model or next(iter(backend.models), "")
        choices = list(dict.fromkeys([model, *backend.models]))
        return gr.update(visible=backend.needs_key), gr.update(choices=choices, value=model)

    def use_key(self, key: str) -> tuple[Any, Update]:
        """Move a key from the box, whose content others could read back, to the session's state."""
        with shown_errors():
            kept = check_key((key or "").strip())
        if not kept:  # the box is left empty: the key given before stays
            return gr.skip(), gr.update()
        return kept, gr.update(value="", placeholder="Key set for this session")

    def change_photo(self, photo: str | None, backend: str) -> tuple[str, Update]:
        """Take away what was said of the photo before."""
        waiting = photo and backend_named(backend).needs_key
        return report.READY if waiting else report.EMPTY, gr.update(visible=False)

    def locate_unless_paid(
        self,
        photo: str | None,
        backend: str,
        model: str | None,
        key: str,
        nearest: int,
        farthest: int,
        template: str,
        truth: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
    ) -> Shown:
        """Locate a photo as soon as it is chosen, where that costs nothing and sends it nowhere."""
        if not photo or backend_named(backend).needs_key:
            return Shown(*[gr.skip()] * len(Shown._fields))
        return self.locate(photo, backend, model, key, nearest, farthest, template, truth, progress)

    def locate(
        self,
        photo: str | None,
        backend: str,
        model: str | None,
        key: str,
        nearest: int,
        farthest: int,
        template: str,
        truth: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
    ) -> Shown:
        """Locate the photo and lay out the result."""
        with shown_errors():
            given = parse_position(truth or "")
            query = Query(photo, backend, model or "", key or "", nearest, farthest, template or "")
            stages = list(report.STAGES)
            opened = query.photo()
            prediction = query.locate(
                opened,
                self._locator,
                self._settings,
                on_stage=lambda stage: progress((stages.index(stage), len(stages)), desc=report.STAGES[stage]),
            )
        known = given or opened.exif_position
        outcome = prediction.outcome
        return Shown(
            answer=report.answer(prediction, truth=known, truth_from_exif=given is None),
            evidence=gr.update(visible=True),
            prediction_plot=_plot(maps.prediction_map(prediction, known)),
            legend=report.legend(prediction, known),
            nearest_plot=_plot(maps.nearest_map(prediction.retrieval)),
            farthest_plot=_plot(maps.farthest_map(prediction.retrieval)),
            neighbours=report.neighbours(prediction.retrieval),
            conversation=gr.update(visible=outcome is not None),
            reasoning=outcome.reasoning if outcome else "",
            reply=report.raw_replies(outcome),
            prompt=prediction.prompt,
            timings=report.timings(prediction),
        )


def _plot(figure: go.Figure) -> PlotData:
    """Wrap a figure with the configuration that Plotly's own figure object can't carry."""
    config = json.dumps(_PLOT_CONFIG)
    return PlotData(type="plotly", plot=f'{figure.to_json()[:-1]},"config":{config}}}')

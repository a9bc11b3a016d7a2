"""What happens on the page when a visitor acts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
import plotly.graph_objects as go
from gradio.components.plot import PlotData

from img2loc import maps, report
from img2loc.endpoints import shown_errors
from img2loc.host import Host
from img2loc.lmm import backend_named
from img2loc.lmm.servers import server_named
from img2loc.query import Query, check_key, parse_position
from img2loc.settings import Settings

Update = dict[str, Any]

# The key's state, its box and its button. The box itself is given values only, never an update of its looks: Gradio
# would then keep what is typed into it under a name of its own, and serve it with a deep link.
NO_KEY = ("", "", "Use key")
KEY_SET = ("", "Key set")  # of the box and its button

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

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self._settings = settings
        self._asking: dict[str, set[threading.Event]] = {}  # by session
        self._lock = threading.Lock()

    def banner(self) -> str:
        """Say which gallery answers now, and what keeps another from it."""
        return report.banner(self._host.locator.gallery.manifest, self._host.notice)

    def follow_gallery(self) -> tuple[str, gr.Timer]:
        """Bring the banner up to date, until the gallery has arrived or failed to."""
        pending = self._host.pending  # before the banner, which then can only be newer
        return self.banner(), gr.Timer(active=pending)

    def choose_backend(self, name: str) -> tuple[Update, Update, Update, str, str, str]:
        """Show the server, the model and the key where a backend needs them; a key is for one provider only."""
        backend = backend_named(name)
        server = gr.update(visible=name == "openai", value="")
        return gr.update(visible=backend.needs_key), server, *self.choose_server(name, "")

    def choose_server(self, backend: str, server: str) -> tuple[Update, str, str, str]:
        """Suggest a server's models, and forget the key, which was another's."""
        own = self._settings.options(backend)
        suggested = server_named(server).models if server else backend_named(backend).models
        models = list(dict.fromkeys([name for name in ("" if server else own.model, *suggested) if name]))
        return gr.update(choices=models, value=next(iter(models), "")), *NO_KEY

    def leave(self, request: gr.Request) -> None:
        """Give up what a visitor who closes the page was waiting for."""
        with self._lock:
            for cancel in self._asking.get(request.session_hash or "", ()):
                cancel.set()

    @contextmanager
    def _asked_by(self, request: gr.Request | None) -> Iterator[threading.Event]:
        """What is set when the visitor who sent a request leaves."""
        session, cancel = (request.session_hash if request else None) or "", threading.Event()
        with self._lock:
            self._asking.setdefault(session, set()).add(cancel)
        try:
            yield cancel
        finally:
            with self._lock:
                self._asking[session].discard(cancel)
                if not self._asking[session]:
                    del self._asking[session]

    def use_key(self, key: str) -> tuple[Any, str, Any]:
        """Move a key from the box, whose content others could read back, to the session's state."""
        with shown_errors():
            kept = check_key((key or "").strip())
        if not kept:  # the box is left empty: the key given before stays
            return gr.skip(), "", gr.skip()
        return kept, *KEY_SET

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
        server: str = "",
        request: gr.Request | None = None,
        token: gr.OAuthToken | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
    ) -> Shown:
        """Locate a photo as soon as it is chosen, where that costs nothing and sends it nowhere."""
        if not photo or backend_named(backend).needs_key:
            return Shown(*[gr.skip()] * len(Shown._fields))
        return self.locate(
            photo, backend, model, key, nearest, farthest, template, truth, server, request, token, progress
        )

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
        server: str = "",
        request: gr.Request | None = None,
        token: gr.OAuthToken | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio recognises it by this default
    ) -> Shown:
        """Locate the photo and lay out the result."""
        with shown_errors(), self._asked_by(request) as cancel:
            given = parse_position(truth or "")
            if backend == "hf" and token and not key:  # who has signed in on a Space pays with their own account
                key = token.token
            words = (template or "", server or "")
            query = Query(photo, backend, model or "", key or "", nearest, farthest, *words, cancel)
            stages = list(report.STAGES)
            opened = query.photo()
            prediction = query.locate(
                opened,
                self._host.locator,
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

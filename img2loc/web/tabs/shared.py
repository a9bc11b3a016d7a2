"""What several tabs use."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import gradio as gr
import plotly.graph_objects as go
from gradio.components.plot import PlotData

from img2loc.errors import Img2LocError, page_message
from img2loc.geo.coarse import LEVELS
from img2loc.maps.figures import Name
from img2loc.policy.precision import place_of
from img2loc.policy.settings import Settings
from img2loc.web.i18n import Translate
from img2loc.web.render.html import render

Update = dict[str, Any]

RIGHT: Final[Update] = gr.validate(True, "")
# Wheel and finger scroll the page, not the map: it has buttons to zoom.
_PLOT_CONFIG: Final = {"scrollZoom": False, "displayModeBar": True, "displaylogo": False}


def checked(check: Callable[[], object]) -> Update:
    """What a field shows: the message of the error that a check of its value raises, or nothing."""
    try:
        check()
    except Img2LocError as error:
        return {**RIGHT, "is_valid": False, "message": page_message(error)}
    return RIGHT


def provided_note(settings: Settings, translate: Translate, provider: str = "") -> str:
    """Say that the operator pays for models, and for how many answers.

    Args:
        settings: The operator's.
        translate: Into the visitor's language.
        provider: The provider's name, where there are others beside it.
    """
    bounds = {"provided_visitor": settings.hourly_per_visitor, "provided_total": settings.hourly_total}
    words = [translate("provided"), *(translate(name, count=count) for name, count in bounds.items() if count)]
    return render("page.provided", provider=provider, words=words)


def namer(settings: Settings, withheld: str = "") -> Name:
    """Name positions as precisely as is allowed; it remembers, since a result asks for the same ones again and again.

    Args:
        settings: The operator's.
        withheld: Prediction.withheld: a coarse answer's positions stand for areas, and are named so.
    """
    level = max((level for level in LEVELS if level in (settings.precision, withheld)), key=LEVELS.index)
    return cache(lambda position: place_of(position, level))


def plot(figure: go.Figure) -> PlotData:
    """Wrap a figure with the configuration that Plotly's own figure object can't carry."""
    config = json.dumps(_PLOT_CONFIG)
    return PlotData(type="plotly", plot=f'{figure.to_json()[:-1]},"config":{config}}}')

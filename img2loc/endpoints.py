"""The client API: /locate and /neighbours, for programs."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.components.api_component import Api
from gradio.data_classes import ImageData

from img2loc.api import LocateJson, NeighboursJson, gallery_json, json_schema, prediction_json, retrieval_json
from img2loc.errors import Img2LocError
from img2loc.host import Host
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS
from img2loc.locator import DEFAULT_NEIGHBOURS
from img2loc.prompt import TEMPLATES
from img2loc.query import MAX_NEIGHBOURS, Query
from img2loc.settings import Settings

ERROR_SHOWN_S = 20
_PROVIDERS = [server.name for server in SERVERS.values() if server.public]


class _NoStub(ComponentMeta):
    """Gradio's own metaclass writes a .pyi file beside the source of every subclass of a component."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class PhotoInput(gr.Image, metaclass=_NoStub):
    """An image box that hands over the path of the uploaded file.

    Gradio's own opens the file with Pillow before any of photo.py's checks, and has no useful word where that fails.
    """

    is_template = True  # to the browser it is gr.Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Take the path; Gradio has checked that it lies in the upload folder."""
        return payload.path if payload else None


@contextmanager
def shown_errors() -> Iterator[None]:
    """Turn our own errors into what Gradio shows to visitors and clients: one sentence."""
    try:
        yield
    except Img2LocError as error:
        raise gr.Error(str(error), duration=ERROR_SHOWN_S, print_exception=False) from None


class Endpoints:
    """The functions behind the client API."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self._settings = settings

    def locate(
        self,
        photo: str | None,
        backend: str = "vote",
        model: str = "",
        nearest: int = DEFAULT_NEIGHBOURS,
        farthest: int = DEFAULT_NEIGHBOURS,
        prompt: str = "",
        base_url: str = "",
        x_openai_api_key: gr.Header | None = None,
        x_hf_token: gr.Header | None = None,
    ) -> dict[str, Any]:
        """Say where a photo was taken, with the evidence for it."""
        with shown_errors():
            key = (x_hf_token if backend == "hf" else x_openai_api_key) or ""
            query = Query(photo, backend, model, key.strip(), nearest, farthest, prompt, base_url)
            locator = self._host.locator
            prediction = query.locate(query.photo(), locator, self._settings)
            return {**prediction_json(prediction), "gallery": gallery_json(locator.gallery.manifest)}

    def neighbours(
        self, photo: str | None, nearest: int = DEFAULT_NEIGHBOURS, farthest: int = DEFAULT_NEIGHBOURS
    ) -> dict[str, Any]:
        """Find the photos of the gallery that are most and least similar to a photo."""
        with shown_errors():
            query = Query(photo, nearest=nearest, farthest=farthest)
            locator = self._host.locator
            found = query.neighbours(query.photo(), locator)
            return {**retrieval_json(found), "gallery": gallery_json(locator.gallery.manifest)}


def add_endpoints(host: Host, settings: Settings) -> None:
    """Add the client API to the Blocks that are being built, without anything to see."""
    endpoints = Endpoints(host, settings)
    count: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_NEIGHBOURS}
    text: dict[str, Any] = {"type": "string"}
    names: dict[str, Any] = {"enum": list(BACKENDS)}
    with gr.Column(visible=False):
        photo = PhotoInput(type="filepath", image_mode=None, label="photo")
        backend = Api("vote", names, "backend")
        model = Api("", text, "model: empty for the backend's default")
        nearest = Api(DEFAULT_NEIGHBOURS, count, "nearest: how many of the most similar photos")
        farthest = Api(DEFAULT_NEIGHBOURS, count, "farthest: how many of the most dissimilar photos")
        prompt = Api(
            "",
            text,
            f"prompt: {', '.join(TEMPLATES)}, or a template with $nearest and $farthest; empty for the default",
        )
        base_url = Api("", text, f"base_url: another provider: {', '.join(_PROVIDERS)}; empty for the default")
        gr.Button().click(
            endpoints.locate,
            [photo, backend, model, nearest, farthest, prompt, base_url],
            Api(None, json_schema(LocateJson), "prediction"),
            api_name="locate",
            api_description="Say where a photo was taken. A key goes into the header x-openai-api-key, "
            "for the backend hf into x-hf-token.",
        )
        gr.Button().click(
            endpoints.neighbours,
            [photo, nearest, farthest],
            Api(None, json_schema(NeighboursJson), "neighbours"),
            api_name="neighbours",
            api_description="Find the photos of the gallery that are most and least similar to a photo.",
        )

"""The client API, for programs and agents: /locate, /locate_batch, /neighbours, /backends and /info."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.components.api_component import Api

from img2loc.errors import Img2LocError, LimitError, PhotoError, api_message
from img2loc.hardening.fetching import save_photo
from img2loc.hardening.queue import Abandoned
from img2loc.hardening.visitors import is_agent, single_visitor_of, visitor_of
from img2loc.judge.sampling import MAX_NEIGHBOURS
from img2loc.locator import DEFAULT_NEIGHBOURS, Locator
from img2loc.output.schema import (
    SCHEMA_VERSION,
    BackendsJson,
    BatchJson,
    InfoJson,
    LocateJson,
    NeighboursJson,
    SourcedJson,
    gallery_json,
    json_schema,
    prediction_json,
    retrieval_json,
)
from img2loc.policy.offers import MAX_BATCH, backends_json, info_json
from img2loc.web.components import PhotoInput, PhotosInput
from img2loc.web.request import Keys, LocateRequest, provider_of
from img2loc.web.site import Site, shown_errors

MAX_NAME_CHARS = 255  # of a file; an address may end in far more

Result = Mapping[str, Any] | str  # JSON, as an object or as text


def _answer(result: Mapping[str, Any], http_request: gr.Request | None) -> Result:
    """Give an agent JSON: Gradio's MCP server would write a dict in Python's notation."""
    return json.dumps(result, ensure_ascii=False) if is_agent(http_request) else result


class Endpoints:
    """The functions behind the client API. Their docstrings are what programs and agents read of them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def locate(  # noqa: D417 - keys come in headers, which aren't arguments to those who read this
        self,
        photo: str | None,
        backend: str = "vote",
        model: str = "",
        nearest: int = DEFAULT_NEIGHBOURS,
        farthest: int = DEFAULT_NEIGHBOURS,
        prompt: str = "",
        base_url: str = "",
        judge: str = "",
        within: str = "",
        x_openai_api_key: gr.Header | None = None,
        x_hf_token: gr.Header | None = None,
        http_request: gr.Request | None = None,
    ) -> Result:
        """Say where on Earth a photo was taken, with the evidence for it.

        The photos of a gallery that are most similar vote on the position; a multimodal model may be asked to locate
        the photo from them. A failed model leaves the vote's position and a sentence in outcome.message. Metadata of
        the photo is never used. A wrong answer may look sure: where probability is null, radius_km is only a spread.

        Args:
            photo: The photo (JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF): a public http(s) address, a data: URI, or the
                address returned when you uploaded it here.
            backend: Who answers: vote (no model, no key), or a backend that asks a model; see backends.
            model: The model's name; empty for the backend's default.
            nearest: How many of the most similar photos are shown to the model and given back, 0 to 50.
            farthest: How many of the most dissimilar photos, 0 to 50.
            prompt: A template's name, see backends; with your own key, also a text with $nearest and $farthest;
                empty for the default.
            base_url: Another provider for the backend openai, see servers in backends; empty for the default.
            judge: Numbers of neighbours, such as 0,5,10,15: the model is asked once with each, and all answers and the
                neighbours' modes are judged as candidates; with +choice after them it is asked once more, to choose
                among the best; empty for the default, off for one prompt.
            within: Where the photo is known to have been taken: countries or regions of the world, with semicolons
                between, or a circle, as "Paris, 50 km" or "48.86, 2.35, 50 km"; empty for anywhere.

        Returns:
            position (degrees), radius_km, place, method (lmm, vote, judge or none), vote, outcome, nearest, farthest,
            prompt, candidates (score, and its parts), choice (the result of asking the model to choose).
        """
        with shown_errors(), self._site.limits.slot(backend, visitor=single_visitor_of(http_request)):
            request = LocateRequest(
                photo,
                backend=backend,
                model=model,
                keys=_keys(backend, base_url, x_openai_api_key, x_hf_token),
                nearest=nearest,
                farthest=farthest,
                prompt=prompt,
                base_url=base_url,
                cancel=Abandoned(),
                visitor=visitor_of(http_request),
                judge=judge,
                within=within,
            )
            locator = self._site.host.locator
            prediction = request.locate(request.photo(), locator, self._site)
            return _answer({**prediction_json(prediction), **self._sourced(locator)}, http_request)

    def locate_batch(  # noqa: D417
        self,
        photos: list[str] | None,
        backend: str = "vote",
        model: str = "",
        nearest: int = DEFAULT_NEIGHBOURS,
        farthest: int = DEFAULT_NEIGHBOURS,
        prompt: str = "",
        base_url: str = "",
        judge: str = "",
        within: str = "",
        x_openai_api_key: gr.Header | None = None,
        x_hf_token: gr.Header | None = None,
        http_request: gr.Request | None = None,
    ) -> Result:
        """Say where several photos were taken, one by one; a photo that fails stops no other.

        Args:
            photos: Up to 50 photos, each as for locate.
            backend: Who answers all of them; as for locate.
            model: The model's name; empty for the backend's default.
            nearest: How many of the most similar photos for each, 0 to 50.
            farthest: How many of the most dissimilar photos for each, 0 to 50.
            prompt: A template's name or text; as for locate.
            base_url: Another provider; as for locate.
            judge: As for locate; each photo then takes that many requests.
            within: As for locate; the same for all photos.

        Returns:
            results, in the photos' order: photo (its name), prediction (as of locate, or null) and error (a sentence).
        """
        with shown_errors(), self._site.limits.slot(backend, visitor=single_visitor_of(http_request)):
            if not photos:
                raise PhotoError("No photos were sent.")
            if len(photos) > MAX_BATCH:
                raise PhotoError(f"You sent {len(photos)} photos; send at most {MAX_BATCH} at a time.")
            request = LocateRequest(
                None,
                backend=backend,
                model=model,
                keys=_keys(backend, base_url, x_openai_api_key, x_hf_token),
                nearest=nearest,
                farthest=farthest,
                prompt=prompt,
                base_url=base_url,
                cancel=Abandoned(),
                visitor=visitor_of(http_request),
                judge=judge,
                within=within,
            )
            locator = self._site.host.locator
            results = self._locate_each(photos, request, locator)
            return _answer({"results": results, **self._sourced(locator)}, http_request)

    def _locate_each(self, photos: list[str], request: LocateRequest, locator: Locator) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for number, source in enumerate(photos, start=1):
            if request.cancel.is_set():
                break
            item: dict[str, Any] = {"photo": _name(source, number), "prediction": None, "error": ""}
            try:
                photo = replace(request, photo_path=save_photo(source)).photo()
                item["prediction"] = prediction_json(request.locate(photo, locator, self._site))
            except Exception as error:
                for_all = isinstance(error, Img2LocError) and not isinstance(error, PhotoError | LimitError)
                if for_all and not results:  # once there are answers, nothing may lose them
                    raise
                item["error"] = api_message(error)
            results.append(item)
        return results

    def neighbours(  # noqa: D417
        self,
        photo: str | None,
        nearest: int = DEFAULT_NEIGHBOURS,
        farthest: int = DEFAULT_NEIGHBOURS,
        within: str = "",
        http_request: gr.Request | None = None,
    ) -> Result:
        """Find the photos of the gallery that are most and least similar to a photo, with where they were taken.

        Args:
            photo: The photo, as for locate.
            nearest: How many of the most similar, 0 to 50.
            farthest: How many of the most dissimilar, 0 to 50.
            within: As for locate.

        Returns:
            nearest and farthest, each a list of rank, similarity (-1 to 1), position and photo (author, licence).
        """
        with shown_errors():
            request = LocateRequest(photo, nearest=nearest, farthest=farthest, within=within)
            locator = self._site.host.locator
            found = request.neighbours(request.photo(), locator, self._site.settings)
            return _answer({**retrieval_json(found), **self._sourced(locator)}, http_request)

    def backends(self, http_request: gr.Request | None = None) -> Result:
        """List the backends, their models, and whether you need your own key.

        Returns:
            backends (key_header: where your own key goes), servers (other providers for openai) and prompts.
        """
        return _answer(backends_json(self._site.settings), http_request)

    def info(self, http_request: gr.Request | None = None) -> Result:
        """Say which gallery answers, how precisely, which version this is, and how much may be asked.

        Returns:
            version, gallery, about (what the gallery knows), notice, banner, precision and limits.
        """
        return _answer(info_json(self._site.host.manifest, self._site.host.notice, self._site.settings), http_request)

    def _sourced(self, locator: Locator) -> SourcedJson:
        return {
            "schema_version": SCHEMA_VERSION,
            "gallery": gallery_json(locator.gallery.manifest),
            "precision": self._site.settings.precision,
        }


def _keys(backend: str, base_url: str, openai: str | None, hf: str | None) -> Keys:
    """The key of the header that belongs to the backend, for the provider that the same request names."""
    key = ((hf if backend == "hf" else openai) or "").strip()
    return {provider_of(str(backend), str(base_url)): key} if key else {}  # anything but text is refused later


def _name(source: str, number: int) -> str:
    """What a photo of a batch is called."""
    if source.startswith("data:"):
        return f"photo {number}"
    if source.startswith(("http://", "https://")):
        source = unquote(source.partition("?")[0])
    return Path(source).name[:MAX_NAME_CHARS]


def add_endpoints(site: Site) -> None:
    """Add the client API to the Blocks that are being built, invisibly."""
    endpoints = Endpoints(site)
    count: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MAX_NEIGHBOURS}
    text: dict[str, Any] = {"type": "string"}
    names: dict[str, Any] = {"enum": list(site.settings.offered)}
    with gr.Column(visible=False):
        photo = PhotoInput(type="filepath", image_mode=None, label="photo")
        photos = PhotosInput(label="photos")
        nearest = Api(DEFAULT_NEIGHBOURS, count, "nearest")
        farthest = Api(DEFAULT_NEIGHBOURS, count, "farthest")
        within = Api("", text, "within")
        asked = [
            Api("vote", names, "backend"),
            Api("", text, "model"),
            nearest,
            farthest,
            Api("", text, "prompt"),
            Api("", text, "base_url"),
            Api("", text, "judge"),
            within,
        ]
        # Endpoints that may ask a model are limited by model slots instead, so that votes don't wait behind models.
        for endpoint, inputs, shape, limit in (
            (endpoints.locate, [photo, *asked], LocateJson, None),
            (endpoints.locate_batch, [photos, *asked], BatchJson, None),
            (endpoints.neighbours, [photo, nearest, farthest, within], NeighboursJson, "default"),
            (endpoints.backends, [], BackendsJson, "default"),
            (endpoints.info, [], InfoJson, "default"),
        ):
            result = Api(None, json_schema(shape), "result")
            gr.Button().click(endpoint, inputs, result, api_name=endpoint.__name__, concurrency_limit=limit)

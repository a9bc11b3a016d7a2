"""What the fields of the Locate tab hold, which Batch uses as well."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import gradio as gr

from img2loc.hardening.visitors import visitor_of
from img2loc.web.request import Keys, LocateRequest


class Form(NamedTuple):
    """What an answer depends on besides the photo: the fields' values, or the components themselves."""

    backend: Any
    model: Any
    keys: Any
    nearest: Any
    farthest: Any
    template: Any
    server: Any
    judge: Any
    within: Any


class Visit(NamedTuple):
    """Who asks, as Gradio has it: the HTTP request, and the account on a Space."""

    http_request: gr.Request | None
    token: gr.OAuthToken | None


def locate_request(form: Form, photo: str | None, visit: Visit, cancel: threading.Event) -> LocateRequest:
    """Build the request that a filled-in form stands for.

    Args:
        form: The fields' values; an empty field may be None.
        photo: The uploaded file.
        visit: Who asks.
        cancel: Set when nobody waits for the answer any more.

    Raises:
        ConfigError: A value can't be used.
    """
    return LocateRequest(
        photo,
        backend=form.backend,
        model=form.model or "",
        keys=with_login(form.keys, visit.token),
        nearest=form.nearest,
        farthest=form.farthest,
        prompt=form.template or "",
        base_url=server_of(form.backend, form.server),
        cancel=cancel,
        visitor=visitor_of(visit.http_request),
        judge=form.judge or "",
        within=form.within or "",
    )


def server_of(backend: str, server: str | None) -> str:
    """The server to ask: what is chosen counts for the backend whose servers it was chosen among."""
    return server or "" if backend == "openai" else ""


def with_login(keys: Keys, token: gr.OAuthToken | None) -> Keys:
    """Add the account of a visitor who has signed in on a Space, unless they gave a token of their own."""
    return {"hf": token.token, **keys} if token else keys

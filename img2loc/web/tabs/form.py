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

    def request(
        self, photo: str | None, http_request: gr.Request | None, token: gr.OAuthToken | None, cancel: threading.Event
    ) -> LocateRequest:
        """Build the request that the filled-in form stands for; an empty field may be None.

        Raises:
            ConfigError: A value can't be used.
        """
        return LocateRequest(
            photo,
            backend=self.backend,
            model=self.model or "",
            keys=with_login(self.keys, token),
            nearest=self.nearest,
            farthest=self.farthest,
            prompt=self.template or "",
            base_url=server_of(self.backend, self.server),
            cancel=cancel,
            visitor=visitor_of(http_request),
            judge=self.judge or "",
            within=self.within or "",
        )


def server_of(backend: str, server: str | None) -> str:
    """The server to ask: what is chosen counts for the backend whose servers it was chosen among."""
    return server or "" if backend == "openai" else ""


def with_login(keys: Keys, token: gr.OAuthToken | None) -> Keys:
    """Add the account of a visitor who has signed in on a Space, unless they gave a token of their own."""
    return {"hf": token.token, **keys} if token else keys

"""Password fields for visitors' own keys: one for each provider, so that no key can be taken for another provider's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import gradio as gr
from gradio.events import Dependency

from img2loc.errors import ConfigError
from img2loc.lmm.base import check_key
from img2loc.web.i18n import marked
from img2loc.web.render.html import error_html
from img2loc.web.request import Keys
from img2loc.web.site import shown_errors
from img2loc.web.tabs.shared import RIGHT, Update, checked

# Never part of the API, which would publish what stands in the boxes; in the queue, or Gradio doesn't notice that a
# state has changed.
_PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private", "queue": True, "show_progress": "hidden"}


class KeyEvents:
    """What happens to keys when a visitor acts; `labels` are the fields' providers for people, by name."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.providers = tuple(labels)
        self.labels = "; ".join(labels.values())

    def take(self, keys: Keys, labels: str, *typed: str | None) -> list[Any]:
        """Move what was typed from the boxes, whose content others could read back, to the session's keys.

        Args:
            keys: The session's, by provider.
            labels: Of the boxes on the visitor's page, which may be older than this server.
            typed: What stands in them.

        Returns:
            The keys, and the emptied boxes. These get plain values, never an update of their looks: Gradio would then
            keep what is typed into them under a name of its own.
        """
        with shown_errors(error_html):
            if labels != self.labels:
                raise ConfigError("This page is out of date; reload it.")
            added = {name: key for name, text in zip(self.providers, typed, strict=True) if (key := _read(text))}
        return [{**keys, **added} if added else gr.skip(), *[""] * len(typed)]

    def check(self, keys: Keys, labels: str, *typed: str | None) -> list[Update]:
        """Say at each field what is wrong with its key; for Gradio, before `take`."""
        return [RIGHT, RIGHT, *(checked(partial(_read, text)) for text in typed)]

    def buttons(self, keys: Keys) -> list[str]:
        """The buttons' texts, which show for which providers there is a key."""
        return [marked("key_set" if name in keys else "use_key") for name in self.providers]


class KeyFields:
    """The key fields of one tab.

    A key is tied to its provider by the field that it is typed into. What else the page has been asked to show
    meanwhile, and whether those requests came through, doesn't matter.

    Args:
        keys: The session's keys by provider, shared by all tabs.
        labels: The providers' names for people, by their names in `contestants.providers`.
        prefix: What the fields' HTML ids begin with.
        visible: The provider whose field is shown at first; None for all.
    """

    def __init__(self, keys: gr.State, labels: Mapping[str, str], *, prefix: str, visible: str | None = None) -> None:
        self.keys = keys
        self._events = KeyEvents(labels)
        self._labels = gr.Textbox(self._events.labels, visible=False)  # comes back with the keys: see KeyEvents.take
        self.rows: list[gr.Column] = []
        self.boxes: list[gr.Textbox] = []
        self.buttons: list[gr.Button] = []
        for name, label in labels.items():
            with gr.Column(visible=visible in (None, name)) as row, gr.Row(equal_height=True):
                self.boxes.append(
                    gr.Textbox(
                        type="password",
                        label=f"{marked('key_for')} {label}",
                        placeholder=marked("key_kept"),
                        html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
                        max_length=500,
                        scale=3,
                        min_width=160,
                        elem_id=f"{prefix}-{name}",
                    )
                )
                self.buttons.append(
                    gr.Button(
                        marked("use_key"),
                        scale=1,
                        min_width=90,
                        elem_id=f"use-{prefix}-{name}",
                        elem_classes="i2l-key",
                    )
                )
            self.rows.append(row)

    def wire(self, ask: Callable[..., Dependency]) -> Dependency:
        """Take keys when a field is left or confirmed, and when the visitor asks for an answer.

        Args:
            ask: Listens to what asks, such as a button's `click`.

        Returns:
            The event of asking, to be continued once the keys are taken.
        """
        event: dict[str, Any] = {
            "fn": self._events.take,
            "inputs": [self.keys, self._labels, *self.boxes],
            "outputs": [self.keys, *self.boxes],
            "validator": self._events.check,
            **_PRIVATE,
        }
        fields = zip(self.boxes, self.buttons, strict=True)
        gr.on([on for box, button in fields for on in (button.click, box.submit, box.blur)], **event)
        self.keys.change(self._events.buttons, self.keys, self.buttons, **_PRIVATE)
        return ask(**event)


def _read(typed: str | None) -> str:
    return check_key(typed or "")

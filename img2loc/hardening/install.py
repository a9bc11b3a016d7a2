"""The one place where private parts of Gradio are replaced: what, why, and what would make it unnecessary.

What a public parameter or an ASGI middleware can do is done so, in web/page.py.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from img2loc.errors import ConfigError
from img2loc.hardening import errors
from img2loc.hardening.bodies import TidyParser
from img2loc.hardening.fetching import PhotoTransport
from img2loc.hardening.queue import Mailboxes

TESTED_VERSIONS: Final = ((6, 31), (7, 0))  # of Gradio: from the first, and before the second
IDLE_SLEEP_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Patch:
    """A private part of Gradio that is replaced.

    Args:
        module: The module that holds it.
        name: What it is called there.
        replacement: What takes its place.
        reason: Why.
        until: What would make this unnecessary.
    """

    module: str
    name: str
    replacement: Any
    reason: str
    until: str

    def apply(self) -> None:
        """Replace it.

        Raises:
            ConfigError: This version of Gradio has no such part.
        """
        module = importlib.import_module(self.module)
        if not hasattr(module, self.name):
            raise ConfigError(_wrong_version(f"it has no {self.module}.{self.name}"))
        setattr(module, self.name, self.replacement)


def patches(max_photo_bytes: int) -> tuple[Patch, ...]:
    """List what is replaced.

    Args:
        max_photo_bytes: The largest photo that is fetched from another server.
    """
    log = "Gradio's log would repeat what visitors sent, keys included."
    log_until = "Gradio logs errors by a function that can be set."
    said = "Gradio has no words for visitors where an error isn't a gr.Error."
    said_until = "show_error=False gives a sentence."
    return (
        Patch(
            "gradio.processing_utils",
            "async_transport",
            PhotoTransport(max_photo_bytes),
            "Gradio bounds neither the size nor the time of a file that it fetches for a client, and takes some "
            "private networks of clouds for public.",
            "Gradio lets an app set the transport, the size and the time.",
        ),
        Patch(
            "gradio.route_utils",
            "GradioMultiPartParser",
            TidyParser,
            "Gradio keeps for ever what is left of uploads that are broken off or too large.",
            "Gradio deletes them.",
        ),
        Patch("gradio.queueing", "traceback", errors, log, log_until),
        Patch("gradio.routes", "traceback", errors, log, log_until),
        Patch("gradio.queueing", "error_payload", errors.error_payload, said, said_until),
        Patch("gradio.utils", "error_payload", errors.error_payload, said, said_until),
    )


def install(*, max_photo_bytes: int) -> None:
    """Replace what has to be replaced before the page is served.

    Args:
        max_photo_bytes: The largest photo that is fetched from another server.

    Raises:
        ConfigError: This version of Gradio isn't one that this was written for.
    """
    first, beyond = TESTED_VERSIONS
    if not first <= tuple(map(int, gr.__version__.split(".")[:2])) < beyond:
        raise ConfigError(_wrong_version("it was not tried"))
    for patch in patches(max_photo_bytes):
        patch.apply()


def install_in_queue(demo: gr.Blocks) -> None:
    """Replace what has to be replaced in the queue of a page; after `demo.queue()`, which makes it.

    - How long it sleeps while nobody asks for anything: Gradio's own thousandth of a second takes 7 % of a core.
    - Where its messages for sessions are: see `Mailboxes`.
    """
    queue = demo._queue
    queue.sleep_when_free = IDLE_SLEEP_S
    queue.pending_messages_per_session = Mailboxes(queue.pending_event_ids_session)  # type: ignore[assignment]


def _wrong_version(reason: str) -> str:
    first, beyond = (".".join(map(str, version)) for version in TESTED_VERSIONS)
    return (
        f"Img2Loc can't run with Gradio {gr.__version__}: {reason}. "
        f"Install Gradio {first} or later, below {beyond}, as requirements.txt says."
    )

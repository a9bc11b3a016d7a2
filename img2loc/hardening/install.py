"""Every lasting replacement of a private part of a library: what, why, and what would make it unnecessary.

What a public parameter or a middleware can do is done that way, in web/page.py.
"""

from __future__ import annotations

import traceback
from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio import mcp, processing_utils, queueing, route_utils, routes, utils
from gradio.block_function import BlockFunction
from gradio.component_meta import ComponentMeta
from gradio.state_holder import SessionState

from img2loc.errors import ConfigError
from img2loc.hardening import errors
from img2loc.hardening.bodies import TidyParser
from img2loc.hardening.fetching import PhotoTransport
from img2loc.hardening.patch import Patch, telemetry_patch
from img2loc.hardening.queue import Mailboxes
from img2loc.system.terminal import print_message

TESTED_VERSIONS: Final = ((6, 31), (7, 0))  # of Gradio: from the first, and before the second
IDLE_SLEEP_S: Final = 0.01


def patches(max_photo_bytes: int) -> tuple[Patch, ...]:
    """List what is replaced for all pages; max_photo_bytes bounds a photo that is fetched from another server."""
    log = "Gradio's log would repeat what visitors sent, keys included."
    log_until = "Gradio logs errors by a function that can be set."
    answer = "Gradio has no message for visitors where an error isn't a gr.Error."
    answer_until = "show_error=False gives a message."
    folder = "Gradio reads GRADIO_TEMP_DIR when it is imported, and would write elsewhere if that was before us."
    folder_until = "Gradio uses get_upload_folder() everywhere."
    return (
        Patch(
            processing_utils,
            "async_transport",
            PhotoTransport(max_photo_bytes),
            "Gradio bounds neither the size nor the time of a file that it fetches for a client, and takes some "
            "private networks of clouds for public.",
            "Gradio lets an app set the transport, the size and the time.",
        ),
        Patch(
            route_utils,
            "GradioMultiPartParser",
            TidyParser,
            "Gradio keeps forever what is left of uploads that are interrupted or too large, and takes fields of any "
            "size into memory. A middleware would have to parse the upload a second time.",
            "Gradio deletes them, and bounds fields as Starlette does.",
        ),
        Patch(queueing, "traceback", errors, log, log_until),
        Patch(routes, "traceback", errors, log, log_until),
        Patch(queueing, "error_payload", errors.error_payload, answer, answer_until),
        Patch(utils, "error_payload", errors.error_payload, answer, answer_until),
        Patch(mcp, "DEFAULT_TEMP_DIR", utils.get_upload_folder(), folder, folder_until),
        Patch(routes, "DEFAULT_TEMP_DIR", utils.get_upload_folder(), folder, folder_until),
        telemetry_patch(),
    )


def queue_patches(queue: queueing.Queue) -> tuple[Patch, ...]:
    """List what is replaced in the queue of a page."""
    return (
        Patch(
            queue,
            "sleep_when_free",
            IDLE_SLEEP_S,
            "An idle page takes 7 % of a core, since Gradio looks for work every thousandth of a second.",
            "Gradio waits for work, or queue() has a parameter for it.",
        ),
        Patch(
            queue,
            "pending_messages_per_session",
            Mailboxes(queue.pending_event_ids_session),
            "Gradio forgets the messages for the session that came first, though its visitor may be waiting for them.",
            "Gradio forgets the session that was used least recently.",
        ),
    )


def install(*, max_photo_bytes: int) -> None:
    """Replace what has to be replaced before a page is built.

    Args:
        max_photo_bytes: The largest photo that is fetched from another server.

    Raises:
        ConfigError: This version of Gradio is untested, or a part to be replaced is missing.
    """
    first, beyond = TESTED_VERSIONS
    if not first <= tuple(map(int, gr.__version__.split(".")[:2])) < beyond:
        lowest, too_high = (".".join(map(str, version)) for version in TESTED_VERSIONS)
        raise ConfigError(
            f"Img2Loc can't run with Gradio {gr.__version__}, with which it wasn't tested. "
            f"Install Gradio {lowest} or later, below {too_high}, as requirements.txt says."
        )
    for patch in patches(max_photo_bytes):
        patch.apply()


def install_in_queue(demo: gr.Blocks) -> None:
    """Replace what has to be replaced in the queue of a page; after `demo.queue()`, which makes it."""
    for patch in queue_patches(demo._queue):
        patch.apply()


class WithoutStub(ComponentMeta):
    """Makes subclasses of Gradio's components; Gradio's own metaclass writes a .pyi file beside their source.

    The rest of that metaclass is left out, too: a subclass without __init__ and EVENTS of its own doesn't need it.
    Unnecessary once a subclass can be made without that.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        """Make a class."""
        return ABCMeta.__new__(cls, name, bases, attrs)


class CheckedBlocks(gr.Blocks):
    """Blocks that answer unusable values with our own message; Gradio's messages would repeat the values.

    Unnecessary once Gradio lets an app check the values of every call, of the API or the page, before it reads them.

    Args:
        check: Called with an event's name in the API and the values of a call; raises ConfigError.
        unreadable: Writes the message for values that were checked and still can't be read, by the event's name.
        options: Gradio's own.
    """

    def __init__(
        self,
        check: Callable[[str, list[Any]], None],
        unreadable: Callable[[str], str],
        **options: Any,  # noqa: ANN401 - gr.Blocks's
    ) -> None:
        super().__init__(**options)
        self._check_values, self._unreadable = check, unreadable

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        """Read the values of a call; every kind of call passes through here.

        Raises:
            gr.Error: They can't be read.
        """
        name = str(block_fn.api_name)
        try:
            self._check_values(name, inputs)
            read: list[Any] = await super().preprocess_data(block_fn, inputs, state, explicit_call)
            return read
        except ConfigError as error:
            message = str(error)
        except gr.Error as error:
            if not error.print_exception:  # ours, from fetching a photo
                raise
            message = errors.known_message(error) or self._unreadable(name)
        except Exception as error:  # whatever the libraries that read it raise
            cause = error.__cause__ or error
            frame = traceback.extract_tb(cause.__traceback__)[-1]
            where = f"{type(cause).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
            print_message(f"app.py: a request to {block_fn.name} can't be read ({where}).")
            unknown = errors.GENERIC_MESSAGE if isinstance(error, OSError) else self._unreadable(name)
            message = errors.known_message(error) or unknown
        raise gr.Error(message, print_exception=False)

"""Prepares this process, loads the local model if there is one, and serves the page."""

from __future__ import annotations

import os
from dataclasses import replace

from img2loc.errors import LMMError
from img2loc.hardening.gradio_settings import Address, prepare_gradio
from img2loc.hardening.memory import forbid_core_dumps, share_heaps
from img2loc.hardening.patch import import_gradio, telemetry_patch
from img2loc.lmm import BACKENDS
from img2loc.policy.settings import Settings
from img2loc.system.terminal import print_message
from img2loc.web.gallery_loader import Host


def serve(settings: Settings, address: Address) -> None:
    """Build the page and serve it.

    Raises:
        Img2LocError: It can't be served.
        OSError: Likewise.
        Ended: A signal has come.
    """
    if unsupported := prepare_gradio(address):
        print_message(f"app.py: ignoring {', '.join(unsupported)}, which Img2Loc doesn't support.")
    import_gradio()
    # Imported late, since Gradio reads the environment when it is imported.
    from img2loc.hardening.upload_folder import delete_old_uploads_periodically, use_private_upload_folder  # noqa: PLC0415
    from img2loc.web.page import build, launch  # noqa: PLC0415

    share_heaps()
    forbid_core_dumps()
    telemetry_patch().apply()
    with use_private_upload_folder() as uploads:
        settings, problem = load_model(settings)
        host = Host(settings, problem=problem)
        page = build(host, settings)
        with delete_old_uploads_periodically(uploads, settings.keep_minutes * 60):
            launch(page, host, address, settings.offered)


def load_model(settings: Settings) -> tuple[Settings, str]:
    """Load the local model, if there is one, so that the first visitor needn't wait for it.

    If it can't be loaded, the page starts all the same and says so; requests for the model are answered by the vote.

    Returns:
        The settings, with the backend's default model if it is the first choice and no model is set; and why the model
        can't be loaded, empty if it can.
    """
    problem = ""
    backend = BACKENDS["llava"]
    if settings.backend == backend.name and not settings.llava_model:
        settings = replace(settings, llava_model=backend.models[0])
    # ZeroGPU accepts models before the launch and from this thread only, and ends a Space in which no function asks for
    # its GPU. Elsewhere the import would cost seconds for nothing.
    if settings.llava_model or os.environ.get("SPACES_ZERO_GPU"):
        from img2loc.lmm.llava import LocalLMM  # noqa: PLC0415

        try:
            if settings.llava_model:
                LocalLMM(settings.options(backend.name), default_model="").load()
        except LMMError as error:
            # Without the error, which may name folders of this machine.
            problem = "The model of this site can't be loaded; the neighbours' vote answers instead."
            print_message(f"app.py: {error} The neighbours' vote answers instead.")
    return settings, problem

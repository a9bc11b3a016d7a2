"""The private parts of Gradio and of the Hub's client that are replaced or read: they are still there."""

from __future__ import annotations

import importlib

import gradio as gr
import pytest
from gradio import mcp, routes
from gradio.context import LocalContext
from gradio.queueing import Queue
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from img2loc.errors import ConfigError
from img2loc.hardening.install import install, patches
from img2loc.photo.decode import MAX_BYTES
from tests.conftest import in_own_loop


@pytest.mark.parametrize("patch", patches(MAX_BYTES), ids=lambda patch: f"{patch.module}.{patch.name}")
def test_what_is_replaced_is_there_and_has_its_reason(patch):
    assert hasattr(importlib.import_module(patch.module), patch.name)
    assert patch.reason and patch.until


def test_what_is_read_is_there():
    async def made() -> Queue:  # in a loop, or Gradio makes one that nobody closes
        return Queue(1, 1, 1, 1, gr.Blocks(analytics_enabled=False))

    queue = in_own_loop(made())
    for name in ("active_jobs", "sleep_when_free", "pending_messages_per_session", "pending_event_ids_session"):
        assert hasattr(queue, name), name
    assert hasattr(LocalContext, "blocks") and hasattr(LocalContext, "event_id")
    assert hasattr(mcp, "DEFAULT_TEMP_DIR") and hasattr(routes, "DEFAULT_TEMP_DIR")
    assert hasattr(constants, "HF_HUB_DISABLE_TELEMETRY")
    assert hasattr(_detect_agent, "_registry") and hasattr(_detect_agent, "_EMPTY_REGISTRY")


@pytest.mark.parametrize("version", ["6.30.0", "7.0.0"])
def test_another_version_of_gradio_is_refused(version, monkeypatch):
    monkeypatch.setattr(gr, "__version__", version)
    with pytest.raises(
        ConfigError, match=rf"Gradio {version}: it was not tried\. Install Gradio 6\.31 or later, below 7\.0"
    ):
        install(max_photo_bytes=MAX_BYTES)


def test_a_part_that_has_moved_is_named(monkeypatch):
    monkeypatch.delattr("gradio.route_utils.GradioMultiPartParser")
    with pytest.raises(ConfigError, match=r"it has no gradio\.route_utils\.GradioMultiPartParser"):
        install(max_photo_bytes=MAX_BYTES)

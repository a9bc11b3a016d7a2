"""The private parts of Gradio and of the Hub's client that are replaced or read: they are still there."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import Mock

import gradio as gr
import pytest
from gradio import component_meta, processing_utils, queueing, route_utils, utils
from gradio.context import LocalContext

from img2loc.errors import ConfigError
from img2loc.hardening.install import install, patches, queue_patches
from img2loc.photo.decode import MAX_BYTES
from tests.conftest import in_own_loop
from tests.paths import ROOT


async def make_queue() -> queueing.Queue:  # in a loop, or Gradio makes one that nobody closes
    return queueing.Queue(1, 1, 1, 1, gr.Blocks(analytics_enabled=False))


PATCHES = (*patches(MAX_BYTES), *queue_patches(in_own_loop(make_queue())))


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_what_is_replaced_is_there_and_has_its_reason(patch):
    assert hasattr(patch.owner, patch.name)
    assert patch.reason and patch.until


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (LocalContext, ["blocks", "event_id"]),
        (in_own_loop(make_queue()), ["active_jobs", "pending_event_ids_session"]),
        (queueing.Event("session", Mock(), Mock(), None), ["alive", "_id"]),
        (route_utils, ["FnIndexInferError", "get_fn"]),
        (route_utils.GradioMultiPartParser, ["on_part_data", "parse"]),
        (route_utils.GradioMultiPartParser({}, None, max_file_size=1), ["_current_part", "_files_to_close_on_error"]),
        (processing_utils, ["PUBLIC_HOSTNAME_WHITELIST", "save_url_to_cache", "save_base64_to_cache"]),
        (gr.Blocks, ["preprocess_data"]),
        (component_meta, ["ComponentMeta", "create_or_modify_pyi"]),
        (utils, ["get_upload_folder", "is_in_or_equal"]),
    ],
)
def test_what_is_read_is_there(owner: object, names: list[str]):
    assert [name for name in names if not hasattr(owner, name)] == []


@pytest.mark.parametrize("version", ["6.30.0", "7.0.0"])
def test_another_version_of_gradio_is_refused(version, monkeypatch):
    monkeypatch.setattr(gr, "__version__", version)
    with pytest.raises(ConfigError, match=rf"Gradio {version}, .* Install Gradio 6\.31 or later, below 7\.0"):
        install(max_photo_bytes=MAX_BYTES)


def test_a_part_that_has_moved_is_named(monkeypatch):
    monkeypatch.delattr("gradio.route_utils.GradioMultiPartParser")
    with pytest.raises(ConfigError, match=r"there is no gradio\.route_utils\.GradioMultiPartParser"):
        install(max_photo_bytes=MAX_BYTES)


def test_gradio_is_imported_without_rewriting_the_stub_files_of_its_components():
    program = """
import sys
stubs = []
sys.addaudithook(lambda event, values: event == "open" and str(values[0]).endswith(".pyi") and stubs.append(values))
from img2loc.hardening.patch import import_gradio
import_gradio()
import gradio, inspect
inspect.getfile(gradio.Textbox)
print(stubs)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n" and done.stderr == ""

"""app.py as a process: what it serves when all is well, when the gallery is not, and how it refuses to start."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio import mcp, processing_utils, route_utils
from gradio_client import Client, handle_file

from img2loc.answer.prompt import DEFAULT_TEMPLATE
from img2loc.errors import ConfigError, EncoderError, Img2LocError
from img2loc.hardening import queue
from img2loc.hardening.gradio_settings import Address
from img2loc.lmm import BACKENDS, llava, open_lmm
from img2loc.policy.settings import Settings
from img2loc.system.signals import exit_status
from img2loc.web import page, serve
from img2loc.web.gallery_loader import Host
from img2loc.web.request import LocateRequest
from tests.fakes.app_process import ROOT, AppProcess
from tests.fakes.openai_server import KEY, OpenAIServer
from tests.fakes.tiny_llava import save_tiny_llava
from tests.lmm.test_conformance import JPEG, TURNS


def test_a_missing_gallery_and_a_missing_model_leave_a_page_that_says_so(tmp_path: Path):
    gone = {"IMG2LOC_GALLERY": str(tmp_path / "<gone>"), "IMG2LOC_LLAVA_MODEL": str(tmp_path)}
    with AppProcess(**gone, OPENAI_API_KEY=KEY) as app:
        found = Client(app.address, verbose=False).predict(
            handle_file(gr.get_image("tower.jpg")), backend="llava", api_name="/locate"
        )
        config = httpx.get(f"{app.address}config")
        head = next(c["props"]["value"] for c in config.json()["components"] if c["props"].get("elem_id") == "banner")
        output = app.stop()
    assert "The model of this site can&#39;t be loaded; the neighbours&#39; vote answers instead." in head
    assert "Gallery: starter" in head and "&lt;gone&gt;. The starter gallery answers" in head
    assert str(tmp_path) not in head
    assert "The starter gallery answers instead." in output and "Traceback" not in output
    assert found["method"] == "vote" and found["outcome"]["kind"] == "provider_error"
    for said in (found["outcome"]["message"], output):
        assert f"The model '{tmp_path}' can't be loaded: " in said
    # The operator's key is nobody's to see; the default prompt is.
    assert KEY not in config.text and KEY not in output
    assert DEFAULT_TEMPLATE.splitlines()[0] in config.text
    public = {event["api_name"] for event in config.json()["dependencies"] if event["api_visibility"] != "private"}
    assert public == {"locate", "locate_batch", "neighbours", "backends", "info"}


def test_behind_a_proxy_a_server_that_is_told_to_end_does_so_soon_and_answers_those_who_wait(tmp_path: Path):
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")  # none is there
    with OpenAIServer() as provider, ThreadPoolExecutor() as pool:
        provider.enqueue("hang")
        settings = {"IMG2LOC_OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": KEY, "TMPDIR": str(tmp_path)}
        with AppProcess(**proxies, **settings) as app:
            client = Client(app.address, verbose=False)
            tower = handle_file(gr.get_image("tower.jpg"))
            asking = pool.submit(client.predict, tower, backend="openai", api_name="/locate")
            end = time.monotonic() + 60
            while not provider.requests and time.monotonic() < end:
                time.sleep(0.1)
            start = time.monotonic()
            output = app.stop()
            took_s = time.monotonic() - start
            found = asking.result()
    assert found["method"] == "vote" and "request was" in found["outcome"]["message"]
    assert took_s < 5 and "Traceback" not in output  # 2 s where the processors have nothing else to do
    assert not list(tmp_path.glob("img2loc-*"))


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"IMG2LOC_GALERY": "starter"}, 2, "did you mean IMG2LOC_GALLERY?"),
        ({"GRADIO_SERVER_PORT": "http"}, 2, "GRADIO_SERVER_PORT is 'http'; it must be a whole number from 1 to 65535"),
        ({"SSL_CERT_FILE": "/gone"}, 2, "SSL_CERT_FILE names a file that doesn't exist: /gone"),
        ({"OPENAI_API_KEY": "sk-one\nsk-two"}, 2, "OPENAI_API_KEY contains spaces or characters"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(settings: dict[str, str], status: int, words: str):
    app = AppProcess(**settings)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=app.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status and words in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


@pytest.mark.parametrize(("failure", "status"), [(EncoderError("no encoder"), 1), (ConfigError("no setting"), 2)])
def test_where_nobody_can_answer_the_page_ends_with_one_sentence(
    failure: Img2LocError,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    done = []

    class Page:
        local_url, server = "", SimpleNamespace(config=SimpleNamespace())
        _queue = SimpleNamespace(active_jobs=[])

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda **_: done.append(name)

    def fail(host: Host) -> None:
        done.append("open")
        raise failure

    monkeypatch.setattr(Host, "open", fail)
    monkeypatch.setattr(page, "FIRST_PAGE_S", 0)
    monkeypatch.setattr(page, "build", lambda host, settings: Page())
    monkeypatch.setattr(queue, "_ending", threading.Event())
    monkeypatch.setattr(mcp, "DEFAULT_TEMP_DIR", "")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in ("NO_PROXY", "no_proxy", "GRADIO_SERVER_PORT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for module, name in ((processing_utils, "async_transport"), (route_utils, "GradioMultiPartParser")):
        monkeypatch.setattr(module, name, getattr(module, name))  # the launch puts its own there
    assert exit_status(lambda: serve.serve(Settings(), Address("127.0.0.1", 1))) == status
    assert done == ["launch", "open", "close"]
    assert capsys.readouterr().err == f"app.py: {failure}\n"
    assert not list(tmp_path.iterdir())  # the upload folder is gone


def test_the_model_of_this_machine_is_loaded_before_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_second_load(*_: object, **__: object) -> None:
        raise AssertionError("loaded again")

    settings = Settings(llava_model=save_tiny_llava(tmp_path), timeout_s=30)
    assert serve.load_model(settings) == (settings, "")
    monkeypatch.setattr(llava.transformers.AutoProcessor, "from_pretrained", no_second_load)
    monkeypatch.setattr(llava, "MAX_NEW_TOKENS", 2)
    options = LocateRequest(None, backend="llava").options(settings)  # a visitor's
    assert open_lmm("llava", options).reply(TURNS, JPEG).output_tokens == 2


def test_a_first_choice_of_a_local_model_has_the_default_one(monkeypatch: pytest.MonkeyPatch):
    loaded = []
    monkeypatch.setattr(llava.LocalLMM, "load", lambda self: loaded.append(self.model))
    settings, _ = serve.load_model(Settings(backend="llava"))
    assert [settings.llava_model] == loaded == [BACKENDS["llava"].models[0]]
    assert serve.load_model(Settings()) == (Settings(), "") and len(loaded) == 1


def test_on_zero_gpu_a_function_that_asks_for_the_gpu_is_there_even_without_a_model():
    script = """
import sys, types, app
from img2loc.web.serve import load_model
assert "gradio" not in sys.modules  # a wrong setting is told sooner
from importlib.machinery import ModuleSpec
from img2loc.web.request import LocateRequest
from img2loc.policy.settings import Settings
spaces = sys.modules["spaces"] = types.ModuleType("spaces")
spaces.__spec__, spaces.GPU = ModuleSpec("spaces", None), lambda function: print(function.__name__) or function
assert "torch" not in sys.modules
load_model(Settings())
"""
    on_zero_gpu = {**AppProcess().environment, "SPACES_ZERO_GPU": "true"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=on_zero_gpu, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("_generate\n", "")

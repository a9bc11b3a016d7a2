"""Models on this machine: a tiny random LLaVA made here goes through the very code that runs the real ones."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import types

import gradio as gr
import pytest
import torch

from img2loc.answer.ask import ask
from img2loc.errors import LMMCancelledError, LMMError, LMMTimeoutError
from img2loc.lmm import BackendOptions, Turn, llava, open_lmm
from img2loc.lmm.placement import Placement, placement
from img2loc.types import LatLon, OutcomeKind
from tests.fakes.openai_server import GOOD, TEXTS
from tests.fakes.tiny_llava import save_tiny_llava
from tests.lmm.test_conformance import JPEG, TURNS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("tiny_llava"))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(llava, "MAX_NEW_TOKENS", 12)


def lmm(tiny, **changes):
    return open_lmm("llava", BackendOptions(**{"model": tiny, "timeout_s": 30.0, **changes}))


def says(monkeypatch, *texts):
    """Let the model say something else than noise."""
    queue = list(texts)
    monkeypatch.setattr(llava, "_generate", lambda *_: (queue.pop(0), 600, 8))


def test_a_photo_and_a_prompt_give_a_bounded_reply(tiny):
    reply = lmm(tiny).reply(TURNS, JPEG)
    assert reply.model == tiny and not reply.refused
    assert len(TURNS[0].text) < reply.input_tokens < 60  # four patches of the photo and the template's words besides
    assert 0 < reply.output_tokens <= 12 and reply.truncated is (reply.output_tokens == 12)
    assert "<image>" not in reply.text and "ASSISTANT" not in reply.text


def test_a_conversation_is_read_whole(tiny):
    turns = (*TURNS, Turn("assistant", "No idea."), Turn("user", "Guess."))
    first, second = lmm(tiny).reply(TURNS, JPEG), lmm(tiny).reply(turns, JPEG)
    assert second.input_tokens > first.input_tokens + len("No idea.") + len("Guess.")


def test_the_same_question_has_the_same_answer_unless_a_temperature_is_given(tiny):
    assert lmm(tiny).reply(TURNS, JPEG).text == lmm(tiny, temperature=0.0).reply(TURNS, JPEG).text
    torch.manual_seed(0)
    assert len({lmm(tiny, temperature=2.0).reply(TURNS, JPEG).text for _ in range(4)}) > 1


def test_requests_share_one_load_and_take_turns(tiny, monkeypatch):
    loads = []
    processor = llava.transformers.AutoProcessor.from_pretrained
    monkeypatch.setattr(
        llava.transformers.AutoProcessor, "from_pretrained", lambda *a, **k: loads.append(a) or processor(*a, **k)
    )
    monkeypatch.setattr(llava, "_loaded", None)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(lmm(tiny).reply(TURNS, JPEG).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1 and len(replies) == 4 and len(set(replies)) == 1


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([TEXTS["good"]], OutcomeKind.ANSWERED),
        ([TEXTS["fenced"]], OutcomeKind.ANSWERED),
        ([TEXTS["megabyte"]], OutcomeKind.ANSWERED),
        ([TEXTS["malformed"], TEXTS["good"]], OutcomeKind.REPAIRED),
        (["", TEXTS["good"]], OutcomeKind.REPAIRED),
        ([TEXTS["length"], TEXTS["length"]], OutcomeKind.UNPARSEABLE),
        (["I'm sorry, I can't assist with that request."], OutcomeKind.REFUSED),
    ],
)
def test_each_way_a_model_answers_has_its_outcome(tiny, monkeypatch, texts, kind):
    says(monkeypatch, *texts)
    outcome = ask(lmm(tiny), "Where is this?", JPEG)
    assert outcome.kind is kind and len(outcome.replies) == len(texts)
    if kind in (OutcomeKind.ANSWERED, OutcomeKind.REPAIRED):
        assert outcome.position == LatLon(GOOD["latitude"], GOOD["longitude"])


def test_a_generation_is_stopped_in_time(tiny, monkeypatch):
    monkeypatch.setattr(llava, "MAX_NEW_TOKENS", 3000)
    lmm(tiny).load()
    start = time.perf_counter()
    with pytest.raises(LMMTimeoutError, match=r"within 0\.3 s"):
        lmm(tiny, timeout_s=0.3).reply(TURNS, JPEG)
    assert time.perf_counter() - start < 2


def test_who_leaves_stops_the_generation(tiny, monkeypatch):
    monkeypatch.setattr(llava, "MAX_NEW_TOKENS", 3000)
    cancel = threading.Event()
    lmm(tiny).load()
    threading.Timer(0.2, cancel.set).start()
    start = time.perf_counter()
    with pytest.raises(LMMCancelledError):
        lmm(tiny, cancel=cancel).reply(TURNS, JPEG)
    assert time.perf_counter() - start < 2


def test_who_waits_for_a_turn_waits_no_longer_than_the_time_out(tiny):
    with llava._turn, pytest.raises(LMMTimeoutError):
        lmm(tiny, timeout_s=0.2).reply(TURNS, JPEG)
    assert lmm(tiny).reply(TURNS, JPEG).output_tokens


def test_a_model_that_is_not_there_gets_one_sentence_and_the_next_request_works(tiny, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LMMError, match="can't be loaded") as caught:
        lmm(str(tmp_path)).load()
    assert caught.value.__cause__ is None and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert lmm(tiny).reply(TURNS, JPEG).output_tokens


def test_a_model_that_cannot_be_loaded_is_not_tried_again(tiny, tmp_path, monkeypatch):
    tries = []
    monkeypatch.setattr(llava.transformers.AutoProcessor, "from_pretrained", lambda *a, **k: tries.append(a) or 1 / 0)
    said = []
    for _ in range(2):
        with pytest.raises(LMMError, match=r"can't be loaded: division by zero\. Check") as caught:
            lmm(str(tmp_path)).reply(TURNS, JPEG)
        said.append(str(caught.value))
    assert len(tries) == 1 and said[0] == said[1]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), gr.Error("No GPU left"), ValueError()]
)
def test_a_generation_that_fails_gets_one_sentence_and_frees_the_turn(tiny, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(llava, "_generate", fail)
    outcome = ask(lmm(tiny), "Where is this?", JPEG)
    assert outcome.kind is OutcomeKind.PROVIDER_ERROR and "\n" not in outcome.message
    assert "gave no reply on this machine: " in outcome.message and "Try again" in outcome.message
    monkeypatch.undo()
    assert lmm(tiny).reply(TURNS, JPEG).output_tokens


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({}, Placement("cpu", torch.float32)),
        ({"cpu_bfloat16": True}, Placement("cpu", torch.bfloat16)),
        ({"mps": True}, Placement("mps", torch.float16)),
        ({"gpu_bytes": 80 * 10**9, "gpu_bfloat16": True}, Placement("cuda", torch.bfloat16)),
        (
            {"gpu_bytes": 80 * 10**9, "gpu_bfloat16": True, "packages": {"accelerate", "bitsandbytes"}},
            Placement("cuda", torch.bfloat16, spread=True),
        ),
        (
            {"gpu_bytes": 16 * 10**9, "packages": {"accelerate", "bitsandbytes"}},
            Placement("cuda", torch.float16, spread=True, four_bits=True),
        ),
        ({"gpu_bytes": 16 * 10**9, "packages": {"bitsandbytes"}}, Placement("cuda", torch.float16)),
        ({"mps": True, "packages": {"accelerate", "bitsandbytes"}}, Placement("mps", torch.float16)),
    ],
)
def test_the_placement_follows_what_is_there(there, chosen):
    nothing = {"gpu_bytes": 0, "gpu_bfloat16": False, "mps": False, "cpu_bfloat16": False, "packages": set()}
    assert placement(**{**nothing, **there}) == chosen


def test_on_zero_gpu_and_only_there_its_decorator_is_used(monkeypatch):
    decorated = []
    spaces = types.ModuleType("spaces")
    spaces.__spec__ = importlib.machinery.ModuleSpec("spaces", None)
    spaces.GPU = lambda function: decorated.append(function.__name__) or function
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    plain = llava._on_gpu(llava._generate)
    assert plain is llava._generate and decorated == []
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    llava._on_gpu(llava._generate)
    assert decorated == ["_generate"]

"""Open models on this machine through transformers: LLaVA-1.5, NeXT and OneVision, Qwen-VL, and whatever it loads.

One model is loaded at a time and shared by all requests, which take turns: a second copy would not fit, and two
generations at once on one device would each take twice as long.
"""

from __future__ import annotations

import io
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import torch
import transformers
from PIL import Image
from transformers import StoppingCriteria, StoppingCriteriaList

from img2loc.errors import LMMCancelledError, LMMError, LMMTimeoutError
from img2loc.lmm.base import BackendOptions, Turn
from img2loc.lmm.placement import on_zero_gpu, placement_here
from img2loc.types import Reply

MAX_NEW_TOKENS: Final = 400  # an answer takes 150; a model that rambles is cut
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class _Loaded:
    name: str
    processor: Any
    model: Any


_loaded: _Loaded | None = None
_failed: dict[str, str] = {}  # why, by name: another try would keep everyone waiting for the same end
_turn = threading.Lock()  # held while a model is loaded or generates


class LocalLMM:
    """A model that transformers runs on this machine.

    Args:
        options: Model (a Hub repository or a folder), time-out and temperature. Nothing is loaded yet.
        default_model: The model where the options name none.
    """

    name = "llava"

    def __init__(self, options: BackendOptions, *, default_model: str) -> None:
        self.model = options.model.strip() or default_model
        self._timeout_s = options.timeout_s
        self._temperature = options.temperature
        self._cancel = options.cancel

    def __repr__(self) -> str:
        return f"LocalLMM(model={self.model!r})"

    def load(self) -> None:
        """Load the model now, so that the first request need not wait for it.

        Raises:
            LMMError: It can't be had or loaded.
        """
        with _turn:
            _load(self.model)

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo.

        Args:
            turns: The conversation, the user's turn first and last.
            jpeg: The photo, put before the first turn's text.

        Returns:
            The model's reply.

        Raises:
            LMMError: The model can't be loaded, failed, or did not finish in time. The time-out covers the wait for
                one's turn and the generation; not loading, which happens once and takes minutes.
        """
        failure = ""
        deadline = time.monotonic() + self._timeout_s
        while not _turn.acquire(timeout=_LOOK_EVERY_S):
            self._check(deadline)
        try:
            self._check(deadline)
            begun = time.monotonic()
            _load(self.model)
            start = time.monotonic()
            deadline += start - begun
            text, read, written = _generate(
                self.model,
                tuple((turn.role, turn.text) for turn in turns),
                jpeg,
                self._temperature,
                deadline,
                None if on_zero_gpu() else self._cancel.is_set,
            )
            self._check(deadline)
        except LMMError:
            raise
        except Exception as error:  # out of memory, no chat template, ZeroGPU's quota: each package has its own
            failure = _words(error)
        finally:
            _turn.release()
        if failure:
            raise LMMError(
                f"{self.model} gave no reply on this machine: {failure} Try again, or choose another backend."
            )
        return Reply(
            text=text,
            model=self.model,
            latency_s=time.monotonic() - start,
            input_tokens=read,
            output_tokens=written,
            truncated=written >= MAX_NEW_TOKENS,
        )

    def _check(self, deadline: float) -> None:
        if self._cancel.is_set():
            raise LMMCancelledError("The request was cancelled.")
        if time.monotonic() >= deadline:
            raise LMMTimeoutError(
                f"{self.model} did not finish within {self._timeout_s:g} s on this machine. "
                "Try again, or allow more time."
            )


def _load(name: str) -> _Loaded:
    """Load a model in place of the one before it. The caller holds the lock."""
    global _loaded
    if _loaded is not None and _loaded.name == name:
        return _loaded
    if name in _failed:
        raise _unloadable(name)
    _loaded = None  # free the one before it first: both would not fit
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    place = placement_here()
    settings: dict[str, Any] = {"dtype": place.dtype}
    if place.spread:
        settings["device_map"] = "auto"
    if place.four_bits:
        settings["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_compute_dtype=place.dtype
        )
    try:
        # A repository's own code is never run.
        processor = transformers.AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model: Any = transformers.AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=False, **settings)
        if not place.spread:
            model = model.to(place.device)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, RuntimeError and more
        _failed[name] = _words(error)
    if name in _failed:  # outside the handler: the package's own error doesn't travel along
        raise _unloadable(name)
    _loaded = _Loaded(name, processor, model.eval())
    return _loaded


def _unloadable(name: str) -> LMMError:
    return LMMError(
        f"The model {name!r} can't be loaded: {_failed[name]} Check its name, the network and this machine's memory, "
        "then restart."
    )


def _words(error: Exception) -> str:
    """A package's own message for its failure, on one line, as a sentence."""
    said = textwrap.shorten(str(getattr(error, "message", error)), 200, placeholder=" …") or type(error).__name__
    return said if said.endswith((".", "!", "?", "…")) else f"{said}."


class _Until(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Stops a generation at a deadline, or when nobody waits for it."""

    def __init__(self, deadline: float, cancelled: Callable[[], bool] | None) -> None:
        self._deadline = deadline
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        over = time.monotonic() >= self._deadline or (self._cancelled is not None and self._cancelled())
        return torch.full((input_ids.shape[0],), over, dtype=torch.bool, device=input_ids.device)


def _on_gpu(function: Callable[..., tuple[str, int, int]]) -> Callable[..., tuple[str, int, int]]:
    """Ask ZeroGPU for its GPU around a function; elsewhere the function itself."""
    if not on_zero_gpu():
        return function
    decorated: Callable[..., tuple[str, int, int]] = import_module("spaces").GPU(function)
    return decorated


@_on_gpu
def _generate(
    name: str,
    turns: tuple[tuple[str, str], ...],
    jpeg: bytes,
    temperature: float | None,
    deadline: float,
    cancelled: Callable[[], bool] | None,
) -> tuple[str, int, int]:
    """Let the loaded model reply. Takes and returns what can be sent to another process, for ZeroGPU.

    Returns:
        The text, and how many tokens were read and written.
    """
    loaded = _load(name)
    processor, model = loaded.processor, loaded.model
    with Image.open(io.BytesIO(jpeg)) as photo:
        image = {"type": "image", "image": photo.convert("RGB")}
    messages = [
        {"role": role, "content": [*([image] if number == 0 else []), {"type": "text", "text": text}]}
        for number, (role, text) in enumerate(turns)
    ]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    ).to(model.device, model.dtype)
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    with torch.inference_mode():
        tokens = model.generate(
            **inputs,
            max_new_tokens=MAX_NEW_TOKENS,
            stopping_criteria=StoppingCriteriaList([_Until(deadline, cancelled)]),
            **sampling,
        )
    read = inputs["input_ids"].shape[1]
    written = tokens[0, read:]
    return str(processor.decode(written, skip_special_tokens=True)).strip(), int(read), int(written.shape[0])

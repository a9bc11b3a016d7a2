"""Open models on this machine through transformers: LLaVA-1.5, NeXT and OneVision, Qwen-VL, and others it can load.

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

MAX_NEW_TOKENS: Final = 400  # an answer takes 150; a model that rambles is cut off
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class _Loaded:
    name: str
    processor: Any
    model: Any


_loaded: _Loaded | None = None
_failures: dict[str, str] = {}  # reasons by model: another try would make everyone wait for the same failure
_turn = threading.Lock()  # held while a model is loaded or generates


class LocalLMM:
    """A model that transformers runs on this machine: a Hub repository or a folder. Making one loads nothing yet."""

    name = "llava"

    def __init__(self, options: BackendOptions, *, default_model: str) -> None:
        self.model = options.model.strip() or default_model
        self._options = options

    def __repr__(self) -> str:
        return f"LocalLMM(model={self.model!r})"

    def load(self) -> None:
        """Load the model now, so that the first request need not wait for it.

        Raises:
            LMMError: It can't be downloaded or loaded.
        """
        with _turn:
            _load(self.model)

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        """Continue a conversation about a photo; see LMM.

        Raises:
            LMMError: The model can't be loaded, failed, or didn't finish in time. The time-out covers the wait for
                other requests and the generation, but not loading, which happens once and takes minutes.
        """
        failure = ""
        deadline = time.monotonic() + self._options.timeout_s
        while not _turn.acquire(timeout=_POLL_S):
            self._check(deadline)
        try:
            self._check(deadline)
            load_start = time.monotonic()
            _load(self.model)
            start = time.monotonic()
            deadline += start - load_start
            text, input_tokens, output_tokens = _generate(
                self.model,
                tuple((turn.role, turn.text) for turn in turns),
                jpeg,
                self._options.temperature,
                deadline,
                None if on_zero_gpu() else self._options.cancel.is_set,
            )
            self._check(deadline)
        except LMMError:
            raise
        except Exception as error:  # out of memory, no chat template, ZeroGPU's quota: each package has its own
            failure = _reason(error)
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
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            truncated=output_tokens >= MAX_NEW_TOKENS,
        )

    def _check(self, deadline: float) -> None:
        if self._options.cancel.is_set():
            raise LMMCancelledError("The request was cancelled.")
        if time.monotonic() >= deadline:
            raise LMMTimeoutError(
                f"{self.model} did not finish within {self._options.timeout_s:g} s on this machine. "
                "Try again, or allow more time."
            )


def _load(name: str) -> _Loaded:
    """Load a model in place of the previous one. The caller holds the lock."""
    global _loaded
    if _loaded is not None and _loaded.name == name:
        return _loaded
    if name in _failures:
        raise _load_error(name)
    _loaded = None  # freed first, since both would not fit
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
        _failures[name] = _reason(error)
    if name in _failures:  # outside the handler, so that the package's own error isn't chained
        raise _load_error(name)
    _loaded = _Loaded(name, processor, model.eval())
    return _loaded


def _load_error(name: str) -> LMMError:
    return LMMError(
        f"The model {name!r} can't be loaded: {_failures[name]} Check its name, the network and this machine's memory, "
        "then restart."
    )


def _reason(error: Exception) -> str:
    """A package's message for its failure, on one line, as a sentence."""
    message = textwrap.shorten(str(getattr(error, "message", error)), 200, placeholder=" …") or type(error).__name__
    return message if message.endswith((".", "!", "?", "…")) else f"{message}."


class _StopAtDeadline(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Stops a generation at a deadline, or when it is cancelled."""

    def __init__(self, deadline: float, cancelled: Callable[[], bool] | None) -> None:
        self._deadline = deadline
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        stop = time.monotonic() >= self._deadline or (self._cancelled is not None and self._cancelled())
        return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)


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
    """Let the loaded model reply. All arguments and results can be sent to another process, for ZeroGPU.

    Returns:
        The text, and the numbers of input and output tokens.
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
            stopping_criteria=StoppingCriteriaList([_StopAtDeadline(deadline, cancelled)]),
            **sampling,
        )
    input_tokens = inputs["input_ids"].shape[1]
    output = tokens[0, input_tokens:]
    return str(processor.decode(output, skip_special_tokens=True)).strip(), int(input_tokens), int(output.shape[0])

"""Keeps libraries from reporting who uses them."""

from __future__ import annotations


def disable_telemetry() -> None:
    """Keep the Hub's client, which Gradio and transformers use too, from reporting to the Hub who uses it and what for.

    Environment variables would do the first, but are read before ours can be set; for the second there is none.
    """
    from huggingface_hub import constants  # noqa: PLC0415 - not needed for the starter
    from huggingface_hub.utils import _detect_agent  # noqa: PLC0415

    constants.HF_HUB_DISABLE_TELEMETRY = True
    _detect_agent._registry = _detect_agent._EMPTY_REGISTRY  # or it fetches a list of programs to look for

"""The backends: who answers where a photo was taken. A backend's code is imported when it is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from img2loc.errors import ConfigError, quoted
from img2loc.lmm.base import LMM, BackendOptions, Picture, Turn
from img2loc.lmm.servers import hugging_face_server, server_named

__all__ = [
    "BACKENDS",
    "LMM",
    "Backend",
    "BackendOptions",
    "Picture",
    "Turn",
    "backend_named",
    "list_models",
    "open_lmm",
]


@dataclass(frozen=True, slots=True)
class Backend:
    """A choice in the dropdown, and what it can do."""

    name: str  # in the API and on the command line
    label: str  # on the page
    needs_key: bool = False  # a visitor must bring a key; the photo then goes to a provider
    models: tuple[str, ...] = ()  # suggestions, the default first; any other name may be typed
    key_variable: str = ""  # the environment variable that holds the operator's key
    takes_base_url: bool = False  # it can ask another server that speaks the same protocol
    lists_models: bool = False  # its server can be asked which models it has
    runs_here: bool = False  # the model runs on this machine; only the operator then chooses which one


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("vote", "Vote of the neighbours (no key)"),
        Backend(
            "openai",
            "OpenAI, or a compatible server",
            needs_key=True,
            models=("gpt-5.5", "gpt-6.2-sol"),
            key_variable="OPENAI_API_KEY",
            takes_base_url=True,
            lists_models=True,
        ),
        Backend(
            "hf",
            "Hugging Face Inference Providers",
            needs_key=True,
            # Source: https://huggingface.co/models?inference_provider=scaleway and =ovhcloud, as of August 2026; who
            # runs a model changes from month to month.
            models=("google/gemma-4-26B-A4B-it", "Qwen/Qwen3.6-35B-A3B", "Qwen/Qwen3.8-27B"),
            key_variable="HF_TOKEN",
            takes_base_url=True,
        ),
        Backend(
            "llava",
            "LLaVA or another open model, on this machine",
            models=(
                "llava-hf/llava-1.5-7b-hf",  # the paper's
                "llava-hf/llava-v1.6-mistral-7b-hf",
                "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
                "Qwen/Qwen2.5-VL-3B-Instruct",
            ),
            runs_here=True,
        ),
    )
}


def backend_named(name: str) -> Backend:
    """Look a backend up by its exact name.

    Raises:
        ConfigError: There is none of that name; the message lists those there are.
    """
    try:
        return BACKENDS[name]
    except KeyError:
        raise ConfigError(f"There is no backend {quoted(name)}; choose one of: {', '.join(BACKENDS)}.") from None


def open_lmm(name: str, options: BackendOptions) -> LMM | None:
    """Open the model behind a backend.

    Args:
        name: The backend's exact name.
        options: Those that a backend has no use for are ignored.

    Returns:
        The model, or None for the vote, which has none.

    Raises:
        ConfigError: The name is unknown, or an option is wrong; MissingKeyError where a key is missing.
    """
    backend = backend_named(name)
    # Imported when chosen: openai takes half a second, torch seconds.
    if name in ("openai", "hf"):
        from img2loc.lmm.openai import ChatLMM  # noqa: PLC0415

        model = options.model.strip() or backend.models[0]
        server = hugging_face_server(options, model=model) if name == "hf" else server_named(options.base_url)
        return ChatLMM(server, options, name=name, default_model=backend.models[0])
    if name == "llava":
        from img2loc.lmm.llava import LocalLMM  # noqa: PLC0415

        return LocalLMM(options, default_model=backend.models[0])
    return None


def list_models(name: str, options: BackendOptions) -> tuple[str, ...]:
    """List the models that a backend can be asked for.

    Returns:
        What the server lists, in alphabetical order, where it can be asked; the suggestions otherwise.

    Raises:
        ConfigError: The name is unknown, or an option is wrong; MissingKeyError where a key is missing.
        LMMError: The server gave no list.
    """
    backend = backend_named(name)
    if not backend.lists_models:
        return backend.models
    from img2loc.lmm.openai import ChatLMM  # noqa: PLC0415

    server = server_named(options.base_url)
    return ChatLMM(server, options, name=name, default_model=backend.models[0]).models()

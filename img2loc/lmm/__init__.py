"""The backends: who turns evidence into a position. Exact names; nothing is imported until it is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from img2loc.errors import ConfigError
from img2loc.lmm.base import LMM, BackendOptions, Turn

__all__ = ["BACKENDS", "LMM", "Backend", "BackendOptions", "Turn", "backend_named", "open_lmm"]


@dataclass(frozen=True, slots=True)
class Backend:
    """A choice in the dropdown.

    Args:
        name: Its exact name, in the API and on the command line.
        label: Its name on the page.
        needs_key: Whether a visitor must bring a key.
        models: Suggested models, the default first; any other name may be typed.
    """

    name: str
    label: str
    needs_key: bool = False
    models: tuple[str, ...] = ()


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("vote", "Vote of the neighbours (no model, no key)"),
        Backend("openai", "OpenAI, or a compatible server", needs_key=True, models=("gpt-5.5", "gpt-6.2-sol")),
    )
}


def backend_named(name: str) -> Backend:
    """Look a backend up by its exact name.

    Raises:
        ConfigError: There is none of that name; the message lists those that are.
    """
    try:
        return BACKENDS[name]
    except KeyError:
        raise ConfigError(f"There is no backend {name!r}; choose one of: {', '.join(BACKENDS)}.") from None


def open_lmm(name: str, options: BackendOptions) -> LMM | None:
    """Open the model behind a backend.

    Args:
        name: The backend's exact name.
        options: Key, model, server and time-out.

    Returns:
        The model, or None for the vote, which has none.

    Raises:
        ConfigError: The name is unknown, or an option is wrong; MissingKeyError where a key is missing.
    """
    backend = backend_named(name)
    if backend.name == "vote":
        return None
    from img2loc.lmm.openai import OpenAILMM  # noqa: PLC0415 - imported when chosen: the package takes half a second

    return OpenAILMM(options, default_model=backend.models[0])

"""Hugging Face Inference Providers: open models run by many companies, behind one address and one token."""

from __future__ import annotations

import re
from typing import Final

from img2loc.errors import ConfigError, MissingKeyError
from img2loc.lmm.base import BackendOptions
from img2loc.lmm.servers import SERVERS, Server, host_of

# Source: https://huggingface.co/docs/inference-providers/tasks/chat-completion
ROUTER_URL: Final = "https://router.huggingface.co/v1"
_MODEL = re.compile(r"\w[\w.-]*/\w[\w.-]*(?::[\w-]+)?", re.ASCII)


def hugging_face_server(options: BackendOptions, *, model: str) -> Server:
    """Choose between Hugging Face's router and the operator's own dedicated endpoint.

    Args:
        options: The token, which is never looked for on this machine; a base_url is that of a dedicated endpoint.
        model: At the router owner/name, or owner/name:provider to choose who runs it.

    Raises:
        MissingKeyError: There is no token.
        ConfigError: The address, the token or the model's name can't be used, or a visitor gave the address.
    """
    url = options.base_url.strip()
    if options.public_only:
        raise ConfigError("base_url works only with the backend openai.")
    if url in SERVERS:
        raise ConfigError(f"The backend hf can't ask {SERVERS[url].label}; choose the backend openai.")
    host = host_of(url) if url else "Hugging Face"
    key = options.api_key.strip()
    if not key:
        raise MissingKeyError("Hugging Face", "HF_TOKEN")
    if not url:
        if not key.startswith("hf_"):
            raise ConfigError("That isn't a Hugging Face token: they begin with hf_. Copy it again.")
        if not _MODEL.fullmatch(model):
            raise ConfigError("That isn't a model's name at Hugging Face. Write owner/name, or owner/name:provider.")
        return Server("hf", host, ROUTER_URL, public=True, key_variable="HF_TOKEN", limit_name="max_tokens")
    url = url.rstrip("/").removesuffix("/chat/completions")  # as the endpoint's own page shows it
    return Server(url, host, url if url.endswith("/v1") else f"{url}/v1", limit_name="max_tokens")

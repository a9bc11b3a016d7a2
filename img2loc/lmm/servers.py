"""Servers that speak OpenAI's protocol, as data: their addresses, and how they differ from OpenAI's own."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from img2loc.errors import ConfigError, MissingKeyError, quoted
from img2loc.lmm.base import BackendOptions
from img2loc.lmm.prices import Pricing
from img2loc.lmm.request import LimitName

OPENAI_URL: Final = "https://api.openai.com/v1"
# Source: https://huggingface.co/docs/inference-providers/tasks/chat-completion
ROUTER_URL: Final = "https://router.huggingface.co/v1"
_HUGGING_FACE_MODEL: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*(?::[\w-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the openai client can ask."""

    name: str = field(repr=False)  # on the command line, the page and in the API; its address, if it has none
    label: str  # its name for people
    base_url: str = field(default="", repr=False)  # empty for OPENAI_URL; may contain a password
    # A provider on the internet at a fixed address, which visitors may choose. Any other address would let them send
    # requests from inside the operator's network, so the operator decides whether they may.
    public: bool = False
    key_variable: str = ""  # the environment variable that holds the operator's key for it
    models: tuple[str, ...] = ()  # suggested models that see pictures, the default first
    limit_name: LimitName = "max_completion_tokens"  # what it calls the limit on the reply's length

    @property
    def needs_key(self) -> bool:
        """Whether it refuses requests without a key, as providers do and local servers don't."""
        return self.public


SERVERS = {
    server.name: server
    for server in (
        Server("openai", "OpenAI", public=True, key_variable="OPENAI_API_KEY"),
        # Source: https://openrouter.ai/docs/quickstart
        Server(
            "openrouter",
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            public=True,
            key_variable="OPENROUTER_API_KEY",
            models=("qwen/qwen3-vl-235b-a22b-instruct", "openai/gpt-5.5"),
            limit_name="max_tokens",
        ),
        # Source: https://ai.google.dev/gemini-api/docs/openai
        Server(
            "gemini",
            "Gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            public=True,
            key_variable="GEMINI_API_KEY",
            models=("gemini-3.8-flash", "gemini-3.1-pro-preview"),
        ),
        # Source: https://platform.claude.com/docs/en/cli-sdks-libraries/libraries/openai-sdk
        Server(
            "anthropic",
            "Anthropic",
            "https://api.anthropic.com/v1",
            public=True,
            key_variable="ANTHROPIC_API_KEY",
            models=("claude-opus-5-5", "claude-sonnet-5-5"),
        ),
        # Source: https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html
        Server("vllm", "vLLM", "http://127.0.0.1:8000/v1", models=("llava-hf/llava-1.5-7b-hf",)),
        # Source: https://docs.ollama.com/api/openai-compatibility
        Server("ollama", "Ollama", "http://127.0.0.1:11434/v1", models=("llava",), limit_name="max_tokens"),
        # Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
        Server("llamacpp", "llama.cpp", "http://127.0.0.1:8080/v1", models=("default",), limit_name="max_tokens"),
        # Source: https://lmstudio.ai/docs/developer/openai-compat
        Server("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", models=("default",), limit_name="max_tokens"),
    )
}


def pricing(server: Server, model: str, *, on: date | None = None) -> Pricing | None:
    """The list prices of a model, which hold at its own provider only; see Pricing.of_model."""
    return Pricing.of_model(model, on=on) if server.public else None


def server_named(server: str) -> Server:
    """Look a server up by its name or address; empty for OpenAI's own.

    Raises:
        ConfigError: It is neither; the message lists the names.
    """
    server = server.strip()
    if server in SERVERS or not server:
        return SERVERS[server or "openai"]
    if "://" not in server and "/" not in server:
        raise ConfigError(
            f"There is no server {quoted(server.rpartition('@')[2])}; choose one of {', '.join(SERVERS)}, "
            "or give an address that begins with http:// or https://."
        )
    return Server(server, host_of(server), api_root(server))


def hugging_face_server(options: BackendOptions, *, model: str) -> Server:
    """Choose between Hugging Face's router and the operator's own dedicated endpoint, whose address is the base_url.

    Args:
        options: Its token is the only one used; none is looked for on this machine.
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
        if not _HUGGING_FACE_MODEL.fullmatch(model):
            raise ConfigError("That isn't a model's name at Hugging Face. Write owner/name, or owner/name:provider.")
        return Server("hf", host, ROUTER_URL, public=True, key_variable="HF_TOKEN", limit_name="max_tokens")
    root = api_root(url)
    return Server(url, host, root if root.endswith("/v1") else f"{root}/v1", limit_name="max_tokens")


def api_root(url: str) -> str:
    """A server's address without the endpoint that people copy with it from an example, and with its query."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    for endpoint in ("/chat/completions", "/completions", "/responses"):
        path = path.removesuffix(endpoint)
    if path.endswith("/v1/models"):  # elsewhere, as in Azure's, the addresses of chats begin with it, too
        path = path.removesuffix("/models")
    return parts._replace(path=path.rstrip("/"), fragment="").geturl()


def host_of(url: str) -> str:
    """Name a server for messages: without path, and without a password that the address may contain.

    Raises:
        ConfigError: It isn't an http(s) address.
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and not re.search(r"\s", url):
            return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    raise ConfigError(
        "The server's address must begin with http:// or https:// and name a host, without spaces, "
        "for example http://localhost:8000/v1."
    )

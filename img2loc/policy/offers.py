"""What this site offers, for programs that ask: backends, models, providers, prompts, the gallery and the bounds."""

from __future__ import annotations

from collections.abc import Sequence

from img2loc import __version__
from img2loc.answer.prompt import TEMPLATES
from img2loc.judge.sampling import MAX_NEIGHBOURS
from img2loc.lmm import BACKENDS, backend_named
from img2loc.lmm.servers import SERVERS, server_named
from img2loc.output.schema import SCHEMA_VERSION, BackendJson, BackendsJson, InfoJson, LimitsJson, gallery_json
from img2loc.photo.decode import MAX_BYTES
from img2loc.policy.settings import Settings
from img2loc.retrieval.manifest import Manifest

MAX_BATCH = 50
KEY_HEADERS = {"openai": "x-openai-api-key", "hf": "x-hf-token"}


def provided(settings: Settings, backend: str, server: str = "") -> bool:
    """Whether the operator provides a backend's models: with a key, or on a server that needs none.

    Args:
        settings: The operator's.
        backend: Its exact name.
        server: A provider's name; empty for the operator's choice. Others need the visitor's own key.
    """
    options = settings.options(backend)
    keyless = backend == "openai" and not server_named(options.base_url).needs_key
    return backend_named(backend).needs_key and not server and (bool(options.api_key) or keyless)


def models_of(settings: Settings, backend: str, server: str = "") -> tuple[str, ...]:
    """The models to choose from, the default first: only IMG2LOC_MODELS where the operator provides them.

    Args:
        settings: The operator's.
        backend: Its exact name.
        server: A provider's name; empty for the operator's choice.
    """
    chosen, options = backend_named(backend), settings.options(backend)
    target = server_named(server or options.base_url) if backend == "openai" else None
    suggested = () if chosen.runs_here else (target and target.models) or chosen.models
    if settings.models and provided(settings, backend, server):
        suggested = (first_of(settings.models, chosen.models), *settings.models)
    return tuple(dict.fromkeys(name for name in ("" if server else options.model, *suggested) if name))


def first_of(allowed: Sequence[str], suggested: Sequence[str]) -> str:
    """The model to ask where none is named: the first allowed one that is suggested too, or else the first allowed."""
    return next((name for name in allowed if name in suggested), allowed[0])


def backends_json(settings: Settings) -> BackendsJson:
    """List who may answer."""
    first = [name for name in settings.offered if name == settings.backend]
    servers = SERVERS.values() if "openai" in settings.offered else ()
    return {
        "schema_version": SCHEMA_VERSION,
        "backends": [_backend_json(name, settings) for name in dict.fromkeys([*first, *settings.offered])],
        "servers": [
            {"name": server.name, "label": server.label, "models": list(server.models)}
            for server in servers
            if server.public
        ],
        "prompts": list(dict.fromkeys([settings.prompt, *TEMPLATES])),
    }


def info_json(manifest: Manifest, notice: str, settings: Settings) -> InfoJson:
    """Say which gallery answers, how precisely, and how much may be asked.

    Args:
        manifest: The gallery's.
        notice: What visitors should know if something isn't as configured; else empty.
        settings: The operator's.
    """
    limits: LimitsJson = {
        "hourly_per_visitor": settings.hourly_per_visitor,
        "hourly_total": settings.hourly_total,
        "hourly_tokens": settings.hourly_tokens,
        "models": list(settings.models),
        "neighbours": MAX_NEIGHBOURS,
        "photos_a_batch": MAX_BATCH,
        "photo_bytes": MAX_BYTES,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "gallery": gallery_json(manifest),
        "about": manifest.about,
        "notice": notice,
        "banner": settings.banner,
        "precision": settings.precision,
        "limits": limits,
    }


def _backend_json(name: str, settings: Settings) -> BackendJson:
    backend, options = BACKENDS[name], settings.options(name)
    server = server_named(options.base_url) if backend.name == "openai" else None
    needs_key = server.needs_key if server else backend.needs_key
    return {
        "name": name,
        # A key that is sent in the header goes to the server that the operator has chosen.
        "label": server.label if server and options.base_url else backend.label,
        "models": list(models_of(settings, name)),
        "key_header": KEY_HEADERS.get(name, ""),
        "key_needed": needs_key and not options.api_key,
    }

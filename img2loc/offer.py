"""What this site offers, for programs that ask: backends, models, providers, prompts, the gallery and the bounds."""

from __future__ import annotations

from img2loc import __version__
from img2loc.api import SCHEMA_VERSION, BackendJson, BackendsJson, InfoJson, LimitsJson, gallery_json
from img2loc.host import Host
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS, server_named
from img2loc.photo import MAX_BYTES
from img2loc.prompt import TEMPLATES
from img2loc.sampling import MAX_NEIGHBOURS
from img2loc.settings import Settings

MAX_BATCH = 50
KEY_HEADERS = {"openai": "x-openai-api-key", "hf": "x-hf-token"}


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


def info_json(host: Host, settings: Settings) -> InfoJson:
    """Say which gallery answers, how precisely, and how much may be asked."""
    manifest = host.manifest
    limits: LimitsJson = {
        "hourly_per_visitor": settings.hourly_per_visitor,
        "hourly_total": settings.hourly_total,
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
        "notice": host.notice,
        "banner": settings.banner,
        "precision": settings.precision,
        "limits": limits,
    }


def _backend_json(name: str, settings: Settings) -> BackendJson:
    backend, own = BACKENDS[name], settings.options(name)
    server = server_named(own.base_url) if backend.name == "openai" else None
    suggested = () if backend.runs_here else (server and server.models) or backend.models
    key_wanted = server.needs_key if server else backend.needs_key
    return {
        "name": name,
        "label": backend.label,
        "models": [model for model in dict.fromkeys((own.model, *suggested)) if model],
        "key_header": KEY_HEADERS.get(name, ""),
        "key_needed": key_wanted and not own.api_key,
    }

"""Who sends a request: a network address that the sender can't choose."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

# Gradio's MCP server sends requests to the API from this machine, with the headers of the agent's request. This header
# holds the agent's address, after a secret that nobody else knows.
AGENT_HEADER: Final = "x-img2loc-agent"
_SECRET: Final = secrets.token_urlsafe(32)


class AgentAddress:
    """Middleware that adds to each request for the MCP server the address that it comes from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the header."""
        if scope["type"] == "http" and "/gradio_api/mcp/" in f"{scope['path']}/":
            peer = (scope.get("client") or ("",))[0]
            address = client_address(peer, Headers(scope=scope).getlist("x-forwarded-for"))
            scope = {**scope, "headers": list(scope["headers"])}
            MutableHeaders(scope=scope)[AGENT_HEADER] = f"{_SECRET}:{address}"  # replaces one that the agent sent
        await self._app(scope, receive, send)


def visitor_of(request: gr.Request | None) -> str:
    """The address that a request comes from; empty where nothing is known."""
    if request is None:
        return ""
    if (agent := agent_in(request.headers)) is not None:
        return agent
    peer = request.client.host if request.client else ""
    return client_address(peer, [value for name, value in request.headers.items() if name.lower() == "x-forwarded-for"])


def single_visitor_of(request: gr.Request | None) -> str:
    """The address that a request comes from, if it is on the public internet; else empty.

    An address inside this machine or its network may be that of a proxy, which the operator didn't name, and stand for
    all visitors.
    """
    visitor = visitor_of(request)
    try:
        return visitor if ipaddress.ip_network(visitor).network_address.is_global else ""
    except ValueError:  # nothing is known, or it has no address
        return ""


def is_agent(request: gr.Request | None) -> bool:
    """Whether a request comes through Gradio's MCP server."""
    return request is not None and agent_in(request.headers) is not None


def agent_in(headers: Mapping[str, str]) -> str | None:
    """The address of the agent for which Gradio's MCP server sends a request; None for any other request.

    Args:
        headers: The request's; names in lower case, or case-insensitive.
    """
    secret, _, address = (headers.get(AGENT_HEADER) or "").partition(":")
    return address if secrets.compare_digest(secret.encode(), _SECRET.encode()) else None


def client_address(peer: str, forwarded: Iterable[str]) -> str:
    """Where a request comes from, in a way that its sender can't choose.

    Anybody can send an X-Forwarded-For header, but on a Space each proxy appends the address that it got the request
    from. So the last public address in it is the visitor's, and what precedes it can't be trusted. Elsewhere there may
    be no proxy, and the header isn't read here: uvicorn reads it from the proxies that FORWARDED_ALLOW_IPS names.

    Args:
        peer: The other end of the connection.
        forwarded: Each X-Forwarded-For header of the request, in order.

    Returns:
        An IPv4 address, or the /64 network of an IPv6 address, all of which one visitor may have; the peer unchanged if
        it has no address.
    """
    if os.environ.get("SPACE_ID"):
        for entry in reversed(",".join(forwarded).split(",")):
            address = _parsed(entry)
            if address is None:
                break
            if address.is_global:
                return _network(address)
    address = _parsed(peer)
    return peer if address is None else _network(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address that may be followed by a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))

"""Which addresses are on the public internet, so that strangers may name them, and which are this machine."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from img2loc.errors import AddressError

# Source: IANA's IPv6 address space; the rest of it is reserved, local, or IPv4 in disguise.
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Public numbers that inside a cloud lead to its own services: Azure's and Oracle's for their guests.
_CLOUDS_OWN: Final = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, and not in a network that only this machine can see."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found not in _NAT64:
            return found in _UNICAST and found.is_global and found.sixtofour is None
        found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast and not any(found in network for network in _CLOUDS_OWN)


def public_address(host: str) -> str:
    """Look up a host that a visitor has named.

    Args:
        host: A name, or an IP address in any notation.

    Returns:
        One of its public addresses. Connect to this address: looked up again, the name might lead elsewhere.

    Raises:
        AddressError: It has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # no such name; or none that could be one
        found = []
    for *_, sockaddr in found:
        if is_public(str(sockaddr[0])):
            return str(sockaddr[0])
    raise AddressError(f"{host[:100]} is not on the public internet. Give another address.")


@lru_cache(maxsize=100)
def leads_to_loopback(host: str) -> bool:
    """Whether a host is this machine, also by a name that the resolver (such as a hosts file) leads to it."""
    if is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # no such name, or none that could be one
        return False
    return any(is_loopback(str(sockaddr[0])) for *_, sockaddr in found)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name or number; no resolver is asked.

    An IPv6 address that only wraps an IPv4 address is taken for that.

    Source: RFC 6761, section 6.3, for names that end in localhost.
    """
    host = unquote(host).strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001
        except OSError:
            return False
    if isinstance(address, ipaddress.IPv6Address):
        address = _wrapped(address) or address
    return address.is_loopback or address.is_unspecified  # a connection to 0.0.0.0 stays here, too


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in ::ffff:127.0.0.1, 2002:7f00:1::, 64:ff9b::7f00:1 or ::127.0.0.1."""
    if address in _NAT64 or 1 < int(address) < 1 << 32:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour

"""Which addresses are on the public internet, so that strangers may name them, and which are this machine."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from img2loc.errors import AddressError

# Source: IANA's IPv6 address space; the rest of it is reserved, local, or a wrapped IPv4 address.
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Public numbers that lead to services of the cloud itself inside Azure and Oracle.
_CLOUD_SERVICES: Final = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))


def is_public(text: str) -> bool:
    """Whether an IP address is on the public internet, and not in a network that only this machine can see."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address not in _NAT64:
            return address in _UNICAST and address.is_global and address.sixtofour is None
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    is_cloud_service = any(address in network for network in _CLOUD_SERVICES)
    return address.is_global and not address.is_multicast and not is_cloud_service


def public_address(host: str) -> str:
    """Look up a host that a visitor has named, by name or by IP address.

    Returns:
        One of its public addresses. Connect to this address: looked up again, the name might lead elsewhere.

    Raises:
        AddressError: It has none.
    """
    for address in _addresses(host):
        if is_public(address):
            return address
    raise AddressError(f"{host[:100]} is not on the public internet. Give another address.")


@lru_cache(maxsize=100)
def leads_to_loopback(host: str) -> bool:
    """Whether a host is this machine, also by a name that the resolver, such as a hosts file, maps to it."""
    return is_loopback(host) or any(map(is_loopback, _addresses(host)))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or number; no resolver is asked.

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


def _addresses(host: str) -> list[str]:
    """Every address that the resolver knows of a host."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):  # there is no such name, or it can't be one
        return []


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in ::ffff:127.0.0.1, 2002:7f00:1::, 64:ff9b::7f00:1 or ::127.0.0.1."""
    if address in _NAT64 or 1 < int(address) < 1 << 32:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour

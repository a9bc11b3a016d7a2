"""Reads and checks the few of Gradio's environment variables that this app supports, before Gradio does."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from img2loc.errors import ConfigError, quoted
from img2loc.system.environment import skip_proxies

DEFAULT_PORT: Final = 7860
NAME, PORT, ROOT_PATH = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_ROOT_PATH"
SUPPORTED: Final = (NAME, PORT, ROOT_PATH, "GRADIO_TEMP_DIR", "GRADIO_MCP_SERVER")

# For a page that is closed here, Gradio would keep the times and sessions of ten thousand requests.
_FIXED: Final = {"GRADIO_ANALYTICS_MAX_EVENTS": "1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is served: a name or IP address of this machine, and a port."""

    name: str
    port: int

    @property
    def for_url(self) -> str:
        """The name as in a URL, which is also how Gradio takes it."""
        return f"[{self.name}]" if ":" in self.name else self.name


def read_address(env: MutableMapping[str, str] = os.environ) -> Address:
    """Read where to serve the page, and check that it can be served there; an empty variable counts as unset.

    Raises:
        ConfigError: A variable has a value that can't be used.
        OSError: The port is taken; the message says so.
    """
    name = env.get(NAME, "").strip() or "127.0.0.1"
    port = env.get(PORT, "").strip() or str(DEFAULT_PORT)
    root_path = env.get(ROOT_PATH, "")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
        raise ConfigError(f"{PORT} is {quoted(port)}; it must be a whole number from 1 to 65535.")
    if root_path and not re.match("/|https?://", root_path):
        raise ConfigError(f"{ROOT_PATH} is {quoted(root_path)}; it must be a URL, or begin with a slash.")
    address = Address(name.removeprefix("[").removesuffix("]"), int(port))
    _check_free(address)
    return address


def prepare_gradio(address: Address, env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Remove the variables of Gradio's that this app doesn't support.

    Some of them would open the server's files to visitors, open a third party's tunnel, or serve uploads from processes
    without this app's checks.

    Returns:
        The names of those that were removed.
    """
    unsupported = sorted(name for name in env if name.startswith("GRADIO_") and name not in (*SUPPORTED, *_FIXED))
    for name in unsupported:
        del env[name]
    env.update(_FIXED)
    env.pop(PORT, None)  # passed as a parameter, and from the variable Gradio would try the ports after it, too
    if ":" in address.name:  # with the variable set, Gradio checks by IPv4 whether the port is free
        env.pop(NAME, None)
    skip_proxies(env, (address.name,))  # Gradio sends itself a request at the start
    return unsupported


def _check_free(address: Address) -> None:
    """Try to listen at an address."""
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            address.name, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                trial = socket.socket(family, kind, protocol)
            except OSError:  # the machine has no IPv6; the server skips such addresses, too
                continue
            with trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                f"Port {address.port} on {address.name} is taken by another program; end that, or set {PORT} to a "
                "free one."
            ) from None
        raise ConfigError(
            f"The page can't be served on {address.name}, port {address.port} ({error.strerror}); set {NAME} to an "
            f"address of this machine, and {PORT} to a port that may be used."
        ) from None
    except UnicodeError:
        raise ConfigError(f"{NAME} is {quoted(address.name)}; it must be this machine's name or IP address.") from None

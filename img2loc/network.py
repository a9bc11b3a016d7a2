"""Checks of what the environment says about the network: proxies and certificates, which HTTP clients read unasked."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from img2loc.errors import ConfigError

_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


def check_certificates() -> None:
    """Check that the certificates that SSL_CERT_FILE or SSL_CERT_DIR names can be loaded.

    Raises:
        ConfigError: They can't; the message names the variable.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        if not Path(file).is_file():
            raise ConfigError(f"SSL_CERT_FILE names a file that doesn't exist: {file}. Correct or unset it.")
        try:
            ssl.create_default_context(cafile=file)
        except OSError:  # ssl.SSLError is one, too
            raise ConfigError(
                f"SSL_CERT_FILE names a file without certificates: {file}. Correct or unset it."
            ) from None
    elif folder and not Path(folder).is_dir():
        raise ConfigError(f"SSL_CERT_DIR names a folder that doesn't exist: {folder}. Correct or unset it.")


def check_proxies() -> None:
    """Check that the proxies that HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name can be used.

    Raises:
        ConfigError: One can't; the message names the variable, but not its value, which may hold a password.
    """
    for scheme in ("http", "https", "all"):
        proxy = getproxies().get(scheme)
        if not proxy:
            continue
        variable = next((name for name in os.environ if name.lower() == f"{scheme}_proxy"), f"{scheme}_proxy".upper())
        kind = _proxy_scheme(proxy)
        if kind not in _PROXY_SCHEMES:
            raise ConfigError(f"{variable} isn't a proxy's address. Write http://HOST:PORT, or unset it.")
        if kind.startswith("socks") and find_spec("socksio") is None:
            raise ConfigError(
                f"{variable} names a SOCKS proxy, which needs the package socksio. Install it with pip, or unset "
                f"{variable}."
            )


def _proxy_scheme(proxy: str) -> str:
    """The protocol of a proxy's address; empty where it is no address."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return parts.scheme if parts.hostname and (parts.port is None or parts.port > 0) else ""
    except ValueError:
        return ""

"""Environment variables that HTTP clients read: checked and completed before a client is made."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from img2loc.errors import ConfigError

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def prepare_environment(env: MutableMapping[str, str] = os.environ) -> None:
    """Check the variables that libraries read, and exclude this machine from all proxies. Every program calls it first.

    Raises:
        ConfigError: A proxy, a certificate or the home folder can't be used.
    """
    skip_proxies(env, LOOPBACK)
    check_proxies(env)
    check_certificates(env)
    if os.path.expanduser("~") == "~":  # neither HOME is set, nor does /etc/passwd list the user
        raise ConfigError("HOME isn't set and this user has no home folder; set HOME to a folder that can be written.")


def skip_proxies(env: MutableMapping[str, str], hosts: tuple[str, ...]) -> None:
    """Exclude hosts from proxies, by NO_PROXY and by no_proxy, which some clients prefer."""
    listed = [host.strip() for name in ("NO_PROXY", "no_proxy") for host in env.get(name, "").split(",")]
    if "*" not in listed:
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, dict.fromkeys([*listed, *hosts])))


def check_proxies(env: Mapping[str, str] = os.environ) -> None:
    """Check that the proxies can be used.

    Raises:
        ConfigError: One can't; the message names the variable.
    """
    # Their values aren't repeated: they may contain a password.
    for variable in (*_PROXIES, *map(str.lower, _PROXIES)):
        if not (address := env.get(variable)):
            continue
        import httpx  # noqa: PLC0415 - takes a tenth of a second, and is needed with a proxy only

        try:
            proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        except (ValueError, httpx.InvalidURL):
            proxy = None
        if proxy is None or not proxy.url.host or not 0 < (proxy.url.port or 80) < 65536:
            raise ConfigError(f"{variable} isn't the address of a proxy, such as http://proxy.example:8080.")
        if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
            raise ConfigError(
                f"{variable} names a SOCKS proxy, which needs the Python package socksio; install it "
                "(pip install socksio), or name an HTTP proxy."
            )


def check_certificates(env: Mapping[str, str] = os.environ) -> None:
    """Check that the files of the TLS library can be used.

    Raises:
        ConfigError: One can't; the message names the variable.
    """
    if log := env.get("SSLKEYLOGFILE"):  # Python itself opens it for each client
        _check_file("SSLKEYLOGFILE", log, lambda: open(log, "a").close())
    if certificates := env.get("SSL_CERT_FILE"):
        _check_file(
            "SSL_CERT_FILE", certificates, lambda: _load_certificates(certificates, os.stat(certificates).st_mtime_ns)
        )
    folders = env.get("SSL_CERT_DIR", "")
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR names a folder that doesn't exist: {folders}")


@lru_cache(maxsize=1)  # it takes 20 ms, and each request to a model checks the file
def _load_certificates(certificates: str, changed_ns: int) -> None:
    ssl.create_default_context(cafile=certificates)


def _check_file(variable: str, path: str, use: Callable[[], object]) -> None:
    try:
        use()
    except FileNotFoundError:
        raise ConfigError(f"{variable} names a file that doesn't exist: {path}") from None
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{variable} names a file that can't be used ({error.strerror or error}): {path}") from None

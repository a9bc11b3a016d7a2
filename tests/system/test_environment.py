"""Proxies, certificates and the home folder; every mistake is named before a client is made."""

from __future__ import annotations

from pathlib import Path

import httpx
import httpx2
import pytest

from img2loc.errors import ConfigError
from img2loc.system import environment
from img2loc.system.environment import LOOPBACK, prepare_environment, skip_proxies


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("before", [{}, {"NO_PROXY": "intranet"}, {"no_proxy": "intranet,::1"}])
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_this_machine_is_never_asked_through_a_proxy(variable, before, library, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    env = {variable: "http://proxy.example:8080", **before}
    prepare_environment(env)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    client = library.Client(verify=False)
    direct = ["http://127.0.0.1:7860", "http://localhost:7860", "http://[::1]:7860", "https://127.0.0.1"]
    direct += ["http://intranet"] * bool(before)
    assert {url: client._transport_for_url(library.URL(url)) is client._transport for url in direct} == dict.fromkeys(
        direct, True
    )
    abroad = "https" if variable == "HTTPS_PROXY" else "http"
    assert client._transport_for_url(library.URL(f"{abroad}://example.com")) is not client._transport


def test_hosts_that_are_asked_directly_stay_so():
    env = {"NO_PROXY": "a.example, b.example", "no_proxy": "b.example,10.0.0.1"}
    skip_proxies(env, LOOPBACK)
    assert env["NO_PROXY"] == env["no_proxy"] == "a.example,b.example,10.0.0.1,localhost,127.0.0.1,::1"
    skip_proxies(env, LOOPBACK)
    assert env["NO_PROXY"].count("localhost") == 1


def test_who_uses_no_proxy_at_all_keeps_it_so():
    env = {"no_proxy": "*"}
    skip_proxies(env, LOOPBACK)
    assert env == {"no_proxy": "*"}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1", "ALL_PROXY names a SOCKS proxy, which needs .* socksio"),
        ("all_proxy", "socks5h://127.0.0.1:1", "all_proxy names a SOCKS proxy"),
        ("HTTPS_PROXY", "ftp://user:secret@127.0.0.1", "HTTPS_PROXY isn't the address of a proxy"),
        ("http_proxy", "http://", "http_proxy isn't the address of a proxy"),
        ("HTTP_PROXY", "http://user:secret@127.0.0.1:port", "HTTP_PROXY isn't the address of a proxy"),
        ("HTTP_PROXY", "http://127.0.0.1:99999", "HTTP_PROXY isn't the address of a proxy"),
        ("SSL_CERT_FILE", "/gone", "SSL_CERT_FILE names a file that doesn't exist: /gone"),
        ("SSL_CERT_FILE", "/", "SSL_CERT_FILE names a file that can't be used .*: /"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE names a file that can't be used .*: /"),
        ("SSL_CERT_DIR", "/gone:/lost", "SSL_CERT_DIR names a folder that doesn't exist: /gone:/lost"),
        ("SSLKEYLOGFILE", "/gone/log", "SSLKEYLOGFILE names a file that doesn't exist: /gone/log"),
    ],
)
def test_a_wrong_variable_is_named(variable, value, words, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)  # socksio isn't installed
    with pytest.raises(ConfigError, match=words) as caught:
        prepare_environment({variable: value})
    assert "secret" not in str(caught.value)


def test_what_can_be_used_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import certifi

    monkeypatch.setattr(environment, "find_spec", lambda name: name == "socksio")
    env = {
        "SSL_CERT_FILE": certifi.where(),
        "SSL_CERT_DIR": f"/gone:{tmp_path}",
        "SSLKEYLOGFILE": str(tmp_path / "log"),
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "HTTP_PROXY": "proxy.example:8080",
        "HTTPS_PROXY": "",
    }
    after = dict(env)
    prepare_environment(after)
    assert after.items() >= env.items()


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment.os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match="HOME isn't set"):
        prepare_environment({})

"""A photo and a key reach the server that was named and no other, whatever that server or the environment says."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from img2loc.errors import ConfigError, LMMError, LMMUnreachableError
from img2loc.hardening import addresses
from img2loc.lmm import BackendOptions, list_models, open_lmm, retry
from img2loc.lmm.connection import Connection
from img2loc.policy.settings import Settings
from tests.fakes.openai_server import TEXTS
from tests.fakes.recorder import Recorder
from tests.lmm.test_conformance import JPEG, REMOTE, TURNS
from tests.paths import ROOT

KEY = "hf_visitors0wnKey"
INTERNET = "127.0.0.2"  # plays a public address
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def other() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses.leads_to_loopback.cache_clear()
    for name in (*PROXY_VARIABLES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead to loopback, but public.example to an address that counts as public."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **more):
        name = host.decode() if isinstance(host, bytes) else host
        if name.rstrip(".").lower().endswith(("localhost", ".example")):
            name = INTERNET if name == "public.example" else "127.0.0.1"
        return look_up(name, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses, "is_public", lambda address: address == INTERNET)


def ask(url: str, backend: str = "openai", **options):
    given = {"api_key": KEY, "model": "m", "base_url": url, "timeout_s": 5.0, **options}
    return open_lmm(backend, BackendOptions(**given)).reply(TURNS, JPEG)


@pytest.mark.parametrize("backend", REMOTE)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(backend, status, server, other):
    server.status, server.headers = status, {"Location": f"http://127.0.0.1:{other.port}/v1/chat/completions"}
    with pytest.raises(LMMError, match=f"redirects to another address .HTTP {status}"):
        ask(server.base_url, backend)
    assert len(server.received) == 1 and other.received == []


@pytest.mark.parametrize("backend", REMOTE)
def test_no_cookie_comes_back_in_another_request(backend, server):
    server.headers = {"Set-Cookie": "visitor=1; Path=/"}
    for _ in range(2):
        ask(server.base_url, backend)
    assert [request.headers.get("cookie") for request in server.received] == [None, None]


SPYING = {
    "OPENAI_API_KEY": "sk-environment",
    "OPENAI_ADMIN_KEY": "sk-admin-environment",
    "OPENAI_BASE_URL": "http://127.0.0.1:letters/environment",
    "OPENAI_ORG_ID": "org-environment",
    "OPENAI_PROJECT_ID": "proj-environment",
    "OPENAI_CUSTOM_HEADERS": (
        "Authorization: Bearer environment\nauthorization: Bearer environment\nX-Spy: environment\n"
        "Cookie: environment=1\nHost: environment\nAccept-Encoding: gzip\nX-Stainless-Raw-Response: true\n"
        "Content-Type: multipart/form-data\nTransfer-Encoding: chunked\nbroken name: environment"
    ),
    "OPENAI_LOG": "debug",
    "HF_TOKEN": "hf_environment",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_DEBUG": "1",
    "HF_HUB_OFFLINE": "1",
}


@pytest.mark.parametrize(("backend", "key"), [*((backend, KEY) for backend in REMOTE), ("openai", "")])
def test_no_variable_changes_a_request_or_logs_it(backend, key, server, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login netrc password environment\n")
    netrc.chmod(0o600)
    url = server.base_url
    code = f"from tests.lmm.test_connection import ask; print(ask({url!r}, {backend!r}, api_key={key!r}))"
    environment = {**os.environ, **SPYING, "NETRC": str(netrc), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    (request,) = server.received
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": "Img2Loc",
        "content-type": "application/json",
        "content-length": request.headers["content-length"],
        "x-stainless-read-timeout": request.headers["x-stainless-read-timeout"],
        "x-stainless-retry-count": "0",
        **({"authorization": f"Bearer {key}"} if key else {}),
    }
    assert json.loads(request.body)["model"] == "m"
    said = done.stdout + done.stderr
    assert base64.b64encode(JPEG).decode()[:40] not in said and KEY not in said and "DEBUG" not in said


def test_hugging_face_is_asked_although_the_hub_is_offline(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert ask(server.base_url, "hf").text == TEXTS["good"]


@pytest.mark.parametrize("variable", [*PROXY_VARIABLES, *map(str.lower, PROXY_VARIABLES)])
@pytest.mark.parametrize("backend", REMOTE)
def test_this_machine_is_not_asked_through_a_proxy(variable, backend, server, other, monkeypatch):
    monkeypatch.setenv(variable, f"http://127.0.0.1:{other.port}")
    ask(server.base_url, backend)
    assert len(server.received) == 1 and other.received == []


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "model.localhost", "127.0.0.9", "127.1", "0x7f000001", "0.0.0.0"]
)
def test_nor_by_any_other_name(host, other, monkeypatch, resolver):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{other.port}")
    with Recorder("0.0.0.0") as server:
        ask(f"http://{host}:{server.port}/v1")
    assert len(server.received) == 1 and other.received == []


def test_nor_by_a_name_that_a_hosts_file_leads_here(other, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{other.port}")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    lookup = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **how: found if host == "model" else lookup(host, *more, **how)
    )
    assert Connection("http://model:1/v1").is_local
    assert not Connection("https://model:1/v1").is_local  # TLS hides the photo from the proxy
    assert not Connection("http://model:1/v1", public_only=True).is_local
    monkeypatch.delenv("HTTP_PROXY")
    assert not Connection("http://model:1/v1").is_local  # nobody asks the resolver where no proxy is set


@pytest.mark.parametrize(
    "host",
    ["[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433", "017700000001"],
)
def test_no_proxy_is_asked_for_an_address_that_wraps_this_machines(host, other, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{other.port}")
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    with pytest.raises(LMMError):  # nothing listens there
        ask(f"http://{host}:1/v1", timeout_s=2)
    assert other.received == []


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]"])
def test_nor_by_its_ipv6_address(host, other, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{other.port}")
    try:
        server = Recorder("::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        ask(f"http://{host}:{server.port}/v1")
    assert len(server.received) == 1 and other.received == []


def test_other_servers_are_asked_through_the_operators_proxy(other, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{other.port}")
    ask("http://model.example/v1")
    assert [request.target for request in other.received] == ["http://model.example/v1/chat/completions"]
    other.status = 403
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{other.port}")
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    with pytest.raises(LMMUnreachableError, match=r"proxy doesn't connect to model\.example"):
        ask("https://model.example/v1", timeout_s=20)
    assert other.received[1].target == "model.example:443" and KEY not in str(other.received[1:])


def test_a_visitors_server_is_asked_at_its_public_address_and_through_no_proxy(other, monkeypatch, resolver):
    for variable in PROXY_VARIABLES:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{other.port}")
    with Recorder(INTERNET) as server:
        ask(f"http://public.example:{server.port}/v1", public_only=True)
    assert server.received[0].headers["host"] == f"public.example:{server.port}"
    with pytest.raises(LMMError, match="public internet"):
        ask(f"http://private.example:{server.port}/v1", public_only=True)
    assert len(server.received) == 1 and other.received == []


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "socks5://user:passw0rd@127.0.0.1:9", "^ALL_PROXY names a SOCKS proxy"),
        ("all_proxy", "socks5h://127.0.0.1:9", "^all_proxy names a SOCKS proxy"),
        ("HTTPS_PROXY", "ftp://user:passw0rd@127.0.0.1:9", "^HTTPS_PROXY isn't the address of a proxy"),
        ("HTTP_PROXY", "http://127.0.0.1:letters", "^HTTP_PROXY isn't the address of a proxy"),
        ("HTTP_PROXY", "http://", "^HTTP_PROXY isn't the address of a proxy"),
    ],
)
@pytest.mark.parametrize("backend", REMOTE)
def test_a_proxy_that_cannot_be_used_is_named(variable, value, words, backend, server, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=words) as caught:
        ask("http://model.example/v1", backend)
    assert "passw0rd" not in str(caught.value)
    ask(server.base_url, backend)  # where it doesn't matter


@pytest.mark.parametrize(
    ("variable", "name"), [("SSL_CERT_FILE", "gone.pem"), ("SSL_CERT_FILE", "empty.pem"), ("SSL_CERT_DIR", "gone")]
)
@pytest.mark.parametrize("backend", REMOTE)
def test_certificates_that_cannot_be_used_are_named(variable, name, backend, monkeypatch, tmp_path):
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv(variable, str(tmp_path / name))
    with pytest.raises(ConfigError, match=f"^{variable} names a .*{name}"):
        ask("https://model.example/v1", backend)


@pytest.mark.parametrize("backend", REMOTE)
def test_certificates_that_go_later_are_named_too(backend, server, monkeypatch):
    url = server.base_url
    lmm = open_lmm(backend, BackendOptions(KEY, "m", url))
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    with pytest.raises(LMMError, match=r"^SSL_CERT_FILE names a file that doesn't exist"):
        lmm.reply(TURNS, JPEG)


def test_a_password_in_the_address_is_sent_and_not_logged(server, caplog):
    caplog.set_level("INFO")
    ask(f"http://user:passw0rd@127.0.0.1:{server.port}/v1")
    assert server.received[0].headers["authorization"] == "Basic " + base64.b64encode(b"user:passw0rd").decode()
    assert "127.0.0.1" in caplog.text and "passw0rd" not in caplog.text


LOGINS = {
    "a password": ("user", "S3cretPassw0rd"),
    "a short one": ("user", "s3cr3t"),
    "one that an address escapes": ("me@example.org", 'p@ss/w0rd:with"all'),
    "a token alone": ("t0kenThatStandsAlone", ""),
}


@pytest.mark.parametrize(("user", "password"), LOGINS.values(), ids=LOGINS)
@pytest.mark.parametrize("answer", ["reply", "refusal", "model", "list", 400, 422])
def test_a_password_in_the_address_is_shown_to_nobody(server, caplog, user, password, answer):
    """The server quotes it, as it was sent and as it was written, whole and in part."""
    caplog.set_level("INFO")
    login, secret = f"{user}:{password}", password or user
    in_url = f"{quote(user, safe='')}:{quote(password, safe='')}".rstrip(":")
    sent = base64.b64encode(login.encode()).decode()
    said = f"{login} {secret} {in_url} Basic {sent}"
    if len(secret) > 10:
        said += f" {secret[:10]} {secret[-8:]}"
    message = {"role": "assistant", "content": f"48.85, 2.29 {said}"}
    if answer == "refusal":
        message = {"role": "assistant", "content": None, "refusal": said}
    completion = {"model": said if answer == "model" else "m", "choices": [{"message": message}]}
    error = {"error": {"message": said}}
    listed = {"data": [{"id": f"gpt {said}"}]}
    if isinstance(answer, int):
        server.status = answer
    server.body = json.dumps(error if isinstance(answer, int) else listed if answer == "list" else completion).encode()
    options = BackendOptions(model="m", base_url=f"http://{in_url}@127.0.0.1:{server.port}/v1", timeout_s=5.0)
    lmm = open_lmm("openai", options)
    try:
        shown = repr(list_models("openai", options) if answer == "list" else lmm.reply(TURNS, JPEG))
    except LMMError as failure:
        shown = f"{failure!r} {failure}"
    assert server.received[0].headers["authorization"] == f"Basic {sent}"
    assert "***" in shown
    shown += f"{caplog.text} {lmm!r} {options!r} {Settings(openai_base_url=options.base_url)!r}"
    assert not [part for part in (login, secret, in_url, sent, secret[:8], secret[-8:]) if part in shown]


def test_a_password_in_what_is_no_address_is_not_quoted():
    with pytest.raises(ConfigError, match="There is no server 'host'") as caught:
        open_lmm("openai", BackendOptions(base_url="user:S3cretPassw0rd@host"))
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400])
def test_a_reply_without_end_is_not_read_to_its_end(status, server, monkeypatch):
    server.status = status
    monkeypatch.setattr("img2loc.lmm.connection.MAX_BODY_BYTES", 50_000)
    server.body = b" " * 100_000 + server.body
    with pytest.raises(LMMError, match=r"isn't a chat completion|rejected the request \(HTTP 400\)\.$"):
        ask(server.base_url)


@pytest.mark.parametrize("status", [200, 400])
def test_a_packed_reply_is_not_unpacked(status, server):
    server.status = status
    server.headers, server.body = {"Content-Encoding": "gzip"}, gzip.compress(server.body)
    with pytest.raises(LMMError, match=r"isn't a chat completion|rejected the request"):
        ask(server.base_url)
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("charset", ["punycode", "zlib", "undefined"])
def test_no_charset_of_the_servers_choice_is_used(charset, status, server):
    server.headers = {"Content-Type": f"application/json; charset={charset}"}
    server.status, server.body = status, b"-" + b"b9a" * 1_000_000  # as punycode, minutes
    with pytest.raises(LMMError, match=r"isn't a chat completion|rejected the request|returned an error"):
        ask(server.base_url, timeout_s=5)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_what_is_raised_holds_neither_request_nor_key(status, server):
    server.status, server.body = status, json.dumps({"error": {"message": f"no {KEY}"}}).encode()
    with pytest.raises(LMMError) as caught:
        ask(server.base_url, timeout_s=1)
    assert caught.value.__cause__ is None and caught.value.__context__ is None and KEY not in str(caught.value)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"choices": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"null", b'"x"'])
@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize("backend", REMOTE)
def test_a_body_that_cannot_be_read_gets_a_sentence(body, status, backend, server):
    server.body, server.status, server.headers = body, status, {"Retry-After": "1000000000"}
    with pytest.raises(LMMError, match=r"isn't a chat completion|rejected the request|Rate limit reached"):
        ask(server.base_url, backend, timeout_s=5)

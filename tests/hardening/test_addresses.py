"""Which addresses a stranger may name: unit cases; the running app's are in hardening/test_ssrf.py."""

from __future__ import annotations

import socket

import pytest

from img2loc.errors import AddressError, ConfigError, LMMError
from img2loc.hardening.addresses import is_loopback, is_public, public_address
from img2loc.lmm import BackendOptions, open_lmm
from img2loc.lmm.servers import SERVERS
from img2loc.policy.settings import Settings
from img2loc.web.permalink import read_preset
from img2loc.web.request import LocateRequest
from tests.hardening.test_ssrf import DISGUISES, Site
from tests.lmm.test_conformance import JPEG, TURNS

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808")
PRIVATE = (
    *("0.0.0.0", "10.0.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "192.168.1.1", "198.18.0.1"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),  # clouds
    *("100.64.0.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "fe80::1", "fe80::1%eth0"),
    *("fc00::1", "fec0::1", "ff02::1", "2002:7f00:1::", "2002:808:808::", "2001:0:53aa:64c::1", "2001:db8::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch):
    """Makes every name lead to the given addresses."""

    def answer(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    return answer


@pytest.mark.parametrize(("address", "public"), [*((it, True) for it in PUBLIC), *((it, False) for it in PRIVATE)])
def test_which_addresses_are_the_internets(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(
            (host, True)
            for host in ("localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.255.0.9", "127.1", "%6cocalhost")
        ),
        *((host, True) for host in ("0", "0x7f000001", "2130706433", "017700000001", "0.0.0.0", "::1", "[::1]", "::")),
        *(
            (host, True)
            for host in ("::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1")
        ),
        *((host, False) for host in ("", "localhost.example", "notlocalhost", "128.0.0.1", "10.0.0.1", "8.8.8.8")),
        *((host, False) for host in ("127.0.0.1.example", "::2", "fe80::1%lo", "api.openai.com")),
        *((host, False) for host in ("::8.8.8.8", "2002:808:808::", "64:ff9b::808:808")),
    ],
)
def test_which_hosts_are_this_machine(host, loopback):
    assert is_loopback(host) is loopback


def test_a_name_leads_to_a_public_address_of_its_own(resolver):
    resolver("10.0.0.1", "93.184.216.34", "8.8.8.8")
    assert public_address("mixed.example") == "93.184.216.34"
    resolver("10.0.0.1", "::1")
    with pytest.raises(AddressError, match=r"inside\.example is not on the public internet"):
        public_address("inside.example")


@pytest.mark.parametrize("host", ["", "a" * 300, "bad..name", "nul\0byte", "host.invalid"])
def test_what_is_no_name_leads_nowhere(host):
    with pytest.raises(AddressError):
        public_address(host)


@pytest.mark.parametrize("host", [*DISGUISES, "169.254.169.254", "[fd00:ec2::254]", "100.100.100.200"])
def test_a_strangers_server_is_not_asked_in_ones_own_network(monkeypatch, host):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it connects"))
    options = BackendOptions(api_key="sk-own", base_url=f"http://{host}:1/v1", public_only=True, timeout_s=10)
    with pytest.raises((LMMError, ConfigError), match=r"public internet|address can't be read"):  # that can't be parsed
        open_lmm("openai", options).reply(TURNS, JPEG)


def test_no_server_sends_the_photo_on_to_another():
    with Site("127.0.0.1") as first, Site("127.0.0.1") as second:
        for how in ("to", "resend"):
            url = f"http://127.0.0.1:{first.port}/{how}/http://127.0.0.1:{second.port}"
            with pytest.raises(LMMError, match="redirects to another address"):
                open_lmm("openai", BackendOptions(base_url=url)).reply(TURNS, JPEG)
        assert len(first.asked) == 2 and second.asked == []


def test_a_strangers_address_is_public_only_and_the_operators_is_not():
    settings = Settings(openai_base_url="http://127.0.0.1:8000/v1", openai_api_key="sk-operators", allow_base_url=True)
    own = LocateRequest(None, "openai").options(settings)
    assert (own.public_only, own.api_key) == (False, "sk-operators")
    strangers = LocateRequest(None, "openai", base_url="http://127.0.0.1:8000/v1").options(settings)
    assert (strangers.public_only, strangers.api_key) == (True, "")


@pytest.mark.parametrize(
    "server", [name for name, server in SERVERS.items() if not server.public] + ["http://10.0.0.1"]
)
def test_no_local_server_can_be_named_unless_addresses_may(server):
    with pytest.raises(ConfigError, match="doesn't accept server addresses"):
        LocateRequest(None, "openai", base_url=server).options(Settings())
    preset = read_preset({"server": server, "base_url": server}, ["openai"])
    assert preset.server is None and len(preset.problems) == 1


@pytest.mark.parametrize(
    "model",
    [
        "http://127.0.0.1:1/v1",
        "https://hf.co.example/v1",
        "//127.0.0.1/x",
        "../../api/whoami-v2",
        "a/b/../../c",
        "a/b?c=d",
    ],
)
def test_a_model_of_the_hub_is_a_name_and_no_address(model):
    options = BackendOptions(api_key="hf_visitors0wn", model=model)
    with pytest.raises(ConfigError, match="isn't a model's name"):
        open_lmm("hf", options)


@pytest.mark.parametrize(
    "model", ["", "google/gemma-4-26B-A4B-it", "Qwen/Qwen3.8-27B:fireworks-ai", "o_1/n.2_x-y:auto"]
)
def test_names_of_models_are_taken(model):
    open_lmm("hf", BackendOptions(api_key="hf_visitors0wn", model=model))


def test_hf_asks_hugging_face_alone_for_strangers():
    options = BackendOptions(api_key="x", base_url="https://example.org/v1", public_only=True)
    with pytest.raises(ConfigError, match="works only with the backend openai"):
        open_lmm("hf", options)

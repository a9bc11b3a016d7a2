"""Where the page is served, and which of Gradio's variables count."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from img2loc.errors import ConfigError
from img2loc.hardening.gradio_settings import Address, prepare_gradio, read_address


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback that another program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "value", ["http", "99999", "65536", "0", "-1", "80.5", "0x50", "\N{FULLWIDTH DIGIT SEVEN}860", "7860 7861", "1_000"]
)
def test_a_wrong_port_is_named(value):
    with pytest.raises(ConfigError, match=f"GRADIO_SERVER_PORT is '{value}'; it must be a whole number"):
        read_address({"GRADIO_SERVER_PORT": value})


@pytest.mark.parametrize("value", ["img2loc", "img2loc/", "example.com/img2loc", "ftp://example.com", " "])
def test_a_wrong_root_path_is_named(value):
    with pytest.raises(ConfigError, match=f"GRADIO_ROOT_PATH is '{value}'; it must be a URL, or begin with a slash"):
        read_address({"GRADIO_SERVER_PORT": str(free_port()), "GRADIO_ROOT_PATH": value})


@pytest.mark.parametrize("value", ["/", "/img2loc", "https://example.com/img2loc"])
def test_a_root_path_is_left_to_gradio(value):
    assert read_address({"GRADIO_SERVER_PORT": str(free_port()), "GRADIO_ROOT_PATH": value})


@pytest.mark.parametrize(
    "value", ["http://0.0.0.0", "192.0.2.1", "no.such.host.invalid", "0.0.0.0:80", "a" * 64, "::1::"]
)
def test_a_name_that_is_not_this_machines_is_refused(value):
    port = free_port()
    with pytest.raises(ConfigError, match="GRADIO_SERVER_NAME"):
        read_address({"GRADIO_SERVER_NAME": value, "GRADIO_SERVER_PORT": str(port)})


def test_a_taken_port_is_not_replaced_by_the_next(taken):
    with pytest.raises(OSError, match=f"Port {taken} on 127.0.0.1 is taken .* GRADIO_SERVER_PORT"):
        read_address({"GRADIO_SERVER_PORT": str(taken)})


@pytest.mark.parametrize("value", ["", "127.0.0.1", "0.0.0.0", "localhost", "::1", "[::1]", "::"])
def test_the_address_is_read_and_taken_from_gradio(value):
    env = {"GRADIO_SERVER_NAME": value, "GRADIO_SERVER_PORT": f" {free_port()} "}
    address = read_address(env)
    assert address.name == (value.strip("[]") or "127.0.0.1") and address.port == int(env["GRADIO_SERVER_PORT"])
    assert address.for_url == (f"[{address.name}]" if ":" in value else address.name)
    assert prepare_gradio(address, env) == []
    assert "GRADIO_SERVER_PORT" not in env and ":" not in env.get("GRADIO_SERVER_NAME", "")
    assert address.name in env["NO_PROXY"]


def test_variables_that_would_open_the_server_are_hidden_and_named():
    env = {
        "GRADIO_ALLOWED_PATHS": "/",
        "GRADIO_SHARE": "true",
        "GRADIO_NUM_WORKERS": "2",
        "GRADIO_VIBE_MODE": "1",
        "GRADIO_MCP_SERVER": "True",
        "GRADIO_ROOT_PATH": "/img2loc",
        "IMG2LOC_BANNER": "Hello",
    }
    hidden = ["GRADIO_ALLOWED_PATHS", "GRADIO_NUM_WORKERS", "GRADIO_SHARE", "GRADIO_VIBE_MODE"]
    assert prepare_gradio(Address("127.0.0.1", 7860), env) == hidden
    assert env.keys() >= {"GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH", "IMG2LOC_BANNER"} and not env.keys() & set(hidden)

"""Settings: read once, and every mistake named."""

from __future__ import annotations

import pytest

from img2loc.errors import ConfigError
from img2loc.settings import Settings


def test_an_empty_environment_gives_the_keyless_starter():
    settings = Settings.from_env({})
    assert (settings.gallery, settings.backend, settings.openai_api_key) == ("starter", "vote", "")


def test_variables_are_read_and_empty_ones_count_as_unset():
    settings = Settings.from_env(
        {"IMG2LOC_GALLERY": " owner/name@v1 ", "IMG2LOC_BACKEND": "", "IMG2LOC_TIMEOUT_S": "9.5"}
    )
    assert (settings.gallery, settings.backend, settings.timeout_s) == ("owner/name@v1", "vote", 9.5)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("IMG2LOC_GALERY", "starter", "did you mean IMG2LOC_GALLERY"),
        ("IMG2LOC_OPENAI_API_KEY", "sk-secret", "no setting"),
        ("IMG2LOC_BACKEND", "gpt", "must be one of: vote, openai"),
        ("IMG2LOC_TIMEOUT_S", "soon", "must be a number"),
        ("IMG2LOC_TIMEOUT_S", "-1", "number of seconds"),
        ("IMG2LOC_TIMEOUT_S", "nan", "number of seconds"),
        ("IMG2LOC_DTYPE", "int4", "must be one of: auto"),
    ],
)
def test_a_wrong_variable_is_named(variable, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Settings.from_env({variable: value})
    assert variable in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_the_key_is_never_shown():
    assert "sk-secret" not in repr(Settings.from_env({"OPENAI_API_KEY": "sk-secret"}))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("IMG2LOC_ALLOW_BASE_URL", "maybe", "must be yes or no"),
        ("IMG2LOC_TEMPERATURE", "hot", "must be a number"),
        ("IMG2LOC_TEMPERATURE", "3", "from 0 to 2"),
        ("IMG2LOC_SAMPLES", "1.5", "must be a whole number"),
        ("IMG2LOC_SAMPLES", "0", "from 1 to 20"),
        ("IMG2LOC_PROMPT", "papr", "must be one of: paper"),
        ("IMG2LOC_OPENAI_BASE_URL", "olama", "choose one of openai, openrouter"),
        ("IMG2LOC_SERVER_KEYS", "x", "no setting"),
        ("IMG2LOC_HF_TOKEN", "hf_secret", "no setting"),
    ],
)
def test_a_wrong_choice_for_the_models_is_named(variable, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Settings.from_env({variable: value})
    assert "hf_secret" not in str(caught.value)


KEYS = {
    "OPENAI_API_KEY": "sk-openai",
    "OPENROUTER_API_KEY": "sk-openrouter",
    "GEMINI_API_KEY": "sk-gemini",
    "HF_TOKEN": "hf_mine",
}


@pytest.mark.parametrize(
    ("backend", "server", "configured", "key"),
    [
        ("vote", "", "", ""),
        ("llava", "", "", ""),
        ("hf", "", "", "hf_mine"),
        ("openai", "", "", "sk-openai"),
        ("openai", "openrouter", "", "sk-openrouter"),
        ("openai", "", "openrouter", "sk-openrouter"),
        ("openai", "openai", "openrouter", "sk-openai"),
        ("openai", "anthropic", "", ""),
        ("openai", "vllm", "", ""),
        ("openai", "http://127.0.0.1:9/v1", "", "sk-openai"),
    ],
)
def test_each_server_gets_its_own_key_and_no_other(backend, server, configured, key):
    settings = Settings.from_env({**KEYS, "IMG2LOC_OPENAI_BASE_URL": configured})
    options = settings.options(backend, server=server)
    assert options.api_key == key and options.base_url == (server or (configured if backend == "openai" else ""))


def test_on_a_space_the_hub_token_pays_for_nobody():
    assert Settings.from_env({**KEYS, "SPACE_ID": "owner/space"}).options("hf").api_key == ""


def test_no_key_is_ever_shown():
    shown = repr(Settings.from_env(KEYS)) + str(Settings.from_env(KEYS))
    assert not any(key in shown for key in KEYS.values())


def test_each_backend_has_its_model_and_all_share_the_rest():
    settings = Settings.from_env(
        {
            "IMG2LOC_OPENAI_MODEL": "a",
            "IMG2LOC_HF_MODEL": "b",
            "IMG2LOC_LLAVA_MODEL": "c",
            "IMG2LOC_TEMPERATURE": "0.5",
            "IMG2LOC_TIMEOUT_S": "7",
        }
    )
    found = {name: settings.options(name) for name in ("openai", "hf", "llava")}
    assert [options.model for options in found.values()] == ["a", "b", "c"]
    assert {(options.temperature, options.timeout_s) for options in found.values()} == {(0.5, 7.0)}
    assert settings.options("openai", server="gemini").model == ""


def test_a_backend_that_asks_no_server_refuses_one():
    with pytest.raises(ConfigError, match="asks no server"):
        Settings().options("vote", server="vllm")

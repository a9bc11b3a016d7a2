"""Settings: read once, and every mistake named."""

from __future__ import annotations

import pytest

from img2loc.errors import ConfigError
from img2loc.policy.settings import Settings


def test_the_operators_bounds_are_read():
    settings = Settings.from_env(
        {
            "IMG2LOC_BACKENDS": " openai, vote ,openai",
            "IMG2LOC_MODELS": "small,medium",
            "IMG2LOC_HOURLY_PER_VISITOR": "3",
            "IMG2LOC_HOURLY_TOTAL": "30",
            "IMG2LOC_HOURLY_TOKENS": "90000",
            "IMG2LOC_PRECISION": "region",
            "IMG2LOC_BANNER": " Be kind. ",
        }
    )
    assert settings.backends == settings.offered == ("openai", "vote") and settings.backend == "openai"
    assert (settings.models, settings.precision, settings.banner) == (("small", "medium"), "region", "Be kind.")
    assert (settings.hourly_per_visitor, settings.hourly_total, settings.hourly_tokens) == (3, 30, 90_000)


def test_without_bounds_all_is_offered_but_for_a_model_that_is_not_there():
    assert Settings().offered == ("vote", "openai", "hf")
    assert Settings(llava_model="a/b").offered == ("vote", "openai", "hf", "llava")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"IMG2LOC_BACKENDS": "vote,crystal"}, "IMG2LOC_BACKENDS is 'vote,crystal'; .* out of: vote, openai"),
        ({"IMG2LOC_BACKENDS": " , "}, "IMG2LOC_BACKENDS is ','; it must be a list of names"),
        ({"IMG2LOC_BACKENDS": "openai", "IMG2LOC_BACKEND": "vote"}, "IMG2LOC_BACKEND is 'vote'; .* one of: openai"),
        ({"IMG2LOC_MODELS": "a", "IMG2LOC_OPENAI_MODEL": "b"}, "IMG2LOC_OPENAI_MODEL is 'b'; it must be one of: a"),
        ({"IMG2LOC_HOURLY_TOTAL": "many"}, "IMG2LOC_HOURLY_TOTAL is 'many'; it must be a whole number, 1 or more"),
        (
            {"IMG2LOC_HOURLY_PER_VISITOR": "0"},
            "IMG2LOC_HOURLY_PER_VISITOR is '0'; it must be a whole number, 1 or more",
        ),
        ({"IMG2LOC_PRECISION": "street"}, "IMG2LOC_PRECISION is 'street'; .* exact, city, region, country"),
        ({"IMG2LOC_BANNER": "x" * 301}, "IMG2LOC_BANNER is .*; it must be at most 300 characters long"),
        ({"IMG2LOC_KEEP_MINUTES": "0"}, "IMG2LOC_KEEP_MINUTES is '0'; it must be a whole number from 1 to 60"),
        ({"IMG2LOC_KEEP_MINUTES": "off"}, "IMG2LOC_KEEP_MINUTES is 'off'; it must be a whole number from 1 to 60"),
        ({"IMG2LOC_LIMITS": "5"}, "IMG2LOC_LIMITS is not a setting"),
    ],
)
def test_a_wrong_bound_is_named(variables, words):
    with pytest.raises(ConfigError, match=words):
        Settings.from_env(variables)


def test_on_zero_gpu_the_encoder_stays_on_the_processor():
    on_zero = {"SPACES_ZERO_GPU": "true"}
    assert (Settings.from_env({}).device, Settings.from_env(on_zero).device) == ("auto", "cpu")
    assert Settings.from_env({**on_zero, "IMG2LOC_DEVICE": "cuda"}).device == "cuda"


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
        ("IMG2LOC_OPENAI_API_KEY", "sk-secret", "not a setting"),
        ("IMG2LOC_BACKEND", "gpt", "must be one of: vote, openai"),
        ("IMG2LOC_TIMEOUT_S", "soon", "must be a number"),
        ("IMG2LOC_TIMEOUT_S", "-1", "above 0 and at most 3600"),
        ("IMG2LOC_TIMEOUT_S", "nan", "above 0 and at most 3600"),
        ("IMG2LOC_DTYPE", "int4", "must be one of: auto"),
        ("IMG2LOC_DEVICE", "gpu", "must be auto, cpu, cuda"),
        ("IMG2LOC_DEVICE", "cuda:", "must be auto, cpu, cuda"),
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
        ("IMG2LOC_SAMPLES", "0", "1 to 20"),
        ("IMG2LOC_PROMPT", "papr", "must be one of: paper"),
        ("IMG2LOC_OPENAI_BASE_URL", "olama", "choose one of openai, openrouter"),
        ("IMG2LOC_SERVER_KEYS", "x", "not a setting"),
        ("IMG2LOC_HF_TOKEN", "hf_secret", "not a setting"),
    ],
)
def test_a_wrong_choice_for_the_models_is_named(variable, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Settings.from_env({variable: value})
    assert variable in str(caught.value) and "hf_secret" not in str(caught.value)


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


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize(
    "key", ["sk-sec\nret", "sk-sec\r\nret", "sk-sec ret", "sk-sec\N{EN DASH}ret", "sk-sec\udcffret"]
)
def test_a_key_that_cannot_be_one_is_refused_at_the_start_and_not_repeated(variable, key):
    with pytest.raises(ConfigError, match=f"^{variable} contains ") as caught:
        Settings.from_env({variable: key})
    assert "sec" not in str(caught.value)


def test_white_space_around_a_key_is_no_part_of_it():
    assert Settings.from_env({"OPENAI_API_KEY": " sk-openai\r\n"}).openai_api_key == "sk-openai"


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\x1b[31m", "a\udcff"])
def test_control_characters_are_refused(value):
    with pytest.raises(ConfigError, match=r"^IMG2LOC_BANNER contains"):
        Settings.from_env({"IMG2LOC_BANNER": value})


def test_a_banner_may_hold_any_character_that_is_shown():
    banner = "Bienvenue\N{NO-BREAK SPACE}! \N{FAMILY}\N{ZERO WIDTH JOINER}\N{GRINNING FACE}"
    assert Settings.from_env({"IMG2LOC_BANNER": banner}).banner == banner


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
    with pytest.raises(ConfigError, match="uses no model server"):
        Settings().options("vote", server="vllm")


def test_a_wrong_value_is_quoted_in_short():
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({"IMG2LOC_KEEP_MINUTES": "x" * 5000})
    assert len(str(caught.value)) < 400

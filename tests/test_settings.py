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

"""The check of API keys."""

from __future__ import annotations

import pytest

from img2loc.errors import ConfigError
from img2loc.lmm.base import check_key


@pytest.mark.parametrize("key", ["", "sk-a", "a~!b", " sk-a\n"])
def test_a_key_is_returned_without_surrounding_white_space(key):
    assert check_key(key) == key.strip()


@pytest.mark.parametrize("key", ["two words", "a\nb", "a\x00b", "a\x7fb", "kéy", "a\N{ZERO WIDTH SPACE}b", "a\udcffb"])
def test_what_can_not_travel_in_a_header_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError, match="copy it again") as caught:
        check_key(key)
    assert key not in str(caught.value)

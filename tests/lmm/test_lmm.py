import subprocess
import sys

import pytest

from img2loc.errors import ConfigError, MissingKeyError
from img2loc.lmm import BACKENDS, BackendOptions, backend_named, open_lmm

KEY = "sk-proj-0123456789abcdefghij"


def test_backends_are_found_by_their_exact_names():
    for name, backend in BACKENDS.items():
        assert backend_named(name) is backend
        assert backend.name == name and backend.label


@pytest.mark.parametrize("name", ["", "OpenAI", "openai ", "gpt", "vot"])
def test_an_unknown_name_raises_and_lists_the_known_ones(name):
    for call in (lambda: backend_named(name), lambda: open_lmm(name, BackendOptions(api_key=KEY))):
        with pytest.raises(ConfigError) as caught:
            call()
        assert all(known in str(caught.value) for known in BACKENDS)


def test_the_vote_has_no_model():
    assert open_lmm("vote", BackendOptions()) is None


def test_openai_opens_with_its_first_model_unless_another_is_named():
    default = open_lmm("openai", BackendOptions(api_key=KEY))
    assert (default.name, default.model) == ("openai", BACKENDS["openai"].models[0])
    assert open_lmm("openai", BackendOptions(api_key=KEY, model=" my-model ")).model == "my-model"


def test_a_missing_key_is_named_when_the_model_is_opened(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # the settings hand it over where it may be used; nobody else reads it
    with pytest.raises(MissingKeyError):
        open_lmm("openai", BackendOptions())


def test_options_never_show_their_key():
    assert KEY not in repr(BackendOptions(api_key=KEY)) + str(BackendOptions(api_key=KEY))


def test_looking_at_the_backends_imports_no_client():
    code = "import sys, img2loc.lmm; sys.exit('httpx2' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reading_a_journal_imports_no_client():
    code = "import sys, img2loc.evaluation.run.journal; sys.exit('openai' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Every setting, read from the environment once."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from img2loc.answer.prompt import TEMPLATES
from img2loc.errors import ConfigError, quoted
from img2loc.geo.coarse import EXACT, LEVELS, Precision
from img2loc.judge.sampling import MAX_SAMPLES, Judge, read_judge
from img2loc.lmm import BACKENDS, BackendOptions, backend_named
from img2loc.lmm.base import check_key
from img2loc.lmm.servers import SERVERS, server_named

PREFIX: Final = "IMG2LOC_"
MAX_BANNER_CHARS: Final = 300
DTYPES: Final = ("auto", "float32", "bfloat16", "float16")
KEY_FIELDS: Final = ("openai_api_key", "hf_token", "server_keys")  # these come from the providers' own variables
_DEVICES: Final = re.compile(r"auto|cpu|mps|cuda(:\d+)?", re.ASCII)
_UNUSABLE: Final = ("Cc", "Cs")  # control characters; what Python makes of bytes that aren't UTF-8
_YES_NO: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_SERVER_KEYS: Final = [item.key_variable for item in SERVERS.values() if item.key_variable and item.name != "openai"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set; docs/configuration.md says what each variable means.

    Each field but the keys is the variable IMG2LOC_<FIELD IN CAPITALS>. `from_env` checks the values.
    """

    gallery: str = "starter"
    encoder: str = ""
    backend: str = "vote"
    backends: tuple[str, ...] = tuple(BACKENDS)
    openai_model: str = ""
    openai_base_url: str = field(default="", repr=False)  # it may contain a password
    hf_model: str = ""
    llava_model: str = ""
    allow_base_url: bool = False
    prompt: str = "paper"
    temperature: float | None = None
    samples: int = 1  # the answer is the one that the others lie closest to
    judge: Judge | None = None
    timeout_s: float = 60.0
    device: str = "auto"
    dtype: str = "auto"
    models: tuple[str, ...] = ()
    hourly_per_visitor: int | None = None
    hourly_total: int | None = None
    hourly_tokens: int | None = None
    precision: Precision = EXACT
    abstain_km: float | None = None
    keep_minutes: int = 60
    banner: str = ""
    openai_api_key: str = field(default="", repr=False)
    hf_token: str = field(default="", repr=False)  # empty on a Space, where it is there for the gallery
    server_keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # by the names of their variables

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from environment variables; an empty one counts as unset.

        Raises:
            ConfigError: A variable of ours is unknown, or a value can't be used.
        """
        known = {PREFIX + item.name.upper(): item.name for item in fields(cls) if item.name not in KEY_FIELDS}
        values: dict[str, Any] = {}
        for variable, text in env.items():
            if not variable.startswith(PREFIX) or not text.strip():
                continue
            if variable not in known:
                close = difflib.get_close_matches(variable, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"the known ones are {', '.join(known)}."
                raise ConfigError(f"{variable} is not a setting of Img2Loc; {hint}")
            values[known[variable]] = _read(variable, text.strip())
        backends, models = values.get("backends"), values.get("models")
        if backends:
            _check_choice("backend", values.setdefault("backend", backends[0]), backends)
        for name in ("openai_model", "hf_model"):
            if models and name in values:
                _check_choice(name, values[name], models)
        if env.get("SPACES_ZERO_GPU") and values.get("device", "auto") == "auto":
            values["device"] = "cpu"  # ZeroGPU lends its GPU to the model alone; torch claims to see one all the time
        return cls(
            openai_api_key=_key(env, "OPENAI_API_KEY"),
            hf_token="" if env.get("SPACE_ID") else _key(env, "HF_TOKEN"),
            server_keys={name: key for name in _SERVER_KEYS if (key := _key(env, name))},
            **values,
        )

    @property
    def offered(self) -> tuple[str, ...]:
        """The backends that visitors may choose: a model on this machine only where the operator has named it."""
        return tuple(name for name in self.backends if self.llava_model or not BACKENDS[name].runs_here)

    def options(self, backend: str, *, server: str = "") -> BackendOptions:
        """Put together what the operator has set for a backend, a key included.

        Args:
            backend: Its exact name.
            server: A server to ask instead of the configured one. A provider in lmm/servers.py gets the key from its
                own variable and no other; an address gets OPENAI_API_KEY, so it must be the operator's own choice.

        Raises:
            ConfigError: There is no such backend or server, or the backend asks no server.
        """
        chosen = backend_named(backend)
        if server and not chosen.takes_base_url:
            raise ConfigError(f"The backend {backend} uses no model server; drop base_url.")
        key = model = ""
        match chosen.name:
            case "openai":
                target = server_named(server or self.openai_base_url)
                by_address = target.name not in SERVERS
                model = "" if server and not by_address else self.openai_model
                if target.name == "openai" or by_address:
                    key = self.openai_api_key
                else:
                    key = self.server_keys.get(target.key_variable, "")
                server = server or self.openai_base_url
            case "hf":
                key, model = self.hf_token, self.hf_model
            case "llava":
                model = self.llava_model
        return BackendOptions(
            api_key=key, model=model, base_url=server, timeout_s=self.timeout_s, temperature=self.temperature
        )


def _key(env: Mapping[str, str], variable: str) -> str:
    return check_key(env.get(variable, ""), name=variable)


def _read(variable: str, text: str) -> Any:  # noqa: ANN401 - each field has a type of its own
    """Read and check a variable's value.

    Raises:
        ConfigError: It can't be used.
    """
    if any(unicodedata.category(character) in _UNUSABLE for character in text):
        raise ConfigError(f"{variable} contains a line break, a control character or bytes that aren't UTF-8.")
    read, is_valid, requirement = _RULES.get(variable.removeprefix(PREFIX).lower(), _ANY_TEXT)
    try:
        value = read(text)
        if is_valid(value):
            return value
    except ConfigError as error:
        raise ConfigError(f"{variable} can't be used: {error}") from None
    except (ValueError, KeyError):
        pass
    raise ConfigError(f"{variable} is {quoted(text)}; it must be {requirement}.")


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{PREFIX}{name.upper()} is {quoted(value)}; it must be one of: {', '.join(choices)}.")


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _server(text: str) -> str:
    server_named(text)
    return text


# How a value is read, whether it can be used, and what to tell the operator where it can't.
_Rule = tuple[Callable[[str], Any], Callable[[Any], object], str]


def _one_of(choices: Collection[str]) -> _Rule:
    return str, lambda text: text in choices, f"one of: {', '.join(choices)}"


_ANY_TEXT: Final[_Rule] = (str, lambda _: True, "")
_COUNT: Final[_Rule] = (int, lambda count: count >= 1, "a whole number, 1 or more")
_RULES: Final[Mapping[str, _Rule]] = {
    "backend": _one_of(BACKENDS),
    "backends": (
        _names,
        lambda names: names and BACKENDS.keys() >= set(names),
        f"a list of names, separated by commas, out of: {', '.join(BACKENDS)}",
    ),
    "openai_base_url": (_server, lambda _: True, ""),
    "allow_base_url": (lambda text: _YES_NO[text.lower()], lambda _: True, "yes or no"),
    "prompt": _one_of(TEMPLATES),
    "temperature": (float, lambda temperature: 0 <= temperature <= 2, "a number from 0 to 2"),
    "samples": (int, lambda count: 1 <= count <= MAX_SAMPLES, f"a whole number from 1 to {MAX_SAMPLES}"),
    "judge": (read_judge, lambda _: True, ""),
    "timeout_s": (float, lambda seconds: 0 < seconds <= 3600, "a number above 0 and at most 3600"),
    "device": (str, _DEVICES.fullmatch, "auto, cpu, cuda, cuda:1 or mps"),
    "dtype": _one_of(DTYPES),
    "models": (_names, bool, "a list of names, separated by commas"),
    "hourly_per_visitor": _COUNT,
    "hourly_total": _COUNT,
    "hourly_tokens": _COUNT,
    "precision": _one_of(LEVELS),
    "abstain_km": (float, lambda radius_km: 0 < radius_km <= 20_004, "a number above 0 and at most 20004"),
    "keep_minutes": (int, lambda minutes: 1 <= minutes <= 60, "a whole number from 1 to 60"),
    "banner": (str, lambda text: len(text) <= MAX_BANNER_CHARS, f"at most {MAX_BANNER_CHARS} characters long"),
}

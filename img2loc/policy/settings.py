"""Every setting, read from the environment once."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from img2loc.answer.prompt import TEMPLATES
from img2loc.errors import ConfigError, quoted
from img2loc.geo.coarse import EXACT, LEVELS, Precision
from img2loc.judge.sampling import Judge, check_samples, read_judge
from img2loc.lmm import BACKENDS, BackendOptions, backend_named
from img2loc.lmm.keys import check_key
from img2loc.lmm.servers import SERVERS, server_named
from img2loc.policy.limits import Limits

PREFIX = "IMG2LOC_"
MAX_BANNER_CHARS = 300
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = re.compile(r"auto|cpu|mps|cuda(:\d+)?", re.ASCII)
KEYS = ("openai_api_key", "hf_token", "server_keys")  # these come from the providers' own variables
_UNUSABLE = ("Cc", "Cs")  # control characters; what Python makes of bytes that aren't UTF-8
_YES_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set; each field is the variable IMG2LOC_<FIELD IN CAPITALS>.

    Args:
        gallery: "starter", a folder, or a Hub repo as owner/name[@revision].
        encoder: Overrides where the gallery's encoder is loaded from: "lite0", a Hub repo or a folder.
        backend: The backend chosen at first.
        backends: Those that visitors may choose.
        openai_model: The model asked for at first; empty for the backend's default.
        openai_base_url: A server that speaks OpenAI's protocol: its address, or its name in lmm/servers.py; empty for
            OpenAI itself.
        hf_model: The model that Hugging Face is asked for at first; empty for the backend's default.
        llava_model: The model that runs on this machine; empty offers none to visitors.
        allow_base_url: Whether visitors may name servers by address; only such as are on the public internet are asked.
        prompt: The prompt's template at first: a name in img2loc/prompts.
        temperature: How freely a model words its reply; None for the provider's own default.
        samples: How often a model is asked; the answer is the one that the others lie closest to.
        judge: With how many neighbours each way a model is asked at first, a prompt each, for its answers to be judged
            as candidates: numbers with commas between, and "+choice" after them for the model to choose at the end;
            "off" for one prompt, whose answer stands.
        timeout_s: Seconds to wait for one reply of a model, retries included.
        device: Where the encoder runs: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: The encoder's number format: "auto", "float32", "bfloat16", "float16".
        models: The models that may be asked at the operator's expense, the default first; empty for any.
        hourly_per_visitor: How many photos an hour a visitor may send to a model at the operator's expense; None for
            any number.
        hourly_total: And all visitors together.
        hourly_tokens: How many tokens an hour all visitors together may use at the operator's expense, read and
            written; None for any number.
        precision: How precisely visitors are answered: "exact", "city", "region" or "country".
        abstain_km: Beyond which calibrated radius an answer is coarsened to its region or country, or withheld; None
            for never.
        keep_minutes: How many minutes at most a photo stays on the server.
        banner: A sentence of the operator's for the top of the page.
        limits: What is left of these bounds at the moment; one count for the page and the API.
        openai_api_key: The operator's own key, from OPENAI_API_KEY; used for whoever brings none.
        hf_token: Likewise, from HF_TOKEN; never on a Space, where it is there for the gallery and visitors sign in.
        server_keys: Likewise, of the other servers, by the names of their variables.
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
    samples: int = 1
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
    limits: Limits = field(init=False, repr=False, compare=False)
    openai_api_key: str = field(default="", repr=False)
    hf_token: str = field(default="", repr=False)
    server_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in self.backends:
            _check_choice("backends", name, BACKENDS)
        _check_choice("backend", self.backend, self.backends)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("prompt", self.prompt, TEMPLATES)
        _check_choice("precision", self.precision, LEVELS)
        for name in ("openai_model", "hf_model") if self.models else ():
            if model := getattr(self, name):
                _check_choice(name, model, self.models)
        if not 0 < self.timeout_s <= 3600:
            raise ConfigError(f"{PREFIX}TIMEOUT_S is {self.timeout_s}; it must be above 0 and at most 3600.")
        for name in ("hourly_per_visitor", "hourly_total", "hourly_tokens"):
            if (bound := getattr(self, name)) is not None and bound < 1:
                raise ConfigError(f"{PREFIX}{name.upper()} is {bound}; it must be a whole number from 1.")
        if self.abstain_km is not None and not 0 < self.abstain_km <= 20_004:
            raise ConfigError(f"{PREFIX}ABSTAIN_KM is {self.abstain_km}; it must be above 0 and at most 20004.")
        if not 1 <= self.keep_minutes <= 60:
            raise ConfigError(f"{PREFIX}KEEP_MINUTES is {self.keep_minutes}; it must be a whole number from 1 to 60.")
        if len(self.banner) > MAX_BANNER_CHARS:
            raise ConfigError(
                f"{PREFIX}BANNER has {len(self.banner)} characters; it must have at most {MAX_BANNER_CHARS}."
            )
        if not DEVICES.fullmatch(self.device):
            raise ConfigError(f"{PREFIX}DEVICE is {quoted(self.device)}; it must be auto, cpu, cuda, cuda:1 or mps.")
        object.__setattr__(self, "limits", Limits(self.hourly_per_visitor, self.hourly_total, self.hourly_tokens))
        checks: dict[str, Callable[[], object]] = {
            "SAMPLES": lambda: check_samples(self.samples),
            "TEMPERATURE": lambda: BackendOptions(temperature=self.temperature),
            "OPENAI_BASE_URL": lambda: server_named(self.openai_base_url),
        }
        for name, check in checks.items():
            try:
                check()
            except ConfigError as error:
                raise ConfigError(f"{PREFIX}{name} can't be used: {error}") from None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from environment variables.

        Args:
            env: The variables; the process's own by default.

        Returns:
            The settings; an empty variable counts as unset.

        Raises:
            ConfigError: A variable of ours is unknown or has a value that can't be used.
        """
        env = os.environ if env is None else env
        known = {PREFIX + item.name.upper(): item.name for item in fields(cls) if item.init and item.name not in KEYS}
        values: dict[str, Any] = {}
        for variable, value in env.items():
            if not variable.startswith(PREFIX) or not value.strip():
                continue
            if variable not in known:
                close = difflib.get_close_matches(variable, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"the known ones are {', '.join(known)}."
                raise ConfigError(f"{variable} is not a setting of Img2Loc; {hint}")
            values[known[variable]] = value.strip()
            if any(unicodedata.category(character) in _UNUSABLE for character in values[known[variable]]):
                raise ConfigError(f"{variable} contains a line break, a control character or bytes that aren't UTF-8.")
        for name, read, kind in _NOT_TEXT:
            if name in values:
                try:
                    values[name] = read(str(values[name]))
                except (ValueError, KeyError):
                    raise ConfigError(f"{PREFIX}{name.upper()} is {quoted(values[name])}; it must be {kind}.") from None
        if values.get("backends"):
            values.setdefault("backend", values["backends"][0])
        if env.get("SPACES_ZERO_GPU") and values.get("device", "auto") == "auto":
            values["device"] = "cpu"  # ZeroGPU lends its GPU to the model alone; torch claims to see one all the time
        return cls(
            openai_api_key=_key(env, "OPENAI_API_KEY"),
            hf_token="" if env.get("SPACE_ID") else _key(env, "HF_TOKEN"),
            server_keys={name: key for name in _SERVER_VARIABLES if (key := _key(env, name))},
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
                found = server_named(server or self.openai_base_url)
                by_address = found.name not in SERVERS
                model = "" if server and not by_address else self.openai_model
                if found.name == "openai" or by_address:
                    key = self.openai_api_key
                else:
                    key = self.server_keys.get(found.key_variable, "")
                server = server or self.openai_base_url
            case "hf":
                key, model = self.hf_token, self.hf_model
            case "llava":
                model = self.llava_model
        return BackendOptions(
            api_key=key, model=model, base_url=server, timeout_s=self.timeout_s, temperature=self.temperature
        )


def _key(env: Mapping[str, str], variable: str) -> str:
    try:
        return check_key(env.get(variable, ""))
    except ConfigError:
        raise ConfigError(
            f"{variable} contains a space, a line break or another character that can't be in a key; copy it again."
        ) from None


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{PREFIX}{name.upper()} is {quoted(value)}; it must be one of: {', '.join(choices)}.")


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError(text)
    return names


def _judge(text: str) -> Judge | None:
    try:
        return read_judge(text)
    except ConfigError as error:
        raise ValueError(text) from error


def _yes_or_no(text: str) -> bool:
    return _YES_NO[text.lower()]


_NOT_TEXT: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("timeout_s", float, "a number"),
    ("temperature", float, "a number"),
    ("samples", int, "a whole number"),
    (
        "judge",
        _judge,
        "up to 8 numbers from 0 to 50, separated by commas and optionally followed by +choice; or off",
    ),
    ("allow_base_url", _yes_or_no, "yes or no"),
    ("backends", _names, "a list of names, separated by commas"),
    ("models", _names, "a list of names, separated by commas"),
    ("hourly_per_visitor", int, "a whole number from 1"),
    ("abstain_km", float, "a number"),
    ("hourly_total", int, "a whole number from 1"),
    ("hourly_tokens", int, "a whole number from 1"),
    ("keep_minutes", int, "a whole number from 1 to 60"),
)
_SERVER_VARIABLES = [item.key_variable for item in SERVERS.values() if item.key_variable and item.name != "openai"]

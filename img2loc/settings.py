"""Every setting, read from the environment once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from img2loc.errors import ConfigError
from img2loc.lmm import BACKENDS

PREFIX = "IMG2LOC_"
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set; each field is the variable IMG2LOC_<FIELD IN CAPITALS>.

    Args:
        gallery: "starter", a folder, or a Hub repo as owner/name[@revision].
        encoder: Overrides where the gallery's encoder is loaded from: "lite0", a Hub repo or a folder.
        backend: The backend chosen at first.
        openai_model: The model asked for at first; empty for the backend's default.
        openai_base_url: A server that speaks OpenAI's protocol; empty for OpenAI itself.
        timeout_s: Seconds to wait for one reply of a model.
        device: Where the encoder runs: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: The encoder's number format: "auto", "float32", "bfloat16", "float16".
        openai_api_key: The operator's own key, from OPENAI_API_KEY; used for whoever brings none.
    """

    gallery: str = "starter"
    encoder: str = ""
    backend: str = "vote"
    openai_model: str = ""
    openai_base_url: str = ""
    timeout_s: float = 60.0
    device: str = "auto"
    dtype: str = "auto"
    openai_api_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(f"{PREFIX}BACKEND is {self.backend!r}; it must be one of: {', '.join(BACKENDS)}.")
        if self.dtype not in DTYPES:
            raise ConfigError(f"{PREFIX}DTYPE is {self.dtype!r}; it must be one of: {', '.join(DTYPES)}.")
        if not 0 < self.timeout_s <= 3600:
            raise ConfigError(f"{PREFIX}TIMEOUT_S is {self.timeout_s}; it must be a number of seconds up to 3600.")

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
        known = {PREFIX + item.name.upper(): item.name for item in fields(cls) if item.name != "openai_api_key"}
        values: dict[str, str | float] = {}
        for variable, value in env.items():
            if not variable.startswith(PREFIX) or not value.strip():
                continue
            if variable not in known:
                close = difflib.get_close_matches(variable, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"the known ones are {', '.join(known)}."
                raise ConfigError(f"{variable} is no setting of Img2Loc; {hint}")
            values[known[variable]] = value.strip()
        if "timeout_s" in values:
            try:
                values["timeout_s"] = float(values["timeout_s"])
            except ValueError:
                raise ConfigError(f"{PREFIX}TIMEOUT_S is {values['timeout_s']!r}; it must be a number.") from None
        return cls(openai_api_key=env.get("OPENAI_API_KEY", "").strip(), **values)  # type: ignore[arg-type]

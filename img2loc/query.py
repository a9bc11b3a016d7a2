"""What a visitor or a client asks of one photo, checked before any work is done."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from img2loc.coordinates import read_coordinates
from img2loc.errors import ConfigError, PhotoError
from img2loc.lmm import BackendOptions, open_lmm
from img2loc.locator import Locator, OnStage
from img2loc.photo import MAX_BYTES, Photo, open_photo
from img2loc.prompt import DEFAULT_TEMPLATE
from img2loc.settings import Settings
from img2loc.types import LatLon, Prediction, Retrieval

MAX_NEIGHBOURS = 50
_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_POSITION = re.compile(rf"\(?\s*{_NUMBER}\s*°?\s*(?:[,;]\s*|\s+){_NUMBER}\s*°?\s*\)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Query:
    """One request.

    Args:
        photo_path: The uploaded file, as Gradio keeps it; None when there is none.
        backend: The backend's exact name.
        model: The model's name; empty for the operator's choice or the backend's default.
        api_key: The visitor's own key; empty for the operator's, if there is one.
        nearest: How many of the most similar photos, 0 to MAX_NEIGHBOURS.
        farthest: How many of the most dissimilar, 0 to MAX_NEIGHBOURS.
        prompt: Its template; empty for the default.

    Raises:
        ConfigError: A count or the key can't be one.
    """

    photo_path: str | None
    backend: str = "vote"
    model: str = ""
    api_key: str = field(default="", repr=False)
    nearest: int = 16
    farthest: int = 16
    prompt: str = ""

    def __post_init__(self) -> None:
        for name in ("nearest", "farthest"):
            count = getattr(self, name)
            if not isinstance(count, int) or not 0 <= count <= MAX_NEIGHBOURS:
                raise ConfigError(f"{name} is {count!r}; it must be a whole number from 0 to {MAX_NEIGHBOURS}.")
        for name in ("backend", "model", "prompt"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be a text.")
        check_key(self.api_key)

    def photo(self) -> Photo:
        """Open the photo.

        Raises:
            PhotoError: There is none, or it can't be used.
        """
        if not self.photo_path:
            raise PhotoError("There is no photo yet; choose one first.")
        try:
            with Path(self.photo_path).open("rb") as file:
                return open_photo(file.read(MAX_BYTES + 1))
        except OSError:
            raise PhotoError("The photo is no longer on the server; choose it again.") from None

    def locate(
        self, photo: Photo, locator: Locator, settings: Settings, *, on_stage: OnStage = lambda stage: None
    ) -> Prediction:
        """Say where the photo was taken.

        Raises:
            ConfigError: The backend, its key or the template can't be used.
        """
        lmm = open_lmm(
            self.backend,
            BackendOptions(
                api_key=self.api_key or settings.openai_api_key,
                model=self.model.strip() or settings.openai_model,
                base_url=settings.openai_base_url,
                timeout_s=settings.timeout_s,
            ),
        )
        return locator.locate(
            photo,
            lmm=lmm,
            nearest=self.nearest,
            farthest=self.farthest,
            template=self.prompt.strip() or DEFAULT_TEMPLATE,
            on_stage=on_stage,
        )

    def neighbours(self, photo: Photo, locator: Locator) -> Retrieval:
        """Find the photo's neighbours."""
        return locator.neighbours(photo, nearest=self.nearest, farthest=self.farthest)


def check_key(key: str) -> str:
    """Check that a text can be a key at all: it travels in an HTTP header.

    Returns:
        The same text.

    Raises:
        ConfigError: It has blanks or characters beyond ASCII; the message doesn't repeat it.
    """
    if any(not "!" <= character <= "~" for character in key):
        raise ConfigError("The key has blanks or unusual characters; copy it again from your provider's page.")
    return key


def parse_position(text: str) -> LatLon | None:
    """Read a position typed by a person.

    Args:
        text: 'lat, lon' in decimal degrees, or with degree signs and hemispheres.

    Returns:
        The position, or None for an empty text.

    Raises:
        ConfigError: It is no position; two plain numbers are never swapped.
    """
    if not text.strip():
        return None
    advice = "write it as 'latitude, longitude' in decimal degrees, such as 48.8584, 2.2945."
    plain = _POSITION.fullmatch(text.strip())
    if not plain:  # degrees, minutes and hemispheres, as maps copy them
        found = read_coordinates(text)
        if isinstance(found, LatLon):
            return found
        raise ConfigError(f"The true position can't be read; {advice}")
    try:
        return LatLon(float(plain[1]), float(plain[2]))
    except ValueError as error:
        raise ConfigError(f"The true position is not on Earth: {error}; {advice}") from None

"""Which locator answers now: the configured gallery's, or the starter's until, or unless, that can be had."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

from img2loc.errors import EncoderError, GalleryError, Img2LocError
from img2loc.locator import Locator
from img2loc.settings import Settings

# For the gallery's sake the page may start this late. What takes longer is pulled while the starter answers.
GRACE_S = 10.0
STARTER = "starter"
INSTEAD = "Until then the starter gallery answers."


class Host:
    """Holds the locator that all requests share; replaces it once, when the configured gallery has arrived.

    Args:
        settings: Which gallery and encoder.
        grace_s: Seconds to wait for them before the starter stands in.

    Raises:
        Img2LocError: Not even the starter can be opened, or a setting turns out wrong within the seconds of grace.
    """

    def __init__(self, settings: Settings, *, grace_s: float = GRACE_S) -> None:
        self._settings = settings
        self._configured: Locator | None = None
        self._failure: Img2LocError | None = None
        self._received_bytes = 0
        self._opening = threading.Thread(target=self._open, name="open-gallery", daemon=True)
        self._opening.start()
        self._opening.join(None if settings.gallery == STARTER else grace_s)
        replaceable = settings.gallery != STARTER and isinstance(self._failure, GalleryError | EncoderError)
        if self._failure is not None and not replaceable:
            raise self._failure
        self._first = self._configured or Locator.from_settings(replace(settings, gallery=STARTER, encoder=""))

    @property
    def locator(self) -> Locator:
        """The locator that answers now; a request takes it once and keeps it."""
        return self._configured or self._first

    @property
    def pending(self) -> bool:
        """Whether the configured gallery is still on its way."""
        return self._opening.is_alive()

    @property
    def notice(self) -> str:
        """What visitors should know while the configured gallery isn't the one that answers; empty when it is."""
        if self._configured is not None:
            return ""
        if self._failure is not None:
            return f"{self._failure} {INSTEAD}"
        so_far = f": {self._received_bytes / 1e6:,.0f} MB so far" if self._received_bytes else ""
        return f"The gallery {self._settings.gallery} is on its way{so_far}. {INSTEAD}"

    def _open(self) -> None:
        try:
            self._configured = Locator.from_settings(self._settings, on_bytes=self._count)
        except Img2LocError as error:
            self._failure = error
            if self._settings.gallery != STARTER:
                print(f"app.py: {error} {INSTEAD}", file=sys.stderr)

    def _count(self, received_bytes: int) -> None:
        self._received_bytes = received_bytes

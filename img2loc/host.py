"""Which locator answers now: the configured gallery's, or the starter's until, or unless, that can be had."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

from img2loc import gallery
from img2loc.errors import ConfigError, EncoderError, GalleryError, Img2LocError
from img2loc.locator import Locator
from img2loc.settings import Settings

# For the gallery's sake the first answer may come this late. What takes longer is pulled while the starter answers.
GRACE_S = 10.0
STARTER = "starter"
REPLACEABLE = (GalleryError, EncoderError)
INSTEAD = "Until then the starter gallery answers."


class Host:
    """Holds the locator that all requests share; replaces it once, when the configured gallery has arrived.

    Nothing is opened with it, since that takes longer than to build a page.

    Args:
        settings: Which gallery and encoder.
        grace_s: Seconds that requests wait for them before the starter stands in.
        problem: What visitors should know besides; empty where all else is as it should be.

    Raises:
        GalleryError: The starter is not there.
    """

    def __init__(self, settings: Settings, *, grace_s: float = GRACE_S, problem: str = "") -> None:
        self._settings = settings
        self._problem = problem
        self._grace_s = grace_s
        self._starter = gallery.read_manifest(gallery.STARTER)
        self._lock = threading.Lock()
        self._first: Locator | None = None
        self._configured: Locator | None = None
        self._failure: Img2LocError | None = None
        self._received_bytes = 0

    def open(self) -> Locator:
        """Open the locator that answers first, unless that is done; all who ask meanwhile wait.

        Raises:
            Img2LocError: Not even the starter can be opened, or a setting turns out wrong within the seconds of grace.
        """
        with self._lock:
            if self._first is None:
                self._first = self._open_first()
            return self._first

    @property
    def locator(self) -> Locator:
        """The locator that answers now, opened if need be; a request takes it once and keeps it."""
        return self._configured or self.open()

    @property
    def manifest(self) -> gallery.Manifest:
        """What the gallery that answers now says of itself; known before it is opened."""
        return self._configured.gallery.manifest if self._configured else self._starter

    @property
    def pending(self) -> bool:
        """Whether the configured gallery is still on its way."""
        return self._settings.gallery != STARTER and self._configured is None and self._failure is None

    @property
    def notice(self) -> str:
        """What visitors should know where not all is as configured; empty when it is."""
        return " ".join(filter(None, (self._gallery_notice(), self._problem)))

    def _gallery_notice(self) -> str:
        if self._failure is not None:
            return f"{self._failure} {INSTEAD}"
        if not self.pending:
            return ""
        so_far = f": {self._received_bytes / 1e6:,.0f} MB so far" if self._received_bytes else ""
        return f"The gallery {self._settings.gallery} is on its way{so_far}. {INSTEAD}"

    def _open_first(self) -> Locator:
        if self._settings.gallery == STARTER:
            try:
                return Locator.from_settings(self._settings)
            except EncoderError as error:
                if not self._settings.encoder:
                    raise
                raise ConfigError(f"IMG2LOC_ENCODER can't be used: {error}") from error
        opening = threading.Thread(target=self._open_configured, name="open-gallery", daemon=True)
        opening.start()
        opening.join(self._grace_s)
        if self._failure is not None and not isinstance(self._failure, REPLACEABLE):
            raise self._failure
        return self._configured or Locator.from_settings(replace(self._settings, gallery=STARTER, encoder=""))

    def _open_configured(self) -> None:
        try:
            self._configured = Locator.from_settings(self._settings, on_bytes=self._count)
            name, folder = self._settings.gallery, self._configured.gallery.folder
            if folder.parent.name == "snapshots" and "@" not in name:
                print(f"app.py: {name} names no commit; IMG2LOC_GALLERY={name}@{folder.name} keeps it at this one.")
        except Img2LocError as error:
            self._failure = error
            if self._first is not None or isinstance(error, REPLACEABLE):  # any other stops the start
                print(f"app.py: {error} {INSTEAD}", file=sys.stderr)

    def _count(self, received_bytes: int) -> None:
        self._received_bytes = received_bytes

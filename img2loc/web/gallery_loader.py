"""Which locator answers now: the configured gallery's, or the starter's while, or where, that can't be opened.

Visitors see which gallery answers, in a sentence. The reason why another one doesn't is in the log, since it may name
folders of this machine.
"""

from __future__ import annotations

import threading
import time
import traceback
from itertools import chain, repeat
from pathlib import Path

from img2loc.errors import ConfigError, EncoderError, GalleryError, GalleryMismatchError, HubError, Img2LocError
from img2loc.locator import Locator
from img2loc.policy.settings import Settings
from img2loc.retrieval import gallery
from img2loc.retrieval.hub import OnBytes, ignore_bytes, split_revision
from img2loc.retrieval.manifest import Manifest, read_manifest
from img2loc.system.terminal import print_message, write_err

# The first answer waits so long for the configured gallery. If opening it takes longer, the starter answers meanwhile.
GRACE_S = 10.0
STARTER = "starter"
RETRY_AFTER_S = (60.0, 300.0, 900.0, 1800.0)  # the last one again and again
STALLED_S = 1800.0  # without a byte; the largest index takes a minute to check and to open
# What another try can't change: the operator has to change a setting. Anything else may get better: the Hub comes back,
# a repository is completed, a disk is mounted or has room again.
PERMANENT = (ConfigError, GalleryMismatchError)
# For the log.
RESTART = "The starter gallery answers instead. Restart to try again."
RETRY = "The starter gallery answers instead. Img2Loc will try again automatically."


class Host:
    """Holds the locator that all requests share; replaces it once, when the configured gallery is open.

    It opens nothing when it is made, since that takes longer than to build a page. `problem` is what visitors should
    know besides, if there is something.

    Raises:
        GalleryError: The starter is not there.
    """

    def __init__(self, settings: Settings, *, grace_s: float = GRACE_S, problem: str = "") -> None:
        self._settings = settings
        self._name = _name_for_visitors(settings.gallery)
        self._problem = problem
        self._grace_s = grace_s
        self._starter = read_manifest(gallery.STARTER)
        self._lock = threading.Lock()
        self._first: Locator | None = None
        self._configured: Locator | None = None
        self._opening: threading.Thread | None = None
        self._tried = threading.Event()
        self._failure: Img2LocError | None = None  # of the last try; None while one is under way
        self._received_bytes = 0
        self._progress_at = time.monotonic()

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
    def manifest(self) -> Manifest:
        """What the gallery that answers now says of itself; known before it is opened."""
        return self._configured.gallery.manifest if self._configured else self._starter

    @property
    def pending(self) -> bool:
        """Whether the configured gallery is being downloaded or opened, so that it is worth asking again soon."""
        return self.can_change and self._failure is None and not self._stalled

    @property
    def can_change(self) -> bool:
        """Whether another gallery may answer later than the one that answers now."""
        is_open = self._settings.gallery == STARTER or self._configured is not None
        return not (is_open or isinstance(self._failure, PERMANENT))

    @property
    def notice(self) -> str:
        """What visitors should know where not all is as configured; empty when it is."""
        return " ".join(filter(None, (self._gallery_notice(), self._problem)))

    @property
    def _stalled(self) -> bool:
        return time.monotonic() - self._progress_at > STALLED_S

    def _gallery_notice(self) -> str:
        name, failure = self._name, self._failure
        if self._settings.gallery == STARTER or self._configured is not None:
            return ""
        if isinstance(failure, PERMANENT):
            return f"Gallery {name} can't be opened; the starter gallery answers instead."
        if failure is not None:
            return f"Gallery {name} can't be opened right now; the starter gallery answers until it can."
        if self._stalled:
            return f"Opening gallery {name} takes unusually long; the starter gallery answers in the meantime."
        received = self._received_bytes
        doing = (
            f"Downloading gallery {name} ({received / 1e6:,.0f} MB so far)" if received else f"Opening gallery {name}"
        )
        return f"{doing}. The starter gallery answers in the meantime."

    def _open_first(self) -> Locator:
        if self._settings.gallery == STARTER:
            try:
                return self._open(STARTER, self._settings.encoder)
            except EncoderError as error:
                if not self._settings.encoder:
                    raise
                raise ConfigError(f"IMG2LOC_ENCODER can't be used: {error}") from error
        if self._opening is None:
            self._opening = threading.Thread(target=self._keep_opening, name="open-gallery", daemon=True)
            self._opening.start()
        self._tried.wait(self._grace_s)
        if isinstance(self._failure, ConfigError):
            raise self._failure
        return self._configured or self._open(STARTER)

    def _open(self, name: str, encoder: str = "", on_bytes: OnBytes = ignore_bytes) -> Locator:
        device, dtype = self._settings.device, self._settings.dtype
        return Locator.open(name, encoder=encoder, device=device, dtype=dtype, on_bytes=on_bytes)

    def _keep_opening(self) -> None:
        """Open the configured gallery, and try again later as long as that can help."""
        printed = ""
        for wait_s in chain(RETRY_AFTER_S, repeat(RETRY_AFTER_S[-1])):
            self._received_bytes, self._progress_at, self._failure = 0, time.monotonic(), None
            failure = self._try_to_open()
            self._failure = failure
            self._tried.set()
            if failure is None:
                return
            is_permanent = isinstance(failure, PERMANENT)
            # A setting that is found wrong within the seconds of grace stops the start, and app.py prints it.
            if str(failure) != printed and (self._first is not None or not isinstance(failure, ConfigError)):
                print_message(f"app.py: {failure} {RESTART if is_permanent else RETRY}")
            if is_permanent:
                return
            printed = str(failure)
            time.sleep(wait_s)

    def _try_to_open(self) -> Img2LocError | None:
        """Open the configured gallery; what went wrong, if anything did."""
        name = self._settings.gallery
        try:
            self._configured = self._open(name, self._settings.encoder, self._count)
        except Img2LocError as error:
            return error
        except Exception as error:  # nobody knows of what kind: without this the gallery would be pending for ever
            # Without its words, which may repeat a token or an address.
            frames = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            write_err(f"app.py: unexpected {type(error).__name__} at\n{frames}")
            return GalleryError(f"The gallery {name!r} can't be opened ({type(error).__name__}); the log has details.")
        folder = self._configured.gallery.folder
        if folder.parent.name == "snapshots" and "@" not in name:
            print_message(f"app.py: {name} names no commit; IMG2LOC_GALLERY={name}@{folder.name} keeps it at this one.")
        return None

    def _count(self, received_bytes: int) -> None:
        self._received_bytes, self._progress_at = received_bytes, time.monotonic()


def _name_for_visitors(gallery: str) -> str:
    """A gallery's name without the folders above it; a Hub repository's whole name."""
    try:
        split_revision(gallery)
        is_repo = not Path(gallery).is_dir()
    except (HubError, OSError, ValueError):
        is_repo = False
    return gallery if is_repo else Path(gallery).name or gallery

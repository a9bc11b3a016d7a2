"""What a visitor or a client asks of one photo, checked before any work is done."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from img2loc.answer.coordinates import read_coordinates
from img2loc.answer.prompt import TEMPLATES, chosen_template, template_named
from img2loc.errors import ConfigError, PhotoError, quoted
from img2loc.geo.areas import read_area
from img2loc.geo.coarse import EXACT, coarse_area
from img2loc.geo.sphere import decimal_position
from img2loc.judge.sampling import MAX_NEIGHBOURS, read_judge, requests_of
from img2loc.lmm import BACKENDS, LMM, BackendOptions, backend_named, open_lmm
from img2loc.lmm.base import check_key
from img2loc.lmm.servers import host_of, server_named
from img2loc.lmm.usage import MeteredLMM
from img2loc.locator import DEFAULT_NEIGHBOURS, Ask, Locator, OnStage, ignore_stage
from img2loc.photo.decode import MAX_BYTES, Photo, open_photo
from img2loc.policy.cost import max_tokens
from img2loc.policy.limits import Limits
from img2loc.policy.offers import first_of
from img2loc.policy.precision import abstain, coarsen
from img2loc.policy.settings import Settings
from img2loc.types import LatLon, Prediction, Retrieval
from img2loc.web.site import Site

MAX_POSITION_CHARS = 100

Keys = Mapping[str, str]  # by provider, as provider_of names them


@dataclass(frozen=True, slots=True)
class LocateRequest:
    """What is asked about one photo, and by whom.

    Args:
        photo_path: The uploaded file, as Gradio keeps it; None when there is none.
        model: Empty for the operator's choice or the backend's default.
        keys: The visitor's own, by provider. Where there is none for the provider that is asked, the operator's is
            used, if there is one.
        nearest: How many of the most similar photos, 0 to MAX_NEIGHBOURS.
        farthest: How many of the most dissimilar, 0 to MAX_NEIGHBOURS.
        prompt: A template's name, or a template; empty for the operator's choice.
        base_url: A server to ask instead of the operator's: a provider's name in lmm/servers.py, or, where the operator
            allows it, an address.
        cancel: Set when nobody waits for the answer any more.
        visitor: From visitor_of (hardening/visitors.py); all visitors without a known address count as one.
        judge: As judge.sampling.read_judge reads it; empty for the operator's choice.
        within: Where the photo is known to have been taken, as geo.areas.read_area reads it; empty for anywhere.

    Raises:
        ConfigError: A count, the key, judge or within is invalid, or a text isn't a string.
    """

    photo_path: str | None
    backend: str = "vote"
    model: str = ""
    keys: Keys = field(default_factory=dict, repr=False)
    nearest: int = DEFAULT_NEIGHBOURS
    farthest: int = DEFAULT_NEIGHBOURS
    prompt: str = ""
    base_url: str = ""
    cancel: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    visitor: str = field(default="", repr=False)
    judge: str = ""
    within: str = ""

    def __post_init__(self) -> None:
        for name in ("nearest", "farthest"):
            count = getattr(self, name)
            if not isinstance(count, int) or not 0 <= count <= MAX_NEIGHBOURS:
                got = f"the string {count[:40]!r}" if isinstance(count, str) else repr(count)[:40]
                raise ConfigError(f"{name} must be an integer from 0 to {MAX_NEIGHBOURS}, not {got}.")
        for name in ("backend", "model", "prompt", "base_url", "judge", "within"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be a string.")
        check_key(self.own_key)
        read_judge(self.judge)
        read_area(self.within)

    @property
    def own_key(self) -> str:
        """The visitor's key for the provider that is asked, and for no other; empty where there is none."""
        return self.keys.get(provider_of(self.backend, self.base_url), "")

    def photo(self) -> Photo:
        """Open the photo.

        Raises:
            PhotoError: There is none, or it can't be used.
        """
        try:
            with Path(require_photo(self.photo_path)).open("rb") as file:
                return open_photo(file.read(MAX_BYTES + 1))
        except OSError:
            raise PhotoError("The photo is no longer on the server. Upload it again.") from None

    def locate(self, photo: Photo, locator: Locator, site: Site, *, on_stage: OnStage = ignore_stage) -> Prediction:
        """Locate the photo within the operator's limits and precision.

        Raises:
            ConfigError: The backend, its key, its model or the template can't be used.
            LimitError: An hourly limit is reached.
        """
        settings = site.settings
        ask = Ask(
            template=chosen_template(self.prompt or settings.prompt),
            lmm=open_lmm(self.backend, self.options(settings)),
            nearest=self.nearest,
            farthest=self.farthest,
            samples=settings.samples,
            judge=read_judge(self.judge) if self.judge.strip() else settings.judge,
            within=read_area(self.within),
            precision=settings.precision,
        )
        if ask.lmm is not None and self._is_paid_by_operator(settings):
            prediction = self._locate_within_limits(photo, locator, ask, ask.lmm, site.limits, on_stage)
        else:
            prediction = locator.locate(photo, ask, on_stage=on_stage)
        return coarsen(abstain(prediction, settings.abstain_km), settings.precision)

    def _locate_within_limits(
        self, photo: Photo, locator: Locator, ask: Ask, lmm: LMM, limits: Limits, on_stage: OnStage
    ) -> Prediction:
        """Reserve what the photo may cost the operator, and replace that by what it cost."""
        if backend_named(self.backend).needs_key and ask.template not in map(template_named, TEMPLATES):
            raise ConfigError(
                "To use your own prompt, enter your own key for a provider such as OpenAI. "
                f"Or choose a prompt: {', '.join(TEMPLATES)}."
            )
        known = coarse_area(ask.within, ask.precision)
        tokens = max_tokens(ask.judge, ask.template, ask.nearest, ask.farthest, samples=ask.samples, within=known)
        # Samples don't count as requests: docs/configuration.md.
        reservation = limits.reserve(self.visitor, requests_of(ask.judge), tokens)
        metered = MeteredLMM(lmm)
        try:
            return locator.locate(photo, replace(ask, lmm=metered), on_stage=on_stage)
        finally:
            limits.settle(reservation, metered.tokens)

    def _is_paid_by_operator(self, settings: Settings) -> bool:
        """Whether a model answers at the operator's expense.

        Only at a provider with a fixed address does a visitor's key prove that the visitor pays. A server at the
        operator's address may check no key, or use another instead.
        """
        operators_server = server_named(settings.options(self.backend).base_url)  # hf's is empty, as OpenAI's is
        if self.base_url.strip():  # the visitor's choice, which never gets the operator's key
            chosen = server_named(self.base_url)
            if chosen.public or operators_server.public:
                return False
            # The operator's server may accept requests from this machine without a key.
            return host_of(chosen.base_url) == host_of(operators_server.base_url)
        return not (self.own_key and backend_named(self.backend).needs_key and operators_server.public)

    def options(self, settings: Settings) -> BackendOptions:
        """Join what is asked with what the operator has set.

        Raises:
            ConfigError: It asks for a backend, a server or a model that is the operator's to choose.
        """
        if self.backend in BACKENDS and self.backend not in settings.backends:
            raise ConfigError(
                f"This site doesn't offer the backend {self.backend!r}; choose one of: {', '.join(settings.backends)}."
            )
        model, server = self.model.strip(), self.base_url.strip()
        options = settings.options(self.backend)
        if server:
            if not (server_named(server).public or settings.allow_base_url):
                raise ConfigError(
                    "This site doesn't accept server addresses. Choose one of its providers. "
                    "(The site's operator can allow addresses with IMG2LOC_ALLOW_BASE_URL.)"
                )
            settings.options(self.backend, server=server)  # refuses a backend that asks no server
            # A visitor's server gets neither the operator's key nor access to the operator's network.
            options = replace(options, base_url=server, public_only=True, api_key="", model="")
        if backend_named(self.backend).runs_here:
            if not settings.llava_model:
                raise ConfigError(
                    "No model runs on this site's machine. Choose another backend. "
                    "(The site's operator can offer one with IMG2LOC_LLAVA_MODEL.)"
                )
            if model not in ("", settings.llava_model):
                raise ConfigError(f"Only {settings.llava_model} runs on this site's machine. Leave the model empty.")
        model = model or options.model
        if settings.models and backend_named(self.backend).needs_key and self._is_paid_by_operator(settings):
            model = model or first_of(settings.models, backend_named(self.backend).models)
            if model not in settings.models:
                raise ConfigError(
                    f"To use {quoted(model)}, enter your own key for a provider such as OpenAI, "
                    f"or choose one of: {', '.join(settings.models)}."
                )
        # A request that is sent again may be billed twice, but only one was reserved.
        resend = settings.hourly_tokens is None or not self._is_paid_by_operator(settings)
        key = self.own_key or options.api_key
        return replace(options, api_key=key, model=model, cancel=self.cancel, resend_billed=resend)

    def neighbours(self, photo: Photo, locator: Locator, settings: Settings) -> Retrieval:
        """Find the photo's neighbours, placed as precisely as the operator allows."""
        return locator.neighbours(
            photo,
            nearest=self.nearest,
            farthest=self.farthest,
            within=read_area(self.within),
            precision=settings.precision,
        )


def require_photo(path: str | None) -> str:
    """Check that a photo was sent.

    Raises:
        PhotoError: None was.
    """
    if not path:
        raise PhotoError("No photo was sent. Choose one first.")
    return path


def provider_of(backend: str, server: str) -> str:
    """Name the provider that a request goes to: the server's name or address, or the backend for the operator's own.

    OpenAI itself goes by its host's name, since the operator's own server may be another one.
    """
    server = server.strip()
    return "api.openai.com" if server == "openai" else server or backend


def known_position(photo: Photo, settings: Settings) -> LatLon | None:
    """What the photo's EXIF or XMP says, for comparison; None where the operator lets nobody see anything as exact."""
    return (photo.exif_position or photo.xmp_position) if settings.precision == EXACT else None


def parse_position(text: str) -> LatLon | None:
    """Read a position typed by a person.

    Args:
        text: 'lat, lon' in decimal degrees, or with degree signs and hemispheres.

    Returns:
        The position, or None for an empty text.

    Raises:
        ConfigError: It isn't a position; two plain numbers are never swapped.
    """
    if not text.strip():
        return None
    advice = "Write it as latitude, longitude in decimal degrees, such as 48.8584, 2.2945."
    if len(text) <= MAX_POSITION_CHARS:  # blanks without end would keep the search busy without end
        try:
            position = decimal_position(text) or read_coordinates(text)  # degrees and minutes, as maps copy them
        except ValueError as error:
            raise ConfigError(f"The true position isn't valid: {error}. {advice}") from None
        if isinstance(position, LatLon):
            return position
    raise ConfigError(f"The true position can't be read. {advice}")

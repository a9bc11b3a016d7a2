"""One photo, several answers: who may be asked, asking them side by side, and the cards that show what came."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from img2loc.errors import ConfigError, page_message
from img2loc.geo.sphere import geodesic_km
from img2loc.lmm import BACKENDS
from img2loc.lmm.servers import SERVERS, Server, server_named
from img2loc.locator import Locator
from img2loc.maps.figures import BLUE, GREEN, PURPLE, VERMILION, Mark
from img2loc.photo.decode import Photo
from img2loc.policy.offers import models_of, provided
from img2loc.policy.settings import Settings
from img2loc.types import LatLon, Prediction
from img2loc.web.i18n import ENGLISH, Translate
from img2loc.web.render.html import render
from img2loc.web.request import LocateRequest
from img2loc.web.site import Site

MAX_CONTESTANTS = 6
COLOURS = (VERMILION, BLUE, GREEN, PURPLE, "#8a6d00", "#5b6472")


@dataclass(frozen=True, slots=True)
class Provider:
    """A backend, or one of the servers behind it."""

    name: str  # which a contestant's name begins with
    label: str
    backend: str
    server: str = ""  # empty for the operator's choice
    models: tuple[str, ...] = ()  # suggested; empty where there is nothing to choose
    needs_key: bool = False
    provided: bool = False  # whether the operator brings the key


@dataclass(frozen=True, slots=True)
class Contestant:
    """One who answers: a model of a provider."""

    provider: Provider
    model: str = ""

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{self.provider.label}: {self.model}" if self.model else self.provider.label


Answers = dict[Contestant, Prediction | str]


def providers(settings: Settings) -> dict[str, Provider]:
    """The providers that visitors may ask here, by name."""
    configured = server_named(settings.openai_base_url)

    def by_operator(name: str, label: str) -> Provider:
        return Provider(name, label, name, "", models_of(settings, name), True, provided(settings, name))

    known = [
        Provider("vote", BACKENDS["vote"].label, "vote"),
        by_operator("openai", configured.label),
        *(
            Provider(server.name, server.label, "openai", server.name, server.models, True)
            for server in choosable_servers(settings)
        ),
        by_operator("hf", BACKENDS["hf"].label),
        Provider("llava", BACKENDS["llava"].label, "llava", "", (settings.llava_model,)),
    ]
    return {provider.name: provider for provider in known if provider.backend in settings.offered}


def choosable_servers(settings: Settings) -> list[Server]:
    """The servers that a visitor may choose besides the operator's."""
    configured = server_named(settings.openai_base_url).name
    return [server for server in SERVERS.values() if server.public and server.base_url and server.name != configured]


def keyed_providers(settings: Settings) -> dict[str, str]:
    """The labels, by name, of the providers for which a visitor may bring a key."""
    return {provider.name: provider.label for provider in providers(settings).values() if provider.needs_key}


def suggestions(settings: Settings) -> list[tuple[str, str]]:
    """The contestants to choose from: their labels and names."""
    return [
        (Contestant(provider, model).label, f"{provider.name}:{model}" if model else provider.name)
        for provider in providers(settings).values()
        for model in provider.models or ("",)
    ]


def read_contestants(names: Sequence[str], settings: Settings) -> list[Contestant]:
    """Read names as suggested or typed.

    Raises:
        ConfigError: There are too few or too many, or one's provider isn't offered.
    """
    if not 1 <= len(names) <= MAX_CONTESTANTS:
        raise ConfigError(f"Choose who answers: one to {MAX_CONTESTANTS}.")
    known = providers(settings)
    contestants = []
    for name in dict.fromkeys(names):
        provider, _, model = name.strip().partition(":")
        if provider not in known:
            raise ConfigError(
                f"There is no provider {provider[:40]!r}; write provider:model with one of: {', '.join(known)}."
            )
        contestants.append(Contestant(known[provider], model.strip()))
    return contestants


def ask_all(
    contestants: Sequence[Contestant], photo: Photo, request: LocateRequest, locator: Locator, site: Site
) -> Iterator[Answers]:
    """Send a request to all contestants at once, whichever backend it names. Each key goes to its own provider only.

    Yields:
        The answers so far, in the contestants' order: a prediction, or why there is none.
    """

    def ask(contestant: Contestant) -> Prediction | str:
        provider = contestant.provider
        try:
            own_request = replace(request, backend=provider.backend, model=contestant.model, base_url=provider.server)
            return own_request.locate(photo, locator, site)
        except Exception as error:  # whatever it is, the others' answers stay
            return page_message(error)

    answers: Answers = {}
    with ThreadPoolExecutor(len(contestants)) as pool:
        try:
            futures = {
                pool.submit(contextvars.copy_context().run, ask, contestant): contestant for contestant in contestants
            }
            for done in as_completed(futures):
                answers[futures[done]] = done.result()
                yield {contestant: answers[contestant] for contestant in contestants if contestant in answers}
        finally:  # whoever stops listening stops the asking
            request.cancel.set()


def own_position(answer: Prediction | str | None) -> LatLon | None:
    """Where a contestant places the photo; the vote that stands in for a model that failed is not its answer."""
    if not isinstance(answer, Prediction) or (answer.outcome and not answer.outcome.position):
        return None
    return answer.position


def marks(contestants: Sequence[Contestant], answers: Answers) -> list[Mark]:
    """What the map shows: a letter for each contestant that has a position."""
    return [
        Mark(letter, position, contestant.label, colour)
        for letter, colour, contestant in _lettered(contestants)
        if (position := own_position(answers.get(contestant)))
    ]


def cards(
    contestants: Sequence[Contestant], answers: Answers, truth: LatLon | None, translate: Translate = ENGLISH
) -> str:
    """A card for each contestant: its answer, its failure in words, or that it is still being asked."""
    shown = []
    for letter, colour, contestant in _lettered(contestants):
        who = translate("the_vote") if contestant.provider.name == "vote" else contestant.label
        card = {"letter": letter, "colour": colour, "who": who}
        shown.append(card | _card(contestant, answers.get(contestant), truth))
    note = next((answer.note for answer in answers.values() if isinstance(answer, Prediction)), "")  # of the photo
    return render("compare.cards", cards=shown, note=note, translate=translate)


def _card(contestant: Contestant, answer: Prediction | str | None, truth: LatLon | None) -> dict[str, Any]:
    position = own_position(answer)
    if not isinstance(answer, Prediction):
        return {"position": None, "message": answer}
    if position is None:
        return {"position": None, "message": answer.outcome.message if answer.outcome else "No position."}
    vote = answer.vote if contestant.model else None
    return {
        "position": position,
        "place": answer.place,
        "truth_km": geodesic_km(position, truth) if truth else None,
        "vote_km": geodesic_km(position, vote.position) if vote else None,
        "took_s": sum(seconds for _, seconds in answer.timings),
        "reason": answer.outcome.reasoning if answer.outcome else "",
    }


def _lettered(contestants: Sequence[Contestant]) -> Iterator[tuple[str, str, Contestant]]:
    return zip("ABCDEF", COLOURS, contestants, strict=False)

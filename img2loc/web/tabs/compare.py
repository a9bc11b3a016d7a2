"""The Compare tab: one photo, several who answer, one map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from img2loc.hardening.visitors import visitor_of
from img2loc.maps.figures import answers_map
from img2loc.output.exports import Row, answer_row
from img2loc.types import Prediction
from img2loc.web.i18n import marked, translator_for
from img2loc.web.render import evidence
from img2loc.web.render.html import error_html
from img2loc.web.request import Keys, LocateRequest, known_position, require_photo
from img2loc.web.site import Site, shown_errors
from img2loc.web.tabs import contestants as contest
from img2loc.web.tabs.form import with_login
from img2loc.web.tabs.keys import KeyFields
from img2loc.web.tabs.locate import QUIET, map_plot, photo_input
from img2loc.web.tabs.shared import RIGHT, Update, checked, namer, plot, provided_note


class CompareEvents:
    """What happens under Compare when a visitor acts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = site.settings

    def provided(self, http_request: gr.Request | None = None) -> str:
        """What the operator pays for, in the visitor's language."""
        notes = [item for item in contest.providers(self._settings).values() if item.provided]
        return "".join(provided_note(self._settings, translator_for(http_request), item.label) for item in notes)

    def check(self, photo: str | None, names: Sequence[str], *others: object) -> list[Update]:
        """Say at each field what is wrong with it; for Gradio, before compare."""
        named = checked(lambda: contest.read_contestants(names, self._settings))
        return [checked(lambda: require_photo(photo)), named, *[RIGHT] * len(others)]

    def compare(
        self,
        photo: str | None,
        names: Sequence[str],
        keys: Keys,
        within: str = "",
        http_request: gr.Request | None = None,
        token: gr.OAuthToken | None = None,
    ) -> Iterator[tuple[str, Any, str]]:
        """Ask all that were chosen and show each answer as it comes.

        Yields:
            The cards, the map, and the files to take away.
        """
        with shown_errors(error_html):
            contestants = contest.read_contestants(names, self._settings)
        backends = [contestant.provider.backend for contestant in contestants]
        with self._site.answering(http_request, "compare", *backends) as cancel:
            request = LocateRequest(
                photo,
                keys=with_login(keys, token),
                cancel=cancel,
                visitor=visitor_of(http_request),
                within=within or "",
            )
            opened = request.photo()
            truth, name = known_position(opened, self._settings), namer(self._settings)
            translate = translator_for(http_request)
            yield contest.cards(contestants, {}, truth, translate), gr.update(visible=False), ""
            for answers in contest.ask_all(contestants, opened, request, self._site.host.locator, self._site):
                drawn = answers_map(contest.marks(contestants, answers), truth, name)
                done = len(answers) == len(contestants)
                rows = [_row(Path(photo or "").name, contestant, answer) for contestant, answer in answers.items()]
                yield (
                    contest.cards(contestants, answers, truth, translate),
                    gr.update(value=plot(drawn), visible=True),
                    evidence.files(rows, translate) if done else "",
                )


def add_compare_tab(demo: gr.Blocks, site: Site, keys: gr.State, within: Component) -> None:
    """Add the tab's content to the Blocks that are being built; keys and known area are those of Locate."""
    events = CompareEvents(site)
    suggestions = contest.suggestions(site.settings)
    choices = [(marked("backend_vote") if name == "vote" else label, name) for label, name in suggestions]
    labels = contest.keyed_providers(site.settings)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            photo = photo_input("compare-photo")
            chosen = gr.Dropdown(
                choices,
                value=[name for _, name in choices[:2]],
                multiselect=True,
                allow_custom_value=True,
                max_choices=contest.MAX_CONTESTANTS,
                label=marked("contestants"),
                info=marked("contestants_info"),
                elem_id="contestants",
            )
            note = events.provided()
            provided = gr.HTML(note, visible=bool(note), elem_id="compare-provided")
            with gr.Accordion(marked("keys"), open=False, visible=bool(labels), elem_id="compare-keys"):
                fields = KeyFields(keys, labels, prefix="compare-key")
            with gr.Row():
                go = gr.Button(marked("compare"), variant="primary", scale=3, elem_id="compare")
                cancel = gr.Button(marked("cancel"), scale=1, min_width=100, elem_classes="i2l-cancel")
        with gr.Column(scale=8, min_width=320):
            cards = gr.HTML(marked("html_compare"), elem_id="compare-answers")
            drawn = map_plot("map_all", "compare-map", visible=False)
            files = gr.HTML(elem_classes="i2l-beside")
    shown = [cards, drawn, files]
    demo.load(events.provided, None, provided, **QUIET)
    # A key that still stands in its box is taken first.
    fields.wire(go.click).success(
        events.compare,
        [photo, chosen, keys, within],
        shown,
        validator=events.check,
        concurrency_limit=None,
        api_visibility="private",
        show_progress="hidden",
    )
    # Not stopped by the queue: what is still asked for is given up, and what has come stays.
    cancel.click(site.sessions.leave, None, None, **QUIET)


def _row(photo: str, contestant: contest.Contestant, answer: Prediction | str) -> Row:
    position = contest.own_position(answer)
    if isinstance(answer, Prediction) and position:
        return answer_row(photo, answer)
    message = answer.outcome.message if isinstance(answer, Prediction) and answer.outcome else str(answer)
    return Row(photo, "answer", who=contestant.model or contestant.provider.name, message=message)

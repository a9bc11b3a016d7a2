"""The Batch tab: many photos, a table, a map and a zip."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from img2loc.errors import ConfigError, Img2LocError, page_message
from img2loc.hardening.errors import GENERIC_MESSAGE, print_exc
from img2loc.maps.figures import Mark, answers_map
from img2loc.output.exports import answer_row, data_url, to_zip
from img2loc.photo.decode import Photo
from img2loc.policy.offers import MAX_BATCH
from img2loc.types import Prediction
from img2loc.web.i18n import Translate, marked, translator_for
from img2loc.web.render.html import render
from img2loc.web.site import Site
from img2loc.web.tabs.form import Form
from img2loc.web.tabs.locate import QUIET, map_plot
from img2loc.web.tabs.shared import RIGHT, Update, checked, namer, plot

SHOW_EVERY_S = 1.0
THUMBNAIL_PX = 56

# A photo's name, its thumbnail's address and what became of it.
Done = tuple[str, str, Prediction | str]


class BatchEvents:
    """What happens under Batch when a visitor acts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._settings = site.settings

    def check(self, files: Sequence[str] | None, *others: object) -> list[Update]:
        """Say at the photos what is wrong with how many they are; for Gradio, before locate_all."""
        return [checked(lambda: _a_batch(files)), *[RIGHT] * len(others)]

    def locate_all(
        self,
        http_request: gr.Request | None,
        token: gr.OAuthToken | None,
        files: Sequence[str] | None,
        *fields: Any,  # noqa: ANN401 - the values of Form
    ) -> Iterator[tuple[str, Any]]:
        """Locate one photo after another, and show each answer with the files of all so far.

        A photo that fails stops no other. After a cancel, what was answered stays.

        Yields:
            The table and the map.
        """
        form = Form(*fields)
        with self._site.answering(http_request, "batch", form.backend) as cancel:
            files = _a_batch(files)
            translate, done = translator_for(http_request), list[Done]()
            shown_at = 0.0
            for file in files:
                if time.monotonic() - shown_at > SHOW_EVERY_S:
                    yield _table(done, len(files), translate), gr.skip()
                    shown_at = time.monotonic()
                if cancel.is_set():
                    break
                thumbnail = ""
                try:
                    request = form.request(file, http_request, token, cancel)
                    photo = request.photo()
                    thumbnail = _thumbnail(photo)
                    result: Prediction | str = request.locate(photo, self._site.host.locator, self._site)
                except Img2LocError as error:
                    result = page_message(error)
                except Exception:
                    print_exc()
                    result = GENERIC_MESSAGE
                if cancel.is_set() and not _is_answered(result):
                    break
                done.append((Path(file).name, thumbnail, result))
            yield _table(done, len(done), translate), gr.skip()  # before the map, which may fail
            drawn = answers_map([Mark(str(n), p, name) for n, name, p in _positions(done)], name=namer(self._settings))
            yield gr.skip(), gr.update(value=plot(drawn), visible=bool(done))


def add_batch_tab(site: Site, form: Form) -> None:
    """Add the tab's content to the Blocks that are being built; it uses the form of Locate."""
    events = BatchEvents(site)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            files = gr.File(
                file_count="multiple",
                file_types=["image", ".heic", ".heif"],
                label=marked("photos"),
                height=280,
                elem_id="photos",
            )
            with gr.Row():
                go = gr.Button(marked("locate_all"), variant="primary", scale=3, elem_id="locate-all")
                cancel = gr.Button(marked("cancel"), scale=1, min_width=100, elem_classes="i2l-cancel")
        with gr.Column(scale=8, min_width=320):
            table = gr.HTML(marked("html_batch"), elem_id="batch-answers")
            drawn = map_plot("map_all", "batch-map", visible=False)
    go.click(
        events.locate_all,
        [files, *form],
        [table, drawn],
        validator=events.check,
        concurrency_limit=None,  # limited by model slots instead, as are the other tabs
        api_visibility="private",
        show_progress="hidden",
    )
    # Not stopped by the queue: the photo under way is given up, and what was answered is still shown and packed.
    cancel.click(site.sessions.leave, None, None, **QUIET)


def _a_batch(files: Sequence[str] | None) -> Sequence[str]:
    if not files:
        raise ConfigError("Choose some photos first.")
    if len(files) > MAX_BATCH:
        raise ConfigError(f"You chose {len(files)} photos; at most {MAX_BATCH} are located at a time.")
    return files


def _is_answered(result: Prediction | str) -> bool:
    """Whether something came of a photo before a cancel, perhaps a reply that was paid for."""
    return isinstance(result, Prediction) and (result.outcome is None or bool(result.outcome.replies))


def _positions(done: Sequence[Done]) -> Iterator[tuple[int, str, Any]]:
    for number, (name, _, result) in enumerate(done, start=1):
        if isinstance(result, Prediction) and result.position:
            yield number, name, result.position


def _table(done: Sequence[Done], total: int, translate: Translate) -> str:
    """The photos one by one, how far it is, and the files of those that are done."""
    packed = data_url(to_zip([answer_row(name, result) for name, _, result in done]), "zip") if done else ""
    return render("batch.table", rows=done, total=total, packed=packed, translate=translate)


def _thumbnail(photo: Photo) -> str:
    """A small picture that lies in the page itself."""
    small = photo.image.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"

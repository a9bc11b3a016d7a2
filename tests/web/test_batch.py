"""The Batch tab's event as a plain function: what was answered stays, whatever happens to the photos after it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from img2loc.locator import Locator
from img2loc.photo.decode import open_photo
from img2loc.policy.settings import Settings
from img2loc.web.api.endpoints import Endpoints
from img2loc.web.gallery_loader import Host
from img2loc.web.request import LocateRequest
from img2loc.web.site import Sessions, Site
from img2loc.web.tabs import contestants
from img2loc.web.tabs.batch import BatchEvents
from tests.fakes.openai_server import KEY, OpenAIServer

TOWER = gr.get_image("tower.jpg")
VISITOR = gr.Request(session_hash="a visitor", headers={}, client=None)


@pytest.fixture
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def asked(provider: OpenAIServer, backend: str = "openai") -> tuple[Settings, tuple[object, ...]]:
    settings = Settings(openai_base_url=provider.base_url, timeout_s=5)
    return settings, (backend, "m", {"openai": KEY}, 16, 16, "", "", "", "")


def tables(shown: list[tuple[object, object]]) -> list[str]:
    return [table for table, _ in shown if isinstance(table, str)]


def packed(table: str) -> list[dict[str, object]]:
    """What the file in a table holds."""
    (data,) = re.findall(r"data:application/zip;base64,([\w+/=]+)", table)
    archive = zipfile.ZipFile(io.BytesIO(b64decode(data)))
    return [feature["properties"] for feature in json.loads(archive.read("img2loc.geojson"))["features"]]


class LeavingProvider(OpenAIServer):
    """A provider whose second reply comes together with the visitor's cancel."""

    sessions: Sessions

    def next_behaviour(self, request):
        if len(self.requests) == 1:
            self.sessions.leave(VISITOR)
        return super().next_behaviour(request)


def test_an_answer_that_comes_with_a_cancel_is_kept_and_packed(host: Host, monkeypatch):
    """It may have been paid for."""
    with OpenAIServer() as provider:
        settings, how = asked(provider)
        site = Site(host, settings)
        locate = Locator.locate

        def locate_and_leave(self, photo, ask, **options):
            found = locate(self, photo, ask, **options)
            if len(provider.requests) == 2:
                site.sessions.leave(VISITOR)
            return found

        monkeypatch.setattr(Locator, "locate", locate_and_leave)
        shown = list(BatchEvents(site).locate_all(VISITOR, None, [TOWER] * 4, *how))
        assert len(provider.requests) == 2
    last = tables(shown)[-1]
    assert "Photos done: 2" in last and last.count("<tr>") == 3
    assert [row["who"] for row in packed(last)] == ["m-2026-01-01"] * 2


def test_a_photo_given_up_at_a_cancel_is_not_counted_and_the_others_are_packed(host: Host):
    with LeavingProvider() as provider:
        provider.enqueue("good", "hang")
        settings, how = asked(provider)
        site = Site(host, settings)
        provider.sessions = site.sessions
        shown = list(BatchEvents(site).locate_all(VISITOR, None, [TOWER] * 4, *how))
    last = tables(shown)[-1]
    assert "Photos done: 1" in last and len(packed(last)) == 1


def test_an_unexpected_error_is_one_photos_row(host: Host, provider: OpenAIServer, monkeypatch, capsys):
    locate = Locator.locate

    def fail_once(self, photo, ask, **options):
        if len(provider.requests) == 1 and not failed:
            failed.append(True)
            raise ZeroDivisionError
        return locate(self, photo, ask, **options)

    failed: list[bool] = []
    monkeypatch.setattr(Locator, "locate", fail_once)
    settings, how = asked(provider)
    shown = list(BatchEvents(Site(host, settings)).locate_all(None, None, [TOWER] * 3, *how))
    last = tables(shown)[-1]
    assert "Photos done: 3" in last and last.count("i2l-failed") == 1 and len(packed(last)) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_is_done_can_be_saved_while_the_rest_is_located(host: Host, provider: OpenAIServer, monkeypatch):
    monkeypatch.setattr("img2loc.web.tabs.batch.SHOW_EVERY_S", 0)
    settings, how = asked(provider, "vote")
    shown = tables(list(BatchEvents(Site(host, settings)).locate_all(None, None, [TOWER] * 3, *how)))
    assert "img2loc.zip" not in shown[0]
    assert [len(packed(table)) for table in shown[1:]] == [1, 2, 3]


def test_a_photo_that_is_cut_short_is_noted_in_its_row_and_in_the_files(host: Host, provider: OpenAIServer, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(Path(TOWER).read_bytes()[:-9000])
    settings, how = asked(provider, "vote")
    last = tables(list(BatchEvents(Site(host, settings)).locate_all(None, None, [TOWER, str(cut)], *how)))[-1]
    assert last.count("The file is cut short") == 1
    assert ["cut short" in row["message"] for row in packed(last)] == [False, True]


def test_a_map_that_fails_takes_no_answer_with_it(host: Host, provider: OpenAIServer, monkeypatch):
    def fail(*marks, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("img2loc.web.tabs.batch.answers_map", fail)
    settings, how = asked(provider, "vote")
    shown = BatchEvents(Site(host, settings)).locate_all(None, None, [TOWER, TOWER], *how)
    seen = []
    with pytest.raises(ZeroDivisionError):
        for part in shown:
            seen.append(part)
    assert len(packed(tables(seen)[-1])) == 2


class _BreaksLater:
    """A locator that meets an error that nobody expects at its second photo."""

    def __init__(self, locator: Locator) -> None:
        self.gallery = locator.gallery
        self._locator, self._asked = locator, 0

    def locate(self, *arguments, **options):
        self._asked += 1
        if self._asked == 2:
            raise RuntimeError(KEY)
        return self._locator.locate(*arguments, **options)


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch) -> str:
    """A photo as if it had been uploaded."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(Path(TOWER).parent))
    return TOWER


def test_an_unexpected_error_loses_no_answer_of_the_api_or_of_compare(starter: Locator, uploaded: str):
    host = type("Host", (), {"locator": _BreaksLater(starter)})
    results = Endpoints(Site(host, Settings())).locate_batch([uploaded] * 3)["results"]
    assert [bool(item["prediction"]) for item in results] == [True, False, True]
    assert "RuntimeError" in results[1]["error"] and KEY not in results[1]["error"]
    chosen = contestants.read_contestants(["vote", "openai:m"], Settings())
    request = LocateRequest(None, keys={"openai": KEY})
    photo = open_photo(Path(TOWER).read_bytes())
    *_, answers = contestants.ask_all(chosen, photo, request, _BreaksLater(starter), Site(host, Settings()))
    assert sorted(isinstance(answer, str) for answer in answers.values()) == [False, True]
    assert KEY not in str(list(answers.values()))


def test_what_is_wrong_with_all_photos_is_told_once(starter: Locator, uploaded: str):
    host = type("Host", (), {"locator": starter})
    with pytest.raises(gr.Error, match="OpenAI needs a key; send yours in the header"):
        Endpoints(Site(host, Settings())).locate_batch([uploaded] * 2, "openai")

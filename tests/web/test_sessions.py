"""What a visitor waits for ends when nobody waits for it any more, and only then."""

from __future__ import annotations

import threading
import time

import gradio as gr

from img2loc.policy.settings import Settings
from img2loc.web.gallery_loader import Host
from img2loc.web.site import Site
from img2loc.web.tabs.locate_events import LocateEvents
from tests.fakes.openai_server import OpenAIServer
from tests.web.test_locate_events import KEYS, TOWER, locate


def test_who_closes_the_page_is_not_waited_for(host: Host):
    visitor = gr.Request(session_hash="visitor", client=None, headers={})
    with OpenAIServer() as provider:
        events = LocateEvents(Site(host, Settings(openai_base_url=provider.base_url, timeout_s=60)))
        provider.enqueue("hang")
        threading.Timer(0.3, events.cancel, [gr.Request(session_hash="another")]).start()
        threading.Timer(0.6, events.cancel, [visitor]).start()
        start = time.perf_counter()
        shown = locate(events, http_request=visitor, backend="openai", keys=KEYS)
    assert 0.5 < time.perf_counter() - start < 30 and all(part == gr.skip() for part in shown)
    assert events._site.sessions._waiting == {}


def test_another_photo_ends_what_was_asked_on_its_tab_alone(host: Host):
    site, visitor = Site(host, Settings()), gr.Request(session_hash="visitor")
    events, sessions = LocateEvents(site), site.sessions
    with sessions.waiting(visitor, "locate") as locating, sessions.waiting(visitor, "batch") as batch:
        events.change_photo(TOWER, "vote", gr.Request(session_hash="another"))
        assert not locating.is_set()
        events.change_photo(TOWER, "vote", visitor)
        assert locating.is_set() and not batch.is_set()
        sessions.leave(visitor)  # the page is closed
        assert batch.is_set()


def test_what_was_asked_about_the_chosen_photo_goes_on_however_late_its_choice_arrives(host: Host):
    site, visitor = Site(host, Settings()), gr.Request(session_hash="visitor")
    events, sessions = LocateEvents(site), site.sessions
    with sessions.waiting(visitor, "locate", "before.jpg") as old, sessions.waiting(visitor, "locate", TOWER) as new:
        events.change_photo(TOWER, "openai", visitor)
        assert old.is_set() and not new.is_set()
        events.change_photo(None, "openai", visitor)  # taken away
        assert new.is_set()

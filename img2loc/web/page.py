"""The page: one photo under Locate, one photo and several answers under Compare, many photos under Batch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from importlib import resources

import gradio as gr
from gradio.utils import get_space
from starlette.middleware import Middleware

from img2loc.hardening.bodies import REFUSALS, BoundedBodies
from img2loc.hardening.errors import join_refused
from img2loc.hardening.fetching import MAX_FETCHES, ClosedRoutes, UncachedAnswers
from img2loc.hardening.gradio_settings import Address
from img2loc.hardening.install import CheckedBlocks, install, install_in_queue
from img2loc.hardening.queue import end_all_work, wait_for_answers
from img2loc.hardening.visitors import AgentAddress
from img2loc.photo.decode import MAX_BYTES
from img2loc.policy.limits import MODEL_SLOTS
from img2loc.policy.offers import MAX_BATCH
from img2loc.policy.settings import Settings
from img2loc.system.signals import wait_until_ended
from img2loc.web.api.arguments import api_arguments, check_call, unreadable
from img2loc.web.api.checked_requests import ReadableRequests
from img2loc.web.api.endpoints import add_endpoints
from img2loc.web.gallery_loader import Host
from img2loc.web.i18n import gradio_translations, marked
from img2loc.web.site import Site
from img2loc.web.tabs.batch import add_batch_tab
from img2loc.web.tabs.compare import add_compare_tab
from img2loc.web.tabs.locate import add_locate_tab
from img2loc.web.tabs.locate_events import PENDING_EVERY_S, LocateEvents
from img2loc.web.theme import theme

FIRST_PAGE_S = 2  # it loads a second sooner if nothing is opened beside it; a request in this time opens all the same
AT_ONCE = 8  # of each event that asks no model
# As many as can wait for a model, for a photo from elsewhere or for a server's list of models, and 32 for votes and the
# rest of the page, which then never wait for those.
MAX_THREADS = MODEL_SLOTS + MAX_FETCHES + AT_ONCE + 32
KEY_KEPT_S = 3600
MAX_REQUEST_BYTES = 300_000  # a template may have 20,000 characters, of twelve bytes each at most
# At the end: for requests under way to be answered without their model, and then for connections to be closed. Docker
# kills what hasn't ended within 10 s.
LAST_ANSWERS_S = 1.5
CLOSING_S = 1
MAX_SESSIONS = 1000  # a visit to the page takes 0.8 MB, and a request to the API makes a session of its own

# Before anything is drawn, so that a compact page never flashes at its full size.
_HEAD = """<script>
if (new URLSearchParams(location.search).get("embed") === "true") document.documentElement.classList.add("i2l-embed");
</script>"""


def build(host: Host, settings: Settings) -> gr.Blocks:
    """Build the page and the client API, ready for `launch`."""
    install(max_photo_bytes=MAX_BYTES)
    site = Site(host, settings)
    events = LocateEvents(site)
    arguments = api_arguments(settings.offered, for_agents=False)
    demo = CheckedBlocks(
        partial(check_call, arguments), partial(unreadable, arguments), title="Img2Loc", analytics_enabled=False
    )
    with demo:
        add_endpoints(site)  # first, for their names: an event of the page would take /locate
        with gr.Row(elem_id="top", equal_height=True):
            gr.HTML(marked("html_head"), elem_id="head")
            if get_space():
                gr.DuplicateButton(min_width=140, elem_id="duplicate")
        keys = gr.State({}, time_to_live=KEY_KEPT_S)
        banner = gr.HTML(events.banner(), elem_id="banner")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(marked("tab_locate"), id="locate"):
                form = add_locate_tab(demo, events, settings, keys, login=login_works())
            with gr.Tab(marked("tab_compare"), id="compare"):
                add_compare_tab(demo, site, keys, form.within)
            with gr.Tab(marked("tab_batch"), id="batch"):
                add_batch_tab(site, form)
        gr.HTML(marked("html_foot"), elem_id="foot")
        if host.can_change:
            clock = gr.Timer(PENDING_EVERY_S)

            def follow_gallery() -> tuple[str, gr.Timer]:
                now, follow_on = events.follow_gallery()
                if now != banner.value and not host.pending:  # who comes later sees no other first
                    banner.value = now
                    demo.config = demo.get_config_file()
                return now, follow_on

            gr.on(
                [demo.load, clock.tick],
                follow_gallery,
                None,
                [banner, clock],
                api_visibility="private",
                queue=False,
                show_progress="hidden",
            )
        demo.unload(site.sessions.leave)
    demo.queue(max_size=64, default_concurrency_limit=AT_ONCE, api_open=True)
    install_in_queue(demo)
    return demo


def login_works() -> bool:
    """Whether visitors can sign in: off a Space, Gradio's stand-in for the login wants a token and stops the start."""
    return bool(get_space() and os.environ.get("OAUTH_CLIENT_ID"))


def launch(demo: gr.Blocks, host: Host, address: Address, backends: Sequence[str]) -> None:
    """Serve the page, with everything set that keeps visitors' photos and keys to themselves, until the process ends.

    The host is opened once the page is served.

    Raises:
        Img2LocError: Nobody can answer.
        OSError: The port is taken.
    """
    data = resources.files("img2loc") / "data"
    # uvicorn trusts proxies on this machine by default, and with them whatever X-Forwarded-For their visitors write.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    demo.launch(
        prevent_thread_lock=True,
        server_name=address.for_url,
        server_port=address.port,
        quiet=True,  # else Gradio advises to open a tunnel to it
        share=False,  # else Gradio opens a third party's tunnel to this page where it takes the machine for a notebook
        app_kwargs={
            "middleware": [
                Middleware(UncachedAnswers),
                Middleware(ClosedRoutes),
                Middleware(
                    BoundedBodies,
                    max_upload_bytes=MAX_BATCH * (MAX_BYTES + 1_000),
                    max_request_bytes=MAX_REQUEST_BYTES,
                ),
                Middleware(ReadableRequests, backends),
                Middleware(AgentAddress),
            ],
            "exception_handlers": {**REFUSALS, 400: join_refused},
        },
        run_history=False,  # on by default: it writes inputs, keys included, to the browser's storage
        enable_monitoring=False,  # on by default: anybody is told how much the site is used
        show_error=False,  # our own errors pass; nothing else's text does
        max_file_size=MAX_BYTES,
        max_threads=MAX_THREADS,
        state_session_capacity=MAX_SESSIONS,
        ssr_mode=False,
        footer_links=["api", "gradio", "settings"],
        theme=theme(),
        css=(data / "page.css").read_text("utf-8"),
        js=(data / "page.js").read_text("utf-8"),
        head=_HEAD,
        i18n=gradio_translations(),
    )
    print(f"* Running on local URL:  {demo.local_url}", flush=True)
    demo.server.config.timeout_graceful_shutdown = CLOSING_S
    try:
        time.sleep(FIRST_PAGE_S)
        host.open()
        wait_until_ended()
    finally:
        end_all_work()
        wait_for_answers(demo, LAST_ANSWERS_S)  # for those who wait for a model, without it
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # cutting connections isn't an error
        demo.close(verbose=False)

"""The page: one photo under Locate, one photo and several answers under Compare, many photos under Batch."""

from __future__ import annotations

import os
from importlib import resources

import gradio as gr
from gradio.utils import get_space

from img2loc.endpoints import add_endpoints
from img2loc.events import Events
from img2loc.host import Host
from img2loc.photo import MAX_BYTES
from img2loc.sessions import Sessions
from img2loc.settings import Settings
from img2loc.ui.batch import add_batch_tab
from img2loc.ui.compare import add_compare_tab
from img2loc.ui.locate import add_locate_tab
from img2loc.ui.theme import theme
from img2loc.words import for_gradio, word

UPLOADS_KEPT_S = 3600
SWEEP_EVERY_S = 600
BANNER_EVERY_S = 2  # while the gallery is on its way

# Before anything is drawn, so that a compact page never flashes at its full size.
_HEAD = """<script>
if (new URLSearchParams(location.search).get("embed") === "true") document.documentElement.classList.add("i2l-embed");
</script>"""


def build(host: Host, settings: Settings) -> gr.Blocks:
    """Build the page and the client API.

    Args:
        host: Who answers.
        settings: The operator's choices.

    Returns:
        The page, ready for `launch`.
    """
    sessions = Sessions()
    events = Events(host, settings, sessions)
    demo = gr.Blocks(title="Img2Loc", analytics_enabled=False, delete_cache=(SWEEP_EVERY_S, UPLOADS_KEPT_S))
    with demo:
        add_endpoints(host, settings)  # first, for their names: an event of the page would take /locate
        with gr.Row(elem_id="top", equal_height=True):
            gr.HTML(word("html_head"), elem_id="head")
            if get_space():
                gr.DuplicateButton(min_width=140, elem_id="duplicate")
        banner = gr.HTML(events.banner(), elem_id="banner")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(word("tab_locate"), id="locate"):
                asked = add_locate_tab(demo, events, settings, login=login_works())
            with gr.Tab(word("tab_compare"), id="compare"):
                add_compare_tab(host, settings, sessions)
            with gr.Tab(word("tab_batch"), id="batch"):
                add_batch_tab(host, settings, sessions, asked)
        gr.HTML(word("html_foot"), elem_id="foot")
        if host.pending:
            clock = gr.Timer(BANNER_EVERY_S)
            gr.on(
                [demo.load, clock.tick],
                events.follow_gallery,
                None,
                [banner, clock],
                api_visibility="private",
                queue=False,
                show_progress="hidden",
            )
        demo.unload(sessions.leave)
    # Requests wait mostly for a model's reply, so several go at once; the encoder's own threads share the processor.
    demo.queue(max_size=64, default_concurrency_limit=8, api_open=True)
    return demo


def login_works() -> bool:
    """Whether visitors can sign in: off a Space, Gradio's stand-in for the login wants a token and stops the start."""
    return bool(get_space() and os.environ.get("OAUTH_CLIENT_ID"))


def launch(demo: gr.Blocks, *, block: bool = True) -> str:
    """Serve the page, with everything set that keeps visitors' photos and keys to themselves.

    Args:
        demo: What `build` made.
        block: Serve until the process ends; otherwise return at once.

    Returns:
        The page's address.
    """
    data = resources.files("img2loc") / "data"
    _, address, _ = demo.launch(
        prevent_thread_lock=not block,
        run_history=False,  # on by default: it writes inputs, keys included, to the browser's storage
        show_error=False,  # our own errors pass; nothing else's text does
        max_file_size=MAX_BYTES,
        ssr_mode=False,
        footer_links=["api", "gradio", "settings"],
        theme=theme(),
        css=(data / "page.css").read_text("utf-8"),
        js=(data / "page.js").read_text("utf-8"),
        head=_HEAD,
        i18n=for_gradio(),
    )
    return str(address)

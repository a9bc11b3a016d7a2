"""The page: a photo on the left, its position and three maps on the right."""

from __future__ import annotations

import os
from importlib import resources

import gradio as gr

from img2loc import report
from img2loc.endpoints import PhotoInput, add_endpoints
from img2loc.events import Events, Shown
from img2loc.host import Host
from img2loc.lmm import BACKENDS, backend_named
from img2loc.lmm.servers import SERVERS, server_named
from img2loc.locator import DEFAULT_NEIGHBOURS
from img2loc.photo import MAX_BYTES
from img2loc.prompt import TEMPLATES, template_named
from img2loc.query import MAX_NEIGHBOURS
from img2loc.settings import Settings

KEY_KEPT_S = 3600
UPLOADS_KEPT_S = 3600
SWEEP_EVERY_S = 600
BANNER_EVERY_S = 2  # while the gallery is on its way

_COPY_JS = """
element.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Press Ctrl+C";
  }
});"""
# On a phone the result lies below the fold.
_SCROLL_JS = """() => {
  if (innerWidth < 800) document.getElementById("answer").scrollIntoView({behavior: "smooth"});
}"""


def build(host: Host, settings: Settings) -> gr.Blocks:
    """Build the page and the client API.

    Args:
        host: Who answers.
        settings: The operator's choices.

    Returns:
        The page, ready for `launch`.
    """
    events = Events(host, settings)
    first = backend_named(settings.backend)
    first_model = settings.options(first.name).model or next(iter(first.models or BACKENDS["openai"].models))
    hint = "Optional: the operator has set one for OpenAI" if settings.openai_api_key else "Kept for the session"
    providers = [(item.label, item.name) for item in SERVERS.values() if item.public and item.base_url]
    demo = gr.Blocks(title="Img2Loc", analytics_enabled=False, delete_cache=(SWEEP_EVERY_S, UPLOADS_KEPT_S))
    with demo:
        add_endpoints(host, settings)  # first, for their names: an event of the page would take /locate
        gr.HTML(
            "<h1>Img2Loc</h1><p>Where was this photo taken? The answer comes with the photos it rests on.</p>",
            elem_id="head",
        )
        banner = gr.HTML(events.banner(), elem_id="banner")
        key = gr.State("", time_to_live=KEY_KEPT_S)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300, elem_id="ask"):
                photo = PhotoInput(
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard", "webcam"],
                    webcam_options=gr.WebcamOptions(mirror=False),
                    label="Photo",
                    height=280,
                    buttons=["fullscreen"],
                    alt_text="The photo to locate",
                    elem_id="photo",
                )
                gr.Examples(
                    [[gr.get_image("tower.jpg")]],
                    [photo],
                    cache_examples=False,
                    label="Or try this one",
                    elem_id="examples",
                    api_visibility="private",
                )
                backend = gr.Dropdown(
                    [
                        (item.label, item.name)
                        for item in BACKENDS.values()
                        if not item.runs_here or settings.llava_model  # a visitor's choice would load any model
                    ],
                    value=first.name,
                    label="Who answers",
                    filterable=False,
                    elem_id="backend",
                )
                with gr.Group(visible=first.needs_key) as model_settings:
                    server = gr.Dropdown(
                        [(server_named(settings.openai_base_url).label, ""), *providers],
                        value="",
                        label="Server",
                        filterable=False,
                        visible=first.name == "openai",
                        elem_id="server",
                    )
                    model = gr.Dropdown(
                        list(dict.fromkeys([first_model, *first.models])),
                        value=first_model,
                        allow_custom_value=True,
                        label="Model",
                        info="Choose one, or type any other's name",
                        elem_id="model",
                    )
                    if os.environ.get("OAUTH_CLIENT_ID"):  # on a Space with hf_oauth; elsewhere the button raises
                        gr.LoginButton("Sign in, for Hugging Face's models", size="sm")
                    with gr.Row(equal_height=True):
                        key_box = gr.Textbox(
                            type="password",
                            label="Your key",
                            placeholder=hint,
                            html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
                            max_length=500,
                            scale=3,
                            min_width=160,
                            elem_id="key",
                        )
                        use_key = gr.Button("Use key", scale=1, min_width=90, elem_id="use-key")
                with gr.Row():
                    nearest = gr.Slider(
                        0, MAX_NEIGHBOURS, DEFAULT_NEIGHBOURS, step=1, precision=0, label="Nearest", min_width=180
                    )
                    farthest = gr.Slider(
                        0, MAX_NEIGHBOURS, DEFAULT_NEIGHBOURS, step=1, precision=0, label="Farthest", min_width=180
                    )
                truth = gr.Textbox(
                    label="True position, if you know it",
                    placeholder="latitude, longitude",
                    max_length=100,
                    elem_id="truth",
                )
                with gr.Accordion("Prompt", open=False, elem_id="prompt-settings"):
                    named = gr.Dropdown(
                        [(words, name) for name, words in TEMPLATES.items()],
                        value=settings.prompt,
                        label="Template",
                        filterable=False,
                        elem_id="named-template",
                    )
                    template = gr.Textbox(
                        template_named(settings.prompt),
                        label="Sent with the photo",
                        info="$nearest and $farthest become lists of coordinates. The vote sends nothing.",
                        lines=8,
                        max_length=20_000,
                        elem_id="template",
                    )
                    reset = gr.Button("Restore the template", size="sm")
                locate = gr.Button("Locate", variant="primary", elem_id="locate")
            with gr.Column(scale=8, min_width=320, elem_id="result"):
                answer = gr.HTML(report.EMPTY, elem_id="answer", js_on_load=_COPY_JS)
                with gr.Column(visible=False) as evidence:
                    prediction_plot = gr.Plot(label="Prediction", elem_id="prediction-map", elem_classes="i2l-map")
                    legend = gr.HTML(elem_id="legend")
                    with gr.Row():
                        nearest_plot = gr.Plot(
                            label="Nearest neighbours", elem_id="nearest-map", elem_classes="i2l-map", min_width=260
                        )
                        farthest_plot = gr.Plot(
                            label="Farthest neighbours", elem_id="farthest-map", elem_classes="i2l-map", min_width=260
                        )
                    with gr.Accordion("The neighbours one by one", open=False, elem_id="neighbours"):
                        table = gr.HTML()
                    with gr.Accordion(
                        "What the model was asked, and said", open=False, visible=False, elem_id="conversation"
                    ) as conversation:
                        reasoning = _read_only("Its reasoning", 3)
                        reply = _read_only("Its reply, as it came", 5)
                        prompt = _read_only("The exact prompt", 8)
                    with gr.Accordion("Timings", open=False):
                        timings = gr.HTML(elem_id="timings")
        gr.HTML(report.FOOTER, elem_id="foot")

        asked = [photo, backend, model, key, nearest, farthest, template, truth, server]
        shown = Shown(
            answer=answer,
            evidence=evidence,
            prediction_plot=prediction_plot,
            legend=legend,
            nearest_plot=nearest_plot,
            farthest_plot=farthest_plot,
            neighbours=table,
            conversation=conversation,
            reasoning=reasoning,
            reply=reply,
            prompt=prompt,
            timings=timings,
        )
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
        # Nothing of the page is part of the API: its events carry the visitor's key, and its inputs are for people.
        keyed = [model, key, key_box, use_key]
        backend.change(
            events.choose_backend, backend, [model_settings, server, *keyed], api_visibility="private", queue=False
        )
        server.input(events.choose_server, [backend, server], keyed, api_visibility="private", queue=False)
        gr.on([named.change, reset.click], template_named, named, template, api_visibility="private", queue=False)
        demo.unload(events.leave)
        gr.on(
            [use_key.click, key_box.submit, key_box.blur],
            events.use_key,
            key_box,
            [key, key_box, use_key],
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )
        photo.change(
            events.change_photo,
            [photo, backend],
            [answer, evidence],
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        ).then(
            events.locate_unless_paid, asked, list(shown), api_visibility="private", show_progress_on=answer
        ).success(None, js=_SCROLL_JS, api_visibility="private")
        gr.on(
            [locate.click, truth.submit],
            events.locate,
            asked,
            list(shown),
            api_visibility="private",
            show_progress_on=answer,
        ).success(None, js=_SCROLL_JS, api_visibility="private")
    # Requests wait mostly for a model's reply, so several go at once; the encoder's own threads share the processor.
    demo.queue(max_size=64, default_concurrency_limit=8, api_open=True)
    return demo


def launch(demo: gr.Blocks, *, block: bool = True) -> str:
    """Serve the page, with everything set that keeps visitors' photos and keys to themselves.

    Args:
        demo: What `build` made.
        block: Serve until the process ends; otherwise return at once.

    Returns:
        The page's address.
    """
    _, address, _ = demo.launch(
        prevent_thread_lock=not block,
        run_history=False,  # on by default: it writes inputs, keys included, to the browser's storage
        show_error=False,  # our own errors pass; nothing else's text does
        max_file_size=MAX_BYTES,
        ssr_mode=False,
        footer_links=["api", "gradio"],
        theme=_theme(),
        css=(resources.files("img2loc") / "data" / "page.css").read_text("utf-8"),
    )
    return str(address)


def _read_only(label: str, lines: int) -> gr.Textbox:
    return gr.Textbox(label=label, lines=lines, max_lines=20, interactive=False, buttons=["copy"])


def _theme() -> gr.themes.Base:
    # System fonts: others would be fetched from elsewhere.
    theme = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )
    # The defaults' greys and blues fall short of a contrast of 4.5:1.
    return theme.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        slider_color="*primary_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )

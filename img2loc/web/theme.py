"""The page's colours and type, light and dark; page.css does the rest."""

from __future__ import annotations

import gradio as gr


def theme() -> gr.themes.Base:
    """Make the theme; system fonts only, since others would be fetched from elsewhere."""
    made = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )
    return made.set(
        body_background_fill="#f4f7fa",
        body_background_fill_dark="#0b1220",
        background_fill_primary_dark="#111a2b",
        background_fill_secondary_dark="#0e1626",
        block_background_fill="white",
        block_background_fill_dark="#131d30",
        block_border_width="1px",
        block_shadow="0 1px 2px rgb(15 23 42 / .05)",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        border_color_primary="#dbe3ec",
        border_color_primary_dark="#26344d",
        input_background_fill="#f4f7fa",
        input_background_fill_dark="#0e1626",
        input_border_color_focus="*primary_600",
        button_large_text_weight="650",
        # The defaults' greys and blues fall short of a contrast of 4.5:1.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        slider_color="*primary_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )

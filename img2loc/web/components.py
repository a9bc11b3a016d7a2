"""Boxes that take photos from browsers, programs and agents."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.data_classes import FileData, GradioRootModel, ImageData

from img2loc.hardening.fetching import is_uploaded
from img2loc.hardening.install import WithoutStub


class PhotoInput(gr.Image, metaclass=WithoutStub):
    """An image box that hands over the path of the uploaded file.

    Gradio's own opens the file with Pillow before any of our checks, and has no useful message where that fails.
    """

    is_template = True  # to the browser it is gr.Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Take the path, of an uploaded file only: what has no `meta` beside it, Gradio lets pass wherever it lies."""
        if payload is None or payload.path is None:
            return None
        if not is_uploaded(payload.path):
            raise gr.Error("The photo isn't on the server. Upload it first.", print_exception=False)
        return payload.path


class Photos(GradioRootModel):
    """Photos: files that were uploaded, or addresses as text."""

    root: list[FileData | str]


class PhotosInput(gr.File, metaclass=WithoutStub):
    """A box for many photos, each an uploaded file, an http(s) address or a data: URI.

    Gradio's own publishes a schema with references that its MCP server breaks, and turns no text in a list into a file.
    """

    is_template = True

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - gr.File's
        super().__init__(file_count="multiple", **options)
        self.data_model = Photos

    def api_info(self) -> dict[str, Any]:
        """Describe it as a JSON schema; Gradio's MCP server shows agents a string in place of the file object."""
        meta = {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}, "required": ["_type"]}
        properties = {"path": {"type": "string"}, "meta": meta}
        file = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "array", "items": {"anyOf": [{"type": "string"}, file]}}

    def preprocess(self, payload: Photos | None) -> list[str]:  # type: ignore[override]
        """Take the files' paths, and addresses as they are; Gradio has checked that the files were uploaded."""
        return [item.path if isinstance(item, FileData) else item for item in payload.root] if payload else []

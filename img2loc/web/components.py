"""Boxes that take photos from browsers, programs and agents, and hand over files of the upload folder."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.component_meta import ComponentMeta
from gradio.data_classes import FileData, GradioRootModel, ImageData
from gradio.utils import get_upload_folder, is_in_or_equal

from img2loc.errors import PhotoError
from img2loc.web.api.arguments import is_data_uri


class _NoStub(ComponentMeta):
    """Gradio's own metaclass writes a .pyi file beside the source of every subclass of a component."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class PhotoInput(gr.Image, metaclass=_NoStub):
    """An image box that hands over the path of the uploaded file.

    Gradio's own opens the file with Pillow before any of photo.py's checks, and has no useful word where that fails.
    """

    is_template = True  # to the browser it is gr.Image

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Take the path, of an uploaded file only: what has no `meta` beside it, Gradio lets pass wherever it lies."""
        if payload is None or payload.path is None:
            return None
        if not is_in_or_equal(payload.path, get_upload_folder()):
            raise gr.Error("The photo isn't on the server. Upload it first.", print_exception=False)
        return payload.path


class Photos(GradioRootModel):
    """Photos: files that were uploaded, or addresses as text."""

    root: list[FileData | str]


class PhotosInput(gr.File, metaclass=_NoStub):
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


def local_path(source: str) -> str:
    """Bring one of PhotosInput's photos to this machine.

    Args:
        source: The path of an uploaded file, an http(s) address or a data: URI.

    Returns:
        The path of a file in the upload folder.

    Raises:
        PhotoError: It can't be had, or is something else.
    """
    folder = get_upload_folder()
    try:
        if source.startswith(("http://", "https://")):
            return processing_utils.save_url_to_cache(source, folder)
        if source.startswith("data:"):
            if not is_data_uri(source):
                raise PhotoError(
                    "The photo's data: URI must hold the whole file in base64, as data:image/jpeg;base64,..."
                )
            return processing_utils.save_base64_to_cache(source, folder)
    except PhotoError:
        raise
    except gr.Error as error:
        raise PhotoError(str(error.message)) from None
    except Exception as error:  # Gradio raises whatever its libraries do
        raise PhotoError("The photo's address can't be read. Check it for typing errors.") from error
    if not is_in_or_equal(source, folder):
        raise PhotoError("A photo must be an uploaded file, an http(s) address or a data: URI.")
    return source

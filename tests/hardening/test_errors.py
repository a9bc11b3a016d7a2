"""Unexpected errors leave no key in the log and no client without a word; on the app: hardening/test_secrets.py."""

from __future__ import annotations

import json

import gradio as gr
import pytest
from gradio.data_classes import ImageData
from gradio.exceptions import InvalidPathError
from gradio.utils import error_payload as gradios
from starlette.exceptions import HTTPException
from starlette.requests import Request

from img2loc.hardening import errors
from tests.conftest import in_own_loop

KEY = "sk-misplaced"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    errors.print_exc()
    return capsys.readouterr().err


def test_who_reads_requests_repeats_none_in_the_log(capsys: pytest.CaptureFixture[str]):
    try:
        ImageData.model_validate(KEY)
    except ValueError as error:
        assert KEY in str(error)
        said = printed(capsys)
    assert said.startswith("Traceback") and "in model_validate" in said and said.endswith("ValidationError\n")
    assert KEY not in said


def test_our_own_errors_keep_their_words_and_what_they_came_of(capsys: pytest.CaptureFixture[str]):
    try:
        try:
            ImageData.model_validate(KEY)
        except ValueError as error:
            raise OSError("the disk is full") from error
    except OSError:
        said = printed(capsys)
    assert "OSError: the disk is full\n" in said and "ValidationError" in said and KEY not in said


def test_without_an_error_nothing_is_printed(capsys: pytest.CaptureFixture[str]):
    assert printed(capsys) == ""


def test_a_client_gets_words():
    assert gradios(ValueError(KEY), False)["error"] in (None, errors.GENERIC_MESSAGE)
    assert errors.error_payload(ValueError(KEY), False) == {"error": errors.GENERIC_MESSAGE, "visible": True}
    assert errors.error_payload(gr.Error("The photo is torn."), False)["error"] == "The photo is torn."


def test_a_page_from_before_a_restart_is_told_what_is_missing():
    dropdown = gr.Dropdown(["vote"])
    with pytest.raises(gr.Error) as caught:
        dropdown.preprocess("oracle")
    assert errors.known_message(caught.value) == errors.OUT_OF_DATE
    gone = InvalidPathError("Cannot move /tmp/photo.jpg to the gradio cache dir")
    assert errors.known_message(gone) == errors.GONE
    assert errors.known_message(ValueError(KEY)) == ""


@pytest.mark.parametrize(
    ("path", "detail", "told"),
    [
        ("/gradio_api/queue/join", str(gr.Error(errors.GONE)), errors.GONE),
        ("/gradio_api/queue/join", str(gr.Error(errors.OUT_OF_DATE)), errors.OUT_OF_DATE),
        ("/gradio_api/queue/join", "[Errno 28] No space left on device: '/tmp/x'", errors.GENERIC_MESSAGE),
        ("/login", "Incorrect credentials.", "Incorrect credentials."),
    ],
)
def test_a_request_that_cant_be_queued_is_answered_in_our_words(path: str, detail: str, told: str):
    request = Request({"type": "http", "path": path, "headers": [], "server": ("127.0.0.1", 80), "scheme": "http"})
    response = in_own_loop(errors.join_refused(request, HTTPException(400, detail)))
    assert (response.status_code, json.loads(response.body)) == (400, {"detail": told})

"""Errors that nobody expects leave no key in the log and no client without a word; on the app: test_secrets.py."""

from __future__ import annotations

import gradio as gr
import pytest
from gradio.data_classes import ImageData
from gradio.utils import error_payload as gradios

from img2loc.ui import unexpected

KEY = "sk-misplaced"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    unexpected.print_exc()
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
    assert gradios(ValueError(KEY), False)["error"] in (None, unexpected.GENERIC_MESSAGE)
    assert unexpected.error_payload(ValueError(KEY), False) == {"error": unexpected.GENERIC_MESSAGE}
    assert unexpected.error_payload(gr.Error("The photo is torn."), False)["error"] == "The photo is torn."

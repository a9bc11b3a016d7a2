"""The page as it is built, and what it gives away; the browser tests are in tests/browser."""

from __future__ import annotations

import gradio as gr
import pytest

from img2loc.policy.offers import MAX_BATCH
from img2loc.policy.settings import Settings
from img2loc.web.gallery_loader import Host
from img2loc.web.i18n import marked
from img2loc.web.page import login_works
from img2loc.web.site import Site
from img2loc.web.tabs.batch import BatchEvents
from img2loc.web.tabs.compare import CompareEvents
from img2loc.web.tabs.keys import KeyEvents
from tests.fakes.form import build_page
from tests.fakes.openai_server import KEY

TOWER = gr.get_image("tower.jpg")


def kinds(demo: gr.Blocks) -> set[str]:
    return {type(block).__name__ for block in demo.blocks.values()}


def test_a_space_can_be_duplicated_and_only_the_api_is_public(monkeypatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "owner/name")
    demo = build_page(Settings())
    assert "DuplicateButton" in kinds(demo) and "LoginButton" not in kinds(demo)
    public = sorted(function.api_name for function in demo.fns.values() if function.api_visibility == "public")
    assert public == ["backends", "info", "locate", "locate_batch", "neighbours"]


def test_elsewhere_neither_button_is_there_and_the_page_starts_with_the_vote_alone(monkeypatch):
    monkeypatch.setenv("OAUTH_CLIENT_ID", "left over from a Space")
    demo = build_page(Settings(backends=("vote",)))
    assert not {"DuplicateButton", "LoginButton"} & kinds(demo)
    assert "locate" in {function.api_name for function in demo.fns.values()}


def test_signing_in_is_offered_where_it_works(monkeypatch):
    monkeypatch.setenv("OAUTH_CLIENT_ID", "client")
    assert not login_works()
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert login_works()
    monkeypatch.delenv("OAUTH_CLIENT_ID")
    assert not login_works()


def test_compare_says_who_pays_and_what_is_wrong(host: Host):
    bounded = Settings(openai_api_key=KEY, hourly_per_visitor=7)
    compare = CompareEvents(Site(host, bounded))
    german = gr.Request(headers={"accept-language": "de"}, query_params={})
    assert "<b>OpenAI</b>: " in compare.provided() and "darf 7-mal pro Stunde fragen" in compare.provided(german)
    assert CompareEvents(Site(host, Settings())).provided() == ""
    assert [field["is_valid"] for field in compare.check(None, ["vote", "nobody"], {})] == [False, False, True]
    assert [field["is_valid"] for field in compare.check(TOWER, ["vote"], {})] == [True, True, True]


def test_a_key_leaves_the_field_of_its_provider_for_the_session():
    fields = KeyEvents({"openai": "OpenAI", "gemini": "Gemini"})
    shown = "OpenAI; Gemini"
    # Only plain values: after an update of its looks, Gradio would serve a box's next key with a deep link.
    assert fields.take({"openai": "sk-old", "hf": "hf_old"}, shown, "", f" {KEY}\n") == [
        {"openai": "sk-old", "hf": "hf_old", "gemini": KEY},
        "",
        "",
    ]
    assert fields.take({"openai": KEY}, shown, "", None) == [gr.skip(), "", ""]  # leaving a box doesn't lose the key
    assert fields.buttons({"gemini": KEY, "hf": KEY}) == [marked("use_key"), marked("key_set")]
    assert [field["is_valid"] for field in fields.check({}, shown, KEY, "two words")] == [True, True, True, False]
    with pytest.raises(gr.Error, match="copy it again") as caught:
        fields.take({}, shown, KEY, "two words")
    assert "two words" not in caught.value.message
    # Typed on a page that was opened while this server had another provider in that place.
    for before in ("OpenRouter; Gemini", "Gemini; OpenAI", "", None):
        with pytest.raises(gr.Error, match="out of date"):
            fields.take({}, before, KEY, "")


def test_batch_says_what_is_wrong_with_how_many_photos(host: Host):
    batch = BatchEvents(Site(host, Settings()))
    for files, words in (
        ([], "Choose some photos first"),
        ([TOWER] * (MAX_BATCH + 1), f"at most {MAX_BATCH}"),
        ([TOWER], ""),
    ):
        at_files, at_model = batch.check(files, "a model")
        assert at_model["is_valid"] and at_files["is_valid"] == (not words) and words in at_files["message"]

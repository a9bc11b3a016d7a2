"""The page's events as plain functions; the browser tests are in tests/browser."""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from img2loc.locator import PROMPT_SEPARATOR
from img2loc.policy.settings import Settings
from img2loc.web.gallery_loader import Host
from img2loc.web.i18n import ENGLISH, marked
from img2loc.web.site import Site
from img2loc.web.tabs import contestants
from img2loc.web.tabs.locate_events import Chosen, LocateEvents, Shown
from img2loc.web.tabs.shared import Update
from tests.fakes import form
from tests.fakes.openai_server import KEY, OpenAIServer

TOWER = gr.get_image("tower.jpg")
KEYS = {"openai": KEY}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def events(host: Host, provider: OpenAIServer) -> LocateEvents:
    return LocateEvents(Site(host, Settings(openai_base_url=provider.base_url, timeout_s=5)))


def locate(events: LocateEvents, photo: str | None = TOWER, **changes: Any) -> Shown:
    return form.locate(events, photo, **changes)


def choose(events: LocateEvents, backend: str, server: str = "") -> tuple[Chosen, list[Update]]:
    """What choose_backend shows, and each provider's key field."""
    shown = events.choose_backend(backend, server)
    return Chosen(*shown[:4]), list(shown[4:])


def test_what_the_judge_chose_is_shown_with_what_decided(events: LocateEvents, provider: OpenAIServer):
    sent = len(provider.requests)
    shown = locate(events, backend="openai", keys=KEYS, judge="0,10")
    assert len(provider.requests) == sent + 2
    assert "Judged among" in shown.answer and "answers lie here" in shown.answer and "not probabilities" in shown.answer
    assert shown.beside.count("<tr>") > 2 and "prediction-map|candidate 2|0" in shown.beside
    traces = {trace["name"] for trace in json.loads(shown.prediction_plot.plot)["data"]}
    assert {"candidate 1", "candidate 2", "mass", "answer"} <= traces
    texts = [request.body["messages"][0]["content"][0]["text"] for request in provider.requests[-2:]]
    assert shown.prompt == PROMPT_SEPARATOR.join(texts) and len(texts[0]) < len(texts[1])
    with pytest.raises(gr.Error, match="judge must be off, or 1 to 8 numbers from 0 to 50"):
        locate(events, judge="0,99")


def test_a_known_area_is_shown_and_held_to(events: LocateEvents):
    words, drawn = events.show_area("deutschland; fr")
    assert "Only within: Germany; France." in words and drawn["visible"]
    assert '"name":"area"' in drawn["value"].plot
    assert "Anywhere on Earth" in events.show_area("")[0]
    words, drawn = events.show_area("<b>Nowhere</b>")
    assert "as a country" in words and "<b>" not in words and '"name":"area"' not in drawn["value"].plot
    shown = locate(events, within="Spain; Portugal")
    assert re.search("Within</dt><dd>Spain; Portugal", shown.answer)
    assert re.search("<h2>[^<]*(Spain|Portugal)</h2>", shown.answer) and '"name":"area"' in shown.prediction_plot.plot
    nowhere = locate(events, within="30, -40, 99 km").answer
    assert "no photo from within this area (99 km around 30.00000, -40.00000)" in nowhere


def test_the_models_choice_is_shown_beside_what_else_counts(events: LocateEvents, provider: OpenAIServer):
    vegas, paris = ({"latitude": lat, "longitude": lon} for lat, lon in ((36.11, -115.17), (48.86, 2.29)))
    for text in (json.dumps(vegas), json.dumps(paris), '{"choice": "A", "reasoning": "A copy."}'):
        provider.enqueue("good", text=text)
    shown = locate(events, backend="openai", keys=KEYS, judge="0,10+choice")
    assert "Shown the best candidates, the model chose another." in shown.answer and "Judged among" in shown.answer
    assert "contains half of the candidates' score: a spread, not a confidence" in html.unescape(shown.answer)
    assert shown.beside.count("✓</small>") == 1 and "answers · vote · choice</small>" in shown.beside
    assert "half of the candidates" in shown.beside and "A copy." in shown.reasoning
    assert "--- reply 3 ---" in shown.reply and "which stand from west to east" in shown.prompt
    provider.enqueue("good", "good")
    provider.enqueue("malformed")
    failed = locate(events, backend="openai", keys=KEYS, judge="0,10+choice")
    assert "Shown the best candidates, the model chose none:" in failed.answer
    assert "names none of the 5 places" in failed.answer and "✓" not in failed.beside


def test_what_it_will_cost_is_said_before(host: Host):
    """In requests and money, in the visitor's language, where it is known."""
    events = LocateEvents(Site(host, Settings(llava_model="some/model")))
    how = {"backend": "openai", "model": "gpt-5.5", "judge": "off", "template": "Where?"}

    def said(language: str = "en", **changes: object) -> str:
        request = gr.Request(headers={"accept-language": language})
        beside_button, beside_choice = events.expense(request, *form.filled_form(**{**how, **changes}))
        assert beside_button == beside_choice
        return html.unescape(beside_button["value"]) if beside_button["visible"] else ""

    assert "Requests per photo: 1 (about $0.015 with this model)" in said()
    assert "Requests per photo: 5 (about $0.0" in said(judge="0,5,10,15+choice")
    assert "Anfragen je Foto: 4; etwa $0.058 mit diesem Modell" in said("de", judge="0,5,10,15")
    assert "Requests per photo: 2 (price unknown)" in said(model="gpt-x", judge="0,10")
    assert "price unknown" in said(server="openrouter", model="openai/gpt-5.5")
    assert "price unknown" in said(backend="hf", model="google/gemma-4-26B-A4B-it")
    assert said(backend="vote") == "" == said(judge="never") == said(template="$")
    assert "Requests per photo: 1 (on this machine)" in said(backend="llava", model="some/model")
    assert "price unknown" in said(server="gemini", model="gpt-y")
    assert "about $0.0" in said(server="gemini", model="gemini-3.1-pro-preview")


def test_a_failed_model_leaves_candidates_and_the_reason(events: LocateEvents, provider: OpenAIServer):
    provider.enqueue("bad_key")
    shown = locate(events, backend="openai", keys=KEYS, judge="0,10")
    assert "The model gave no position." in shown.answer and "Judged among" in shown.answer
    assert "answers lie here" not in shown.answer and "Paris" in shown.answer


def test_the_vote_places_the_tower_in_paris(events: LocateEvents):
    shown = locate(events)
    assert "Paris, France" in shown.answer and "The nearest neighbours vote" in shown.answer
    assert "openstreetmap.org/?mlat=48.8" in shown.answer and "Error" not in shown.answer
    assert shown.evidence["visible"] and not shown.conversation["visible"] and shown.prompt == ""
    plots = (shown.prediction_plot, shown.nearest_plot, shown.farthest_plot)
    for plot in plots:
        content = json.loads(plot.plot)
        assert plot.type == "plotly" and content["config"]["scrollZoom"] is False and content["data"]
    assert sum(len(plot.plot) for plot in plots) < 500_000
    assert shown.nearest_table.count("<tr>") == shown.farthest_table.count("<tr>") == 17


def test_neither_list_is_needed(events: LocateEvents):
    shown = locate(events, nearest=0, farthest=0)
    assert "Paris" in shown.answer and "No nearest neighbours were asked for" in shown.nearest_table


def test_a_true_position_gives_the_error(events: LocateEvents):
    assert "from the position you gave" in locate(events, truth="48.8584, 2.2945").answer


def test_exif_gives_the_error_when_nothing_is_typed(events: LocateEvents, tmp_path: Path):
    file = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (43.0, 28.0, 0.0), 3: "E", 4: (11.0, 53.0, 0.0)}  # GPS: near Arezzo
    Image.open(TOWER).save(file, exif=exif)
    assert "from the position in the file's EXIF" in locate(events, str(file)).answer
    assert "from the position you gave" in locate(events, str(file), truth="43 N, 11 E").answer


def test_a_position_in_xmp_alone_is_called_so(events: LocateEvents, tmp_path: Path):
    file = tmp_path / "photo.jpg"
    names = "xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns:e='http://ns.adobe.com/exif/1.0/'"
    inside = f"<r:RDF {names}><r:Description e:GPSLatitude='43,28.0N' e:GPSLongitude='11,53.0E'/></r:RDF>"
    Image.open(TOWER).save(file, xmp=f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{inside}</x:xmpmeta>".encode())
    assert "from the position in the file's XMP" in locate(events, str(file)).answer


def test_a_photo_that_is_cut_short_is_noted(events: LocateEvents, tmp_path: Path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(Path(TOWER).read_bytes()[:-9000])
    assert "The file is cut short or damaged: only the first " in locate(events, str(file)).answer
    assert "cut short" not in locate(events).answer


def test_a_model_answers(events: LocateEvents, provider: OpenAIServer):
    provider.enqueue("good")
    shown = locate(events, backend="openai", model="some-model", keys=KEYS)
    assert "answers</p>" in shown.answer and "An iron lattice tower." in shown.answer
    assert "</b> apart" in shown.answer  # the vote beside it
    assert shown.conversation["visible"] and shown.reasoning == "An iron lattice tower."
    assert shown.prompt == provider.requests[-1].prompt and "$nearest" not in shown.prompt
    assert '"latitude"' in shown.reply
    assert KEY not in "".join(str(part) for part in shown)


@pytest.mark.parametrize(
    ("behaviours", "words"),
    [
        (["refusal"], "refuses"),
        (["malformed", "malformed"], "position"),
        (["bad_key"], "rejected the key"),
    ],
)
def test_a_failing_model_leaves_the_vote_and_says_so(events: LocateEvents, provider: OpenAIServer, behaviours, words):
    provider.enqueue(*behaviours)
    shown = locate(events, backend="openai", keys=KEYS)
    assert "The model gave no position." in shown.answer
    assert words in shown.answer and "The position below is the neighbours' vote." in shown.answer
    assert "Paris, France" in shown.answer and 'role="alert"' in shown.answer
    assert KEY not in shown.answer


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"truth": "somewhere in Paris"}, "48.8584, 2.2945"),
        ({"truth": "91, 2"}, "latitude must be between -90 and 90"),
        ({"truth": "48.8"}, "latitude, longitude"),
        ({"template": "Only $nearest?"}, "$"),
        ({"backend": "openai", "keys": {"openai": "two words"}}, "key"),
        ({"nearest": 99}, "0 to 50"),
    ],
)
def test_wrong_input_gets_one_sentence(events: LocateEvents, changes: dict[str, object], word: str):
    with pytest.raises(gr.Error) as caught:
        locate(events, **changes)
    assert word in html.unescape(caught.value.message) and caught.value.print_exception is False
    assert "two words" not in caught.value.message


def test_a_photo_that_cannot_be_read_gets_one_sentence_in_place_of_the_answer(events: LocateEvents, tmp_path: Path):
    text, torn = tmp_path / "photo.jpg", tmp_path / "torn.jpg"
    text.write_text("not a picture")
    torn.write_bytes(b"\xff\xd8\xff\xe0 torn")
    nowhere = str(tmp_path / "nowhere.jpg")
    for photo, words in (
        (None, "No photo was sent"),
        (nowhere, "Upload it again"),
        (text, "picture"),
        (torn, "damaged"),
    ):
        shown = locate(events, photo and str(photo))
        assert words in html.unescape(shown.answer) and 'role="alert"' in shown.answer
        assert shown.evidence["visible"] is False and shown.beside == gr.skip()


def test_without_a_key_the_sentence_says_what_to_do(host: Host):
    with pytest.raises(gr.Error, match="OpenAI needs a key; enter yours in its key field"):
        locate(LocateEvents(Site(host, Settings())), backend="openai")


def test_the_operators_key_serves_who_brings_none(host: Host, provider: OpenAIServer):
    settings = Settings(openai_base_url=provider.base_url, openai_api_key=KEY, openai_model="operators-model")
    provider.enqueue("good")
    locate(LocateEvents(Site(host, settings)), backend="openai")
    assert provider.requests[-1].key == KEY and provider.requests[-1].body["model"] == "operators-model"


def test_a_chosen_photo_is_located_at_once_only_where_that_is_free(events: LocateEvents, provider: OpenAIServer):
    sent = len(provider.requests)

    def chosen(photo: str | None, backend: str) -> Shown:
        asked = form.filled_form(backend=backend, keys=KEYS)
        return events.locate_unless_paid(None, None, gr.Progress(), photo, "", *asked)

    assert "Paris" in chosen(TOWER, "vote").answer
    for photo, backend in ((TOWER, "openai"), (None, "vote")):
        untouched = chosen(photo, backend)
        assert all(part == gr.skip() for part in untouched)
    assert len(provider.requests) == sent


def test_another_photo_takes_the_old_answer_away(events: LocateEvents):
    for photo, backend, text in ((TOWER, "vote", "empty"), (TOWER, "openai", "ready"), (None, "openai", "empty")):
        answer, shown = events.change_photo(photo, backend)
        assert answer == marked(f"html_{text}") and shown["visible"] is False


def test_each_provider_has_a_key_field_of_its_own(events: LocateEvents):
    providers = list(contestants.keyed_providers(events._settings))
    for backend, server in (("hf", ""), ("openai", "gemini"), ("openai", ""), ("vote", "")):
        chosen, rows = choose(events, backend, server)
        shown = [name for name, row in zip(providers, rows, strict=True) if row["visible"]]
        assert shown == ([] if backend == "vote" else [server or backend])
        assert backend == "vote" or chosen.model["value"] == chosen.model["choices"][0] != ""


def test_a_server_is_asked_with_its_own_key_though_another_was_given(events: LocateEvents):
    """As when the request that shows the new provider's field was lost on its way."""
    with pytest.raises(gr.Error, match="Gemini needs a key"):
        locate(events, backend="openai", server="gemini", keys=KEYS)
    with pytest.raises(gr.Error, match="Hugging Face needs a key"):
        locate(events, backend="hf", server="gemini", keys=KEYS)


def test_who_has_signed_in_pays_for_hugging_face_and_nobody_else_gets_the_token(events: LocateEvents, monkeypatch):
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("img2loc.web.request.open_lmm", lambda name, options: asked.append((name, options.api_key)))
    token = gr.OAuthToken(token="hf_oauth_visitors", scope="inference-api", expires_at=0)
    for backend, keys in (("hf", {}), ("hf", {"hf": "hf_typed"}), ("openai", {}), ("vote", {})):
        locate(events, token=token, backend=backend, keys=keys)
    assert asked == [("hf", "hf_oauth_visitors"), ("hf", "hf_typed"), ("openai", ""), ("vote", "")]


def test_the_key_box_shows_where_it_is_needed(events: LocateEvents):
    assert choose(events, "openai")[0].model_settings["visible"]
    assert not choose(events, "vote")[0].model_settings["visible"]


def test_who_pays_is_said(host: Host, provider: OpenAIServer):
    paying = LocateEvents(Site(host, Settings(openai_api_key=KEY, models=("gpt-6.2-sol", "gpt-5.5"))))
    chosen, _ = choose(paying, "openai")
    assert chosen.provided["visible"] and chosen.model["choices"] == ["gpt-6.2-sol", "gpt-5.5"]
    assert not choose(paying, "openai", "gemini")[0].provided["visible"]  # the operator's key is not for others
    assert not choose(LocateEvents(Site(host, Settings())), "openai")[0].provided["visible"]
    assert ENGLISH("provided") in chosen.provided["value"] and "an hour" not in chosen.provided["value"]
    bounded = LocateEvents(Site(host, Settings(openai_api_key=KEY, hourly_per_visitor=7, hourly_total=90)))
    german = gr.Request(headers={"accept-language": "de-AT"}, query_params={})
    told_of = [choose(bounded, "openai")[0].provided, Chosen(*bounded.follow_link(german)[7:11]).provided]
    assert "may ask 7 times an hour" in told_of[0]["value"] and "may ask 90 times" in told_of[0]["value"]
    assert "darf 7-mal pro Stunde fragen" in told_of[1]["value"]
    own = LocateEvents(Site(host, Settings(openai_base_url=provider.base_url)))
    assert choose(own, "openai")[0].provided["visible"]  # a server of one's own needs no key


def test_a_link_chooses_before_the_visitor_does(events: LocateEvents, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    untouched = events.follow_link(gr.Request(query_params={"__theme": "dark"}, headers={}))
    but_for_words = [*untouched[:7], *Chosen(*untouched[7:11])._replace(provided=gr.skip()), *untouched[11:]]
    assert all(part == gr.skip() for part in but_for_words) and warned == []
    backend, nearest, farthest, prompt, template, judge, within, *rest = events.follow_link(
        gr.Request(
            query_params={"server": "gemini", "model": "m", "nearest": "3", "prompt": "g3", "farthest": "x"}
            | {"judge": "0, 7", "within": "deutschland"},
            headers={},
        )
    )
    chosen = Chosen(*rest[:4])
    assert (
        (backend, nearest, prompt, judge["value"], within) == ("openai", 3, "g3", "0,7", "Germany")
        and ("2: 0, 7", "0,7") in judge["choices"]
        and ("5: 0, 5, 10, 15 + ✓", "0,5,10,15+choice") in judge["choices"]
        and farthest == gr.skip()
        and "$nearest" in template
    )
    assert chosen.server["value"] == "gemini" and chosen.model["value"] == "m"
    assert len(warned) == 1 and "farthest" in warned[0]


def test_a_key_brings_the_models_and_a_wrong_one_words(events: LocateEvents):
    models, note = events.list_models("openai", "", "mine", KEYS)
    assert models["choices"] == ["mine", "another", "gpt-test"] and not note["visible"]
    for server, keys in (("", {}), ("", {"gemini": KEY}), ("gemini", KEYS)):
        models, note = events.list_models("openai", server, "mine", keys)
        assert "choices" not in models and (note["visible"], note["value"]) == (False, "")
    models, note = events.list_models("openai", "", "mine", {"openai": "sk-wrong"})
    assert "choices" not in models and note["visible"] and "rejected the key" in note["value"]


def test_what_is_wrong_is_said_at_its_field(events: LocateEvents):
    right = {"photo": TOWER, "truth": "48.8584, 2.2945", **form.filled_form(within="France")._asdict()}

    def wrong(field: str, value: object, check: Callable[..., list[Update]] = events.check) -> str:
        found = dict(zip(right, check(*{**right, field: value}.values()), strict=True))
        assert all(other["is_valid"] for name, other in found.items() if name != field)
        return "" if found[field]["is_valid"] else found[field]["message"]

    assert wrong("photo", TOWER) == wrong("truth", "") == wrong("photo", None, events.check_chosen) == ""
    assert "No photo was sent" in wrong("photo", None)
    assert "$" in wrong("template", "Only $nearest?") and "48.8584, 2.2945" in wrong("truth", "in Paris")
    assert "Did you mean France?" in wrong("within", "Frnace") and wrong("within", "") == ""


def test_coarse_answers_are_coarse_everywhere(host: Host, provider: OpenAIServer, tmp_path: Path):
    settings = Settings(openai_base_url=provider.base_url, precision="region", banner="For {visitors} <b>")
    events = LocateEvents(Site(host, settings))
    provider.enqueue("good")
    shown = locate(events, backend="openai", keys=KEYS)
    page = "".join(str(getattr(part, "plot", part)) for part in shown)
    files = "".join(b64decode(found).decode() for found in re.findall(r";base64,([\w+/=]+)", shown.beside))
    for exact in ("48.8584", "2.2945", "An iron lattice", "example.org", "data-street"):
        assert exact not in page and exact not in files, exact
    assert "the region of Paris" in shown.answer and not shown.conversation["visible"]
    banner = events.banner()
    assert "by region only" in banner and "For &#123;visitors} &lt;b&gt;" in banner

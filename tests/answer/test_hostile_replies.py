"""Replies made to hurt, the short version of `python -m tests.soak.replies`, and that untrusted words stay words."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import gradio as gr
import pytest
from markdown_it import MarkdownIt

import img2loc.web.tabs.locate_events
import tests.soak.replies as soak
from img2loc.answer.ask import Answer, ask
from img2loc.errors import ConfigError, LMMError
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.report import figures
from img2loc.evaluation.report.answers import VOTE, Answers, Case
from img2loc.evaluation.report.document import Bullets, Figure, Grid, Heading, Paragraph, to_html, to_markdown
from img2loc.evaluation.report.score import Score
from img2loc.lmm import BackendOptions, list_models, open_lmm
from img2loc.maps import figures as maps
from img2loc.output import exports
from img2loc.output.printer import as_csv
from img2loc.policy.settings import Settings
from img2loc.retrieval.gallery import STARTER
from img2loc.retrieval.manifest import Manifest
from img2loc.types import (
    LatLon,
    Neighbour,
    Outcome,
    OutcomeKind,
    PhotoRecord,
    Place,
    Prediction,
    Reply,
    Retrieval,
    Vote,
)
from img2loc.web.i18n import ENGLISH
from img2loc.web.render import evidence
from img2loc.web.render import prediction as report
from img2loc.web.render.html import _TEMPLATES, error_html, render
from img2loc.web.request import parse_position
from img2loc.web.site import Site, shown_errors
from img2loc.web.tabs import contestants as contest
from img2loc.web.tabs.batch import _table
from img2loc.web.tabs.compare import CompareEvents
from tests.fakes.openai_server import KEY, OpenAIServer
from tests.soak.hostile_replies import KINDS, MARKUP, Said, reply
from tests.soak.shown import TEMPLATE_SIGNS, addresses, elements, words

PARIS, SUVA = LatLon(48.8584, 2.2945), LatLon(-18.14, 178.44)
HARMLESS = ("https://www.openstreetmap.org/", "https://photos.example/", "data:")
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def no_endless_work() -> Iterator[None]:
    """A reader that never ends would hold all other tests up."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def test_eight_hundred_replies_come_to_typed_outcomes_and_stay_text():
    found = [
        (said, *soak.examine(said, everywhere=number % 10 == 0)) for number, said in enumerate(map(_said, range(800)))
    ]
    assert not [(said.text[:200], fault) for said, _, fault in found if fault]
    assert {said.kind for said, *_ in found} == set(KINDS)
    assert sum(outcome == "position" for _, outcome, _ in found) > 300


def _said(number: int) -> Said:
    return reply(1, number)


@pytest.mark.parametrize(
    ("parsed", "words_said"),
    [
        (Answer(PARIS, "a\u202eb"), "no plain text"),
        (Answer(PARIS, "", "x" * 2001), "no plain text"),
        (None, "the outcome is None"),
        (Answer(SUVA), "was read as"),
        (Answer(PARIS), ""),
    ],
)
def test_the_soak_sees_what_is_wrong(monkeypatch, parsed, words_said):
    monkeypatch.setattr(soak, "parse", lambda text: parsed)
    _, fault = soak.examine(Said("json", "48.8584, 2.2945", PARIS))
    assert words_said in fault and bool(words_said) == bool(fault)


def test_the_soak_sees_words_that_are_more_than_text(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(maps, "html", SimpleNamespace(escape=lambda text, quote: text))
        _, fault = soak.examine(Said("json", "<a href=x>48.8584, 2.2945", PARIS))
    assert "the map's words" in fault
    monkeypatch.setattr("img2loc.web.render.html._TEMPLATES", _TEMPLATES.overlay(autoescape=False))
    _, fault = soak.examine(Said("json", f"{MARKUP[1]} 48.8584, 2.2945", PARIS))
    assert "more than its own elements" in fault and MARKUP[1] in fault


def test_blanks_without_end_are_no_true_position():
    """Two thousand of them once took half a minute, in which the server did nothing else."""
    for blanks in ("1" + " " * 100_000 + "x", "1, " + "\t" * 100_000 + "2", "48.8584," + " " * 100 + "2.2945"):
        with pytest.raises(ConfigError, match="true position"):
            parse_position(blanks)


HALF = "half a character: \ud800"


@pytest.mark.parametrize("backend", ["openai", "hf"])
def test_half_a_character_and_a_name_that_is_none_do_no_harm(backend):
    """orjson, with which Gradio sends results, takes no lone surrogate: the page would show an error of its own."""
    body = json.dumps({"latitude": 1.5, "longitude": 2.5, "place": HALF, "reasoning": HALF}) + HALF
    with OpenAIServer() as server:
        server.models = ["gpt-\ud800", "gpt\n<b>", "x" * 300, "gpt-good"]
        options = BackendOptions(api_key=KEY, model="gpt-test", base_url=server.base_url, timeout_s=10)
        server.enqueue("good", text=body)
        answered = ask(open_lmm(backend, options), "Where?", _jpeg())
        server.enqueue("malformed", text=f"nowhere {HALF}")
        server.enqueue("bad_request", text=f"{HALF} \x1b[31m\u202e {MARKUP[2]}")
        failed = ask(open_lmm(backend, options), "Where?", _jpeg())
        named = list_models(backend, options) if backend == "openai" else ("gpt-good",)
    assert (answered.kind, answered.position) == (OutcomeKind.ANSWERED, LatLon(1.5, 2.5))
    assert failed.kind is OutcomeKind.PROVIDER_ERROR and len(failed.replies) == 1 and named == ("gpt-good",)
    assert failed.message.isprintable() and "HTTP 400" in failed.message
    assert json.dumps([str(answered), str(failed)], ensure_ascii=False).encode()


def test_a_models_name_is_short_and_printable(monkeypatch):
    monkeypatch.setattr("tests.fakes.openai_server._completion", _named(f"{'x' * 300}{HALF}"))
    with OpenAIServer() as server:
        options = BackendOptions(api_key=KEY, model="gpt-test", base_url=server.base_url, timeout_s=10)
        (said,) = ask(open_lmm("openai", options), "Where?", _jpeg()).replies
    assert said.model == "gpt-test"


def _named(model: str) -> Callable[..., dict[str, object]]:
    from tests.fakes.openai_server import _completion

    return lambda behaviour, text, _: _completion(behaviour, text, "") | {"model": model}


def _jpeg() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


# What the page shows, each with one untrusted text in every place where there may be one.


def _predicted(said: str, *, failed: bool = False) -> Prediction:
    record = PhotoRecord(said, said, f"https://photos.example/{said}", said)
    retrieval = Retrieval((Neighbour(0, PARIS, 0.5, record),) * 7, (Neighbour(1, SUVA, -0.1, record),))
    replies = (Reply(said, said, 0.1),)
    outcome = Outcome(OutcomeKind.ANSWERED, PARIS, said, said, "", replies)
    if failed:
        outcome = Outcome(OutcomeKind.PROVIDER_ERROR, message=said, replies=replies)
    place = Place(said, said, said, 3.0)
    return Prediction(
        PARIS,
        None,
        "vote" if failed else "lmm",
        place,
        Vote(SUVA, 5.0, 16),
        retrieval,
        said,
        outcome,
        (),
        choice=Outcome(OutcomeKind.UNPARSEABLE, message=said, replies=replies),
    )


def _name(said: str) -> maps.Name:
    return lambda _: Place(said, said, said, 3.0)


def _manifest(said: str) -> Manifest:
    manifest = Manifest.from_json((STARTER / "manifest.json").read_text())
    return replace(manifest, name=said, about=said, source=said, licence=said)


def _contest(said: str) -> tuple[list[contest.Contestant], contest.Answers]:
    names = ["vote", f"openai:{said}", "hf:m", "openai:n"]
    contestants = contest.read_contestants(names, Settings())
    answers = (_predicted(said), _predicted(said), _predicted(said, failed=True), said)
    return contestants, dict(zip(contestants, answers, strict=True))


FRAGMENTS: dict[str, Callable[[str], str]] = {
    "banner": lambda said: render(
        "page.banner", manifest=_manifest(said), notice=said, operator=said, precision="exact"
    ),
    "answer": lambda said: report.answer(_predicted(said), truth=SUVA, truth_source="error_exif", name=_name(said)),
    "failure": lambda said: report.answer(_predicted(said, failed=True), truth=None, name=_name(said)),
    "neighbours": lambda said: evidence.neighbours("nearest", _predicted(said).retrieval.nearest, PARIS, _name(said)),
    "files": lambda said: evidence.files(exports.rows(said, _predicted(said), SUVA, _name(said))),
    "legend": lambda said: evidence.legend(_predicted(said), SUVA),
    "timings": lambda said: evidence.timings(_predicted(said)),
    "street": lambda said: evidence.street(PARIS, 3.0),
    "cards": lambda said: contest.cards(*_contest(said), SUVA),
    "asking": lambda said: contest.cards(_contest(said)[0], {}, None),
    "batch": lambda said: _table(
        [(said, "", _predicted(said)), (said, "", _predicted(said, failed=True)), (said, "", said)], 3, ENGLISH
    ),
    "report": lambda said: _report(said)[0],
}


def _report(said: str) -> tuple[str, str]:
    """The report of an evaluation, as HTML and as Markdown."""
    cases = (Case(Item(said, said, PARIS), SUVA, said), Case(Item(f"{said} 2", said, SUVA), None, said))
    score = Score(said, Answers(VOTE, cases))
    blocks = [
        Heading(said),
        Paragraph(said),
        Bullets((said, said)),
        Grid((said, said), ((said, said), (said, said)), frozenset((1,))),
        Figure(figures.curve([score]), said),
        Figure(figures.error_map(cases, [100.0, float("inf")]), said),
    ]
    return to_html(said, blocks), to_markdown(said, blocks, page="page.html")


@pytest.mark.parametrize("name", FRAGMENTS)
def test_untrusted_words_are_shown_as_text(name):
    plain = elements(FRAGMENTS[name]("plain"))
    for said in MARKUP:
        html = FRAGMENTS[name](said)
        assert elements(html) == plain, said
        assert all(address.startswith(HARMLESS) for address in addresses(html)), said
        assert name == "report" or not TEMPLATE_SIGNS & set(html), said
        if words(FRAGMENTS[name]("plain")).count("plain"):
            assert DIRECTIONS.sub("", said)[:20].strip() in words(html) or name == "report", said
        if name != "report":
            assert not DIRECTIONS.search(html), said


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "//x.example", "http", ""]
)
def test_what_is_no_web_address_is_no_link(url):
    photo = PhotoRecord("1", "An author", url, "CC BY")
    html = evidence.neighbours("nearest", (Neighbour(0, PARIS, 0.5, photo),), PARIS, _name("x"))
    assert "<a " not in html and "An author" in html


def test_the_maps_words_are_text():
    """Plotly honours links, breaks and type styles in what is shown under the pointer."""
    for said in MARKUP:
        prediction, name = _predicted(said), _name(said)
        marks = [maps.Mark("A", PARIS, said)]
        for figure in (
            maps.prediction_map(prediction, SUVA, name),
            maps.nearest_map(prediction.retrieval, name),
            maps.farthest_map(prediction.retrieval, name),
            maps.answers_map(marks, SUVA, name),
        ):
            shown = [hover for trace in figure.data for hover in trace.hovertext or ()]
            assert shown and {tag for hover in shown for (tag, *rest) in elements(hover)} <= {"b", "/b", "br"}
            assert all(len(element) == 1 for hover in shown for element in elements(hover))


def test_the_reports_markdown_is_text():
    render = MarkdownIt("commonmark").enable("table").render
    plain = elements(render(_report("plain")[1]))
    for said in MARKUP:
        html = render(_report(said)[1])
        assert elements(html) == plain, said
        seen = " ".join(words(html).split())
        assert " ".join(said.replace("\x00", "\ufffd").split()) in seen, said


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("said", [*MARKUP, "a;=1+1", "a;\uff1d1", "b\n=1", "\uff0b1", "c\t@x"])
def test_no_cell_is_a_formula_whatever_separates_them(said, separator):
    written = [
        exports.to_csv(exports.rows(said, _predicted(said), SUVA, _name(said))),
        as_csv(said, _predicted(said)),
    ]
    for text_written in written:
        for line in text_written.splitlines() if separator != "," else csv.reader(io.StringIO(text_written)):
            cells = line.split(separator) if isinstance(line, str) else line
            for cell in cells:
                assert not re.match("[=+@\uff0b\uff1d\uff20]|-[^0-9]", cell.lstrip('"')), (said, cell)


@pytest.mark.parametrize("said", MARKUP)
def test_files_hold_the_words_as_they_are(said):
    rows = exports.rows(said, _predicted(said), SUVA, _name(said))
    marks = ElementTree.fromstring(exports.to_kml(rows)).findall(".//{*}Placemark")
    assert len(marks) == len(rows) and not [
        found for mark in marks for found in mark.iter() if found.tag.endswith("}script")
    ]
    assert json.loads(exports.to_geojson(rows))["features"][0]["properties"]["photo"] == said


def test_what_pops_up_is_text(monkeypatch, host):
    """Gradio takes the words of an error or a warning for HTML."""
    for said in MARKUP:
        with pytest.raises(gr.Error) as raised, shown_errors(error_html):
            raise ConfigError(said)
        monkeypatch.setattr(img2loc.web.tabs.locate_events, "list_models", _raising(LMMError(said)))
        events = img2loc.web.tabs.locate_events.LocateEvents(Site(host, Settings()))
        note = events.list_models("openai", "", "gpt", {"openai": KEY})[1]["value"]
        compare = CompareEvents(Site(host, Settings()))
        with pytest.raises(gr.Error) as named:
            list(compare.compare(None, [said], {}))
        for popped in (raised.value.message, named.value.message):
            assert elements(popped) == [], popped
        assert elements(note) == [("p", "class", "role"), ("/p",)], note  # our own paragraph
        assert DIRECTIONS.sub("", said).strip() in words(raised.value.message)
    with pytest.raises(gr.Error) as raised, shown_errors():
        raise ConfigError(MARKUP[0])
    assert raised.value.message == MARKUP[0]  # to a client of the API it isn't HTML


def _raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail

"""The evaluation on the command line: run, score, replay, report; what they print, refuse, and write."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from img2loc.__main__ import main
from img2loc.evaluation.data.datasets import Item
from img2loc.evaluation.outputs import RULE
from img2loc.evaluation.report.answers import of_record
from img2loc.evaluation.report.document import Paragraph, to_markdown
from img2loc.evaluation.report.score import open_run
from img2loc.evaluation.report.worth import worth
from img2loc.evaluation.run.budget import Meter
from img2loc.evaluation.run.journal import Journal, read_journal
from img2loc.evaluation.run.record import Entry, Header, Record
from img2loc.geo.areas import country_of, holds, read_area
from img2loc.judge.candidates import rescored
from img2loc.judge.sampling import Judge
from img2loc.lmm.prices import Pricing
from img2loc.lmm.usage import FREE, Usage
from img2loc.locator import Locator
from img2loc.types import Candidate, LatLon, Outcome, OutcomeKind, Reply
from tests.conftest import PHOTOS
from tests.evaluation.runs import ITEMS, SETUP
from tests.fakes.openai_server import OpenAIServer

TRUTH = "id,author,lat,lon\na,ann,48.86,2.35\nb,bob,40.71,-74.01\nc,ann,-33.87,151.21\nd,dan,35.68,139.69\n"
PREDICTIONS = "id,lat,lon\na,48.86,2.36\nb,41.5,-74.01\nc,,\n"


@pytest.fixture
def files(tmp_path):
    for name, text in (("truth.csv", TRUTH), ("predictions.csv", PREDICTIONS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with Journal(tmp_path / "runs" / "journal.jsonl", Header(SETUP, ITEMS, (), "2026-11-24")):
        pass
    return tmp_path


@pytest.fixture(scope="module")
def listing(photo_rows, tmp_path_factory):
    """Eight photos of eight sites, one of them missing, one with a name that is markup."""
    folder = tmp_path_factory.mktemp("listing")
    (folder / "photos").mkdir()
    by_site = list({row["group"]: row for row in photo_rows}.values())[:8]
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("IMG_ID", "AUTHOR", "LAT", "LON"))
        for number, row in enumerate(by_site):
            name = ("<img src=x onerror=alert(1)>|`*.jpg", row["file"])[number > 0]
            writer.writerow((name, row["group"], row["lat"], row["lon"]))
            if number != 3:
                (folder / "photos" / name).write_bytes((PHOTOS / row["file"]).read_bytes())
    return folder


def run(listing, out, *more):
    data = ["--truth", str(listing / "truth.csv"), "--photos", str(listing / "photos")]
    return main(["evaluate", "run", *data, "--out", str(out), *more])


def test_score_prints_both_formulas_and_every_gap(files, capsys):
    arguments = ["evaluate", "score", str(files / "predictions.csv"), "--truth", str(files / "truth.csv")]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "| predictions | 4 | 25.0%" in said.out  # a, of four
    assert "no position 1 (25.0%)" in said.out and "no prediction 1 (25.0%)" in said.out
    assert "without a prediction, counted as misses (1): d." in said.err
    assert main([*arguments, "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["n"] == 4 and score["photographers"] == 3
    assert score["outcomes"] == {"predicted": 2, "no_position": 1, "no_prediction": 1}
    assert [estimate["value"] for estimate in score["geodesic"]["accuracy"]] == [0.25, 0.25, 0.5, 0.5, 0.5]
    assert score["geodesic"]["median_km"]["value"] is None  # between a hit and a miss


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "predictions.csv", "--truth", "nowhere.csv"], "can't be read"),
        (["score", "predictions.csv", "--truth", "truth.csv", "--columns", "id=key"], "0 columns 'key'"),
        (["replay", "nowhere.jsonl"], "can't be read"),
        (["replay", "truth.csv"], "is not a journal"),
        (["report", ".", "--out", "report"], "contains no journal"),
        (["run", "--truth", "truth.csv", "--photos", "nowhere", "--out", "out"], "isn't a folder"),
        (["report", "runs", "--out", "truth.csv/report"], "truth.csv can't be written: "),
        (["report", "runs", "--out", "report", "--note", "no.txt"], "no.txt can't be read: No such file"),
    ],
)
def test_what_cannot_be_done_gets_one_sentence_and_exit_1(files, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(files)
    assert main(["evaluate", *arguments]) == 1
    said = capsys.readouterr()
    assert words in said.err and len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "--rate", "-1"],
        ["run", "--nearest", "1,x"],
        ["run", "--concurrency", "0"],
        ["run", "--samples", "0"],
        ["score", "predictions.csv", "--truth", "truth.csv", "--columns", "key"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *arguments])
    assert caught.value.code == 2


@pytest.fixture
def open_once(monkeypatch, starter):
    """The starter's locator, opened once for all tests instead of once a command."""
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)


@pytest.mark.usefixtures("open_once")
def test_a_run_held_to_the_truths_countries_answers_nowhere_else(listing, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(listing, tmp_path, "--within", "France; Nowhere")
    assert "as a country" in capsys.readouterr().err
    for within in ("own-country", "Europe"):
        assert run(listing, tmp_path, "--within", within) == 0
        record = read_journal(tmp_path / f"vote-n16-f16-within-{within}.jsonl")
        assert record.header.setup.within == within
        for item in record.header.items:
            area = country_of(item.position) if within == "own-country" else read_area(within)
            entry = record.entries[item.id]
            assert all(holds(area, neighbour.position) for neighbour in (*entry.nearest, *entry.farthest))
            assert entry.position is None or holds(area, entry.position)
    said = capsys.readouterr().out
    assert main(["evaluate", "replay", str(tmp_path)]) == 0
    assert "| vote-n16-f16-within-own-country: vote | 8 |" in said
    assert main(["evaluate", "report", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    assert "all within own-country" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("open_once")
def test_a_judged_run_says_what_each_part_is_worth(listing, tmp_path, capsys):
    out = tmp_path / "runs"
    assert run(listing, out, "--judge", "0,5") == 0
    said = capsys.readouterr().out
    for row in ("judged", "judged, without fit", "best candidate", "vote", "top 1", "oracle"):
        assert f"| vote-n16-f16-judge0+5: {row} | 8 |" in said
    record = read_journal(out / "vote-n16-f16-judge0+5.jsonl")
    assert record.header.setup.judge == Judge((0, 5))
    for entry in record.entries.values():
        assert entry.position == (entry.candidates[0].position if entry.candidates else None)
    assert main(["evaluate", "replay", str(out)]) == 0
    assert capsys.readouterr().out == said
    assert main(["evaluate", "report", str(out), "--out", str(tmp_path / "report")]) == 0
    assert "the candidate that the rule chooses" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_each_part_of_the_judge_can_be_left_out_of_a_journal():
    """Three candidates; which one is chosen depends on who is heard."""
    a, b, c = LatLon(0, 0), LatLon(0, 50), LatLon(0, 100)
    parts = ((a, 3, 0.5, 0.3, 0.3), (b, 0, 0.2, 0.7, 0.1), (c, 1, 0.3, 0.0, 0.6))
    judged = rescored([Candidate(at, 0, answers, *shares) for at, answers, *shares in parts])
    setup = replace(SETUP, judge=Judge((0, 5)), backend="openai", model="m")
    record = Record(Header(setup, (Item("1", "x", c),), (), "2026-01-01"))
    record.add(Entry("1", "answered", judged[0].position, candidates=judged))
    chosen = {row.method: row.cases[0].predicted for row in of_record(record)}
    assert chosen["judged"] == judged[0].position == c and chosen["best candidate"] == c
    assert chosen["judged, without answers"] == b and chosen["judged, answers alone"] == a
    assert chosen["judged, without neighbours"] == c and chosen["judged, without fit"] == b
    assert "model" not in chosen


@pytest.mark.usefixtures("open_once")
def test_one_command_runs_several_judges_and_the_report_says_what_each_part_is_worth(
    listing, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "runs"
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        asked = ["--backend", "openai", "--base-url", server.base_url, "--sample", "3", "--concurrency", "1"]
        assert run(listing, out, *asked, "--judge", "off", "0,5", "0,5+choice") == 0
        photos = len(server.requests) // (1 + 2 + 3)
    names = [f"openai-gpt-5.5-n16-f16{judge}" for judge in ("", "-judge0+5", "-judge0+5+choice")]
    assert sorted(path.stem for path in out.glob("*.jsonl")) == sorted(names)
    record = read_journal(out / f"{names[2]}.jsonl")
    assert record.header.setup.judge == Judge((0, 5), choice=True)
    placed = [entry for entry in record.entries.values() if entry.outcome]
    assert len(placed) == photos and all(entry.choice.position and len(entry.replies) == 3 for entry in placed)
    capsys.readouterr()
    assert main(["evaluate", "report", str(out), "--out", str(tmp_path / "report")]) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    table = report.split("## What each part of the judge contributes")[1].split("##")[0]
    found = {
        row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in table.splitlines() if row.startswith("| o")
    }

    def row(run: str, method: str) -> list[str]:
        return found[to_markdown("", [Paragraph(f"{run}: {method}")]).splitlines()[2]]

    whole = row(names[2], "judged")
    assert whole[:2] == ["3.00", "unknown"] and whole[3] == "" and row(names[2], "judged, without choice")[0] == "2.00"
    assert row(names[2], "judged, answers alone")[0] == "2.00" and row(names[2], "judged, without answers")[:2] == [
        "0",
        "0",
    ]
    assert row(names[0], "model, else vote")[0] == "1.00" and row(names[2], "vote")[0] == "0"
    assert row(names[1], "judged")[0] == "2.00" and re.match(r"[+-]\d", row(names[1], "judged, without fit")[3])


def test_what_a_part_costs_comes_from_the_journals_tokens():
    setup = replace(SETUP, judge=Judge((0,), choice=True), model="gpt-5.5", server="openai")
    a, b = LatLon(0, 0), LatLon(0, 50)
    judged = rescored([Candidate(a, 0, 1, 1.0, 0.0, 0.0), Candidate(b, 0, 0, 0.0, 1.0, 0.0, choice=1.0)])
    record = Record(Header(setup, (Item("1", "x", b),), (), "2026-11-20"))
    outcome, choice = (
        Outcome(OutcomeKind.ANSWERED, at, replies=(Reply("", "gpt-5.5", 1, tokens, 100),))
        for at, tokens in ((a, 1000), (b, 3000))
    )
    record.add(Entry("1", "answered", judged[0].position, outcome=outcome, choice=choice, candidates=judged))
    _, _, grid, ends = worth([open_run("run", record)])
    assert ends.items == ("run: outcomes of asking the model to choose: answered 1.",)
    costs = {row[0].removeprefix("run: "): row[1:3] for row in grid.rows}
    assert costs["judged"] == ("2.00", "0.0260") and costs["judged, without choice"] == ("1.00", "0.0080")
    assert costs["judged, without answers"] == costs["vote"] == ("0", "0")


@pytest.mark.usefixtures("open_once")
def test_a_run_its_replay_and_its_report(listing, tmp_path, capsys):
    out = tmp_path / "runs"
    assert run(listing, out, "--nearest", "16,20") == 0
    said = capsys.readouterr()
    assert "vote-n16-f16: vote | 8 |" in said.out and "vote-n20-f16: top 1 | 8 |" in said.out
    assert "1 of 8 photos are missing and count as misses" in said.err
    record = read_journal(out / "vote-n20-f16.jsonl")
    for item in record.header.items:
        found = [neighbour.photo.id for neighbour in record.entries[item.id].nearest]
        assert item.id not in found
        assert all(neighbour.similarity < 0.99 for neighbour in record.entries[item.id].nearest)
    assert main(["evaluate", "replay", str(out), "--predictions", str(tmp_path / "csv")]) == 0
    assert capsys.readouterr().out == said.out
    predictions = tmp_path / "csv" / "vote-n16-f16.vote.csv"
    assert main(["evaluate", "score", str(predictions), "--truth", str(listing / "truth.csv"), "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["outcomes"] == {"predicted": 7, "no_position": 1}
    (tmp_path / "note.txt").write_text("First <b>note</b>.\n\nSecond.", encoding="utf-8")
    report = ["evaluate", "report", str(out), "--out", str(tmp_path / "docs" / "report")]
    assert main([*report, "--title", "A & B", "--note", str(tmp_path / "note.txt")]) == 0
    page = (tmp_path / "docs" / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "docs" / "report.md").read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in page and "First &lt;b&gt;note&lt;/b&gt;." in page
    assert "First \\<b\\>note\\</b\\>." in text
    check_self_contained(page)
    assert "onerror=alert(1)&gt;" in page and "<img" not in page
    for words in (
        "17.10",
        "Compared photo by photo",
        "Worst cases",
        "Ablation: similar neighbours",
        "Ablation: number of voters",
    ):
        assert words in page and words in text
    assert "1 of 8 photos are missing: " in page
    assert page.count("<svg") == 2
    assert text.count("\n| ") > 40 and all(line.count("|") > 2 for line in text.splitlines() if line.startswith("|"))


def check_self_contained(page: str) -> None:
    """Nothing is fetched, nothing runs, and every element that is opened is closed."""

    class Reader(HTMLParser):
        void = ("meta",)

        def handle_starttag(self, tag, attributes):
            assert tag not in ("script", "img", "link", "iframe", "object", "a", "image", "use"), tag
            assert not {name for name, _ in attributes} & {"src", "href", "onclick", "onload", "onerror"}
            if tag not in self.void:
                self.open.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    reader = Reader()
    reader.open = []
    reader.feed(page)
    assert reader.open == []
    assert not re.search(r"https?://|url\(|@import", page)


@pytest.mark.usefixtures("open_once")
def test_a_model_is_run_within_a_budget_and_the_ablation_is_one_command(listing, tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs"
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        model = ["--backend", "openai", "--model", "m/1", "--base-url", server.base_url, "--farthest", "0,5"]
        prices = ["--price-input", "10", "--price-output", "40"]
        assert run(listing, out, *model, *prices, "--dry-run") == 0
        assert "7 photos to ask about" in capsys.readouterr().err and not server.requests
        with pytest.raises(SystemExit) as wrong:
            run(listing, out, *model, "--price-input", "10")
        assert wrong.value.code == 2 and "must be given together" in capsys.readouterr().err and not server.requests
        assert run(listing, out, *model, "--max-cost", "1") == 1
        assert "needs prices" in capsys.readouterr().err and not server.requests
        assert run(listing, out, *model, *prices, "--max-cost", "0.01") == 1
        assert "more than $0.01" in capsys.readouterr().err and not server.requests
        # Each of the two settings alone would do with 0.20, by the guess.
        assert run(listing, out, *model, *prices, "--max-cost", "0.20") == 1
        assert "in all, more than $0.20" in capsys.readouterr().err and not server.requests
        assert run(listing, out, *model, *prices, "--max-cost", "1", "--rate", "6000") == 0
        said = capsys.readouterr()
        # 1200 tokens in and 60 out each
        assert "7 requests, 8,400 input and 420 output tokens, $0.1008" in said.err and "$0.1008]" in said.err
        assert len(server.requests) == 14
        assert run(listing, out, *model, *prices) == 0 and len(server.requests) == 14
    assert server.key not in said.out + said.err
    names = sorted(path.name for path in out.iterdir())
    assert names == ["openai-m-1-n16-f0.jsonl", "openai-m-1-n16-f5.jsonl"]
    assert all(server.key not in path.read_text() for path in out.iterdir())
    assert main(["evaluate", "report", str(out), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Ablation: dissimilar neighbours" in text and "| 5 (openai-m-1-n16-f5: model) |" in text


def test_prices_are_the_lists_where_none_are_given():
    assert Pricing.of_model("gpt-4o") == Pricing(2.5, 10.0)
    assert Pricing.of_model("llava-hf/llava-1.5-7b-hf") is None


def test_requests_without_a_count_are_told():
    meter = Meter(Pricing(10, 40), [Usage(1_000_000, 0), Usage(2000, 8000, exact=False), FREE])
    assert str(meter.spent) == (
        "2 requests, 1,002,000 input and 8,000 output tokens, $10.3400 "
        "(1 without a usable token count, counted with the most possible)"
    )
    assert "cost unknown (1 without" in str(Meter(None, [Usage(2000, 8000, exact=False)]).spent)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["report", "runs", "--out", "README"], ["README.md", "README.html"]),
        (["replay", "runs", "--predictions", "mine"], ["mine/journal.model.csv", "mine/journal.vote.csv"]),
    ],
)
def test_a_file_that_was_not_written_by_the_command_is_left_alone(files, monkeypatch, capsys, arguments, names):
    monkeypatch.chdir(files)
    for name in names:
        path = files / name
        path.parent.mkdir(exist_ok=True)
        for other in (b"", b"id,lat,lon\nmine,1,2\n", b"<!doctype html>\n<html>"):
            path.write_bytes(other)
            assert main(["evaluate", *arguments]) == 1
            assert f"{name} exists, and this command didn't write it." in capsys.readouterr().err
            assert path.read_bytes() == other
            assert [file.name for file in path.parent.glob(f"{path.stem.split('.')[0]}.*")] == [path.name]
        path.unlink()
        path.symlink_to("nowhere")
        assert main(["evaluate", *arguments]) == 1 and path.is_symlink()
        path.unlink()
    for _ in range(2):  # in its own place again
        assert main(["evaluate", *arguments]) == 0
    assert all((files / name).stat().st_size > 20 for name in names)


@pytest.mark.parametrize("content", [b"", b"{}", b"my notes", b'{\n "data": "mine"\n}'])
def test_a_calibration_takes_no_other_files_place(files, capsys, content):
    (files / "mine.json").write_bytes(content)
    assert main(["calibrate", "--data", str(files / "runs"), "--out", str(files / "mine.json")]) == 1
    assert "mine.json exists, and this command didn't write it." in capsys.readouterr().err
    assert (files / "mine.json").read_bytes() == content


def test_two_runs_whose_predictions_would_share_a_file_are_refused(files, capsys):
    (files / "runs" / "a b.jsonl").write_bytes((files / "runs" / "journal.jsonl").read_bytes())
    (files / "runs" / "a-b.jsonl").write_bytes((files / "runs" / "journal.jsonl").read_bytes())
    assert main(["evaluate", "replay", str(files / "runs"), "--predictions", str(files / "csv")]) == 1
    assert "would contain the predictions of two runs" in capsys.readouterr().err and not (files / "csv").exists()


def test_a_pipe_among_the_journals_is_not_waited_for(files):
    os.mkfifo(files / "runs" / "pipe.jsonl")
    assert main(["evaluate", "replay", str(files / "runs")]) == 0


def test_help_says_what_is_replaced(capsys):
    for verb in (["evaluate", "report"], ["evaluate", "replay"], ["calibrate"]):
        with pytest.raises(SystemExit):
            main([*verb, "--help"])
        assert RULE in " ".join(capsys.readouterr().out.split())

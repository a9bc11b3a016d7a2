"""A server that bills more than it answers: --max-cost counts what may be billed, whatever came back."""

from __future__ import annotations

import csv
import threading

import pytest

from img2loc.__main__ import main
from img2loc.errors import LMMCancelledError
from img2loc.evaluation.run.budget import Meter
from img2loc.evaluation.run.journal import read_journal
from img2loc.lmm import retry
from img2loc.lmm.prices import Pricing
from img2loc.locator import Locator
from tests.conftest import PHOTOS
from tests.evaluation.runs import CountingLMM, Killed, as_older
from tests.fakes.openai_server import OpenAIServer

PRICES = Pricing(100.0, 1000.0)
DEAR = 1200, 8000  # tokens: $8.12, where others cost $0.18
LIMIT_USD = 11
CONCURRENCY = 4


@pytest.fixture
def listing(tmp_path):
    truth = tmp_path / "truth.csv"
    with (PHOTOS / "photos.csv").open(newline="", encoding="utf-8") as source, truth.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "lat", "lon"))
        for row, _ in zip(csv.DictReader(source), range(24), strict=False):
            writer.writerow((row["file"], row["lat"], row["lon"]))
    return truth


@pytest.fixture
def evaluate(listing, tmp_path, monkeypatch, starter):
    """Ask a server about 24 photos within the limit; gives the exit status and the journal's record."""
    monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)

    def evaluate(server, *more):
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        data = ["--truth", str(listing), "--photos", str(PHOTOS), "--out", str(tmp_path / "runs")]
        asked = ["--backend", "openai", "--base-url", server.base_url, "--model", "m"]
        prices = ["--price-input", str(PRICES.input_usd), "--price-output", str(PRICES.output_usd)]
        asked += [*prices, "--max-cost", str(LIMIT_USD), "--concurrency", str(CONCURRENCY), *more]
        status = main(["evaluate", "run", *data, *asked])
        (journal,) = (tmp_path / "runs").glob("*.jsonl")
        return status, read_journal(journal)

    return evaluate


def billed_usd(server):
    return sum(PRICES.cost_usd(*tokens) for tokens in server.billed)


def counted_usd(record):
    return Meter(PRICES, record.used).spent.cost_usd


@pytest.mark.parametrize(
    ("behaviour", "more"),
    [
        *((behaviour, ()) for behaviour in ("no_choices", "not_json", "cut", "hang", "html_error")),
        # With several requests a photo: one reply whose tokens are reported, and one whose tokens are not.
        *((behaviour, ("--samples", "3")) for behaviour in ("no_choices", "cut")),
        *((behaviour, ("--judge", "0,5+choice")) for behaviour in ("no_choices", "cut")),
    ],
)
def test_what_is_billed_without_a_reply_that_can_be_used_counts(evaluate, monkeypatch, behaviour, more):
    monkeypatch.setenv("IMG2LOC_TIMEOUT_S", "2")
    with OpenAIServer() as server:
        server.usage[behaviour] = DEAR
        server.enqueue(*["good", behaviour] * 100)
        status, record = evaluate(server, *more)
        assert len(server.requests) < 40
        status_again, _ = evaluate(server, *more)
        dearest = PRICES.cost_usd(*DEAR) + 3 * 0.18
        assert billed_usd(server) <= LIMIT_USD + CONCURRENCY * dearest
    assert status == status_again == 1
    assert billed_usd(server) <= counted_usd(record)
    if behaviour == "no_choices":  # the server says what it was
        assert counted_usd(record) == pytest.approx(billed_usd(server))


def test_one_at_a_time_only_what_a_photo_costs_more_than_all_before_passes_the_limit(evaluate):
    with OpenAIServer() as server:
        server.usage["cut"] = DEAR
        server.enqueue(*["good"] * 5, *["cut"] * 100)
        evaluate(server, "--concurrency", "1")
    assert 0.18 < billed_usd(server) <= LIMIT_USD + PRICES.cost_usd(*DEAR) - 0.18


def test_what_is_refused_costs_nothing(evaluate):
    with OpenAIServer() as server:
        server.enqueue(*["rate_limit", "good", "bad_request", "no_model", "good", "overloaded"] * 8)
        _, record = evaluate(server)
    assert record.entries and counted_usd(record) == pytest.approx(billed_usd(server))


def test_requests_under_way_are_in_the_journal_before_they_are_sent(start, journal):
    """So that no kill, at whatever moment, makes a run forget what may be billed."""
    counts = []
    lock = threading.Lock()

    def look(number):
        with lock:
            counts.append(len(read_journal(journal).used))
            assert len(counts) <= counts[-1]
        return "no idea"

    _, record = start(CountingLMM(look), pricing=PRICES)
    assert len(counts) == len(record.used) == 24  # two requests for each of twelve photos
    assert record.used == read_journal(journal).used and all(usage.exact for usage in record.used)


@pytest.mark.parametrize("then", ["answered", "missing", "failed", "given up"])
def test_what_a_kill_lost_is_counted_for_good(start, photos, journal, then):
    def die(number):
        raise Killed

    for _ in range(2 if then == "given up" else 1):
        with pytest.raises(Killed):
            start(CountingLMM(die), pricing=PRICES, concurrency=1)
    lost = read_journal(journal).used
    assert lost and not any(usage.exact for usage in lost)
    if then == "missing":
        (photos / "00.png").unlink()
    lmm = CountingLMM()
    if then == "failed":
        lmm.rule = lambda number: LMMCancelledError("", may_be_billed=False) if number == 0 else "1.1, 2.1"
    start(lmm, pricing=PRICES)
    record = read_journal(journal)
    assert [usage for usage in record.used if not usage.exact] == lost
    assert sum(usage.exact and usage.input_tokens > 0 for usage in record.used) == (12 if then == "answered" else 11)


def test_a_journal_that_counts_no_requests_goes_on(start, journal):
    """One of an older version: with what its replies say, and the most possible for what was under way."""

    def die(number):
        if number >= 5:  # another may have begun before the first one ends the run
            raise Killed
        return "1.1, 2.1"

    with pytest.raises(Killed):
        start(CountingLMM(die), pricing=PRICES, concurrency=1)
    journal.write_text(as_older(journal.read_text()))
    older = read_journal(journal)
    cut = len(older.used) - 5
    assert [usage.exact for usage in older.used] == [True] * 5 + [False] * cut and older.attempts["05.png"] == 1
    lmm = CountingLMM()
    _, record = start(lmm, pricing=PRICES)
    assert set(lmm.asked) == set(range(5, 12)) and len(record.used) == 12 + cut
    assert record.used == read_journal(journal).used and counted_usd(record) >= counted_usd(older)

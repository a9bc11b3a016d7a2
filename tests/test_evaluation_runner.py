"""Runs: every photo accounted for, nothing paid for twice, limits kept, and the journal refusing what it must."""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from img2loc import answer, prompt
from img2loc.__main__ import main
from img2loc.errors import DataError, LMMCancelledError, LMMUnreachableError
from img2loc.evaluation import answers, runner
from img2loc.evaluation.cost import Budget, Meter, Pace, check_budget
from img2loc.evaluation.datasets import Item
from img2loc.evaluation.journal import Journal, read_journal
from img2loc.evaluation.metrics import FORMULAS
from img2loc.evaluation.photos import find_photos
from img2loc.evaluation.record import Header, Setup
from img2loc.evaluation.runner import CUT_TWICE, Runner, exclusion
from img2loc.evaluation.score import open_run
from img2loc.lmm.prices import Pricing
from img2loc.sampling import ask_often
from img2loc.types import LatLon, Neighbour, PhotoRecord, Prediction, Reply, Retrieval
from img2loc.vote import vote

SETUP = Setup(
    dataset="csv",
    backend="openai",
    model="test-1",
    server="",
    temperature=None,
    samples=1,
    gallery="grid",
    gallery_sha256="0" * 64,
    gallery_count=30,
    encoder="none",
    template=prompt.DEFAULT_TEMPLATE,
    nearest=3,
    farthest=2,
    exclude_itself=True,
    exclude_author=True,
    near_duplicate=0.99,
)
ITEMS = tuple(Item(f"{n:02}.png", f"author{n % 4}", LatLon(n, 2 * n)) for n in range(12))
GALLERY = tuple(
    Neighbour(n, LatLon(n, 2 * n + 1), 0.9 - n / 100, PhotoRecord(f"{n:02}.png", f"author{n % 5}")) for n in range(30)
)


class GridLocator:
    """A locator of which every step is plain: the gallery is the same for all photos, but for what is left out."""

    def locate(self, photo, *, lmm, nearest, farthest, template, samples, judge, within, exclude):
        assert judge is None
        kept = [neighbour for neighbour in GALLERY if not exclude(neighbour)]
        retrieval = Retrieval(tuple(kept[:nearest]), tuple(kept[::-1][:farthest]))
        voted = vote(kept[:16])
        text = prompt.render(template, retrieval) if lmm else ""
        outcome = ask_often(lmm, text, photo.to_jpeg(), samples=samples) if lmm else None
        position = outcome.position if outcome and outcome.position else voted.position
        return Prediction(position, None, "lmm" if outcome else "vote", None, voted, retrieval, text, outcome, ())


def number_of(jpeg):
    """Which of the photos it is, by its grey."""
    return round(np.asarray(Image.open(io.BytesIO(jpeg))).mean() / 10)


class Killed(BaseException):
    """As good as a kill."""


@dataclass
class CountingLMM:
    """Answers by a rule, and counts how often it was asked about each photo."""

    rule: object = None
    name: str = "counting"
    model: str = "test-1"
    asked: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, turns, jpeg):
        number = number_of(jpeg)
        with self.lock:
            self.asked[number] += 1
        found = self.rule(number) if self.rule else f"{number}.1, {2 * number}.1"
        if isinstance(found, Exception):
            raise found
        return Reply(found, "test-1-0", 0.1, input_tokens=1000, output_tokens=100)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (32, 32), (10 * number,) * 3).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def start(tmp_path, photos):
    """Run, or go on with, a journal; gives the runner's reason and the journal's record."""

    def start(
        lmm=None,
        *,
        setup=SETUP,
        concurrency=3,
        pricing=None,
        max_cost_usd=None,
        limit_usd=None,
        on_photo=lambda entry: None,
        on_meter=lambda meter: None,
        **options,
    ):
        folder = find_photos(photos, ITEMS)
        with Journal(tmp_path / "run.jsonl", Header(setup, ITEMS, (), "2026-11-23")) as journal:
            meter = Meter(pricing, journal.record.paid)
            run = Runner(GridLocator(), lmm, journal, folder, meter=meter, concurrency=concurrency, **options)
            preview = run.preview()
            if max_cost_usd is not None:
                check_budget([preview], max_cost_usd)
            reason = run.run(on_photo, max_cost_usd=limit_usd or max_cost_usd)
            on_meter(meter)
            return reason, journal.record

    return start


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run.jsonl"


def test_every_photo_is_accounted_for(start, photos, journal):
    (photos / "00.png").unlink()
    (photos / "01.png").write_bytes(b"no picture")
    lmm = CountingLMM(lambda number: "I can't help with that." if number == 2 else f"{number}.1, {2 * number}.1")
    reason, record = start(lmm)
    assert reason == "" and lmm.asked == Counter(range(2, 12))
    assert record.entries == read_journal(journal).entries
    model, system, *_ = (row for row in answers.of_record(record))
    assert [case.kind for case in model.cases] == ["missing", "unreadable", "refused", *["answered"] * 9]
    assert [case.predicted is None for case in model.cases] == [True] * 3 + [False] * 9
    assert [case.predicted is None for case in system.cases] == [True] * 2 + [False] * 10
    run = open_run("run", record)
    assert run.main.n == 12 and run.main.figures["geodesic"].accuracy[1].value == 9 / 12
    dropped = open_run("run", record, drop_absent=True)
    assert dropped.main.n == 10 and dropped.main.figures["geodesic"].accuracy[1].value == 9 / 10


def test_a_second_start_asks_nothing(start, journal):
    start(CountingLMM())
    before = journal.read_bytes()
    lmm = CountingLMM()
    start(lmm)
    assert not lmm.asked and journal.read_bytes() == before


def test_a_photo_that_was_missing_is_taken_up_when_it_is_there(start, photos):
    hidden = (photos / "00.png").rename(photos.parent / "00.png")
    start(CountingLMM())
    hidden.rename(photos / "00.png")
    lmm = CountingLMM()
    _, record = start(lmm)
    assert lmm.asked == Counter([0]) and record.entries["00.png"].kind == "answered"


def test_a_torn_last_line_is_dropped_and_its_photo_asked_again(start, journal):
    _, record = start(CountingLMM())
    whole = journal.read_bytes()
    last = json.loads(whole.splitlines()[-1])["entry"]["id"]
    journal.write_bytes(whole[:-20])
    assert last in read_journal(journal).interrupted
    lmm = CountingLMM()
    _, again = start(lmm)
    assert lmm.asked == Counter([int(last[:2])]) and again.asked[last] == 2
    scores = [open_run("run", each).main.figures for each in (record, again)]
    assert scores[0] == scores[1]


def test_a_photo_cut_short_twice_is_not_asked_a_third_time_unless_wanted(start, journal):
    def fail(number):
        raise Killed  # the photo stays without an entry

    cut = CountingLMM(fail)
    for _ in range(2):
        with pytest.raises(Killed):
            start(cut)
    assert cut.asked == Counter({0: 2}) and read_journal(journal).interrupted == {"00.png"}
    lmm = CountingLMM()
    reason, record = start(lmm)
    entry = record.entries["00.png"]
    assert reason == "" and lmm.asked == Counter(range(1, 12)) and record.asked["00.png"] == 2
    assert (entry.kind, entry.outcome.message, entry.position) == ("provider_error", CUT_TWICE, entry.vote.position)
    assert entry.nearest and answers.replay(record).entries["00.png"] == entry
    start(lmm)
    assert lmm.asked == Counter(range(1, 12))
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter(range(12)) and record.entries["00.png"].kind == "answered"


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_torn_first_line_begins_the_run_anew(start, journal, cut):
    start(CountingLMM())
    journal.write_bytes(journal.read_bytes()[:cut])
    with pytest.raises(DataError, match="no whole first line"):
        read_journal(journal)
    assert start(CountingLMM())[1].entries


def test_a_damaged_line_is_named(start, journal):
    start(CountingLMM())
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][: len(lines[4]) // 2] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match="Line 5 of"):
        start(CountingLMM())


def test_another_run_gets_no_place_in_the_journal(start, tmp_path, journal):
    start(CountingLMM())
    with pytest.raises(DataError, match="it differs in model, farthest"):
        start(CountingLMM(), setup=replace(SETUP, model="test-2", farthest=0))
    with pytest.raises(DataError, match="it differs in photos of the listing"):
        Journal(journal, Header(SETUP, ITEMS[:-1], (), "2026-11-23"))


def test_a_journal_in_which_nothing_happened_makes_way(start, journal):
    start(CountingLMM(), setup=replace(SETUP, model="test-2"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0])
    _, record = start(CountingLMM())
    assert record.header.setup == SETUP == read_journal(journal).header.setup


def test_two_processes_cannot_write_one_journal(start, journal):
    start(CountingLMM())
    header = Header(SETUP, ITEMS, (), "2026-11-23")
    with Journal(journal, header), pytest.raises(DataError, match="Another process is writing"):
        Journal(journal, header)


def test_a_provider_that_is_down_ends_the_run_and_can_be_asked_again(start, monkeypatch):
    monkeypatch.setattr(runner, "FAILURES_IN_A_ROW", 4)
    down = CountingLMM(lambda number: LMMUnreachableError("The provider can't be reached."))
    reason, record = start(down, concurrency=1)
    assert "4 photos failed in a row" in reason and "can't be reached" in reason
    assert sum(down.asked.values()) == len(record.entries) == 4
    lmm = CountingLMM()
    start(lmm)
    assert len(lmm.asked) == 8
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter(range(12))
    assert {entry.kind for entry in record.entries.values()} == {"answered"}


def test_an_interrupt_keeps_what_is_under_way(start):
    lmm = CountingLMM()

    def interrupt(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(lmm, on_photo=interrupt)
    assert 0 < len(lmm.asked) < 12
    again = CountingLMM()
    start(again)
    assert sorted([*lmm.asked, *again.asked]) == list(range(12))


def test_an_interrupt_gives_up_requests_that_hang_and_they_are_asked_again(start, monkeypatch):
    def answer(turns, jpeg):
        number = number_of(jpeg)
        if number in (1, 2):
            assert cancel.wait(20)
            raise LMMCancelledError("The request was cancelled.")
        return reply(turns, jpeg)

    def interrupt(entry):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "FINISH_S", 0.2)
    cancel, lmm = threading.Event(), CountingLMM()
    reply, lmm.reply = lmm.reply, answer
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        start(lmm, on_photo=lambda entry: entry.id == "00.png" or interrupt(entry), cancel=cancel)
    assert time.monotonic() - begun < 10
    _, record = start(again := CountingLMM())
    assert {1, 2} <= set(again.asked) and 0 not in again.asked
    assert {entry.kind for entry in record.entries.values()} == {"answered"}


def test_a_last_line_that_lacks_only_its_line_break_is_kept(start, journal):
    start(CountingLMM())
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-1])
    assert len(read_journal(journal).entries) == 12
    start(lmm := CountingLMM())
    assert not lmm.asked and journal.read_bytes() == whole


@pytest.mark.parametrize(
    "content", [b"x", b"my notes, in one line", b'{"a": 1}', b'{"header":{"title":"mine', b"[" * 9**5]
)
def test_a_file_of_somebody_elses_is_left_alone(journal, content):
    journal.write_bytes(content)
    with pytest.raises(DataError):
        Journal(journal, Header(SETUP, ITEMS, (), "2026-11-23"))
    assert journal.read_bytes() == content


def test_half_a_count_counts_and_a_resumed_run_estimates_the_same(start):
    meter = Meter(Pricing(10.0, 40.0))
    meter.estimate("x" * 4000)
    meter.add(Reply("", "test-1", 0.1, input_tokens=90_000_000))
    assert meter.spent.cost_usd > 900 and meter.spent.uncounted == 1
    meter = Meter(Pricing(10.0, 40.0))
    meter.add(Reply("", "test-1", 0.1, output_tokens=1_000_000))
    assert meter.spent.cost_usd >= 40

    lmm, costs = CountingLMM(), []
    lmm.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1)
    for _ in range(2):
        start(lmm, pricing=Pricing(10.0, 40.0), on_meter=lambda meter: costs.append(meter.spent.cost_usd))
    assert costs[0] == pytest.approx(costs[1]) and costs[0] > 0


def test_an_unexpected_error_is_one_photos_failure_and_its_replies_are_kept(start, monkeypatch):
    """They were paid for. The error's own words, which may hold a key, stay out."""
    seen = Counter()

    def spoil(text, *rest):
        seen[text] += 1
        if text.startswith("7.1") and seen[text] == 1:
            raise ZeroDivisionError("Bearer sk-secret")
        return parse(text, *rest)

    parse = answer.parse
    monkeypatch.setattr(answer, "parse", spoil)
    reason, record = start(CountingLMM(), pricing=Pricing(10.0, 40.0))
    entry = record.entries["07.png"]
    assert reason == "" and len(record.entries) == len(record.paid) == 12
    assert entry.kind == "unexpected_error" and entry.outcome.replies[0].text.startswith("7.1")
    assert "ZeroDivisionError in test_evaluation_runner.py" in entry.message and "secret" not in entry.message
    lmm = CountingLMM()
    _, record = start(lmm, retry_failed=True)
    assert lmm.asked == Counter([7]) and record.entries["07.png"].kind == "answered"


def test_an_error_that_all_photos_meet_ends_the_run(start):
    def fail(number):
        raise ZeroDivisionError

    reason, _ = start(CountingLMM(fail))
    assert "10 photos failed in a row" in reason and "ZeroDivisionError" in reason


def test_the_cost_is_known_before_and_kept_below_the_limit(start, tmp_path, photos):
    pricing = Pricing(input_usd=10.0, output_usd=40.0)  # 1.4 cents a photo at 1000 + 100 tokens
    with pytest.raises(DataError, match=r"about \$0\.\d+ in all, more than \$0\.05"):
        start(CountingLMM(), pricing=pricing, max_cost_usd=0.05)
    with pytest.raises(DataError, match="needs prices"):
        start(CountingLMM(), max_cost_usd=0.05)
    # The guess before the first reply is higher than what is paid then.
    reason, record = start(CountingLMM(), pricing=pricing, max_cost_usd=0.35)
    assert reason == "" and len(record.paid) == 12


def test_a_run_that_proves_dearer_than_the_guess_stops_in_time(start):
    wordy = CountingLMM()
    wordy.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1, input_tokens=5000, output_tokens=2000)
    reason, record = start(wordy, pricing=Pricing(10.0, 40.0), concurrency=1, max_cost_usd=0.40)
    assert "the limit of $0.40" in reason
    assert len(record.entries) == 3  # 13 cents each
    meter = Meter(Pricing(10.0, 40.0), record.paid)
    assert meter.spent.cost_usd == pytest.approx(0.39)


def costing(usd):
    """A number of output tokens that costs so much at a dollar for a million."""
    return round(usd * 1_000_000)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_photos_that_cost_no_more_than_those_before_never_pass_the_limit(start, concurrency):
    """One dollar stays one dollar, however many photos are asked about at a time."""
    lmm = CountingLMM()

    def reply(turns, jpeg):
        time.sleep(0.2)
        return Reply("1.1, 2.1", "test-1", 0.1, input_tokens=1, output_tokens=costing(0.19))

    lmm.reply = reply
    reason, record = start(lmm, pricing=Pricing(0.0, 1.0), concurrency=concurrency, max_cost_usd=1.0)
    assert "beyond the limit of $1.00" in reason
    assert Meter(Pricing(0.0, 1.0), record.paid).spent.cost_usd == pytest.approx(0.95)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 16])
def test_the_limit_is_passed_only_by_what_a_photo_costs_more_than_all_before(start, journal, concurrency, samples):
    """Random costs, the first photo cheap; some replies can't be read and are asked for again, some aren't counted."""
    pricing = Pricing(0.0, 1.0)
    for seed in range(8):
        journal.unlink(missing_ok=True)
        random = Random(seed)
        costs = [0.01, *(random.choice([0.01, 0.02, 0.1, 0.5]) for _ in ITEMS[1:])]
        limit = random.uniform(0.1, 2.0)
        lmm = CountingLMM()
        lock = threading.Lock()

        def reply(turns, jpeg, costs=costs, random=random, lock=lock):
            number = number_of(jpeg)
            with lock:
                text = "no idea" if random.random() < 0.2 else f"{number}.1, {2 * number}.1"
                tokens = None if number and random.random() < 0.2 else costing(costs[number])
                pause_s = random.choice([0, 0.001, 0.005])
            time.sleep(pause_s)
            return Reply(text, "test-1", 0.1, input_tokens=1, output_tokens=tokens)

        lmm.reply = reply
        _, record = start(
            lmm,
            setup=replace(SETUP, samples=samples),
            pricing=pricing,
            concurrency=concurrency,
            limit_usd=limit,
        )
        meter = Meter(pricing)
        photos = [sum(meter.add(reply) for reply in entry.replies) for entry in record.entries.values()]
        # The first is asked alone, so everyone after it reserves at least its cost.
        excess = max(0.0, max(photos) - photos[0]) if photos else 0.0
        spent = Meter(pricing, record.paid).spent.cost_usd
        assert spent <= limit + concurrency * excess + 1e-9
        if concurrency == 1:
            assert spent <= limit + max([cost - max(photos[:n], default=0.0) for n, cost in enumerate(photos)] + [0.0])


def test_a_budget_reserves_the_dearest_for_each_under_way():
    budget = Budget(1.0, spent_usd=0.0, highest_usd=0.1)
    assert budget.begin("a")
    budget.add("a", 0.3)  # under way, and known to be dear
    assert budget.begin("b") and budget.begin("c")
    waiting = threading.Thread(target=lambda: outcomes.append(budget.begin("d")))
    outcomes: list[bool] = []
    waiting.start()
    budget.end("b")  # for nothing: a failure
    waiting.join(5)
    assert outcomes == [True]
    for photo in "acd":
        budget.end(photo)
    assert budget.begin("e") and budget.begin("f")
    budget.add("e", 0.6)
    budget.end("e")
    budget.end("f")
    assert not budget.begin("g")  # 0.9 spent, and it might cost 0.6


def test_replies_that_a_kill_lost_count_as_the_dearest_photo(start):
    def fail(number):
        raise Killed

    with pytest.raises(Killed):
        start(CountingLMM(fail), pricing=Pricing(10.0, 40.0), concurrency=1)
    lmm = CountingLMM()
    reason, record = start(lmm, pricing=Pricing(10.0, 40.0), concurrency=1, limit_usd=0.06)
    # 1.4 cents a photo, and 2.3 by the guess before the first reply, which the one that was lost takes too.
    assert "beyond the limit" in reason and record.lost == 1 and sum(lmm.asked.values()) == 1


@pytest.mark.parametrize("count", [-5, 10**30, 10**400, 1.5, float("nan"), float("inf"), "12", None, [1], {"a": 1}])
def test_counts_that_cannot_be_true_are_estimated_and_marked(start, journal, count):
    """By a meter, in a journal that is written, and in an old one that holds them."""
    lmm = CountingLMM()
    lmm.reply = lambda turns, jpeg: Reply("1.1, 2.1", "test-1", 0.1, input_tokens=1000, output_tokens=count)
    pricing = Pricing(10.0, 40.0)
    _, record = start(lmm, pricing=pricing)
    spent = Meter(pricing, record.paid).spent
    assert spent.uncounted == 12 and 0 < spent.cost_usd < 1
    for line in journal.read_text().splitlines()[1:]:
        for reply in json.loads(line).get("entry", {}).get("outcome", {}).get("replies", ()):
            assert reply["output_tokens"] is None
    text = journal.read_text()
    assert '"input_tokens":1000' in text
    try:
        old = json.dumps(count)
    except TypeError:
        return
    journal.write_text(text.replace('"input_tokens":1000', f'"input_tokens":{old}'))
    record = read_journal(journal)
    assert {reply.input_tokens for reply in record.paid} == {None}
    start(CountingLMM(), pricing=pricing)
    assert open_run("run", record).main.n == 12


def test_half_a_character_in_a_reply_reaches_the_journal_and_the_report(start, journal, tmp_path):
    _, record = start(CountingLMM(lambda number: f"{number}.1, {2 * number}.1 \ud83d"))
    assert read_journal(journal).entries == record.entries
    assert main(["evaluate", "report", str(journal), "--out", str(tmp_path / "report")]) == 0


@pytest.mark.parametrize("full_at", [3, 10])
def test_a_disk_that_fills_up_keeps_the_journal_whole_and_the_answer_in_hand(
    start, journal, monkeypatch, capsys, full_at
):
    """A line is torn, then there is room again: what follows it can be read, and what was paid for stands on stderr."""

    class FullDisk:
        lines = 0

        def __init__(self, file):
            self._file = file

        def write(self, content):
            FullDisk.lines += 1
            if FullDisk.lines == full_at and b'{"entry' in bytes(content[:10]):
                self._file.write(content[:20])
                raise OSError(28, "No space left on device")
            return self._file.write(content)

        def __getattr__(self, name):
            return getattr(self._file, name)

    make = Journal.__init__

    def made(self, *given):
        make(self, *given)
        self._file = FullDisk(self._file)

    monkeypatch.setattr(Journal, "__init__", made)
    FullDisk.lines = full_at % 2  # so that it is an entry's line
    with pytest.raises(OSError, match="No space left") as caught:
        start(CountingLMM(), concurrency=1)
    assert caught.value.filename == journal
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith('{"entry"')]
    assert "append the following line" in said and json.loads(line)["entry"]["outcome"]["replies"]
    before = read_journal(journal)
    with journal.open("a") as file:
        file.write(line + "\n")
    assert len(read_journal(journal).entries) == len(before.entries) + 1


def test_the_pace_spaces_requests():
    clock = [100.0]
    waits = []

    def wait(seconds):
        waits.append(round(seconds, 6))
        clock[0] += seconds

    pace = Pace(120, wait=wait, now=lambda: clock[0])
    assert [pace.take() for _ in range(3)] == pytest.approx([0, 0.5, 0.5])
    clock[0] += 10
    assert pace.take() == 0
    assert waits == [0.5, 0.5]
    assert [Pace(0, wait=wait).take() for _ in range(3)] == [0, 0, 0] and len(waits) == 2


def test_itself_its_authors_and_near_duplicates_are_left_out():
    item = Item("05.png", "author1", LatLon(0, 0))
    excluded = exclusion(item, SETUP)
    assert [neighbour.row for neighbour in GALLERY if excluded(neighbour)] == [1, 5, 6, 11, 16, 21, 26]
    assert excluded(Neighbour(99, LatLon(0, 0), 0.99)) and not excluded(Neighbour(99, LatLon(0, 0), 0.98))
    everything = replace(SETUP, exclude_itself=False, exclude_author=False, near_duplicate=2)
    assert not any(exclusion(item, everything)(neighbour) for neighbour in GALLERY)
    nobody = Item("99.png", "", LatLon(0, 0))
    assert not exclusion(nobody, SETUP)(Neighbour(1, LatLon(0, 0), 0.5, PhotoRecord("1.png")))


@pytest.mark.parametrize("samples", [1, 3])
def test_replay_asks_nothing_and_gives_the_same(start, samples):
    replies = {3: "no idea", 4: "I can't help with that.", 5: LMMUnreachableError("Gone.")}
    _, record = start(
        CountingLMM(lambda number: replies.get(number, f"{number}.1, {2 * number}.1")),
        setup=replace(SETUP, samples=samples),
    )
    again = answers.replay(record)
    assert again.entries == record.entries
    kinds = Counter(entry.kind for entry in again.entries.values())
    assert kinds == {"answered": 9, "unparseable": 1, "refused": 1, "provider_error": 1}


def test_replay_reads_with_todays_parser(start, monkeypatch):
    _, record = start(CountingLMM(lambda number: "somewhere" if number == 7 else f"{number}.1, {2 * number}.1"))
    assert record.entries["07.png"].kind == "unparseable"
    parse = answer.parse
    monkeypatch.setattr(answer, "parse", lambda text: parse(text.replace("somewhere", "7.1, 14.1")))
    again = answers.replay(record)
    assert again.entries["07.png"].outcome.position == LatLon(7.1, 14.1)
    assert {id_ for id_ in record.entries if record.entries[id_] != again.entries[id_]} == {"07.png"}


def test_baselines_come_from_the_journal(start):
    _, record = start(None, setup=replace(SETUP, backend="vote", model="", template="", nearest=20))
    rows = {row.method: row for row in answers.of_record(record)}
    assert list(rows) == ["vote", "top 1", "oracle"]
    measure = FORMULAS["geodesic"]
    for number, item in enumerate(ITEMS):
        kept = [neighbour for neighbour in GALLERY if not exclusion(item, SETUP)(neighbour)][:20]
        assert rows["top 1"].cases[number].predicted == kept[0].position
        assert rows["vote"].cases[number].predicted == vote(kept[:16]).position
        best = min(measure(neighbour.position, item.position) for neighbour in kept)
        assert measure(rows["oracle"].cases[number].predicted, item.position) == best
    for one, first in zip(answers.votes_of(record, 1).cases, rows["top 1"].cases, strict=True):
        assert measure(one.predicted, first.predicted) < 1e-6


def test_photos_not_reached_yet_are_misses(start, monkeypatch):
    monkeypatch.setattr(runner, "FAILURES_IN_A_ROW", 1)
    _, record = start(CountingLMM(lambda number: LMMUnreachableError("Gone.")), concurrency=1)
    score = open_run("run", record).main
    assert score.n == 12 and score.kinds == {"not_run": 11, "provider_error": 1}
    assert score.figures["geodesic"].accuracy[4].value == 0

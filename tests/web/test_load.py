"""Many visitors at once: nobody gets another's answer, and who leaves makes room. The long run: benchmarks/load.py."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

import img2loc.hardening.queue
import img2loc.web.page
from benchmarks.load import TOTAL, Size
from benchmarks.load import run as load
from benchmarks.provider import MarkedPhoto, SlowProvider, make_photos, position_of, read_mark, reasoning_of
from benchmarks.visitors import faults_of, faults_of_page, marks_in
from img2loc.errors import LMMError
from img2loc.hardening.fetching import MAX_FETCHES
from img2loc.hardening.gradio_settings import Address
from img2loc.hardening.queue import Abandoned, Mailboxes
from img2loc.lmm import BackendOptions, Turn, open_lmm
from img2loc.locator import Locator
from img2loc.maps.atlas import _countries, figure
from img2loc.photo.decode import Photo, open_photo
from img2loc.policy.limits import MODEL_SLOTS
from img2loc.policy.settings import Settings
from img2loc.types import LatLon
from img2loc.web.page import AT_ONCE, MAX_SESSIONS, MAX_THREADS, launch
from tests.conftest import in_own_loop
from tests.fakes.app_process import ROOT
from tests.fakes.form import build_page

SOON_S = 20
SMALL = ((256, "JPEG"), (320, "PNG"), (640, "JPEG"))


def soon(holds) -> bool:
    end = time.monotonic() + SOON_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_ten_visitors_at_once_lose_and_cross_nothing(tmp_path: Path):
    size = Size(10, 1.0, SMALL, delay_s=(0.05, 0.3), think_s=0.3)
    report = in_own_loop(load(tmp_path, size))
    assert report.violations == []
    assert sum(len(waits) for waits in report.waits_s.values()) >= 10
    assert report.facts["limits"]["answered"] == TOTAL
    assert report.facts["a full house says"].startswith("Too many models are being asked")


def test_a_mark_survives_what_happens_to_a_photo_on_its_way(tmp_path: Path, tower: Photo):
    photos = [photo for own in make_photos(tmp_path, 3, (*SMALL, (1500, "WEBP"))) for photo in own]
    for photo in photos:
        assert read_mark(open_photo(photo.path.read_bytes()).jpeg) == photo.mark
    assert len({photo.mark for photo in photos}) == 12
    with pytest.raises(ValueError, match="no mark"):
        read_mark(tower.jpeg)


def prediction(mark: int, base: str = "a.jpg") -> dict[str, object]:
    place = position_of(mark)
    return {
        "nearest": [{"row": 3, "photo": {"id": base}}],
        "farthest": [{"row": 9}],
        "vote": {"position": {"lat": 1.0, "lon": 2.0}},
        "method": "lmm",
        "position": {"lat": place.lat, "lon": place.lon},
        "prompt": "Where?",
        "outcome": {"kind": "answered", "reasoning": reasoning_of(mark, "Where?"), "message": ""},
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"position": {"lat": 0.0, "lon": 0.0}}, "the position"),
        ({"prompt": "Who?"}, "the reasoning"),
        ({"outcome": prediction(8)["outcome"]}, "the reasoning 'Mark 8"),
        ({"outcome": {"kind": "provider_error", "message": "down"}}, "no answer: down"),
        ({"nearest": [{"row": 4, "photo": {"id": "b.jpg"}}]}, "got b.jpg for its nearest"),
        ({"farthest": [{"row": 8}]}, "other neighbours than before"),
    ],
)
def test_a_crossed_answer_is_seen(change: dict[str, object], words: str):
    photo, known = MarkedPhoto(7, Path(), "a.jpg"), {}
    assert list(faults_of(prediction(7), photo, asked=True, known=known)) == []
    found = list(faults_of({**prediction(7), **change}, photo, asked=True, known=known))
    assert (words in found[0]) if words else not found
    assert list(faults_of(prediction(7), photo, asked=False, known=known)) == [
        "photo 7 was for the vote, and a model answered"
    ]


def test_a_crossed_page_is_seen():
    photo = MarkedPhoto(7, Path(), "a.jpg")
    shown = f"<code>{position_of(7)}</code>", reasoning_of(7, "Where?"), photo, "Where?"
    assert list(faults_of_page(*shown)) == []
    assert len(list(faults_of_page(f"<code>{position_of(8)}</code>", *shown[1:]))) == 1
    assert len(list(faults_of_page(shown[0], reasoning_of(8, "Where?"), *shown[2:]))) == 1
    assert marks_in(f"“{reasoning_of(7, '')}” “{reasoning_of(8, '')}”") == {7, 8}


def test_a_provider_that_nobody_waits_for_sees_the_line_cut(tmp_path: Path):
    jpeg = make_photos(tmp_path, 1, SMALL[:1])[0][0].path.read_bytes()
    with SlowProvider((600.0, 600.0)) as provider:
        cancel, failures = threading.Event(), []
        lmm = open_lmm("openai", BackendOptions("key", base_url=provider.base_url, cancel=cancel))

        def ask() -> None:
            with pytest.raises(LMMError) as failure:
                lmm.reply([Turn("user", "Where?")], jpeg)
            failures.append(str(failure.value))

        asking = threading.Thread(target=ask)
        asking.start()
        assert soon(lambda: provider.holding)
        cancel.set()
        asking.join(SOON_S)
        assert soon(lambda: provider.hung_up == 1) and not provider.holding
        assert "was cancelled" in failures[0]
        # And so it does once a reply has taken too long.
        lmm = open_lmm("openai", BackendOptions("key", base_url=provider.base_url, timeout_s=0.2))
        with pytest.raises(LMMError, match="no complete reply within"):
            lmm.reply([Turn("user", "Where?")], jpeg)
        assert soon(lambda: provider.hung_up == 2)


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An event of Gradio's queue, as the function behind it finds it."""
    event = SimpleNamespace(_id="e1", alive=True)
    blocks = SimpleNamespace(_queue=SimpleNamespace(active_jobs=[None, [event]]))
    tokens = LocalContext.blocks.set(blocks), LocalContext.event_id.set("e1")
    event.queue = blocks._queue
    yield event
    LocalContext.blocks.reset(tokens[0])
    LocalContext.event_id.reset(tokens[1])


@pytest.mark.parametrize("leave", ["hangs up", "cancels", "says so"])
def test_who_leaves_is_noticed(event: SimpleNamespace, leave: str):
    abandoned = Abandoned()
    assert not abandoned.is_set() and not abandoned.wait(0.01)
    if leave == "hangs up":
        event.alive = False
    elif leave == "cancels":
        event.queue.active_jobs[1] = None
    else:
        abandoned.set()
    assert abandoned.is_set() and abandoned.wait(SOON_S)


def test_who_leaves_during_a_wait_ends_it(event: SimpleNamespace):
    abandoned = Abandoned()
    threading.Timer(0.05, setattr, (event, "alive", False)).start()
    start = time.monotonic()
    assert abandoned.wait(SOON_S) and time.monotonic() - start < SOON_S


def test_outside_the_queue_nobody_leaves_unnoticed():
    assert not Abandoned().is_set()


def test_who_asks_again_is_not_forgotten_before_those_who_dont():
    """Gradio's own box forgets who came first: of 50 who stay for ten minutes, two lost an answer."""
    sessions = ("first", "second", "third")
    expected = {session: {"an event"} for session in sessions}
    boxes = Mailboxes(expected, 3)
    for session in sessions:
        boxes[session] = asyncio.Queue()
    assert "first" in boxes and "nobody" not in boxes
    boxes["fourth"] = asyncio.Queue()
    assert list(boxes) == ["third", "first", "fourth"] and list(expected) == ["first", "third"]
    boxes["third"] = asyncio.Queue()
    boxes["fifth"] = asyncio.Queue()
    assert list(boxes) == ["fourth", "third", "fifth"] and boxes.get("first") is None
    del boxes["fourth"]
    assert len(boxes) == 2


def test_the_page_keeps_its_messages_in_them():
    queue = build_page(Settings())._queue
    assert isinstance(queue.pending_messages_per_session, Mailboxes)
    queue.pending_messages_per_session["a"], queue.pending_event_ids_session["a"] = None, {"an event"}
    del queue.pending_messages_per_session["a"]
    assert not queue.pending_event_ids_session


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_was_freed_goes_back_to_the_system():
    """Even from between what is still in use, which glibc itself never gives back."""
    script = """
import ctypes, mmap, time
from pathlib import Path
from img2loc.hardening import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def held_mb(): return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE >> 20
before_mb = held_mb()
pieces = [libc.malloc(100_000) for _ in range(1000)]
for piece in pieces: ctypes.memset(piece, 1, 100_000)
for piece in pieces[::2]: libc.free(piece)
print(held_mb() - before_mb > 80)
memory.TRIM_EVERY_S = 0.1
memory.share_heaps()
limit = time.monotonic() + 10
while held_mb() - before_mb > 65 and time.monotonic() < limit: time.sleep(0.05)
print(held_mb() - before_mb <= 65)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_two_maps_at_once_share_no_trace(monkeypatch: pytest.MonkeyPatch):
    """Plotly takes a trace's type away for a moment; the countries are on every map."""

    class Kept(dict[str, object]):
        def pop(self, *_: object) -> object:
            raise AssertionError("the shared trace is changed")

        def __deepcopy__(self, memo: dict[int, object]) -> dict[str, object]:
            return copy.deepcopy(dict(self), memo)

    monkeypatch.setattr(_countries(), "_orphan_props", Kept(_countries()._props))
    drawn = figure([], [LatLon(1, 2)])
    assert drawn.data[0].type == "scattergeo"


def test_a_network_runs_on_as_many_threads_as_there_are_processors(starter: Locator, tower: Photo):
    threads: set[int] = set()
    encoder = SimpleNamespace(
        spec=starter.encoder.spec,
        dim=starter.encoder.dim,
        embed=lambda images: threads.add(threading.get_ident()) or starter.encoder.embed(images),
    )
    locator = Locator(encoder, starter.gallery)
    asking = [
        threading.Thread(target=locator.neighbours, args=(tower,), kwargs={"nearest": 1, "farthest": 0})
        for _ in range(6)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert 1 <= len(threads) <= locator._embedders._max_workers


def test_who_waits_for_a_model_takes_no_thread_from_the_page(monkeypatch: pytest.MonkeyPatch):
    assert MAX_THREADS >= MODEL_SLOTS + MAX_FETCHES + AT_ONCE + 32
    chosen: dict[str, object] = {}
    monkeypatch.setattr(img2loc.web.page, "FIRST_PAGE_S", 0)
    monkeypatch.setattr(img2loc.hardening.queue, "_ending", threading.Event())
    demo = SimpleNamespace(
        local_url="",
        launch=lambda **options: chosen.update(options),
        close=lambda **_: None,
        server=SimpleNamespace(config=SimpleNamespace()),
        _queue=SimpleNamespace(active_jobs=[]),
    )
    with pytest.raises(ZeroDivisionError):  # it serves until something is raised
        launch(demo, SimpleNamespace(open=lambda: 1 / 0), Address("127.0.0.1", 1), ["vote"])
    assert chosen["max_threads"] == MAX_THREADS and chosen["state_session_capacity"] == MAX_SESSIONS

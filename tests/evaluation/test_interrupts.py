"""A run as a process of its own, stopped amid a photo: what was answered is kept, and nothing is asked again."""

from __future__ import annotations

import csv
import os
import signal
import sys
import time

from img2loc.__main__ import main
from img2loc.evaluation.run.journal import read_journal
from img2loc.locator import Locator
from tests.conftest import PHOTOS
from tests.evaluation.evaluation_kills import LIGHT
from tests.fakes.openai_server import OpenAIServer


def test_sigterm_amid_a_photo_keeps_all_answers_and_the_run_goes_on_without_asking_again(
    tmp_path, monkeypatch, starter, begin
):
    truth = tmp_path / "truth.csv"
    with (PHOTOS / "photos.csv").open(newline="", encoding="utf-8") as source, truth.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "lat", "lon"))
        for row, _ in zip(csv.DictReader(source), range(5), strict=False):
            writer.writerow((row["file"], row["lat"], row["lon"]))
    data = ["--truth", truth, "--photos", PHOTOS, "--out", tmp_path / "runs", "--backend", "openai"]
    with OpenAIServer() as server:
        server.enqueue("good", "good", "hang")
        command = [sys.executable, "-m", *LIGHT, "evaluate", "run", *map(str, data)]
        command += ["--concurrency", "1", "--base-url", server.base_url]
        process = begin(command, env={**os.environ, "OPENAI_API_KEY": str(server.key)})
        deadline = time.monotonic() + 60
        while len(server.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130 and b"Traceback" not in said
        assert b"img2loc: Stopped. All answers are in the journal; run the same command again to continue." in said
        (journal,) = (tmp_path / "runs").glob("*.jsonl")
        answered = read_journal(journal).entries
        assert len(answered) == 2 and {entry.kind for entry in answered.values()} == {"answered"}
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setattr(Locator, "open", lambda *_, **__: starter)
        assert main(command[command.index("evaluate") :]) == 0
        record = read_journal(journal)
        assert len(server.requests) == 3 + 3  # the one that was cut short, once more
    assert len(record.entries) == 5 and {entry.kind for entry in record.entries.values()} == {"answered"}
    assert sorted(record.attempts.values()) == [1, 1, 1, 1, 2]
    assert all(record.entries[id_] == entry for id_, entry in answered.items())

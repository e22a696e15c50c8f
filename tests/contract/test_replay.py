"""`meltica replay` over recorded frames and recorded events gives the same events."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meltica.adapters.replay import sample

RECORDER = """
import json, os
import meltica

class Recorder(meltica.Lambda):
    class Config(meltica.LambdaConfig):
        out: str

    def on_start(self): self.file = open(self.config.out, "w")
    def keep(self, event): self.file.write(json.dumps(event.to_dict()) + "\\n")
    def on_trade(self, trade): self.keep(trade)
    def on_ticker(self, ticker): self.keep(ticker)
    def on_book_snapshot(self, book): self.keep(book)
    def on_stop(self): self.file.close()

class Broken(meltica.Lambda):
    def on_trade(self, trade): raise RuntimeError("on purpose")

class Late(meltica.Lambda):
    def on_start(self): raise RuntimeError("not today")
    def on_trade(self, trade): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sample.write(tmp_path / "sample.gz")
    (tmp_path / "mine.py").write_text(RECORDER)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meltica", "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def record(folder: Path, source: str, codec: str, out: str, *more: str) -> list[dict[str, Any]]:
    arguments = ("--lambda", "mine.py:Recorder", "--config", f"out={out}", "--json", *more)
    result = run(folder, source, "--codec", codec, *arguments)
    assert result.returncode == 0, result.stderr
    json.loads(result.stdout)
    events = [json.loads(line) for line in (folder / out).read_text().splitlines()]
    for event in events:
        del event["emitTs"]
    return events


def test_recorded_events_replay_like_the_frames(folder: Path) -> None:
    first = record(folder, "sample.gz", "binance", "events.jsonl")
    assert len(first) > 3000
    assert {event["type"] for event in first} == {"BookSnapshot", "Trade", "Ticker"}
    again = record(folder, "events.jsonl", "events", "again.jsonl")
    for event in (*first, *again):
        del event["ingestTs"], event["routingVersion"], event["provider"], event["eventId"]
    assert again == first


def test_hosts_and_compression_make_no_difference(folder: Path) -> None:
    first = record(folder, "sample.gz", "binance", "a.jsonl")
    (folder / "plain.log").write_bytes(gzip.decompress((folder / "sample.gz").read_bytes()))
    assert record(folder, "plain.log", "binance", "b.jsonl", "--host", "shared") == first


def test_errors_are_one_line_with_an_exit_code(folder: Path) -> None:
    ran = run(folder, "sample.gz", "--codec", "binance", "--lambda", "mine.py:Broken", "--json")
    assert ran.returncode == 0, "exceptions are counted and reported"
    for arguments, words in (
        (("sample.gz", "--codec", "binanse", "--lambda", "mine.py:Broken"), "binance"),
        (("sample.gz", "--codec", "binance", "--lambda", "mine.py:Brokn"), "Broken"),
        (("sample.gz", "--codec", "binance", "--lambda", "mine.py:Recorder"), "out"),
        (("sample.gz", "--codec", "binance", "--lambda", "mine.py:Recorder", "--config", "uot=x"), "out"),
        (("absent.gz", "--codec", "binance", "--lambda", "mine.py:Broken"), "absent.gz"),
        (("sample.gz", "--codec", "binance", "--lambda", "mine.py:Late"), "not today"),
    ):
        result = run(folder, *arguments)
        assert result.returncode not in (0, 1), (arguments, result.stderr)
        assert words in result.stderr
        assert "Traceback" not in result.stderr.splitlines()[-1]

"""Clocks: timers when the wall clock of a live instance is set, or the clock of a recording jumps."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meltica import _core
from meltica.adapters.binance.codec import BINANCE

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
FAR = 5 * START
MAX_BEATS = 10_000

SHIM = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The wall clock, moved by the seconds in the file that WALL_OFFSET names. Other clocks are untouched. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    char text[32] = {0};
    if (result == 0 && clock == CLOCK_REALTIME) {
        int file = open(getenv("WALL_OFFSET"), O_RDONLY);
        if (file >= 0 && read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
        if (file >= 0) close(file);
    }
    return result;
}
"""

LIVE = """
import os, queue, time
from pathlib import Path
from meltica import _core

beats = queue.Queue()
host = _core.Core().host("thread")
instance = host.add("timed", callbacks={}, routes=[("demo", "Trade", None)])
instance.every(0.02, lambda: beats.put(instance.now()))
instance.start()
for offset in (0, -3600, 3600, 0):
    Path(os.environ["WALL_OFFSET"]).write_text(str(offset))
    while not beats.empty():
        beats.get()
    ahead = [(beats.get(timeout=20) - time.monotonic_ns()) / 1e9 for _ in range(5)]
    print(offset, round(min(ahead)), round(max(ahead)), flush=True)
assert host.stop()
"""


@pytest.fixture
def shim(tmp_path: Path) -> dict[str, str]:
    """Returns an environment in which the file `offset` moves the wall clock of a process."""
    source, library, offset = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "offset"
    source.write_text(SHIM)
    offset.write_text("0")
    compiler = shutil.which("cc")
    assert compiler is not None, "the test needs the C compiler that links the core"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "WALL_OFFSET": str(offset)}


def test_a_wall_clock_that_is_set_changes_no_beat(shim: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIVE], check=False, capture_output=True, text=True, timeout=120, env=shim
    )
    assert run.returncode == 0, run.stderr
    rows = [[int(part) for part in line.split()] for line in run.stdout.splitlines()]
    start = rows[0][1]
    # `now` follows the wall clock, to the second that rounding may add.
    for (offset, least, most), expected in zip(rows, (0, -3600, 3600, 0), strict=True):
        assert offset == expected
        assert abs(least - start - offset) <= 2, rows
        assert abs(most - start - offset) <= 2, rows


def trades(*times: int) -> io.BytesIO:
    """Returns a recording with one trade at each receive time."""
    trade = {"e": "trade", "E": 1, "s": "BTCUSDT", "p": "1", "q": "1", "T": 1, "m": True}
    return io.BytesIO(
        b"".join(b"%d %s\n" % (time, json.dumps({**trade, "t": n}).encode()) for n, time in enumerate(times))
    )


class Timed:
    """An instance with a timer of a second, in a replay."""

    def __init__(self) -> None:
        core = _core.Core()
        self.producer = core.producer("binance", _core.Codec(BINANCE))
        self.host = core.host("shared", clock="event")
        self.beats: list[int] = []
        self.reports: list[tuple[str, str]] = []
        self.faults: list[tuple[int, int, str, bool]] = []
        self.instance = self.host.add(
            "timed",
            callbacks={},
            routes=[("binance", "Trade", None)],
            policies={"Trade": "block"},
            on_error=lambda callback, error: self.reports.append((callback, repr(error))),
            max_errors=1,
        )
        self.instance.every(1, lambda: self.beats.append(self.instance.now()))
        self.instance.start()

    def report(self, file: int, line: int, text: str, unit: bool) -> None:
        self.faults.append((file, line, text, unit))

    def replay(self, *files: io.BytesIO) -> dict[str, Any]:
        """Replays recordings, stops the instance, and returns its counters."""
        self.producer.replay(files, on_stamp=self.report)
        assert self.producer.drain(60)
        assert self.host.stop()
        return self.instance.stats()


def test_a_jump_of_a_recordings_clock_makes_a_bounded_number_of_beats() -> None:
    timed = Timed()
    jump = START + 20_000 * SECOND
    stats = timed.replay(trades(START, jump, jump + 2 * SECOND, FAR, FAR + SECOND))
    expected = [START + n * SECOND for n in range(1, MAX_BEATS + 1)]
    assert timed.beats[:MAX_BEATS] == expected
    assert timed.beats[MAX_BEATS : MAX_BEATS + 2] == [jump + SECOND, jump + 2 * SECOND], (
        "the timer keeps its phase"
    )
    missed = (FAR - START) // SECOND
    assert len(timed.beats) == 2 * MAX_BEATS + 3
    assert len(timed.beats) + stats["skipped_beats"] == missed + 1
    assert [callback for callback, _ in timed.reports] == ["every", "every"]
    assert "skipped 10000" in timed.reports[0][1]
    assert stats["errors"] == 0
    assert stats["state"] == "stopped"


def test_a_replay_without_a_jump_makes_every_beat() -> None:
    timed = Timed()
    stats = timed.replay(trades(START, START + (MAX_BEATS - 1) * SECOND))
    assert len(timed.beats) == MAX_BEATS - 1
    assert (stats["skipped_beats"], timed.reports, timed.faults) == (0, [], [])


def test_timers_beat_by_due_time_then_age_until_another_cancels_them() -> None:
    timed = Timed()
    periods = [1 + number % 7 for number in range(300)]
    counts = [0] * len(periods)
    beats: list[tuple[int, int]] = []

    def beat(number: int) -> None:
        beats.append((timed.instance.now(), number))
        counts[number] += 1
        if counts[number] == 3:
            timers[number * 11 % len(timers)].cancel()

    timers = [
        timed.instance.every(period, lambda number=number: beat(number))
        for number, period in enumerate(periods)
    ]
    timed.replay(trades(*(START + step * SECOND for step in (0, 1, 9, 30))))

    expected: list[tuple[int, int]] = []
    due = {number: START + period * SECOND for number, period in enumerate(periods)}
    beaten = [0] * len(periods)
    while due:
        number = min(due, key=lambda number: (due[number], number))
        if due[number] > START + 30 * SECOND:
            break
        expected.append((due[number], number))
        due[number] += periods[number] * SECOND
        beaten[number] += 1
        if beaten[number] == 3:
            due.pop(number * 11 % len(periods), None)
    assert beats == expected


def test_a_stop_ends_the_beats_of_a_jump() -> None:
    timed = Timed()

    def spin() -> None:
        timed.beats.append(0)
        while True:
            pass

    timed.instance.every(2, spin)
    timed.producer.replay([trades(START, START + 9_000 * SECOND)])
    assert timed.producer.drain(0.2) is False
    assert timed.instance.stop(1.0) is True, "no further beat begins after the interrupted one"
    assert timed.beats.count(0) == 1


def test_faulty_receive_times_are_reported_with_file_and_line() -> None:
    timed = Timed()
    day = 86_400 * SECOND
    first, second = trades(START, START + day + 2), trades(START + 1, START // 1000)
    timed.replay(first, second)
    assert [fault[:2] + fault[3:] for fault in timed.faults] == [(1, 2, True), (0, 2, False)]
    assert "looks like microseconds" in timed.faults[0][2]
    assert "forward" in timed.faults[1][2]

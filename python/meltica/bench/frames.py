"""Benchmarks of decoding: frames of a venue in the core, with orjson, and into a book in plain Python."""

import collections
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.replay.files import Recording
from meltica.bench.timing import medians, timed
from meltica.errors import ReplayError

_SNAPSHOT = b'"lastUpdateId"'


class Frames:
    """Frames to measure; those up to the first snapshot of a book are decoded before the measurement."""

    def __init__(self, name: str, frames: list[bytes]) -> None:
        start = next((i + 1 for i, frame in enumerate(frames) if _SNAPSHOT in frame), len(frames))
        self.name = name
        self.before, self.frames = frames[:start], frames[start:]
        self.books = [frame for frame in self.frames if b'"depthUpdate"' in frame or _SNAPSHOT in frame]

    @classmethod
    def recorded(cls, path: Path) -> "Frames":
        """Reads a recording. Raises ReplayError."""
        with contextlib.closing(Recording(path)) as recording:
            if recording.form == "frames":
                frames = [line.partition(b" ")[2] for _, line in recording.lines()]
                session = cls("the session", frames)
                if session.books:
                    return session
        raise ReplayError(f"{path}: expected frames of Binance, with a depth snapshot and diffs after it")

    def decoded(self) -> float:
        """Returns the ns per frame from bytes to dispatched events."""
        return _core.benchmark_frames(_core.Codec(BINANCE), self.frames, self.before)

    def loaded(self) -> float:
        """Returns the ns per frame from bytes to Python objects with orjson."""
        return loaded(self.frames)

    def depth(self) -> float:
        """Returns the ns per level from bytes to dispatched books."""
        ns = _core.benchmark_frames(_core.Codec(BINANCE), self.books, self.before)
        return ns * len(self.books) / sum(len(bids) + len(asks) for bids, asks in map(_sides, self.books))

    def python_depth(self) -> float:
        """Returns the ns per level from bytes to the sorted top of a book made of Python dicts of floats."""
        frames = self.books[:500]
        levels = sum(len(bids) + len(asks) for bids, asks in map(_sides, frames))

        def run() -> Iterator[float]:
            book = [{float(p): float(q) for p, q in side} for side in _sides(self.before[-1])]
            for frame in frames:
                started = time.perf_counter_ns()
                for side, changes in zip(book, _sides(frame), strict=True):
                    for price, quantity in changes:
                        side[float(price)] = float(quantity)
                        if side[float(price)] == 0:
                            del side[float(price)]
                _top = sorted(book[0].items(), reverse=True)[:25], sorted(book[1].items())[:25]
                yield time.perf_counter_ns() - started

        return sum(medians(run)) / levels


def loaded(frames: list[bytes]) -> float:
    """Returns the ns per frame from bytes to Python objects with orjson."""
    pieces = [frames[i : i + 64] for i in range(0, len(frames), 64)]

    def load(piece: list[bytes]) -> float:
        return timed(lambda: collections.deque(map(orjson.loads, piece), maxlen=0))

    return sum(medians(lambda: map(load, pieces))) / len(frames)


def _sides(frame: bytes) -> tuple[list[list[str]], list[list[str]]]:
    message = orjson.loads(frame)
    data = message.get("data", message)
    return (data["bids"], data["asks"]) if "bids" in data else (data["b"], data["a"])

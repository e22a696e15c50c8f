"""Checks a codec against a recording: what each message matched, and which books synced.

Each frame is decoded twice: alone, for its messages, and in a replay, for the books and their checksums.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meltica._core import BookSnapshot, Codec
from meltica.adapters.codec import Message
from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings
from meltica.adapters.replay.files import Recording, identify
from meltica.backtest.replay import Replay, Run
from meltica.errors import ReplayError
from meltica.lambdas.base import Lambda

SAMPLES = 5
"""Frames that are shown of each kind of fault."""
SHOWN = 300
"""Bytes of a frame that are shown."""

_LINE = re.compile(rb"(?P<time>\d+(?:\.\d+)?):? (?:@\S+ )?(?P<rest>.*)")
_MARK = re.compile(rb"(?:open|lost)\b")
_SYMBOL = re.compile(rb"[^\s{\[\"]+ (?=[{\[])")


class _Everything(Lambda):
    """Subscribes to all market data, so that books are built, and keeps the symbols that had one."""

    needs = {"Trade", "Ticker", "KlineSummary"}

    def __init__(self) -> None:
        super().__init__()
        self.books: set[str] = set()

    def on_book_snapshot(self, book: BookSnapshot) -> None:
        """Notes the symbol."""
        self.books.add(book.symbol)


@dataclass
class _Seen:
    """What one declared message matched."""

    declared: Message
    matched: int = 0
    refused: int = 0
    present: Counter[str] = field(default_factory=Counter[str])

    def report(self) -> dict[str, Any]:
        """Returns the counts, and the fields that were in no match."""
        names = [each.name for each in self.declared.fields]
        if self.declared.levels is not None:
            names += ["bids", "asks"]
        never = [name for name in names if not self.present[name]] if self.matched else []
        return {
            "name": self.declared.name,
            "role": self.declared.role,
            "matched": self.matched,
            "refused": self.refused,
            "never_present": never,
        }


class CodecCheck:
    """One check of a codec, by name or `FILE.py:NAME`, against recordings."""

    def __init__(self, codec: str, paths: Sequence[Path]) -> None:
        """Opens the recordings. Raises ConfigError, CodecError or ReplayError."""
        self._adapter = ReplayAdapter(ReplaySettings(paths=list(paths), codec=codec))
        declaration = self._adapter.codec()
        if declaration is None:
            raise ReplayError(f"{paths[0]}: holds recorded events, which need no codec")
        self._declaration = declaration
        self._codec = Codec(declaration)
        self._paths, _ = identify(paths)
        self._seen = {message.name: _Seen(message) for message in declaration.messages}
        self._unmatched: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """Returns the report. Raises ReplayError where a recording is damaged."""
        for path in self._paths:
            with closing(Recording(path)) as recording:
                for number, frame in frames(recording.lines()):
                    self._decode(path, number, frame)
        stats, books, waiting = self._replay()
        never = sorted(set(waiting) - books)
        failed = stats.get("checksums_failed", 0)
        decoded = sum(seen.matched for seen in self._seen.values())
        return {
            "fits": bool(decoded and not (self._counts["refused"] or never or failed)),
            "codec": self._declaration.name,
            "frames": self._counts["frames"],
            "messages": [seen.report() for seen in self._seen.values()],
            "unmatched": {"count": self._counts["unmatched"], "samples": self._unmatched},
            "refused": {"count": self._counts["refused"], "samples": self._refused},
            "books": {"synced": sorted(books), "never_synced": never},
            "checksums": {
                "verified": stats.get("checksums_verified", 0),
                "failed": failed,
            },
            "gaps": stats["gaps"],
        }

    def _decode(self, path: Path, number: int, frame: bytes) -> None:
        self._counts["frames"] += 1
        for message in self._codec.decode(frame):
            outcome, name = message["outcome"], message.get("message")
            if name is not None:
                seen = self._seen[name]
                seen.matched += outcome != "refused"
                seen.refused += outcome == "refused"
                seen.present.update(message.get("present", ()))
            if outcome in ("unmatched", "refused"):
                self._counts[outcome] += 1
                samples = self._unmatched if outcome == "unmatched" else self._refused
                if len(samples) < SAMPLES:
                    shown = frame[:SHOWN].decode("utf-8", "replace")
                    where = {"file": str(path), "line": number, "frame": shown}
                    samples.append(where | {k: v for k, v in message.items() if k in ("message", "error")})

    def _replay(self) -> tuple[dict[str, Any], set[str], list[str]]:
        session = Replay(self._adapter, [Run(_Everything, "codec-check")])
        try:
            session.run()
        finally:
            session.finish()
        everything = session.instances[0].subject
        assert isinstance(everything, _Everything)
        (producer,) = session.producers.values()
        return producer.stats(), everything.books, producer.unsynced()


def frames(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yields the frames of a recording's lines with their line numbers, without marks of connections."""
    for number, line in lines:
        match = _LINE.fullmatch(line)
        rest = match["rest"] if match else line
        if not _MARK.match(rest):
            symbol = _SYMBOL.match(rest)
            yield number, rest[symbol.end() :] if symbol else rest

"""Checks a codec against a recording: what each message matched, and which books synced.

Each frame is decoded twice: alone, for its messages, and in a replay, for the books and their checksums.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson

from meltica._core import BookSnapshot, Codec, read_line
from meltica.adapters.codec import Message
from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings
from meltica.adapters.replay.files import Recording, identify
from meltica.backtest.replay import Replay, Run
from meltica.errors import ReplayError
from meltica.lambdas.base import Lambda

if TYPE_CHECKING:
    from meltica._core import Producer

SAMPLES = 5
"""Kinds of frames of which one is shown."""
SHOWN = 300
"""Bytes of a frame that are shown."""
MOST_KINDS = 256
"""Kinds of frames that are counted one by one."""
_ELEMENT = re.compile(r"element \d+: ")


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
        if (levels := self.declared.levels) is not None:
            names += ["bids", "asks"] if levels.checksum is None else ["bids", "asks", "checksum"]
        if self.declared.venue_time is not None:
            names.append("venue_time")
        never = [name for name in names if not self.present[name]] if self.matched else []
        return {
            "name": self.declared.name,
            "role": self.declared.role,
            "matched": self.matched,
            "refused": self.refused,
            "never_present": never,
        }


class _Samples:
    """The first frame of each kind of fault, and how many there were."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, frame: bytes, **details: object) -> None:
        """Counts a frame and keeps the first one of its kind."""
        if (sample := self._kinds.get(kind)) is not None:
            sample["count"] += 1
        elif len(self._kinds) < MOST_KINDS:
            text = frame[:SHOWN].decode("utf-8", "replace")
            self._kinds[kind] = {"count": 1, **details, "frame": text}

    def has(self, kind: str) -> bool:
        """Returns whether a frame of the kind was added."""
        return kind in self._kinds

    def report(self) -> list[dict[str, Any]]:
        """Returns the samples of the most frequent kinds."""
        return sorted(self._kinds.values(), key=lambda sample: -sample["count"])[:SAMPLES]


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
        self._unmatched, self._refused = _Samples(), _Samples()
        self._counts: Counter[str] = Counter()

    def run(self) -> dict[str, Any]:
        """Returns the report. Raises ReplayError where a recording is damaged."""
        for path in self._paths:
            with closing(Recording(path)) as recording:
                for number, connection, frame, fault in lines(recording):
                    self._counts["frames"] += 1
                    if fault is None:
                        self._decode(path, number, connection, frame)
                    else:
                        self._refused.add(fault, frame, file=str(path), line=number, error=fault)
        producer, books = self._replay()
        stats, stale = producer.stats(), producer.stale_books()
        unproved = sorted(symbol for symbol, (_, verified) in producer.unverified().items() if not verified)
        never = [symbol for symbol, was_good in stale.items() if not was_good]
        ended = [symbol for symbol, was_good in stale.items() if was_good]
        refused = sum(stats["errors"].values())
        failed = stats.get("checksums_failed", 0)
        decoded = sum(seen.matched for seen in self._seen.values())
        return {
            "fits": bool(decoded and not (refused or stale or failed or unproved)),
            "codec": self._declaration.name,
            "frames": self._counts["frames"],
            "messages": [seen.report() for seen in self._seen.values()],
            "unmatched": {"count": self._counts["unmatched"], "samples": self._unmatched.report()},
            "refused": {"count": refused, "kinds": stats["errors"], "samples": self._refused.report()},
            "unknown_names": stats["unknown_enums"],
            "books": {"synced": sorted(books), "never_synced": never, "stale_at_end": ended},
            "checksums": {
                **{name: stats[f"checksums_{name}"] for name in ("verified", "failed", "unverified")},
                "never_verified": unproved,
            },
            "gaps": stats["gaps"],
        }

    def _decode(self, path: Path, number: int, connection: str, frame: bytes) -> None:
        place = {"file": str(path), "line": number}
        for message in self._codec.decode(frame, connection=connection):
            outcome, name = message["outcome"], message.get("message")
            if name is not None:
                seen = self._seen[name]
                seen.matched += outcome != "refused"
                seen.refused += outcome == "refused"
                seen.present.update(message.get("present", ()))
            if outcome == "unmatched":
                self._counts[outcome] += 1
                self._unmatched.add(form(frame), frame, **place)
            elif outcome == "refused":
                named = {} if name is None else {"message": name}
                self._refused.add(_kind(message["error"]), frame, **place, **named, error=message["error"])

    def _replay(self) -> "tuple[Producer, set[str]]":
        session = Replay(self._adapter, [Run(_Everything, "codec-check")])
        try:
            session.run()
        finally:
            session.finish()
        everything = session.instances[0].subject
        assert isinstance(everything, _Everything)
        (producer,) = session.producers.values()
        for _, error, frame in producer.bad_frames():
            if not self._refused.has(_kind(error)):
                self._refused.add(_kind(error), frame, error=error)
        return producer, everything.books


def lines(recording: Recording) -> Iterator[tuple[int, str, bytes, str | None]]:
    """Yields line number, connection, frame and fault of each line that is not a mark."""
    has_time = None
    for number, line in recording.lines():
        if has_time is None:
            has_time = line[:1] not in (b"{", b"[")
        connection, frame, fault = read_line(line, has_time)
        if frame is not None:
            yield number, connection, frame, fault


def form(frame: bytes) -> str:
    """Returns the keys of a frame without its values, which tell the kinds of messages apart."""
    try:
        return _keys(orjson.loads(frame))
    except orjson.JSONDecodeError:
        return ""


def _keys(value: Any) -> str:
    if isinstance(value, dict):
        inner = sorted(f"{key}{_keys(each)}" for key, each in cast("dict[str, Any]", value).items())
        return f"{{{','.join(inner)}}}"
    if isinstance(value, list):
        return f"[{''.join(map(_keys, cast('list[Any]', value)[:1]))}]"
    return ""


def _kind(error: str) -> str:
    """Returns what is equal in errors of the same kind: message, path and fault."""
    return _ELEMENT.sub("", error.partition(": expected ")[0])

"""Bounds what a log writes: repeated lines are counted instead of written, and distinct lines have a budget.

A fault can log thousands of lines per second and must not fill the disk. The rules, in order:

1. A line is written once. Identical lines of the same logger and level are counted, and the count is written
   every `FOLD_SECONDS`. A line that did not occur for that long is written in full again.
2. Each logger has a budget of lines per level. Suppressed lines are counted too.
3. A warning or error of a new kind has a budget of its own, so that repeats of other kinds cannot hide it.
   Lines are of one kind if they differ only in digits.
4. The log as a whole has a budget of bytes: at most `BYTES` + `NEW_BYTES` at once, and as much per minute.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from meltica.errors import one_line

FOLD_SECONDS = 10.0
"""Time between two counts of a repeated line."""
LINES, LINES_PER_SECOND = 200, 10.0
"""Lines of one logger and level: at once, and per second."""
NEW_KINDS, NEW_KINDS_PER_SECOND = 50, 1.0
"""Warnings and errors of new kinds from one logger, after its lines are used up."""
BYTES = 1 << 20
"""Bytes of all lines: at once, and per minute."""
NEW_BYTES = 1 << 18
"""Bytes of warnings and errors of new kinds, after `BYTES` are used up: at once, and per minute."""
MAX_TEXT = 8 << 10
"""Most characters of a message, and of a traceback."""
MAX_KEYS = 1000
"""Most lines, kinds and loggers to remember."""
KIND_SECONDS = 60.0

_DIGITS = re.compile(r"\b0x[0-9a-fA-F]+|\d[\d.,]*")


class Bucket:
    """A token bucket: `size` at once, refilled at `rate` per second."""

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size, self._rate = size, rate
        self._left, self._at = float(size), now

    def take(self, count: float, now: float) -> bool:
        """Takes tokens; returns False and takes none if fewer are left."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True


@dataclass
class _Fold:
    """One written line and its repeats since."""

    record: logging.LogRecord
    text: str
    since: float
    repeats: int = 0


@dataclass
class _Suppressed:
    """Suppressed lines of one logger and level."""

    last: str = ""
    count: int = 0


class LineLimits:
    """Decides which lines are written. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Reentrant: the garbage collector may run a `__del__` that logs while the lock is held.
        self._lock = threading.RLock()
        now = clock()
        self._folds: OrderedDict[tuple[str, int, str, str], _Fold] = OrderedDict()
        self._kinds: OrderedDict[tuple[str, int, str, str], float] = OrderedDict()
        self._buckets: dict[tuple[str, int], Bucket] = {}
        self._new_kinds: dict[str, Bucket] = {}
        self._suppressed: dict[tuple[str, int], _Suppressed] = {}
        self._bytes = Bucket(BYTES, BYTES / 60, now)
        self._new_bytes = Bucket(NEW_BYTES, NEW_BYTES / 60, now)
        self._too_long = 0
        self._due = self._counted = now

    def admit(self, record: logging.LogRecord) -> bool:
        """Returns whether to write a record, and counts it if not. Its message is formatted already."""
        text = str(record.msg)
        error = _error(record)
        with self._lock:
            now = self._clock()
            key = (record.name, record.levelno, text, error)
            fold = self._folds.get(key)
            if fold is not None:
                fold.repeats += 1
                return False
            new = self._is_new(record, text, error, now)
            if not self._within_budget(record, now, new=new):
                suppressed = self._suppressed.setdefault(self._source(record), _Suppressed())
                suppressed.last = text
                suppressed.count += 1
                return False
            record.new_kind = new
            if len(self._folds) < MAX_KEYS:
                self._folds[key] = _Fold(record, text, now)
            return True

    def admit_bytes(self, record: logging.LogRecord, count: int) -> bool:
        """Returns whether a rendered line of an admitted record fits into the budget of bytes."""
        with self._lock:
            now = self._clock()
            if self._bytes.take(count, now):
                return True
            if getattr(record, "new_kind", False) and self._new_bytes.take(count, now):
                return True
            self._too_long += 1
            return False

    def due(self, *, all: bool = False) -> list[logging.LogRecord]:
        """Returns the counts to write now; `all` includes those whose time has not come."""
        with self._lock:
            now = self._clock()
            if now < self._due and not all:
                return []
            self._due = now + FOLD_SECONDS / 10
            return [*self._repeats(now, all=all), *self._counts(now, all=all)]

    def _repeats(self, now: float, *, all: bool) -> list[logging.LogRecord]:
        notes: list[logging.LogRecord] = []
        for key, fold in list(self._folds.items()):
            seconds = now - fold.since
            if seconds < FOLD_SECONDS and not all:
                continue
            if not fold.repeats:
                del self._folds[key]
                continue
            times = "once more" if fold.repeats == 1 else f"{fold.repeats:,} more times"
            notes.append(_note(fold.record, f"{fold.text} [{times} within {max(seconds, 1):.0f} s]"))
            fold.repeats, fold.since = 0, now
        return notes

    def _counts(self, now: float, *, all: bool) -> list[logging.LogRecord]:
        if now - self._counted < FOLD_SECONDS and not all:
            return []
        notes: list[logging.LogRecord] = []
        self._counted = now
        for (name, level), suppressed in list(self._suppressed.items()):
            what = f"{suppressed.count:,} further lines suppressed; the last one: {suppressed.last[:200]}"
            notes.append(logging.LogRecord(name, level, "", 0, what, None, None))
        self._suppressed.clear()
        if self._too_long:
            what = f"{self._too_long:,} lines suppressed: the log exceeded {BYTES >> 20} MiB per minute"
            notes.append(logging.LogRecord(__name__, logging.WARNING, "", 0, what, None, None))
            self._too_long = 0
        return notes

    def _is_new(self, record: logging.LogRecord, text: str, error: str, now: float) -> bool:
        if record.levelno < logging.WARNING:
            return False
        first = text.partition("\n")[0]
        kind = (record.name, record.levelno, _DIGITS.sub("#", first), _DIGITS.sub("#", error))
        before = self._kinds.pop(kind, None)
        if len(self._kinds) >= MAX_KEYS:
            self._kinds.popitem(last=False)
        self._kinds[kind] = now
        return before is None or now - before > KIND_SECONDS

    def _within_budget(self, record: logging.LogRecord, now: float, *, new: bool) -> bool:
        source = self._source(record)
        if source not in self._buckets:
            self._buckets[source] = Bucket(LINES, LINES_PER_SECOND, now)
        if self._buckets[source].take(1, now):
            return True
        if not new:
            return False
        name = source[0]
        if name not in self._new_kinds:
            self._new_kinds[name] = Bucket(NEW_KINDS, NEW_KINDS_PER_SECOND, now)
        return self._new_kinds[name].take(1, now)

    def _source(self, record: logging.LogRecord) -> tuple[str, int]:
        source = (record.name, record.levelno)
        # A strategy may log under names without limit.
        full = source not in self._buckets and len(self._buckets) >= MAX_KEYS
        return ("", record.levelno) if full else source


def shorten(text: str) -> str:
    """Returns a text of at most about `MAX_TEXT` characters: the beginning and the end of a longer one."""
    if len(text) <= MAX_TEXT:
        return text
    left_out = len(text) - MAX_TEXT
    return f"{text[: MAX_TEXT // 4]} [... {left_out:,} characters ...] {text[-MAX_TEXT * 3 // 4 :]}"


def message_of(record: logging.LogRecord) -> str:
    """Returns the message of a record, shortened."""
    try:
        text = record.getMessage()
    except Exception as error:
        text = f"{record.msg!r} and its arguments {record.args!r} do not fit together: {error}"
    return shorten(text)


def _error(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    try:
        return shorten(f"{type(error).__qualname__}: {one_line(error)}")
    except Exception:
        # The `__str__` of a strategy's exception may raise.
        return type(error).__qualname__


def _note(record: logging.LogRecord, text: str) -> logging.LogRecord:
    note = logging.LogRecord(record.name, record.levelno, "", 0, text, None, None)
    instance = getattr(record, "instance", None)
    if instance is not None:
        note.instance = instance
    return note

"""What a fault can write to the log: repeats are counted, distinct lines have a budget."""

import json
import logging
import random
from collections.abc import Iterable

from meltica.telemetry import folding
from meltica.telemetry.folding import FOLD_SECONDS, MAX_TEXT, LineLimits, shorten
from meltica.telemetry.logs import Logs

log = logging.getLogger("meltica.lambda.noisy")


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(
    text: str, level: int = logging.ERROR, name: str = "a", error: Exception | None = None
) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord(name, level, "", 0, text, None, info)


def texts(records: Iterable[logging.LogRecord]) -> list[str]:
    return [str(record.msg) for record in records]


def written(many: Iterable[logging.LogRecord]) -> list[dict[str, str]]:
    """Returns the lines that a log writes for records of one moment."""
    lines: list[str] = []
    logs = Logs("info", "json", lines.append, clock=Clock())
    logs.start()
    for each in many:
        logs.take(each)
    logs.stop()
    return [json.loads(line) for line in lines]


def test_a_repeated_line_is_written_once_and_then_counted() -> None:
    lines = written(record("it broke", error=KeyError("x")) for _ in range(100_000))
    assert [line["message"] for line in lines] == ["it broke", "it broke [99,999 more times within 1 s]"]
    assert "exception" in lines[0]
    assert [line["level"] for line in lines] == ["error", "error"]


def test_counts_are_written_at_a_bounded_rate_until_the_repeats_end() -> None:
    clock = Clock()
    limits = LineLimits(clock)
    notes: list[str] = []
    for tenth in range(600):
        clock.now = tenth / 10
        assert limits.admit(record("again")) is (tenth == 0)
        notes += texts(limits.due())
    assert len(notes) == 60 / FOLD_SECONDS - 1
    assert notes[0] == "again [100 more times within 10 s]"
    clock.now += 2 * FOLD_SECONDS
    assert len(limits.due()) == 1
    clock.now += 2 * FOLD_SECONDS
    assert limits.due() == []
    assert limits.admit(record("again")), "a line that had ended is written in full"


def test_lines_differ_by_logger_level_text_and_exception() -> None:
    limits = LineLimits(Clock())
    lines = [
        record("x"),
        record("x", name="b"),
        record("x", logging.WARNING),
        record("y"),
        record("x", error=KeyError("1")),
        record("x", error=ValueError("1")),
    ]
    assert all(map(limits.admit, lines))
    assert not any(map(limits.admit, lines))


def test_an_error_of_a_new_kind_is_not_lost_among_others() -> None:
    flood = [record(f"order {n} of 0x{n:x} failed after {n / 7:.2f} s") for n in range(20_000)]
    half = len(flood) // 2
    others = [record("the account is locked"), record("the key has expired")]
    lines = written([*flood[:half], others[0], *flood[half:], others[1]])
    messages = [line["message"] for line in lines]
    assert "the account is locked" in messages
    assert "the key has expired" in messages
    assert len(messages) == folding.LINES + 3
    assert any("further lines suppressed; the last one: order 19999" in message for message in messages)


def test_no_fault_can_write_more_than_the_documented_bytes_per_minute() -> None:
    """Every line is long, of a new kind and from another logger."""
    letters = random.Random(1)
    size = 0

    def write(line: str) -> None:
        nonlocal size
        size += len(line.encode())

    logs = Logs("info", "json", write, clock=Clock())
    logs.start()
    for number in range(300):
        text = "".join(letters.choices("abcdefgh\u20ac\x00", k=2 * MAX_TEXT))
        logs.take(record(text, name=f"logger{number % 100}", error=ValueError(text)))
    logs.stop()
    assert folding.BYTES < size <= folding.BYTES + folding.NEW_BYTES


def test_the_state_of_the_limits_is_bounded() -> None:
    clock = Clock()
    limits = LineLimits(clock)
    for number in range(5 * folding.MAX_KEYS):
        clock.now += 0.01
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        limits.admit(record(word, name=f"logger{number}"))
    tables = [value for value in vars(limits).values() if hasattr(value, "__len__")]
    assert len(tables) == 5
    assert all(len(table) <= folding.MAX_KEYS + 1 for table in tables)


def test_an_exception_without_a_text_is_logged() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    (line, *_) = written([record("mute", error=Mute())])
    assert line["message"] == "mute"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert shorten("short") == "short"
    cut = shorten("begin" + "x" * 5 * MAX_TEXT + "end")
    assert cut.startswith("begin")
    assert cut.endswith("end")
    assert len(cut) < MAX_TEXT + 50
    assert f"[... {4 * MAX_TEXT + 8:,} characters ...]" in cut


def test_a_line_logged_by_a_finalizer_within_another_line_does_not_deadlock() -> None:
    """The garbage collector may run while the lock is held. Here, the clock stands for it."""
    nested = [record("from a finalizer")]

    def clock() -> float:
        while nested and limits is not None:
            admitted.append(limits.admit(nested.pop()))
        return 0.0

    limits: LineLimits | None = None
    admitted: list[bool] = []
    limits = LineLimits(clock)
    assert limits.admit(record("a line"))
    assert admitted == [True]

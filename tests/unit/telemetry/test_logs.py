"""Human-readable and JSON log lines, and a log whose reader is blocked or closed."""

import json
import logging
import logging.config
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from meltica.lambdas.logs import LambdaLogger
from meltica.telemetry import logs as module
from meltica.telemetry.logs import Format, Logs

log = logging.getLogger("meltica.gateway")


@contextmanager
def logged(format: Format, level: str = "info", **options: Any) -> Generator[list[str]]:
    lines: list[str] = []
    logs = Logs(level, format, lines.append, **options)
    logs.start()
    yield lines
    logs.stop()


def test_json_logs_are_one_object_per_line() -> None:
    with logged("json") as lines:
        log.info("ready after %.1f s", 0.5)
        LambdaLogger("watch").warning("two\nlines")
        log.info("a name that is not UTF-8: \udcff")
        log.debug("not at this level")
    first, second, third = map(json.loads, lines)
    assert list(first) == ["time", "level", "logger", "message"]
    assert first["time"].endswith("Z")
    assert (first["level"], first["logger"], first["message"]) == (
        "info",
        "meltica.gateway",
        "ready after 0.5 s",
    )
    assert (second["instance"], second["message"]) == ("watch", "two\nlines")
    assert third["message"].endswith("\udcff")


CHANGES: dict[str, Callable[[], object]] = {
    "logging.disable was called": lambda: logging.disable(logging.CRITICAL),
    "the handler was removed": lambda: logging.basicConfig(force=True, level="INFO"),
    "the level was changed": lambda: logging.getLogger().setLevel(logging.CRITICAL),
    "loggers were disabled": lambda: logging.config.dictConfig({"version": 1}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_code_cannot_end_the_log(change: str) -> None:
    root = logging.getLogger()
    handlers = root.handlers[:]
    written = threading.Event()
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        written.set()

    logs = Logs("info", "json", write)
    logs.start()
    try:
        CHANGES[change]()
        log.info("lost")
        assert written.wait(30)
        log.info("after")
    finally:
        logs.stop()
        root.handlers[:] = handlers
        logging.disable(logging.NOTSET)
        for each in logging.root.manager.loggerDict.values():
            if isinstance(each, logging.Logger):
                each.disabled = False
    assert [json.loads(line)["message"] for line in lines] == [
        f"code of a lambda or a library changed the log: {change}; restored",
        "after",
    ]


@pytest.mark.parametrize("attribute", ["disabled", "propagate"])
def test_a_logger_that_is_turned_off_is_restored_also_while_others_log(attribute: str) -> None:
    """The log of a gateway is rarely silent for a second."""
    lines: list[str] = []
    logs, off = Logs("info", "json", lines.append), logging.getLogger("meltica.lambda.off")
    logs.start()
    try:
        setattr(off, attribute, attribute == "disabled")
        deadline = time.monotonic() + 30
        while getattr(off, attribute) is (attribute == "disabled") and time.monotonic() < deadline:
            log.info("another line")
            threading.Event().wait(0.01)
        off.warning("kept")
    finally:
        logs.stop()
    assert any("kept" in line for line in lines)


def test_a_log_that_has_ended_stays_so() -> None:
    logs = Logs("info", "json", lambda _: None)
    before = logging.getLogger().handlers[:]
    logs.start()
    logs.stop()
    logs.restore()
    assert logging.getLogger().handlers == before


def test_records_during_a_request_have_its_id() -> None:
    with logged("json") as lines:
        with bound_contextvars(request_id="abc"):
            log.info("inside")
        log.info("outside")
    assert [json.loads(line).get("request_id") for line in lines] == ["abc", None]


def test_an_exception_is_formatted_on_the_thread_that_logs_it() -> None:
    """Else one that takes long would keep the lines of all others back."""
    threads = list[int]()

    class Slow(Exception):
        def __str__(self) -> str:
            threads.append(threading.get_ident())
            return "slow"

    with logged("json") as lines:
        log.error("failed", exc_info=Slow())
    assert "Slow: slow" in json.loads(lines[0])["exception"]
    assert {*threads} == {threading.get_ident()}


def test_a_text_moves_no_cursor_and_forges_no_line() -> None:
    with logged("human") as lines:
        log.error("a\x1b[2J\r\u202eb\n12:00:00 error forged", exc_info=ValueError("c\x1b[1A"))
    first, second, *_ = "".join(lines).splitlines()
    assert first.endswith("a\\x1b[2J\\r\\u202eb")
    assert second == "    12:00:00 error forged"
    assert "\x1b" not in "".join(lines)
    assert "c\\x1b[1A" in "".join(lines)


def test_an_exception_is_one_field_of_the_json() -> None:
    with logged("json") as lines:
        secret = "hush"
        try:
            raise KeyError(len(secret))
        except KeyError:
            log.exception("it broke")
    (line,) = map(json.loads, lines)
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("KeyError: 4")


@pytest.mark.parametrize("colors", [False, True])
def test_human_logs_have_tracebacks_without_local_values(colors: bool) -> None:
    with logged("human", colors=colors) as lines:
        LambdaLogger("watch").warning("sold")
        secret = "hush" * 2
        try:
            raise KeyError(len(secret))
        except KeyError:
            log.exception("it broke")
    assert ("\x1b[" in lines[0]) is colors
    if not colors:
        assert lines[0].endswith(" warning watch            sold\n")
    assert "KeyError: 8" in lines[1]
    assert "hushhush" not in lines[1], "locals may hold secrets"


def test_third_party_loggers_are_quiet() -> None:
    with logged("json", "debug") as lines:
        logging.getLogger("uvicorn.error").info("Started server process")
        logging.getLogger("psycopg.pool").error("error connecting")
        logging.getLogger("asyncio").debug("Using selector")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", UserWarning, stacklevel=1)
        log.debug("ours")
    messages = [json.loads(line)["message"] for line in lines]
    assert len(messages) == 2
    assert "UserWarning: old" in messages[0]
    assert messages[1] == "ours"


def test_a_blocked_reader_of_the_log_does_not_block_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 2)
    gate, reading, lines = threading.Event(), threading.Event(), list[str]()

    def write(line: str) -> None:
        reading.set()
        assert gate.wait(20)
        lines.append(json.loads(line)["message"])

    logs = Logs("info", "json", write)
    logs.start()
    log.info("0")
    assert reading.wait(20)
    for number in range(1, 6):
        log.info("%d", number)
    logs.soon(lambda: lines.append("never"))
    assert logs.dropped == 3
    gate.set()
    logs.stop()
    assert lines == ["0", "1", "2", "3 lines were dropped: the reader of the log is too slow"]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed file")])
def test_a_closed_reader_of_the_log_is_ignored(error: Exception) -> None:
    def write(line: str) -> None:
        raise error

    logs = Logs("info", "json", write)
    logs.start()
    log.info("x")
    logs.soon(lambda: write("x"))
    done = threading.Event()
    logs.soon(done.set)
    logs.stop()
    assert done.is_set()


def test_a_message_that_does_not_match_its_arguments_is_logged_unformatted() -> None:
    lines: list[str] = []
    logs = Logs("info", "json", lines.append)
    logs.start()
    logs.take(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("x",), None))
    logs.stop()
    assert json.loads(lines[0])["message"] == (
        "'%d' and its arguments ('x',) do not fit together: %d format: a real number is required, not str"
    )


def test_actions_run_in_order_after_queued_lines() -> None:
    lines: list[str] = []
    logs = Logs("info", "json", lambda line: lines.append("line"))
    logs.start()
    log.info("x")
    logs.soon(lambda: lines.append("action"))
    logs.stop()
    assert lines == ["line", "action"]


def test_exceptions_of_threads_and_finalizers_are_logged(capfd: pytest.CaptureFixture[str]) -> None:
    class Bad:
        def __del__(self) -> None:
            raise KeyError("of a finalizer")

    def fail() -> None:
        raise KeyError("of a thread")

    with logged("json") as lines:
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Bad()
    first, second = map(json.loads, lines)
    assert first["message"] == "thread worker failed"
    assert first["exception"].endswith("KeyError: 'of a thread'")
    assert second["message"].startswith("exception ignored in: <function ")
    assert second["exception"].endswith("KeyError: 'of a finalizer'")
    assert capfd.readouterr().err == ""

"""Configures logging: plain lines on a terminal, JSON elsewhere.

All code logs with `logging`, and structlog renders. A separate thread renders and writes the records, so
lambdas and the event loop never wait for the reader of the log. When the queue is full, lines are dropped and
counted. `folding` bounds what a fault can write.
"""

import json
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog
from structlog.dev import Column, KeyValueColumnFormatter
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from meltica.telemetry.folding import LineLimits, message_of, shorten
from meltica.telemetry.log_file import to_stderr
from meltica.telemetry.text import visible

log = logging.getLogger(__name__)

Format = Literal["human", "json"]

NAME = "meltica"
QUEUE = 10_000
"""Maximum number of queued lines."""
FLUSH_SECONDS = 1.0
COUNT_SECONDS = 1.0
"""How often the writing thread checks for counts of repeated lines."""
QUIET = {
    # `meltica.lock` and `meltica.postgres` report the state of the database once.
    "psycopg.pool": logging.CRITICAL,
    "psycopg": logging.ERROR,
    # Logs a line per request, with the query of its URL.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "websockets": logging.WARNING,
    "uvicorn": logging.WARNING,
    "litestar": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""Minimum level of third-party loggers."""


_started: "Logs | None" = None
"""The log of this process."""


def set_level(level: str) -> None:
    """Changes the level of the log of this process, if one was started."""
    if _started is not None:
        _started.change_level(level)


_BOUND = ("request_id", "trace_id", "span_id")
"""Fields that lines have while a request is served."""


class Logs:
    """Handles logging from `start` to `stop`. `write` receives rendered lines, with the line break."""

    def __init__(
        self,
        level: str,
        format: Format,
        write: Callable[[str], object] | None = None,
        *,
        colors: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        """Number of lines dropped because the queue was full."""
        self._reported = 0
        self._hooks = threading.excepthook, sys.unraisablehook
        self._level = level.upper()
        self._write = write or to_stderr
        self._formatter = formatter(format, colors=colors)
        self._limits = LineLimits(clock)
        self._ends = threading.Lock()
        self._has_ended = False
        # Not a `Queue`: its lock is not reentrant, and the garbage collector may log while it is held.
        self._queue: queue.SimpleQueue[logging.LogRecord | Callable[[], object] | None] = queue.SimpleQueue()
        self._handler = _Handler(self)
        self._thread = threading.Thread(target=self._run, name="meltica-log", daemon=True)

    def start(self) -> None:
        """Starts logging, including Python warnings and exceptions that nothing catches."""
        global _started
        logging.getLogger().addHandler(self._handler)
        self._apply_level()
        _started = self
        logging.captureWarnings(True)
        self._hooks = threading.excepthook, sys.unraisablehook
        threading.excepthook, sys.unraisablehook = _thread_failed, _ignored
        self._thread.start()

    def stop(self) -> None:
        """Writes queued lines for at most a second, and removes the handler."""
        with self._ends:
            self._has_ended = True
            logging.getLogger().removeHandler(self._handler)
        logging.captureWarnings(False)
        threading.excepthook, sys.unraisablehook = self._hooks
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)

    def take(self, record: logging.LogRecord) -> None:
        """Queues a record.

        Its message and its exception are formatted here: arguments may change or be large, and `__str__` of a
        strategy's exception may take any time, for which its own thread waits and not that of the log.
        """
        record.msg, record.args = message_of(record), None
        if not self._limits.admit(record):
            return
        if record.exc_info:
            record.exc_text, record.exc_info = _exception(record.exc_info), None
        # The thread that renders has another context.
        bound = structlog.contextvars.get_contextvars()
        for name in _BOUND:
            setattr(record, name, bound.get(name))
        if self._queue.qsize() < QUEUE:
            self._queue.put(record)
        else:
            self.dropped += 1

    def change_level(self, level: str) -> None:
        """Changes the level from now on."""
        with self._ends:
            self._level = level.upper()
            if not self._has_ended:
                self._apply_level()

    def _apply_level(self) -> None:
        root = logging.getLogger()
        root.setLevel(self._level)
        for name, least in QUIET.items():
            logging.getLogger(name).setLevel(max(least, root.level))

    def soon(self, action: Callable[[], object]) -> None:
        """Runs an action on the writing thread, after the queued lines; drops it if the queue is full."""
        if self._queue.qsize() < QUEUE:
            self._queue.put(action)

    def restore(self) -> None:
        """Undoes what other code has changed for the whole process, so that no lambda can end the log.

        That is `logging.disable`, `logging.basicConfig(force=True)`, the root's level and handlers, and
        `logging.config`, which disables all loggers that exist.
        """
        root = logging.getLogger()
        with self._ends:
            if self._has_ended:
                return
            level, disabled = logging.getLevelNamesMapping()[self._level], _disabled_loggers()
            changes = [
                text
                for text, is_changed in (
                    ("logging.disable was called", root.manager.disable != logging.NOTSET),
                    ("the handler was removed", self._handler not in root.handlers),
                    ("the level was changed", root.level != level),
                    ("loggers were disabled", bool(disabled)),
                )
                if is_changed
            ]
            if not changes:
                return
            for logger in disabled:
                logger.disabled, logger.propagate = False, True
            logging.disable(logging.NOTSET)
            root.addHandler(self._handler)
            root.setLevel(level)
        log.error("code of a lambda or a library changed the log: %s; restored", ", ".join(changes))

    def _run(self) -> None:
        restored = time.monotonic()
        while True:
            try:
                entry = self._queue.get(timeout=COUNT_SECONDS)
            except queue.Empty:
                self._write_counts()
                self.restore()
                continue
            if time.monotonic() - restored > COUNT_SECONDS:
                self.restore()
                restored = time.monotonic()
            if entry is None:
                self._write_counts(all=True)
                self._report_dropped()
                return
            self._do(entry)
            self._write_counts()
            if self._queue.empty():
                self._report_dropped()

    def _report_dropped(self) -> None:
        lost, self._reported = self.dropped - self._reported, self.dropped
        if lost:
            self._do(_note(f"{lost:,} lines were dropped: the reader of the log is too slow"))

    def _write_counts(self, *, all: bool = False) -> None:
        for record in self._limits.due(all=all):
            self._do(record)

    def _do(self, entry: logging.LogRecord | Callable[[], object]) -> None:
        try:
            if isinstance(entry, logging.LogRecord):
                line = self._formatter.format(entry) + "\n"
                if self._limits.admit_bytes(entry, len(line.encode(errors="replace"))):
                    self._write(line)
            else:
                entry()
        except (OSError, ValueError):
            # The reader of the log has closed it.
            return
        except Exception:
            # One bad line must not stop the log.
            traceback.print_exc(file=sys.__stderr__)


def _disabled_loggers() -> list[logging.Logger]:
    """Returns Meltica's loggers, and those of lambdas, whose records are lost."""
    named = list(logging.root.manager.loggerDict.items())
    loggers = [logger for name, logger in named if name == NAME or name.startswith(f"{NAME}.")]
    return [
        each for each in loggers if isinstance(each, logging.Logger) and (each.disabled or not each.propagate)
    ]


class _Handler(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def createLock(self) -> None:  # noqa: N802
        """Creates no lock, because the queue has its own."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a record."""
        self._logs.take(record)


def formatter(format: Format, *, colors: bool = False) -> logging.Formatter:
    """Returns the formatter of a log format."""
    if format == "json":
        last = structlog.processors.JSONRenderer(serializer=_json)
        return ProcessorFormatter(foreign_pre_chain=[_for_machines], processors=[last])
    console = structlog.dev.ConsoleRenderer(columns=_columns(colors))
    return ProcessorFormatter(foreign_pre_chain=[_for_people], processors=[console])


def _for_machines(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields: EventDict = {
        "time": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": event["event"],
    }
    for name in ("instance", *_BOUND):
        value = getattr(record, name, None)
        if value is not None:
            fields[name] = value
    if record.exc_text:
        fields["exception"] = record.exc_text
    return fields


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    fields: EventDict = {
        "time": datetime.fromtimestamp(record.created).strftime("%H:%M:%S"),
        "level": record.levelname.lower(),
        "logger": getattr(record, "instance", record.name.removeprefix("meltica.")),
        "event": visible(str(event["event"])),
    }
    if record.exc_text:
        fields["exception"] = visible(record.exc_text).replace("\n    ", "\n")
    return fields


def _columns(colors: bool) -> list[Column]:
    reset, dim = (structlog.dev.RESET_ALL, structlog.dev.DIM) if colors else ("", "")
    styles = structlog.dev.ConsoleRenderer.get_default_level_styles(colors=colors)

    def level(key: str, value: object) -> str:
        _ = key
        return f"{styles.get(str(value), '')}{value:<7}{reset}"

    def text(style: str, width: int = 0) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(None, style, reset, str, width=width)

    return [
        Column("time", text(dim)),
        Column("level", level),
        Column("logger", text(dim, 16)),
        Column("event", text("")),
        Column("", text("")),
    ]


def _exception(exc_info: Any) -> str:
    # Not the formatter that shows locals, because they may contain secrets.
    return shorten("".join(traceback.format_exception(*exc_info)).rstrip())


def _json(fields: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(fields).decode()
    except TypeError:
        # A lone surrogate, as in a file name that is not UTF-8.
        return json.dumps(fields, default=str)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        name = failure.thread.name if failure.thread is not None else "of another program"
        log.error("thread %s failed", name, exc_info=failure.exc_value)


def _ignored(failure: "sys.UnraisableHookArgs") -> None:
    log.error("%s: %r", failure.err_msg or "exception ignored in", failure.object, exc_info=failure.exc_value)


def _note(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)

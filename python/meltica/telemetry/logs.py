"""Logs of the gateway: lines for people on a terminal, JSON elsewhere; one configuration for all of it.

Everything logs by `logging`; structlog renders. A record is rendered and written on a thread of its own, so
that neither a lambda nor the loop ever waits for whoever reads the log. Where the reader stands still, lines
are dropped and counted.
"""

import contextlib
import json
import logging
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.dev import Column, KeyValueColumnFormatter
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

Format = Literal["human", "json"]

QUEUE = 10_000
"""Lines that wait for the reader."""
FLUSH_SECONDS = 1.0
QUIET = {
    # What it has to say about the database is said by `meltica.lock` and `meltica.postgres`, once.
    "psycopg.pool": logging.CRITICAL,
    "psycopg": logging.ERROR,
    # A line for each request, with all that is in its address.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "websockets": logging.WARNING,
    "uvicorn": logging.WARNING,
    "litestar": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""The least level of loggers that are not ours, whatever ours is."""


class Logs:
    """Takes over logging from `start` to `stop`. `write` gets finished lines, with their line end."""

    def __init__(
        self,
        level: str,
        format: Format,
        write: Callable[[str], object] | None = None,
        *,
        colors: bool = False,
    ) -> None:
        self.dropped = 0
        """Lines that were lost because nobody read the log fast enough."""
        self._level = level.upper()
        self._write = write or _to(sys.stderr)
        self._formatter = formatter(format, colors=colors)
        self._queue: queue.Queue[logging.LogRecord | Callable[[], object] | None] = queue.Queue(QUEUE)
        self._handler = _Handler(self)
        self._thread = threading.Thread(target=self._run, name="meltica-log", daemon=True)

    def start(self) -> None:
        """Logs from now on, also the warnings of Python."""
        root = logging.getLogger()
        root.addHandler(self._handler)
        root.setLevel(self._level)
        for name, least in QUIET.items():
            logging.getLogger(name).setLevel(max(least, root.level))
        logging.captureWarnings(True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits, for at most a second, and gives logging back."""
        root = logging.getLogger()
        root.removeHandler(self._handler)
        logging.captureWarnings(False)
        try:
            self._queue.put(None, timeout=FLUSH_SECONDS)
        except queue.Full:
            return
        self._thread.join(FLUSH_SECONDS)

    def take(self, record: logging.LogRecord) -> None:
        """Queues a record. Its text is made here: what it was made from may change or be large."""
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{record.msg!r} and its arguments {record.args!r} do not fit together: {error}"
        record.msg, record.args = text, None
        # What is bound to the caller's context is not to be seen from the thread that renders.
        record.request_id = structlog.contextvars.get_contextvars().get("request_id")
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def soon(self, action: Callable[[], object]) -> None:
        """Has something done on the thread that writes, in its turn; not at all when the queue is full."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(action)

    def _run(self) -> None:
        told = 0
        while (entry := self._queue.get()) is not None:
            self._do(entry)
            if self.dropped > told and self._queue.empty():
                lost, told = self.dropped - told, self.dropped
                self._do(_note(f"{lost:,} lines were dropped: the log was not read fast enough"))

    def _do(self, entry: logging.LogRecord | Callable[[], object]) -> None:
        try:
            if isinstance(entry, logging.LogRecord):
                self._write(self._formatter.format(entry) + "\n")
            else:
                entry()
        except (OSError, ValueError):
            # Who read the log is gone. There is nobody to tell.
            return
        except Exception:
            # A line must not end the log.
            traceback.print_exc(file=sys.__stderr__)


class _Handler(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def createLock(self) -> None:  # noqa: N802
        """Needs no lock: the queue has its own."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hands a record on."""
        self._logs.take(record)


def formatter(format: Format, *, colors: bool = False) -> logging.Formatter:
    """Returns what makes a line of a record."""
    if format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        return ProcessorFormatter(foreign_pre_chain=[_for_machines], processors=last)
    console = structlog.dev.ConsoleRenderer(columns=_columns(colors), exception_formatter=_traceback)
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
    for name in ("instance", "request_id"):
        value = getattr(record, name, None)
        if value is not None:
            fields[name] = value
    if record.exc_info is not None:
        fields["exc_info"] = record.exc_info
    return fields


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    fields: EventDict = {
        "time": datetime.fromtimestamp(record.created).strftime("%H:%M:%S"),
        "level": record.levelname.lower(),
        "logger": getattr(record, "instance", record.name.removeprefix("meltica.")),
        "event": event["event"],
    }
    if record.exc_info is not None:
        fields["exc_info"] = record.exc_info
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


def _traceback(out: TextIO, error: structlog.typing.ExcInfo) -> None:
    # Never the one that shows locals: they may hold secrets.
    out.write("\n" + "".join(traceback.format_exception(*error)).rstrip())


def _json(fields: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(fields).decode()
    except TypeError:
        # Half of a surrogate pair, as in a file's name that is no UTF-8.
        return json.dumps(fields, default=str)


def _to(stream: TextIO) -> Callable[[str], object]:
    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


def _note(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)

"""Runs a replay on a terminal: progress bar, log, interruption and final report."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

import click

from meltica.backtest.replay import EXIT_CODES, Replay, Status
from meltica.errors import LambdaError, MelticaError, ReplayError

if TYPE_CHECKING:
    from meltica.adapters.replay.adapter import ReplayAdapter
    from meltica.cli.json_output import JsonOutput

WATCH_SECONDS = 10.0
"""After a Ctrl-C, the watch ends the process half of this later if the interpreter is held, else after it."""
LOG_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


def run(session: Replay, adapter: "ReplayAdapter", output: "JsonOutput | None") -> int:
    """Runs a replay, prints the report and returns the exit code. Ends the process if a lambda is stuck."""
    status: Status = "ok"
    error: str | None = None
    with _screen(adapter), _interruptible(session) as interrupted:
        try:
            session.run(_wait)
        except LambdaError as failure:
            status, error = "lambda_failed", str(failure)
        except ReplayError as failure:
            status, error = "input_damaged", str(failure)
        except MelticaError as failure:
            status, error = "failed", str(failure)
        finally:
            clean = session.finish()
        if interrupted.is_set():
            status, error = "interrupted", "interrupted"
    report = session.report(status, error)
    if output is not None:
        output.write(report)
    else:
        from meltica.cli.replay.summary import show

        show(report)
    if report["error"]:
        click.echo(f"Error: {report['error']}", err=True)
    code: int = report["exit_code"]
    if not clean:
        _leave(code)
    return code


def _wait(thread: threading.Thread) -> None:
    # In slices: an unlimited wait blocks signal handlers on some platforms.
    while thread.is_alive():
        thread.join(0.2)


@contextlib.contextmanager
def _interruptible(session: Replay) -> Generator[threading.Event]:
    """Makes the first Ctrl-C stop the replay, and the second one end the process.

    While a callback holds the interpreter, no handler of a signal runs. The watch then names the lambda, and
    ends the process after a Ctrl-C.
    """
    interrupted = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            _leave(EXIT_CODES["interrupted"])
        interrupted.set()
        session.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    watch = session.watch()
    watch.end_after(WATCH_SECONDS, list(previous))
    try:
        yield interrupted
    finally:
        watch.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _screen(adapter: "ReplayAdapter") -> Generator[None]:
    """Logs to stderr, with a progress bar below where stderr is a terminal."""
    root = logging.getLogger()
    if not sys.stderr.isatty():
        with _logging(root, logging.StreamHandler(sys.stderr)):
            yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("replay"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar, _logging(root, _Printer(console.print)):
        task = bar.add_task("replay", total=adapter.size)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        adapter.progress = progress
        yield


class _EventTime(logging.Formatter):
    """Formats log lines of lambdas with the event time, in UTC, so that two replays log the same."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Returns the time of a record, to the millisecond."""
        ns = getattr(record, "event_time", 0) or int(record.created * 1e9)
        time = datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"{time}.{ns // 1_000_000 % 1000:03d}"


class _Printer(logging.Handler):
    """Prints records above a progress bar."""

    def __init__(self, out: "Callable[..., None]") -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        self._out(self.format(record), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _logging(root: logging.Logger, handler: logging.Handler) -> Generator[None]:
    handler.setFormatter(_EventTime(LOG_FORMAT))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _leave(code: int) -> None:
    """Ends the process while a callback still runs."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)

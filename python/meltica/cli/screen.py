"""Terminal output of a server: a log, and on a terminal a banner and a status line below the log."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Literal, NoReturn

from meltica._core import __version__
from meltica.telemetry.log_file import LogFile
from meltica.telemetry.logs import Logs

Show = Callable[[str], object]

PAIR_SECONDS = 1.0
"""How far apart two signals are that count as two."""
EXIT_SECONDS = 2.0
"""How long the exit of the interpreter may take: `atexit` handlers, thread pools, processes of strategies."""


@contextlib.contextmanager
def screen(
    level: str,
    format: Literal["auto", "human", "json"],
    title: str,
    rows: Mapping[str, str],
    file: LogFile | None = None,
) -> Generator[Show | None]:
    """Logs to a file or to stderr.

    On a terminal, prints a banner and yields a function that updates the status line.
    """
    terminal = sys.stderr.isatty()
    chosen = log_format(format, file)
    if not terminal or (chosen == "json" and file is None):
        with _logging(Logs(level, chosen, file.write if file is not None else None), file):
            yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(_banner(title, rows))
    live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=sys.stdout.isatty())

    def write(line: str) -> None:
        console.print(Text.from_ansi(line.rstrip("\n")))

    def show(line: str) -> None:
        text = Text(line, style="reverse", no_wrap=True, overflow="ellipsis")
        logs.soon(lambda: live.update(text, refresh=True))

    if file is not None:
        file.fallback = write
        logs = Logs(level, chosen, file.write)
    else:
        logs = Logs(level, chosen, write, colors=console.color_system is not None)
    live.start()
    try:
        with _logging(logs, file):
            yield show
    finally:
        # The terminal may have been closed.
        with contextlib.suppress(OSError):
            live.stop()


def log_format(format: Literal["auto", "human", "json"], file: LogFile | None) -> Literal["human", "json"]:
    """Returns the format of the log: `auto` is for people on a terminal and JSON elsewhere."""
    if format != "auto":
        return format
    return "human" if sys.stderr.isatty() and file is None else "json"


def signals() -> list[signal.Signals]:
    """Returns the signals that stop a server, including a closed terminal unless `nohup` ignores it."""
    closed = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *closed]


class StopSignals:
    """The signals that stop a server: the first one requests the stop, a later one ends the process.

    Signals within `PAIR_SECONDS` of the first count as one: `timeout` sends its signal to the process and
    then to its whole group.
    """

    def __init__(
        self,
        end: Callable[[signal.Signals], object],
        clock: Callable[[], float] = time.monotonic,
        *,
        on_hangup: Callable[[], object] | None = None,
    ) -> None:
        """`end` is called with the later signal. With `on_hangup`, SIGHUP calls it and does not stop."""
        self.requested = asyncio.Event()
        self.numbers: list[signal.Signals] = []
        """The signals that stop, once `listen` was called."""
        self._end = end
        self._clock = clock
        self._on_hangup = on_hangup
        self._first = 0.0

    def listen(self) -> None:
        """Handles the signals on the running event loop."""
        loop = asyncio.get_running_loop()
        self.numbers = [n for n in signals() if self._on_hangup is None or n is not signal.SIGHUP]
        for number in self.numbers:
            loop.add_signal_handler(number, self.receive, number)
        if self._on_hangup is not None:
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def receive(self, number: signal.Signals) -> None:
        """Handles one signal."""
        if not self.requested.is_set():
            self._first = self._clock()
            self.requested.set()
        elif self._clock() - self._first >= PAIR_SECONDS:
            self._end(number)


def leave(code: int) -> NoReturn:
    """Ends the process while threads may still run."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def leave_soon(code: int) -> None:
    """Ends the process after EXIT_SECONDS if the interpreter has not exited by then."""

    def expire() -> None:
        time.sleep(EXIT_SECONDS)
        # Without a flush or a message, because the reader of a stream may be what the exit waits for.
        os._exit(code)

    threading.Thread(target=expire, name="meltica-exit", daemon=True).start()


def _banner(title: str, rows: Mapping[str, str]) -> str:
    return "\n".join([f"{title} {__version__}", *(f"  {name:<8} {value}" for name, value in rows.items())])


@contextlib.contextmanager
def _logging(logs: Logs, file: LogFile | None) -> Generator[None]:
    if file is not None:
        file.wake = logs.soon
    logs.start()
    try:
        yield
    finally:
        logs.stop()

"""Runs the gateway in this process, with its event loop, signals, log and terminal output."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from meltica._core import __version__
from meltica.cli.failures import CommandFailed, complain
from meltica.cli.screen import Show, StopSignals, leave, leave_soon, log_format, screen
from meltica.errors import ConfigError, DatabaseUnavailable, MelticaError, one_line
from meltica.gateway.gateway import Gateway
from meltica.persistence.database import shown
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.telemetry.log_file import LogFile

if TYPE_CHECKING:
    from meltica._core import Watch
    from meltica.cli.json_output import JsonOutput
    from meltica.settings import Loaded

log = logging.getLogger("meltica.gateway")

ENDED_BY_SIGNAL = 130
STATUS_SECONDS = 0.5
LEFT_BEHIND = {"lambdas": 3, "states": 5, "lock": 5, "database": 5, "embedded PostgreSQL": 5}
"""Exit codes for a component that did not stop; the first match applies, 1 otherwise."""


def run(loaded: "Loaded", output: "JsonOutput | None") -> int:
    """Runs the gateway until a signal stops it; returns the exit code."""
    started_at = time.monotonic()
    # Prints the Python stack of a crash in C code. A server may have been started without stderr.
    with contextlib.suppress(AttributeError, OSError, ValueError, RuntimeError):
        faulthandler.enable()
    try:
        rows = _rows(loaded)
    except DatabaseUnavailable as error:
        failed = CommandFailed(error)
        if output is not None:
            line = {"event": "failed", "part": "database", "error": str(error)}
            output.write({**line, "exit_code": failed.exit_code})
        raise failed from error
    with contextlib.ExitStack() as stack:
        settings = loaded.settings.log
        file = LogFile(settings.file, settings.max_size, settings.max_files) if settings.file else None
        show = stack.enter_context(screen(settings.level, settings.format, "Meltica", rows, file))
        serving = Serving(loaded, show, stack.close, output, file, started_at=started_at)
        try:
            with asyncio.Runner() as runner:
                runner.run(serving.main())
        except Exception as error:
            serving.crashed(error)
            raise
    return serving.conclude()


class Serving:
    """Runs one gateway, and reports its start and end."""

    def __init__(
        self,
        loaded: "Loaded",
        show: Show | None,
        close_screen: Callable[[], object],
        output: "JsonOutput | None",
        log_file: LogFile | None,
        *,
        started_at: float,
    ) -> None:
        self._loaded = loaded
        self._show = show
        self._close_screen = close_screen
        self._output = output
        self._started_at = started_at
        self._gateway = Gateway(loaded, self._watch)
        self._log_file = log_file
        self._signals = StopSignals(self._end_now, on_hangup=log_file.reopen if log_file else None)
        self._failure: MelticaError | None = None

    async def main(self) -> None:
        """Starts the gateway, waits for a signal, stops it."""
        self._signals.listen()
        for warning in self._loaded.warnings:
            log.warning("%s", warning)
        try:
            if await self._start():
                self._report_ready()
                await self._until_stop_requested()
                log.info("stopping; a second signal ends the process immediately")
                await self._gateway.stop()
                log.info("stopped")
        except MelticaError as error:
            self._failure = error
        if self._gateway.left_behind:
            # A component that did not stop would keep the loop or the interpreter running.
            self._leave()

    def conclude(self) -> int:
        """Reports the result and returns the exit code. From now on, the end of the process is bounded."""
        failure = self._failure
        code = self._code()
        leave_soon(code)
        if self._output is not None:
            end: dict[str, object] = {"event": "stopped" if failure is None else "failed"}
            if failure is not None:
                end |= {"part": self._gateway.failed_part, "error": str(failure)}
            if self._gateway.left_behind:
                end["left_behind"] = self._gateway.left_behind
            self._echo({**end, "exit_code": code})
        if failure is not None:
            complain(f"Error: {failure}")
        elif self._gateway.left_behind:
            complain(f"Error: did not stop in time: {', '.join(self._gateway.left_behind)}")
        return code

    def crashed(self, error: Exception) -> None:
        """Writes the last line of JSON for an error that is not Meltica's own."""
        leave_soon(1)
        self._echo({"event": "failed", "error": one_line(error), "exit_code": 1})

    async def _start(self) -> bool:
        """Starts the gateway; returns False if a signal stopped the start. Raises if it fails."""
        loop = asyncio.get_running_loop()
        starting = loop.create_task(self._gateway.start())
        stop_requested = loop.create_task(self._signals.requested.wait())
        await asyncio.wait({starting, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
        stop_requested.cancel()
        if not starting.done():
            log.info("stopping during the start")
            starting.cancel()
        await asyncio.wait({starting})
        if starting.cancelled():
            return False
        starting.result()
        return True

    async def _until_stop_requested(self) -> None:
        if self._show is None:
            await self._signals.requested.wait()
            return
        from meltica.cli.serve.status import StatusLine

        status = StatusLine(self._gateway)
        while not self._signals.requested.is_set():
            self._show(status.next())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signals.requested.wait(), STATUS_SECONDS)

    def _watch(self, watch: "Watch") -> None:
        """Lets the watch log and keep the deadline of a stop, also while a callback holds the interpreter."""
        settings, file, postgres = self._gateway.settings, self._log_file, self._gateway.postgres
        watch.log_to(log_format(settings.log.format, file), file.path if file is not None else None)
        watch.end_after(
            settings.shutdown.timeout.total_seconds(),
            self._signals.numbers,
            data=postgres.data if postgres is not None else None,
            output=self._output.descriptor if self._output is not None else None,
        )

    def _end_now(self, number: signal.Signals) -> NoReturn:
        leave_soon(ENDED_BY_SIGNAL)
        log.error("%s again: the process ends immediately", number.name)
        self._close_screen()
        self._echo({"event": "interrupted", "exit_code": ENDED_BY_SIGNAL})
        leave(ENDED_BY_SIGNAL)

    def _report_ready(self) -> None:
        address = self._gateway.url
        seconds = time.monotonic() - self._started_at
        command = self._gateway.access.command(address)
        log.info("ready at %s after %.1f s; try: %s", address, seconds, command)
        if self._output is not None:
            line = {"event": "ready", "version": __version__, "address": address, "pid": os.getpid()}
            self._output.write_soon({**line, "config": str(self._loaded.path), "data": _data(self._loaded)})

    def _echo(self, line: dict[str, object]) -> None:
        # The reader of stdout may have closed it, which must not stop the gateway.
        with contextlib.suppress(OSError):
            if self._output is not None:
                self._output.write(line)

    def _code(self) -> int:
        if self._failure is not None:
            return CommandFailed(self._failure).exit_code
        abandoned = self._gateway.left_behind
        return next((code for part, code in LEFT_BEHIND.items() if part in abandoned), 1) if abandoned else 0

    def _leave(self) -> NoReturn:
        self._close_screen()
        leave(self.conclude())


def _rows(loaded: "Loaded") -> dict[str, str]:
    """Returns the rows of the banner."""
    api = loaded.settings.api_server
    return {
        "config": str(loaded.path),
        "address": loaded.settings.api_server.url(api.host, api.port),
        "data": _data(loaded),
        "stop": "Ctrl-C",
    }


def _data(loaded: "Loaded") -> str:
    """Returns the location of the database, without secrets."""
    database = loaded.settings.database
    if database.dsn is not None:
        try:
            return shown(database.dsn.get_secret_value())
        except ConfigError:
            # The start of the gateway reports the fault.
            return "an invalid connection string"
    return str(EmbeddedPostgres(database.home).home)

"""Runs a venue in this process, with its event loop, signals, log and terminal output."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from meltica._core import __version__
from meltica.cli.failures import CommandFailed
from meltica.cli.screen import Show, StopSignals, leave, screen
from meltica.errors import MelticaError
from meltica.http.address import bind
from meltica.http.server import HttpServer
from meltica.venue.app import create_app
from meltica.venue.exchange import Exchange

if TYPE_CHECKING:
    from meltica.venue.config import VenueSettings

log = logging.getLogger("meltica.venue")

HOST = "127.0.0.1"
ENDED_BY_SIGNAL = 130
STATUS_SECONDS = 0.5


def run(settings: "VenueSettings", port: int, *, as_json: bool) -> int:
    """Serves until a signal stops it; returns the exit code."""
    failure: MelticaError | None = None
    try:
        with contextlib.closing(bind(HOST, port, "--port")) as bound, asyncio.Runner() as runner:
            runner.run(_Serving(settings, bound, as_json=as_json).main())
    except MelticaError as error:
        failure = error
        click.echo(f"Error: {failure}", err=True)
    code = 0 if failure is None else CommandFailed(failure).exit_code
    if as_json:
        end = {"event": "stopped"} if failure is None else {"event": "failed", "error": str(failure)}
        _echo({**end, "exit_code": code})
    return code


class _Serving:
    """Runs one venue, and reports its start and end."""

    def __init__(self, settings: "VenueSettings", bound: socket.socket, *, as_json: bool) -> None:
        self._settings = settings
        self._bound = bound
        self._as_json = as_json
        self._signals = StopSignals(self._end_now)
        self._address = f"{HOST}:{bound.getsockname()[1]}"

    async def main(self) -> None:
        """Serves until a signal arrives, or the market fails."""
        venue = Exchange(self._settings)
        server = HttpServer(create_app(venue), self._bound, streams=True)
        # The banner says that Ctrl-C stops the venue.
        self._signals.listen()
        with screen("info", "auto", "Meltica venue", self._rows()) as show:
            loop = asyncio.get_running_loop()
            market = loop.create_task(venue.run(), name="meltica-market")
            await server.start()
            self._report_ready()
            shown = loop.create_task(self._until_stop_requested(venue, show))
            try:
                await asyncio.wait({market, shown}, return_when=asyncio.FIRST_COMPLETED)
                log.info("stopping")
                if market.done():
                    market.result()
            finally:
                for task in (shown, market):
                    task.cancel()
                await asyncio.gather(shown, market, return_exceptions=True)
                venue.stop()
                await server.stop()
            log.info("stopped")

    def _rows(self) -> dict[str, str]:
        """Returns the rows of the banner; the only secret shown is the documented default."""
        accounts = self._settings.accounts
        given = "accounts" in self._settings.model_fields_set
        keys = [
            account.key if given else f"{account.key}, secret {account.secret.get_secret_value()}"
            for account in accounts.values()
        ]
        return {
            "address": f"http://{self._address}",
            "stream": f"ws://{self._address}/v1/stream",
            "keys": ", ".join(keys),
            "seed": str(self._settings.market.seed),
            "stop": "Ctrl-C",
        }

    def _report_ready(self) -> None:
        log.info("ready at http://%s", self._address)
        if self._as_json:
            rows = self._rows()
            line = {"event": "ready", "version": __version__, "pid": os.getpid()}
            _echo({**line, "address": rows["address"], "stream": rows["stream"]})

    async def _until_stop_requested(self, venue: Exchange, show: Show | None) -> None:
        if show is None:
            await self._signals.requested.wait()
            return
        started_at = time.monotonic()
        last = started_at, venue.hub.published
        while not self._signals.requested.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signals.requested.wait(), STATUS_SECONDS)
            now = time.monotonic(), venue.hub.published
            show(status_line(venue, (now[1] - last[1]) / (now[0] - last[0]), now[0] - started_at))
            last = now

    def _end_now(self, number: signal.Signals) -> NoReturn:
        log.error("%s again: the process ends immediately", number.name)
        if self._as_json:
            _echo({"event": "interrupted", "exit_code": ENDED_BY_SIGNAL})
        leave(ENDED_BY_SIGNAL)


def status_line(venue: Exchange, rate: float, up: float) -> str:
    """Returns the line with the state of a venue. `rate` is in frames per second, `up` in seconds."""
    market = datetime.fromtimestamp(venue.market.now / 1e9, UTC)
    parts = [
        f"market {market:%Y-%m-%d %H:%M:%S}",
        "connected" if venue.market.connected else "disconnected",
        f"streams {len(venue.hub.clients)}",
        f"{rate:,.0f} frames/s",
        f"open orders {sum(len(account.list_open()) for account in venue.accounts.values()):,}",
        f"cut {venue.hub.cut:,}",
        f"up {int(up) // 3600}:{int(up) // 60 % 60:02}:{int(up) % 60:02}",
    ]
    return " | ".join(parts)


def _echo(line: dict[str, object]) -> None:
    # The reader of stdout may have closed it, which must not stop the venue.
    with contextlib.suppress(OSError):
        click.echo(json.dumps(line))

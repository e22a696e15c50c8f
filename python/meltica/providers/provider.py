"""One provider: starts, supervises, restarts and stops its adapter, and passes routes to it."""

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from meltica._core import Codec
from meltica.adapters import registry
from meltica.adapters.base import Route
from meltica.errors import CodecError, ConfigError, Overdue, Unauthenticated, one_line
from meltica.runtime.backoff import Backoff, RestartPolicy
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.runtime.threads import call, within
from meltica.validation.section import FeedSettings
from meltica.validation.units import format_duration

if TYPE_CHECKING:
    from meltica._core import Core, Producer
    from meltica.adapters.base import Adapter
    from meltica.model.account import Account
    from meltica.persistence.stores.providers import ProviderRow
    from meltica.providers.spec import ProviderSpec

log = logging.getLogger("meltica.providers")

ROUTE_PAUSES = 0.5, 30.0
"""Seconds between two attempts at routes that failed: the first pause, and the longest."""


@dataclass(frozen=True)
class Clock:
    """The time source of providers: a clock, a sleep, and jitter for pauses."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class Provider:
    """A provider and its supervision. Belongs to the event loop's thread."""

    def __init__(
        self,
        spec: "ProviderSpec",
        row: "ProviderRow",
        core: "Core",
        policy: RestartPolicy,
        record: Callable[["Provider"], None],
        clock: Clock,
    ) -> None:
        self.spec = spec
        self._row = row
        self.desired = Desired.STOPPED
        self.actual = ProviderState.PENDING
        self.last_error: str | None = None
        self.route_error: str | None = None
        """Why the latest change of routes failed; None when it succeeded."""
        self.ended = False
        """Whether the source ended by itself, as a recording does."""
        self.restarts = 0
        self.instruments: tuple[Mapping[str, object], ...] = ()
        """The venue's instruments, as of the last start."""
        self.lock = asyncio.Lock()
        self.removing = False
        """Whether it is being deleted: instances may no longer be created for it."""
        self.reservations = 0
        """How many instances are being created for it: it may not be deleted meanwhile."""
        self._core = core
        self._policy = policy
        self._record = record
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._unfinished: asyncio.Future[None] | None = None
        self._wanted: frozenset[Route] = frozenset()
        self._rerouted = asyncio.Event()
        self._run: _AdapterRun | None = None

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.spec.name

    def latest(self, row: "ProviderRow | None") -> "ProviderRow":
        """Returns its row, which is `row`; if it has none any more, the last one."""
        self._row = row or self._row
        return self._row

    @property
    def running(self) -> bool:
        """Whether the adapter runs."""
        return self.actual is ProviderState.RUNNING

    @property
    def connection_error(self) -> str | None:
        """Why a running adapter is disconnected; None while it is connected."""
        return None if self._run is None else self._run.connection_error

    @property
    def account(self) -> "Account | None":
        """The account of a running adapter; None while it does not run, or where it has none."""
        return None if self._run is None or not self.running else self._run.account

    @property
    def fee_rate(self) -> Decimal:
        """The highest fee rate on the account of a running adapter."""
        return Decimal(0) if self._run is None else self._run.fee_rate

    @property
    def busy(self) -> bool:
        """Whether the provider runs or will be restarted, so that a start would change nothing."""
        return self._task is not None and not self._task.done()

    @property
    def left_behind(self) -> bool:
        """Whether an earlier run was stopped and has not ended yet."""
        return self._unfinished is not None and not self._unfinished.done()

    @property
    def routes(self) -> frozenset[Route]:
        """The routes that running instances need from the provider."""
        return self._wanted

    def begin(self) -> None:
        """Starts the provider in the background and keeps it running."""
        self.ended = False
        self._set(ProviderState.STARTING)
        self._task = asyncio.get_running_loop().create_task(
            self._keep_running(), name=f"provider-{self.name}"
        )

    async def end(self) -> None:
        """Stops the provider within the stop time-out of the settings."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._set(ProviderState.STOPPED)

    def apply(self, spec: "ProviderSpec") -> None:
        """Applies settings that do not need a restart to the current run and the next ones."""
        self.spec = spec
        if self._run is not None:
            self._run.apply(spec)

    def reroute(self, wanted: frozenset[Route]) -> None:
        """Sets the routes, which are passed to the adapter in the background."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._rerouted.set()

    def _set(self, actual: ProviderState, error: str | None = None) -> None:
        if actual is ProviderState.RUNNING or error is not None:
            self.last_error = error
        self.actual = actual
        self._record(self)

    def _fail(self, text: str) -> None:
        log.error("provider %s failed: %s", self.name, text)
        self._set(ProviderState.FAILED, text)

    async def _keep_running(self) -> None:
        backoff = self._policy.backoff(self._clock.jitter)
        budget = self._policy.budget(self._clock.now)
        while True:
            started_at = self._clock.now()
            try:
                await self._run_once()
            except Exception as error:
                text = one_line(error)
                if self._clock.now() - started_at >= self._policy.max_pause:
                    backoff.reset()
                # Venue outages are transient; these faults need a config change.
                if isinstance(error, ConfigError | CodecError | Unauthenticated) and not budget.spend():
                    window = format_duration(timedelta(seconds=budget.window))
                    cause = f"not restarted again after {budget.count} failed restarts within {window}"
                    self._fail(f"{text}; {cause}; correct the settings")
                    return
                pause = backoff.next()
                log.warning("provider %s failed, restart in %.1f s: %s", self.name, pause, text)
                self._set(ProviderState.STARTING, text)
                self.restarts += 1
                await self._clock.sleep(pause)
            else:
                self.ended = True
                log.info("provider %s: the source has ended", self.name)
                self._set(ProviderState.STOPPED)
                return

    async def _run_once(self) -> None:
        """Runs an adapter until its source ends; raises what ends it earlier."""
        if self.left_behind:
            raise Overdue("not started: the last run was stopped and has not ended yet")
        run = self._run = _AdapterRun(self.spec, self._core)
        running: asyncio.Future[None] | None = None
        seconds = self._policy.start_timeout
        starting = call(run.start, f"{self.name}-start")
        try:
            try:
                await within(seconds, starting, late=lambda _: call(run.stop, f"{self.name}-stop"))
            except Overdue:
                raise Overdue(f"not started within {seconds:g} s") from None
            self.instruments = run.instruments
            self._set(ProviderState.RUNNING)
            log.info("provider %s is running", self.name)
            running = call(run.run, f"{self.name}-run")
            routing = asyncio.get_running_loop().create_task(self._route(run))
            try:
                await asyncio.shield(running)
            finally:
                routing.cancel()
                await asyncio.gather(routing, return_exceptions=True)
        finally:
            self.route_error = self._run = None
            await self._shut(run, running)

    async def _shut(self, run: "_AdapterRun", running: "asyncio.Future[None] | None") -> None:
        """Stops an adapter in any state, in bounded time."""
        seconds = self._policy.stop_timeout
        stopping = call(run.stop, f"{self.name}-stop")
        calls = [stopping] if running is None else [stopping, running]
        _, pending = await asyncio.wait(calls, timeout=seconds)
        if pending:
            log.warning("provider %s did not stop within %g s; its threads keep running", self.name, seconds)
        elif (error := stopping.exception()) is not None:
            log.warning("provider %s: error while stopping: %s", self.name, one_line(error))
        if running is None:
            return
        if not running.done():
            self._unfinished = running
            return
        # The caller that awaited the future has the exception already; this marks it as retrieved.
        running.exception()
        await asyncio.wait([call(run.disconnect, f"{self.name}-disconnect")], timeout=seconds)

    async def _route(self, run: "_AdapterRun") -> None:
        """Passes the routes to the adapter, now and after each change, and retries until it succeeds."""
        certain = possible = frozenset[Route]()
        backoff = Backoff(*ROUTE_PAUSES, self._clock.jitter)
        while True:
            self._rerouted.clear()
            wanted = self._wanted
            on, off = wanted - certain, possible - wanted
            # Until the call succeeds, the part that the venue has accepted is unknown.
            certain, possible = certain - off, possible | on
            request = call(
                lambda on=on, off=off: run.route(_ordered(on), _ordered(off)), f"{self.name}-route"
            )
            # A stop interrupts the call; asyncio would log its error as never retrieved.
            request.add_done_callback(lambda request: request.cancelled() or request.exception())
            try:
                await self._completed(request)
            except Exception as error:
                self.route_error = one_line(error)
                pause = backoff.next()
                log.warning(
                    "provider %s: routes not changed, retry in %.1f s: %s",
                    self.name,
                    pause,
                    one_line(error),
                )
                await _first(self._rerouted.wait(), self._clock.sleep(pause))
            else:
                certain = possible = wanted
                self.route_error = None
                backoff.reset()
                await self._rerouted.wait()

    async def _completed(self, request: "asyncio.Future[None]") -> None:
        """Waits for a change of routes, and reports one that takes long. There is one call at a time."""
        seconds = self._policy.start_timeout
        _, pending = await asyncio.wait([request], timeout=seconds)
        if pending:
            self.route_error = f"change of routes not completed within {seconds:g} s"
            log.warning("provider %s: routes: %s", self.name, self.route_error)
        await request


class _AdapterRun:
    """One run of an adapter. Its methods may block, so each is called on its own thread."""

    def __init__(self, spec: "ProviderSpec", core: "Core") -> None:
        self.instruments: tuple[Mapping[str, object], ...] = ()
        self._spec = spec
        self._core = core
        self._adapter: Adapter | None = None
        self._producers: dict[str, Producer] = {}
        self._applying = threading.Lock()

    def start(self) -> None:
        """Creates the adapter and starts it."""
        if self._spec.fault is not None:
            raise ConfigError(f"provider `{self._spec.name}`", [self._spec.fault])
        adapter = registry.adapter(self._spec.adapter).make(self._spec.settings)
        adapter.bind_name(self._spec.name)
        declaration = adapter.codec()
        codec = None if declaration is None else Codec(declaration)
        self._producers = {name: self._core.producer(name, codec) for name in adapter.providers()}
        self._adapter = adapter
        self.apply()
        adapter.start(self._producers)
        self.instruments = tuple(adapter.instruments())
        symbols = [str(instrument["symbol"]) for instrument in self.instruments]
        for producer in self._producers.values():
            producer.list_symbols(symbols)

    def apply(self, spec: "ProviderSpec | None" = None) -> None:
        """Applies the settings that do not need a restart: those of `spec`, or of the run if it is None."""
        with self._applying:
            self._spec = spec or self._spec
            if isinstance(settings := self._spec.settings, FeedSettings):
                for producer in self._producers.values():
                    producer.verify_checksums(settings.checksum == "verify")

    @property
    def connection_error(self) -> str | None:
        """Why the adapter is disconnected; None while it is connected."""
        return None if self._adapter is None else self._adapter.connection_error

    @property
    def account(self) -> "Account | None":
        """The account of the adapter; None where it has none."""
        return None if self._adapter is None else self._adapter.account

    @property
    def fee_rate(self) -> Decimal:
        """The highest fee rate on the account."""
        return Decimal(0) if self._adapter is None else self._adapter.fee_rate

    def run(self) -> None:
        """Publishes events until the source ends or the adapter is stopped."""
        assert self._adapter is not None
        self._adapter.run()

    def route(self, subscribe: list[Route], unsubscribe: list[Route]) -> None:
        """Changes the subscriptions of the adapter."""
        assert self._adapter is not None
        self._adapter.route(subscribe, unsubscribe)

    def stop(self) -> None:
        """Requests a stop; `start` and `run` return shortly after."""
        if self._adapter is not None:
            self._adapter.stop()

    def disconnect(self) -> None:
        """Marks the market data as stale, because it is no longer updated."""
        for producer in self._producers.values():
            producer.restart()


async def _first(*waits: Awaitable[object]) -> None:
    """Waits for the first of several awaitables, and cancels the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _ordered(routes: Iterable[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: (route.kind, route.symbol or ""))

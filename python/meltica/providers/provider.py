"""One provider: its adapter started, watched, started again, stopped; and asked for what instances want."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from meltica._core import Codec
from meltica.adapters import registry
from meltica.adapters.base import Route
from meltica.errors import CodecError, ConfigError, Overdue, Unauthenticated, one_line
from meltica.runtime.backoff import Backoff, RestartPolicy
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.runtime.threads import call, within
from meltica.validation.units import format_duration

if TYPE_CHECKING:
    from meltica._core import Core, Producer
    from meltica.adapters.base import Adapter
    from meltica.providers.spec import ProviderSpec

log = logging.getLogger("meltica.providers")

ROUTE_PAUSES = 0.5, 30.0
"""Seconds between two attempts at routes that failed: the first pause, and the longest."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class Provider:
    """One provider and its life. Belongs to the loop's thread."""

    def __init__(
        self,
        spec: "ProviderSpec",
        core: "Core",
        policy: RestartPolicy,
        note: Callable[["Provider"], None],
        clock: Clock,
    ) -> None:
        self.spec = spec
        self.desired = Desired.STOPPED
        self.actual = ProviderState.PENDING
        self.last_error: str | None = None
        self.route_error: str | None = None
        """Why it could not be asked for what instances want; None when it could."""
        self.ended = False
        """Whether its source came to its end by itself, as a recording does."""
        self.restarts = 0
        self.instruments: tuple[Mapping[str, object], ...] = ()
        """The venue's instruments, as of the last start."""
        self.lock = asyncio.Lock()
        self._core = core
        self._policy = policy
        self._note = note
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._left: asyncio.Future[None] | None = None
        self._wanted: frozenset[Route] = frozenset()
        self._rerouted = asyncio.Event()
        self._life: _Life | None = None

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether events may come."""
        return self.actual is ProviderState.RUNNING

    @property
    def connection_error(self) -> str | None:
        """Why nothing comes of a provider that runs, as its adapter says; None while all is well."""
        return None if self._life is None else self._life.connection_error

    @property
    def busy(self) -> bool:
        """Whether it is being kept running: a start would change nothing."""
        return self._task is not None and not self._task.done()

    @property
    def left_behind(self) -> bool:
        """Whether an earlier run was told to stop and has not ended."""
        return self._left is not None and not self._left.done()

    @property
    def routes(self) -> frozenset[Route]:
        """What instances want of it."""
        return self._wanted

    def begin(self) -> None:
        """Starts it in the background and keeps it running."""
        self.ended = False
        self._set(ProviderState.STARTING)
        self._task = asyncio.get_running_loop().create_task(
            self._keep_running(), name=f"provider-{self.name}"
        )

    async def end(self) -> None:
        """Stops it, in at most the time that the settings give."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._set(ProviderState.STOPPED)

    def reroute(self, wanted: frozenset[Route]) -> None:
        """Has the adapter asked for what is wanted now."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._rerouted.set()

    def _set(self, actual: ProviderState, error: str | None = None) -> None:
        if actual is ProviderState.RUNNING or error is not None:
            self.last_error = error
        self.actual = actual
        self._note(self)

    def _fail(self, text: str) -> None:
        log.error("provider %s failed: %s", self.name, text)
        self._set(ProviderState.FAILED, text)

    async def _keep_running(self) -> None:
        backoff = self._policy.backoff(self._clock.jitter)
        budget = self._policy.budget(self._clock.now)
        while True:
            began = self._clock.now()
            try:
                await self._run_once()
            except (ConfigError, CodecError, Unauthenticated) as error:
                # Trying again would change nothing; and who knocks with a wrong key is locked out.
                self._fail(str(error))
                return
            except Exception as error:
                text = one_line(error)
                if self._clock.now() - began >= self._policy.max_pause:
                    backoff.reset()
                if not budget.spend():
                    window = format_duration(timedelta(seconds=budget.window))
                    self._fail(f"{text}; given up after {budget.count} restarts within {window}")
                    return
                pause = backoff.next()
                log.warning("provider %s failed, next start in %.1f s: %s", self.name, pause, text)
                self._set(ProviderState.STARTING, text)
                self.restarts += 1
                await self._clock.sleep(pause)
            else:
                self.ended = True
                log.info("provider %s has come to its end", self.name)
                self._set(ProviderState.STOPPED)
                return

    async def _run_once(self) -> None:
        """One life of an adapter: until its source ends, or by an exception."""
        if self.left_behind:
            raise Overdue("its last run was told to stop and has not ended yet")
        life = self._life = _Life(self.spec, self._core)
        running: asyncio.Future[None] | None = None
        seconds = self._policy.start_timeout
        starting = call(life.start, f"{self.name}-start")
        try:
            try:
                await within(seconds, starting, late=lambda _: call(life.stop, f"{self.name}-stop"))
            except Overdue:
                raise Overdue(f"it did not start within {seconds:g} s") from None
            self.instruments = life.instruments
            self._set(ProviderState.RUNNING)
            log.info("provider %s runs", self.name)
            running = call(life.run, f"{self.name}-run")
            routing = asyncio.get_running_loop().create_task(self._route(life))
            try:
                await asyncio.shield(running)
            finally:
                routing.cancel()
                await asyncio.gather(routing, return_exceptions=True)
        finally:
            self.route_error = self._life = None
            await self._shut(life, running)

    async def _shut(self, life: "_Life", running: "asyncio.Future[None] | None") -> None:
        """Stops an adapter, whatever state it is in, in bounded time."""
        seconds = self._policy.stop_timeout
        stopping = call(life.stop, f"{self.name}-stop")
        calls = [stopping] if running is None else [stopping, running]
        _, left = await asyncio.wait(calls, timeout=seconds)
        if left:
            log.warning("provider %s did not end within %g s and is left behind", self.name, seconds)
        elif (error := stopping.exception()) is not None:
            log.warning("provider %s could not be stopped cleanly: %s", self.name, one_line(error))
        if running is None:
            return
        if not running.done():
            self._left = running
            return
        # Whoever waits for it has this already; nobody else will ask.
        running.exception()
        await asyncio.wait([call(life.disconnect, f"{self.name}-disconnect")], timeout=seconds)

    async def _route(self, life: "_Life") -> None:
        """Asks the adapter for what is wanted, now and after each change, until it succeeds."""
        sure = possible = frozenset[Route]()
        backoff = Backoff(*ROUTE_PAUSES, self._clock.jitter)
        while True:
            self._rerouted.clear()
            wanted = self._wanted
            on, off = wanted - sure, possible - wanted
            # Until the call succeeds nobody knows what the venue took of it.
            sure, possible = sure - off, possible | on
            asking = call(
                lambda on=on, off=off: life.route(_ordered(on), _ordered(off)), f"{self.name}-route"
            )
            try:
                await self._answered(asking)
            except Exception as error:
                self.route_error = one_line(error)
                pause = backoff.next()
                log.warning(
                    "provider %s: routes failed, again in %.1f s: %s", self.name, pause, one_line(error)
                )
                await _first(self._rerouted.wait(), self._clock.sleep(pause))
            else:
                sure = possible = wanted
                self.route_error = None
                backoff.reset()
                await self._rerouted.wait()

    async def _answered(self, asking: "asyncio.Future[None]") -> None:
        """Waits for a call, and shows when it takes long: there is one at a time."""
        seconds = self._policy.start_timeout
        _, left = await asyncio.wait([asking], timeout=seconds)
        if left:
            self.route_error = f"the adapter has not answered for {seconds:g} s"
            log.warning("provider %s: routes: %s", self.name, self.route_error)
        await asking


class _Life:
    """An adapter from its making to its end. What blocks, each call on a thread of its own."""

    def __init__(self, spec: "ProviderSpec", core: "Core") -> None:
        self.instruments: tuple[Mapping[str, object], ...] = ()
        self._spec = spec
        self._core = core
        self._adapter: Adapter | None = None
        self._producers: dict[str, Producer] = {}

    def start(self) -> None:
        """Makes the adapter and starts it."""
        adapter = registry.adapter(self._spec.adapter).make(self._spec.settings)
        adapter.bind_name(self._spec.name)
        declaration = adapter.codec()
        codec = None if declaration is None else Codec(declaration)
        self._producers = {name: self._core.producer(name, codec) for name in adapter.providers()}
        self._adapter = adapter
        adapter.start(self._producers)
        self.instruments = tuple(adapter.instruments())

    @property
    def connection_error(self) -> str | None:
        """What the adapter says of its connections."""
        return None if self._adapter is None else self._adapter.connection_error

    def run(self) -> None:
        """Sends events until the source ends or the adapter is stopped."""
        assert self._adapter is not None
        self._adapter.run()

    def route(self, subscribe: list[Route], unsubscribe: list[Route]) -> None:
        """Asks for what is wanted, and for no more of what is not."""
        assert self._adapter is not None
        self._adapter.route(subscribe, unsubscribe)

    def stop(self) -> None:
        """Ends `start` and `run` soon."""
        if self._adapter is not None:
            self._adapter.stop()

    def disconnect(self) -> None:
        """Marks its books stale: nothing keeps them up to date any more."""
        for producer in self._producers.values():
            producer.restart()


async def _first(*waits: Awaitable[object]) -> None:
    """Returns when one of them does, and ends the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _ordered(routes: Iterable[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: (route.kind, route.symbol or ""))

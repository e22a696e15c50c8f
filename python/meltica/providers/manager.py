"""Providers: started, watched, started again, stopped; each on its own, so that none waits for another.

A provider has a *desired* state, which is written to the database before anything is done about it, and an
*actual* one, which is noted afterwards. What fails is started again after a pause, until its budget of
restarts is spent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from meltica._core import Codec
from meltica.errors import CodecError, ConfigError, Conflict, NotFound, suggestion
from meltica.providers import registry
from meltica.providers.base import Route
from meltica.supervision import Actual, Desired, Notes, Restarts
from meltica.threads import call, within

if TYPE_CHECKING:
    from meltica._core import Core
    from meltica.persistence.providers import Provider as Row
    from meltica.persistence.providers import ProviderState, ProviderStore
    from meltica.providers.base import Adapter
    from meltica.settings.manifest import ProviderSpec
    from meltica.settings.model import Supervision

log = logging.getLogger(__name__)


class Provider:
    """One provider and its life. Belongs to the loop's thread."""

    def __init__(
        self,
        spec: "ProviderSpec",
        core: "Core",
        supervision: "Supervision",
        note: Callable[["Provider"], None],
        desired: Desired,
    ) -> None:
        self.spec = spec
        self.desired = desired
        self.actual = Actual.PENDING
        self.last_error: str | None = None
        self.route_error: str | None = None
        self.restarts = 0
        self.instruments: tuple[Mapping[str, object], ...] = ()
        self._core = core
        self._supervision = supervision
        self._note = note
        self._task: asyncio.Task[None] | None = None
        self._wanted: frozenset[Route] = frozenset()
        self._rerouted = asyncio.Event()

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether events may come."""
        return self.actual is Actual.RUNNING

    @property
    def busy(self) -> bool:
        """Whether it is being kept running: a start would change nothing."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Starts it in the background and keeps it running."""
        self._set(Actual.STARTING)
        self._task = asyncio.get_running_loop().create_task(
            self._keep_running(), name=f"provider-{self.name}"
        )

    async def end(self) -> None:
        """Stops it, in at most the time that the settings give."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._set(Actual.STOPPED)

    def reroute(self, wanted: frozenset[Route]) -> None:
        """Has the adapter asked for what is wanted now."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._rerouted.set()

    def _set(self, actual: Actual, error: str | None = None) -> None:
        if actual is Actual.RUNNING or error is not None:
            self.last_error = error
        self.actual = actual
        self._note(self)

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        settings = self._supervision
        pauses = Restarts(
            settings.backoff.min.total_seconds(),
            settings.backoff.max.total_seconds(),
            settings.budget.restarts,
            settings.budget.window.total_seconds(),
            loop.time,
        )
        while True:
            began = loop.time()
            try:
                await self._run_once()
            except (ConfigError, CodecError) as error:
                # Trying again would change nothing.
                log.error("provider %s failed: %s", self.name, error)
                self._set(Actual.FAILED, str(error))
                return
            except Exception as error:
                text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                pauses.ran(loop.time() - began)
                pause = pauses.next_pause()
                if pause is None:
                    budget = settings.budget
                    text += (
                        f" (given up: {budget.restarts} restarts within {budget.window.total_seconds():g} s)"
                    )
                    log.error("provider %s failed: %s", self.name, text)
                    self._set(Actual.FAILED, text)
                    return
                log.warning("provider %s failed, next start in %.1f s: %s", self.name, pause, text)
                self._set(Actual.STARTING, text)
                self.restarts += 1
                await asyncio.sleep(pause)
            else:
                log.info("provider %s has come to its end", self.name)
                self._set(Actual.STOPPED)
                return

    async def _run_once(self) -> None:
        """One life of an adapter: until its source ends, or by an exception."""
        make = registry.adapter(self.spec.adapter)
        adapter = await call(lambda: make(self.spec.settings), f"{self.name}-make")
        running: asyncio.Future[None] | None = None
        try:
            adapter.name_providers(self.name)
            declaration = adapter.codec()
            codec = None if declaration is None else Codec(declaration)
            producers = {name: self._core.producer(name, codec) for name in adapter.providers()}
            await self._start(lambda: adapter.start(producers))
            self.instruments = tuple(adapter.instruments())
            self._set(Actual.RUNNING)
            log.info("provider %s runs", self.name)
            running = call(adapter.run, f"{self.name}-run")
            routing = asyncio.get_running_loop().create_task(self._route(adapter))
            try:
                await asyncio.shield(running)
            finally:
                routing.cancel()
                await asyncio.gather(routing, return_exceptions=True)
        finally:
            await self._shut(adapter, running)

    async def _start(self, start: Callable[[], None]) -> None:
        seconds = self._supervision.start_timeout.total_seconds()
        try:
            await within(seconds, call(start, f"{self.name}-start"))
        except TimeoutError:
            raise TimeoutError(f"did not start within {seconds:g} s") from None

    async def _shut(self, adapter: "Adapter", running: "asyncio.Future[None] | None") -> None:
        """Stops an adapter, whatever state it is in, in bounded time."""
        seconds = self._supervision.stop_timeout.total_seconds()
        ends = [call(adapter.stop, f"{self.name}-stop"), *([running] if running is not None else [])]
        _, left = await asyncio.wait(ends, timeout=seconds)
        if left:
            log.warning("provider %s did not end within %g s and was left behind", self.name, seconds)
        elif (error := ends[0].exception()) is not None:
            log.warning("provider %s could not be stopped cleanly: %s", self.name, error)
        if running is not None and running.done() and not running.cancelled():
            # Whoever waits for it has this already; nobody else will ask.
            running.exception()

    async def _route(self, adapter: "Adapter") -> None:
        """Asks the adapter for what is wanted, now and after each change, until it succeeds."""
        asked: frozenset[Route] = frozenset()
        pauses = Restarts(0.5, 30.0, 1 << 30, 1.0, asyncio.get_running_loop().time)
        while True:
            self._rerouted.clear()
            wanted = self._wanted
            try:
                subscribe, unsubscribe = _ordered(wanted - asked), _ordered(asked - wanted)
                await call(lambda on=subscribe, off=unsubscribe: adapter.route(on, off), f"{self.name}-route")
            except Exception as error:
                self.route_error = f"{type(error).__name__}: {error}"
                pause = pauses.next_pause() or 30.0
                log.warning("provider %s: routes failed, again in %.1f s: %s", self.name, pause, error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._rerouted.wait(), pause)
            else:
                asked, self.route_error = wanted, None
                await self._rerouted.wait()


class ProviderManager:
    """All providers of a gateway."""

    def __init__(
        self, core: "Core", supervision: "Supervision", store: "ProviderStore", notes: Notes
    ) -> None:
        self._core = core
        self._supervision = supervision
        self._store = store
        self._notes = notes
        self._providers: dict[str, Provider] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def add(self, spec: "ProviderSpec", desired: Desired) -> Provider:
        """Takes a provider in; nothing starts."""
        provider = Provider(spec, self._core, self._supervision, self._note, desired)
        self._providers[spec.name] = provider
        self._locks[spec.name] = asyncio.Lock()
        return provider

    def all(self) -> list[Provider]:
        """Returns the providers by name."""
        return [self._providers[name] for name in sorted(self._providers)]

    def get(self, name: str) -> Provider:
        """Returns a provider. Raises NotFound with the nearest name."""
        try:
            return self._providers[name]
        except KeyError:
            raise NotFound(f"provider `{name}` does not exist{suggestion(name, self._providers)}") from None

    def stored(self, name: str) -> "Row":
        """Returns a provider's row. Raises NotFound."""
        return self._store.get(name)

    def begin(self) -> None:
        """Starts every provider that should run; returns at once. Call `watch` first."""
        for provider in self.all():
            if provider.desired is Desired.RUNNING:
                provider.begin()

    def watch(self) -> None:
        """Tells providers what instances want, from now on."""
        loop = asyncio.get_running_loop()

        def changed(*_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing to route any more
                loop.call_soon_threadsafe(self._reroute)

        self._core.watch_routes(changed)
        self._reroute()

    async def start(self, name: str) -> Provider:
        """Starts a provider in the background.

        Raises NotFound, Conflict when it runs already, DatabaseUnavailable.
        """
        provider = self.get(name)
        async with self._locks[name]:
            if provider.busy:
                state = "running" if provider.running else "starting"
                raise Conflict(f"provider `{name}` is {state} already")
            await self._store.set_desired(name, "running")
            provider.desired = Desired.RUNNING
            provider.begin()
        return provider

    async def stop(self, name: str) -> Provider:
        """Stops a provider. Raises NotFound, Conflict when it does not run, DatabaseUnavailable."""
        provider = self.get(name)
        async with self._locks[name]:
            if not provider.busy:
                raise Conflict(f"provider `{name}` is not running, it is {provider.actual}")
            await self._store.set_desired(name, "stopped")
            provider.desired = Desired.STOPPED
            await provider.end()
        return provider

    async def close(self) -> None:
        """Stops all providers at once and leaves what is desired as it is."""
        self._core.watch_routes(None)
        await asyncio.gather(*(provider.end() for provider in self.all() if provider.busy))

    def _reroute(self) -> None:
        wanted: dict[str, set[Route]] = {}
        for name, kind, symbol in self._core.routes():
            wanted.setdefault(name, set()).add(Route(kind, symbol))
        for name, provider in self._providers.items():
            provider.reroute(frozenset(wanted.get(name, ())))

    def _note(self, provider: Provider) -> None:
        name, error = provider.name, provider.last_error or ""
        state = cast("ProviderState", provider.actual.value)
        self._notes.put("provider", name, lambda: self._store.set_actual(name, state, error))


def _ordered(routes: Iterable[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: (route.kind, route.symbol or ""))

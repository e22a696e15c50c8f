"""Starts, supervises and stops the providers of a gateway, independently of each other.

A provider has a *desired* state, which is committed to the database before the provider acts on it, and an
*actual* state, which is recorded afterwards. A provider that fails is restarted after a pause, until its
restart budget is spent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from meltica.adapters.base import Route
from meltica.errors import Conflict, NotFound, suggestion
from meltica.persistence.stores.desired import DesiredStates
from meltica.providers.provider import Clock, Provider
from meltica.runtime.backoff import RestartPolicy
from meltica.runtime.lifecycle import Desired, idle_lock
from meltica.runtime.state_writer import StateWriter

if TYPE_CHECKING:
    from meltica._core import Core
    from meltica.persistence.stores.providers import ProviderRecord, ProviderRow, ProviderStore
    from meltica.providers.spec import ProviderSpec

    Declared = tuple[ProviderSpec, ProviderRecord, Desired | None]

log = logging.getLogger(__name__)

__all__ = ["Provider", "ProviderManager"]


class ProviderManager:
    """All providers of a gateway."""

    def __init__(
        self,
        core: "Core",
        policy: RestartPolicy,
        store: "ProviderStore",
        state_writer: StateWriter,
        clock: Clock | None = None,
    ) -> None:
        self._core = core
        self._policy = policy
        self._store = store
        self._state_writer = state_writer
        self._desired = DesiredStates(store, state_writer, "provider")
        self._clock = clock or Clock(asyncio.get_running_loop().time)
        self._providers: dict[str, Provider] = {}
        self._closing = False
        self.on_state: Callable[[Provider], object] = lambda _: None
        """Called after each change of a provider's actual state."""
        self.before_stop: Callable[[Provider], Awaitable[object]] = _nothing
        """Waited for before a provider is stopped by an operator; must end in bounded time."""
        self.on_remove: Callable[[str], object] = lambda _: None
        """Called with the name of a provider that was deleted."""

    def add(self, spec: "ProviderSpec") -> Provider:
        """Adds a provider that the database already has, without starting it."""
        row = self._store.get(spec.name)
        provider = Provider(spec, row, self._core, self._policy, self._record, self._clock)
        provider.desired, provider.last_error = row.desired, row.last_error
        provider.actual = row.actual.after_restart
        self._record(provider)
        self._providers[spec.name] = provider
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

    def find(self, name: str) -> Provider | None:
        """Returns a provider, or None. Safe on any thread."""
        return self._providers.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._providers

    def stored(self, name: str) -> "ProviderRow":
        """Returns the row of a provider; of one that a restore has deleted, the last one. Raises NotFound."""
        provider = self._providers.get(name)
        return self._store.get(name) if provider is None else provider.latest(self._store.find(name))

    async def create(self, spec: "ProviderSpec", record: "ProviderRecord", desired: Desired) -> Provider:
        """Creates a provider, and starts it in the background if it should run.

        Raises AlreadyExists, Conflict, DatabaseUnavailable.
        """
        self._refuse_stopping()
        await self._store.add(record, desired)
        provider = self.find(spec.name)
        if provider is None:  # else it was added meanwhile, as the row was read again
            provider = self.add(spec)
        if provider.desired is Desired.RUNNING and not provider.busy and not self._closing:
            provider.begin()
        return provider

    async def change(
        self, name: str, declare: "Callable[[ProviderRow], Awaitable[Declared | None]]"
    ) -> Provider:
        """Replaces the declaration of a provider, and restarts it in the background if it runs.

        A change of only such settings as apply to a running provider does not restart it.
        `declare` returns the new declaration and desired state, or None if nothing changes. It is called
        while no other change of the provider is in progress.
        Raises NotFound, Conflict, DatabaseUnavailable, and what `declare` raises.
        """
        provider = self.get(name)
        async with idle_lock(provider.lock, f"provider `{name}`", provider.actual):
            self._refuse_stopping()
            declared = await declare(self._store.get(name))
            if declared is None:
                return provider
            spec, record, desired = declared
            await self._desired.record_with(
                name, lambda: self._store.update(record, desired or provider.desired)
            )
            await self._replace(provider, spec, desired or provider.desired)
        return provider

    async def remove(self, name: str, check: "Callable[[ProviderRow], Awaitable[object]]") -> Provider:
        """Stops a provider and deletes it. `check` raises if it may not be deleted, also after the stop.

        Raises NotFound, Conflict, DatabaseUnavailable, and what `check` raises.
        """
        provider = self.get(name)
        async with idle_lock(provider.lock, f"provider `{name}`", provider.actual):
            provider.removing = True
            try:
                row = self._store.get(name)
                await check(row)
                if provider.busy:
                    provider.desired = Desired.STOPPED
                    self._desired.record_stop(name)
                    await self.before_stop(provider)
                    await provider.end()
                    await self._desired.wait_recorded(name)
                    await check(row)
                await self._store.delete(name)
                self._forget(name)
            finally:
                provider.removing = False
        return provider

    async def _replace(self, provider: Provider, spec: "ProviderSpec", desired: Desired) -> None:
        """Lets a provider run as its new declaration says. The caller holds its lock."""
        provider.desired = desired
        if provider.busy and desired is Desired.RUNNING and not provider.spec.restarts_for(spec):
            provider.apply(spec)
            return
        if provider.busy:
            await self.before_stop(provider)
            await provider.end()
        provider.spec = spec
        if desired is Desired.RUNNING and not self._closing:
            provider.begin()

    def _forget(self, name: str) -> None:
        self._desired.forget(name)
        self._state_writer.discard("provider", name)
        del self._providers[name]
        self.on_remove(name)

    def _refuse_stopping(self) -> None:
        if self._closing:
            raise Conflict("the gateway is stopping")

    def begin(self) -> None:
        """Starts every provider that should run, in the background. Call `watch` first."""
        for provider in self.all():
            if provider.desired is Desired.RUNNING and not provider.busy:
                provider.begin()

    def watch(self) -> None:
        """Passes the routes of the instances to the providers, now and after each change."""
        loop = asyncio.get_running_loop()

        def changed(*_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._reroute)

        self._core.watch_routes(changed)
        self._reroute()

    async def start(self, name: str) -> Provider:
        """Starts a provider in the background.

        Raises NotFound, Conflict when it runs already or is being changed, DatabaseUnavailable.
        """
        provider = self.get(name)
        async with idle_lock(provider.lock, f"provider `{name}`", provider.actual):
            self._refuse_stopping()
            if provider.busy:
                state = "running" if provider.running else "starting"
                raise Conflict(f"provider `{name}` is already {state}")
            await self._desired.record_start(name)
            provider.desired = Desired.RUNNING
            provider.begin()
        return provider

    async def stop(self, name: str) -> Provider:
        """Stops a provider, and keeps it stopped after a restart of the gateway.

        Raises NotFound, Conflict when it was stopped already or is being changed, DatabaseUnavailable.
        """
        provider = self.get(name)
        if self._desired.withdraw_start(name):
            # It waits for the database, and a stop must not wait for that.
            provider.desired = Desired.STOPPED
            return provider
        async with idle_lock(provider.lock, f"provider `{name}`", provider.actual):
            # In doubt, the database may have a start.
            idle = not provider.busy and provider.desired is Desired.STOPPED
            if idle and not self._desired.in_doubt:
                raise Conflict(f"provider `{name}` is not running: its status is {provider.actual}")
            # In memory first: a stop must not wait for the database.
            provider.desired = Desired.STOPPED
            self._desired.record_stop(name)
            await self.before_stop(provider)
            await provider.end()
            await self._desired.wait_recorded(name)
        return provider

    def starting(self, name: str) -> bool:
        """Returns whether the database has not confirmed the start of a provider yet."""
        return self._desired.is_starting(name)

    def recorded(self, name: str) -> bool:
        """Returns whether the database has the desired state of a provider."""
        return self._desired.is_recorded(name)

    def unrecorded(self) -> list[str]:
        """Returns the providers whose stop is not recorded yet."""
        return [name for name in sorted(self._providers) if self._desired.is_pending(name)]

    def discard_unrecorded(self) -> list[str]:
        """Drops the stops that are not recorded: another gateway has changed the database since."""
        return self._desired.discard_unrecorded()

    async def adopt(self) -> None:
        """Applies the desired states of the database and persists the actual ones again."""
        # Another gateway has deleted them, or the answer to a deletion was lost.
        for provider in [each for each in self.all() if each.name not in self._store]:
            async with provider.lock:
                await self.before_stop(provider)
                await provider.end()
                self._forget(provider.name)
        await asyncio.gather(*(self._adopt(provider) for provider in self.all()))
        for provider in self.all():
            self._record(provider)

    async def redeclare(self, name: str, declare: "Callable[[ProviderRow], ProviderSpec]") -> None:
        """Lets a provider run as its row says, which was read again."""
        provider = self.get(name)
        async with provider.lock:
            # Read here: a change that held the lock has replaced the row.
            row = self._store.find(name)
            spec = provider.spec if row is None else declare(row)
            if provider.spec != spec and not self._closing:
                await self._replace(provider, spec, provider.desired)

    async def _adopt(self, provider: Provider) -> None:
        async with provider.lock:
            desired, start = self._desired.adopted(provider.name, provider.desired)
            if self._closing or (desired is provider.desired and not start):
                return
            if desired is not provider.desired:
                log.warning(
                    "provider %s: desired state changed to %s by the database", provider.name, desired
                )
            provider.desired = desired
            if desired is Desired.STOPPED:
                await self.before_stop(provider)
                await provider.end()
            elif not provider.busy:
                provider.begin()

    async def close(self) -> bool:
        """Stops all providers at once and keeps their desired states; returns False after a time-out."""
        self._closing = True
        self._core.watch_routes(None)
        await asyncio.gather(*(self._close(provider) for provider in self.all()))
        return not any(provider.left_behind for provider in self.all())

    async def _close(self, provider: Provider) -> None:
        async with provider.lock:
            if provider.busy:
                await provider.end()

    def _reroute(self) -> None:
        wanted: dict[str, set[Route]] = {}
        for name, kind, symbol in self._core.routes():
            wanted.setdefault(name, set()).add(Route(kind, symbol))
        for name, provider in self._providers.items():
            provider.reroute(frozenset(wanted.get(name, ())))

    def _record(self, provider: Provider) -> None:
        name, error = provider.name, provider.last_error or ""
        state = provider.actual
        self._state_writer.put("provider", name, lambda: self._store.set_actual(name, state, error))
        self.on_state(provider)


async def _nothing(_: Provider) -> None:
    """Does nothing before the stop of a provider."""

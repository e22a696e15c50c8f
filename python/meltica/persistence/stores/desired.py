"""Desired states: recorded before a start, and after a stop, which acts without waiting for the database.

1. A start is committed first. A gateway without its lock, or without its database, starts nothing.
2. A stop takes effect in memory immediately, also during a start that waits for the database. Its record is
   written in the background, and retried until it succeeds.
3. While a stop is not recorded, the in-memory state is authoritative; otherwise the database is.
4. A stop that is not recorded yet is recorded before a start that follows it: the audit has both.
5. A start whose record is in doubt is repeated when its row, read again, says that the component should run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from meltica.errors import ChangeInDoubt, Conflict
from meltica.persistence.stores.audit import Act, acting, acting_as, deferred
from meltica.persistence.stores.supervised import StateStore
from meltica.runtime.lifecycle import Desired
from meltica.runtime.state_writer import StateWriter

RECORD_SECONDS = 2.0
"""How long a stop waits for its record before it is reported as unrecorded."""


class DesiredStates:
    """The desired states of the components of one store."""

    def __init__(self, store: StateStore[Any, Any, Any], writer: StateWriter, noun: str) -> None:
        self._store = store
        self._writer = writer
        self._noun = noun
        self._kind = f"stopped {noun}"
        self._starting: dict[str, bool] = {}
        """Components whose start is being recorded, and whether it was withdrawn meanwhile."""
        self._withdrawals: dict[str, Act | None] = {}
        """Who withdrew a start that is being recorded, by component."""
        self._stops: dict[str, Callable[[], Awaitable[None]]] = {}
        """What records the last stop of each component."""
        self._replaced: set[str] = set()
        """Components whose start is being recorded after a stop that was not recorded."""
        self._superseded: set[str] = set()
        """Components whose last stop was dropped."""
        self._doubtful: set[str] = set()
        """Components whose last change is a start in doubt."""

    async def record_start(self, key: str) -> None:
        """Commits that a component should run.

        Raises NotFound, DatabaseUnavailable and its subclasses, and Conflict when it was withdrawn.
        """
        if self._writer.discard(self._kind, key):
            self._replaced.add(key)
        self._starting[key] = False
        self._superseded.discard(key)
        self._doubtful.discard(key)
        try:
            if key in self._replaced:
                await self._stops[key]()
                self._replaced.discard(key)
            await self._store.set_desired(key, Desired.RUNNING)
        except BaseException as error:
            if isinstance(error, ChangeInDoubt) and key not in self._replaced:
                self._doubtful.add(key)
            if key in self._replaced:
                self._writer.put(self._kind, key, self._stops[key])
            elif self._starting[key]:
                self._record_withdrawal(key)
            raise
        else:
            if self._starting[key]:
                self._record_withdrawal(key)
                raise Conflict(f"{self._noun} `{key}` was stopped meanwhile")
        finally:
            del self._starting[key]
            self._withdrawals.pop(key, None)
            self._replaced.discard(key)

    def is_starting(self, key: str) -> bool:
        """Returns whether a start is being recorded."""
        return key in self._starting

    def withdraw_start(self, key: str) -> bool:
        """Makes a start that is being recorded end as a stop; returns whether there is one."""
        if key not in self._starting:
            return False
        self._starting[key] = True
        self._withdrawals[key] = deferred()
        self._superseded.discard(key)
        return True

    def record_stop(self, key: str) -> None:
        """Schedules the record of a stop."""
        self._superseded.discard(key)
        self._doubtful.discard(key)
        act, in_doubt, done, writing = deferred(), False, False, asyncio.Lock()

        async def write() -> None:
            nonlocal in_doubt, done
            async with writing:
                # The attempt before may have been committed, and audited.
                if done or (in_doubt and await self._has_stop(key)):
                    return
                try:
                    with acting_as(act):
                        await self._store.set_desired(key, Desired.STOPPED)
                except ChangeInDoubt:
                    in_doubt = True
                    raise
                done = True

        self._stops[key] = write
        self._writer.put(self._kind, key, write)

    async def _has_stop(self, key: str) -> bool:
        """Returns whether the database has a stop; reads it again if a write is in doubt."""
        if self._store.in_doubt:
            await self._store.load()
        return self._store.get(key).desired is Desired.STOPPED

    def _record_withdrawal(self, key: str) -> None:
        """Schedules the record of a stop in place of a start, on behalf of the client that stopped it."""
        with acting_as(self._withdrawals.get(key, acting.get())):
            self.record_stop(key)

    async def wait_recorded(self, key: str) -> None:
        """Waits until a stop is recorded, for at most RECORD_SECONDS. Raises Conflict if it is superseded."""
        await self._writer.wait_written(self._kind, key, RECORD_SECONDS)
        if key in self._superseded:
            raise Conflict(f"the stop of {self._noun} `{key}` was superseded by another gateway")

    def is_recorded(self, key: str) -> bool:
        """Returns whether the database has the desired state that memory has."""
        return not self.is_pending(key) and not self._store.in_doubt

    def is_pending(self, key: str) -> bool:
        """Returns whether a stop is not recorded yet."""
        return self._starting.get(key, False) or self._writer.is_pending(self._kind, key)

    @property
    def in_doubt(self) -> bool:
        """Whether the database may have a start that memory does not have."""
        return self._store.in_doubt

    def adopted(self, key: str, desired: Desired) -> tuple[Desired, bool]:
        """Returns the state to adopt, and whether to start the component even if it has that state already.

        The state is that of the database, unless a stop is not recorded yet.
        """
        row = self._store.find(key)
        if row is None or self.is_pending(key):
            return desired, False
        doubtful = key in self._doubtful
        self._doubtful.discard(key)
        return row.desired, doubtful and row.desired is Desired.RUNNING

    async def record_with(self, key: str, write: Callable[[], Awaitable[object]]) -> None:
        """Commits a declaration with its desired state, after a stop that is not recorded yet.

        Raises what `write` raises; the stop is then still recorded later.
        """
        stop = self._stops[key] if self._writer.discard(self._kind, key) else None
        try:
            if stop is not None:
                await stop()
            await write()
        except BaseException:
            if stop is not None:
                self._writer.put(self._kind, key, stop)
            raise
        self._superseded.discard(key)

    def forget(self, key: str) -> None:
        """Forgets a component that was deleted."""
        self._writer.discard(self._kind, key)
        self._stops.pop(key, None)
        self._superseded.discard(key)
        self._doubtful.discard(key)

    def discard_unrecorded(self) -> list[str]:
        """Drops the records of stops that are not written; returns their components."""
        beside = {key for key, withdrawn in self._starting.items() if withdrawn} | self._replaced
        dropped = {*self._writer.discard_all(self._kind), *beside}
        # A start that ends later must not record the stop that it replaced, or that withdrew it.
        self._starting |= dict.fromkeys(beside, False)
        self._replaced.clear()
        self._superseded |= dropped
        return sorted(dropped)

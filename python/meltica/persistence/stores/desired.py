"""Desired states: recorded before a start, and after a stop, which acts without waiting for the database.

1. A start is committed first. A gateway without its lock, or without its database, starts nothing.
2. A stop takes effect in memory immediately. Its record is written in the background, and retried until it
   succeeds.
3. While a stop is not recorded, the in-memory state is authoritative; otherwise the database is.
"""

from typing import Any

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
        self._kind = f"stopped {noun}"

    async def record_start(self, key: str) -> None:
        """Commits that a component should run. Raises NotFound, DatabaseUnavailable and its subclasses."""
        unrecorded_stop = self._writer.discard(self._kind, key)
        try:
            await self._store.set_desired(key, Desired.RUNNING)
        except BaseException:
            if unrecorded_stop:
                self.record_stop(key)
            raise

    def record_stop(self, key: str) -> None:
        """Schedules the record of a stop."""
        self._writer.put(self._kind, key, lambda: self._store.set_desired(key, Desired.STOPPED))

    async def wait_recorded(self, key: str) -> None:
        """Waits until a stop is recorded, for at most RECORD_SECONDS."""
        await self._writer.wait_written(self._kind, key, RECORD_SECONDS)

    def is_recorded(self, key: str) -> bool:
        """Returns whether the database has the desired state that memory has."""
        return not self.is_pending(key) and not self._store.in_doubt

    def is_pending(self, key: str) -> bool:
        """Returns whether a stop is not recorded yet."""
        return self._writer.is_pending(self._kind, key)

    def adopted(self, key: str, desired: Desired) -> Desired:
        """Returns the state to adopt: that of the database, unless a stop is not recorded yet."""
        row = self._store.find(key)
        if row is None or self.is_pending(key):
            return desired
        return row.desired

    def discard_unrecorded(self) -> list[str]:
        """Drops the records of stops that are not written; returns their components."""
        return self._writer.discard_all(self._kind)

"""Recovery of the stored states after the database or the lock was unavailable.

1. A write in doubt: the store is read again, and what the database says is adopted.
2. A regained lock: all stores are read again, and what differs is applied.
3. If another gateway held the lock in between, stops that were not recorded are dropped and logged as
   superseded, and the configuration file is applied to the database again, as at a start.

Until that is done the gateway is not ready.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from meltica.errors import DatabaseError
from meltica.persistence.stores.store import Store

RETRY_SECONDS = 0.5
READ_SECONDS = 10.0
"""How long the database may take to return a table."""

log = logging.getLogger(__name__)


class Manager(Protocol):
    """The part of a manager that recovery uses."""

    def discard_unrecorded(self) -> list[str]:
        """Drops the stops that are not recorded."""
        ...

    async def adopt(self) -> None:
        """Applies the desired states of the database."""
        ...


class StateRecovery:
    """Reads the stores again when their contents are uncertain."""

    def __init__(
        self,
        stores: Sequence[Store[Any]],
        managers: Sequence[Manager],
        apply_baseline: Callable[[], Awaitable[object]],
    ) -> None:
        self._stores = stores
        self._managers = managers
        self._apply_baseline = apply_baseline
        self._superseded = False
        self._reading = False
        self._adopting = asyncio.Lock()
        self._requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        for store in stores:
            store.on_doubt = self._requested.set

    @property
    def pending(self) -> bool:
        """Whether the stores are not read again yet."""
        return self._reading or self._requested.is_set()

    def start(self) -> None:
        """Starts the background task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-recovery")

    async def stop(self) -> None:
        """Ends the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def regained(self, superseded: bool) -> None:
        """Handles a regained lock; called before anything is written under it."""
        if superseded:
            self._superseded = True
            for manager in self._managers:
                for name in manager.discard_unrecorded():
                    log.error("stop of %s not recorded: superseded by another gateway", name)
        self._requested.set()

    async def _run(self) -> None:
        while True:
            await self._requested.wait()
            self._reading = True
            # Cleared first: a request that arrives during the recovery causes another round.
            self._requested.clear()
            try:
                await self._recover()
            except (DatabaseError, TimeoutError) as error:
                log.debug("states not read yet, retrying: %s", error)
                await self._retry()
            except Exception:
                log.exception("states not read yet, retrying")
                await self._retry()
            self._reading = False

    async def _recover(self) -> None:
        for store in self._stores:
            async with asyncio.timeout(READ_SECONDS):
                await store.load()
        if self._superseded:
            await self._apply_baseline()
            self._superseded = False
        await self._adopt()

    async def adopt(self) -> None:
        """Applies what the stores have, after another writer than the managers has changed it.

        If that fails, it is retried in the background.
        """
        try:
            await self._adopt()
        except BaseException:
            self._requested.set()
            raise

    async def _adopt(self) -> None:
        async with self._adopting:
            for manager in self._managers:
                await manager.adopt()

    async def _retry(self) -> None:
        self._requested.set()
        await asyncio.sleep(RETRY_SECONDS)

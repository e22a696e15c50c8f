"""`Outage`: ends the waits for a connection while the server cannot be reached.

A pool lets a request wait until its time is over, as a connection may become free. While the server accepts
none, that time is lost, and a request that waits behind others is never answered.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from meltica.errors import DatabaseUnavailable

PATIENCE: Final = 1.0
"""Seconds of a wait after which the server is probed, and again while it accepts connections."""


class Outage:
    """The waits of one pool. Only one loop uses it."""

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        """`probe` raises DatabaseUnavailable if the server cannot be reached."""
        self._probe = probe
        self._waits: dict[asyncio.Timeout, float] = {}
        """Wait -> when it began, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._cause = ""

    @asynccontextmanager
    async def wait(self) -> AsyncGenerator[None]:
        """Surrounds a wait. Raises DatabaseUnavailable while the server cannot be reached."""
        limit, loop = asyncio.timeout(None), asyncio.get_running_loop()
        try:
            async with limit:
                self._waits[limit] = loop.time()
                if self._timer is None and self._task is None:
                    self._timer = loop.call_later(PATIENCE, self._check)
                try:
                    yield
                finally:
                    del self._waits[limit]
                    if not self._waits and self._timer is not None:
                        self._timer.cancel()
                        self._timer = None
        except TimeoutError:
            if not limit.expired():
                raise
            raise DatabaseUnavailable(self._cause) from None

    def _check(self) -> None:
        self._timer, loop = None, asyncio.get_running_loop()
        if not self._waits:
            return
        due = next(iter(self._waits.values())) + PATIENCE
        if due > loop.time():
            self._timer = loop.call_at(due, self._check)
        else:
            self._task = loop.create_task(self._run(), name="meltica-database-probe")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._probe()
        except DatabaseUnavailable as error:
            self._cause = str(error)
            for limit in self._waits:
                limit.reschedule(loop.time())
        finally:
            self._task = None
            if self._waits:
                self._timer = loop.call_later(PATIENCE, self._check)

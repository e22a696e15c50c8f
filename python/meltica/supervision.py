"""What supervised parts share: their states, pauses between restarts, and writing down how they are."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from meltica.errors import DatabaseError, DatabaseUnavailable

log = logging.getLogger(__name__)


class Desired(StrEnum):
    """What somebody wants a part to be."""

    RUNNING = "running"
    STOPPED = "stopped"


class Actual(StrEnum):
    """What a part is. Providers know neither `stopping` nor `stuck`."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    STUCK = "stuck"


@dataclass
class Restarts:
    """Pauses that double from `least` to `most`, a little uneven; at most `budget` of them within `window`.

    Seconds. They begin again from `least` after a run of at least `most`.
    """

    least: float
    most: float
    budget: int
    window: float
    clock: Callable[[], float]
    jitter: Callable[[], float] = random.random
    _times: deque[float] = field(default_factory=deque[float])
    _pause: float = 0.0

    def ran(self, seconds: float) -> None:
        """Tells how long the last run lasted."""
        if seconds >= self.most:
            self._pause = 0.0

    def next_pause(self) -> float | None:
        """Returns how long to wait before the next start, None when there were too many."""
        now = self.clock()
        while self._times and now - self._times[0] > self.window:
            self._times.popleft()
        if len(self._times) >= self.budget:
            return None
        self._times.append(now)
        self._pause = min(self.most, self._pause * 2) if self._pause else self.least
        return self._pause * (0.8 + 0.4 * self.jitter())


class Notes:
    """Writes down how parts are: the latest of each, in the background, for as long as the database is away.

    What somebody *wants* is never left to this: that is written before it is done.
    """

    RETRY_SECONDS = 1.0

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Callable[[], Awaitable[object]]] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-notes")

    def put(self, what: str, name: str, write: Callable[[], Awaitable[object]]) -> None:
        """Has `write` called soon, unless a later note about the same part comes first."""
        self._latest[what, name] = write
        self._idle.clear()
        self._changed.set()

    async def close(self, timeout: float) -> bool:
        """Writes what is left, for at most `timeout` seconds; False when some of it could not be written."""
        clean = True
        if self._task is not None:
            try:
                await asyncio.wait_for(self._idle.wait(), timeout)
            except TimeoutError:
                clean = False
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return clean and not self._latest

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._latest:
                key = next(iter(self._latest))
                write = self._latest.pop(key)
                try:
                    await write()
                except DatabaseUnavailable as error:
                    # A later note about the part wins over this one.
                    self._latest.setdefault(key, write)
                    log.debug("the state of %s %s could not be written yet: %s", *key, error)
                    await asyncio.sleep(self.RETRY_SECONDS)
                except DatabaseError:
                    log.exception("the state of %s %s could not be written", *key)
            self._idle.set()

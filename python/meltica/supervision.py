"""What supervised parts share: their states, when they start again, and writing down how they are."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from meltica.errors import DatabaseUnavailable, MelticaError
from meltica.threads import Overdue

log = logging.getLogger("meltica.states")


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

    @property
    def after_restart(self) -> "Actual":
        """What a part is that was like this when the gateway ended, and has not been touched since."""
        return self if self in (Actual.PENDING, Actual.FAILED) else Actual.STOPPED


@dataclass
class Backoff:
    """Pauses in seconds that double from `least` to `most`, each up to a fifth shorter or longer."""

    least: float
    most: float
    jitter: Callable[[], float] = random.random
    _pause: float = 0.0

    def next(self) -> float:
        """Returns how long to wait this time."""
        self._pause = min(self.most, self._pause * 2) if self._pause else self.least
        return self._pause * (0.8 + 0.4 * self.jitter())

    def reset(self) -> None:
        """Begins again from `least`."""
        self._pause = 0.0


@dataclass
class Budget:
    """At most `count` restarts within any `window` seconds."""

    count: int
    window: float
    clock: Callable[[], float]
    _spent: deque[float] = field(default_factory=deque[float])

    def spend(self) -> bool:
        """Takes one; False when there is none left."""
        now = self.clock()
        while self._spent and now - self._spent[0] > self.window:
            self._spent.popleft()
        if len(self._spent) >= self.count:
            return False
        self._spent.append(now)
        return True


class Notes:
    """Writes down how parts are: the latest of each, in the background, for as long as the database is away.

    What somebody *wants* is never left to this: that is written before it is done.
    """

    def __init__(self, retry: float = 1.0) -> None:
        self._retry = retry
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
        if self._task is not None:
            idle = asyncio.ensure_future(self._idle.wait())
            # Not waited for any longer: to a server that hangs, cancelling a query takes seconds.
            await asyncio.wait({idle}, timeout=timeout)
            idle.cancel()
            self._task.cancel()
            self._task = None
        return self._idle.is_set()

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
                    await asyncio.sleep(self._retry)
                except MelticaError as error:
                    log.error("the state of %s %s could not be written: %s", *key, error)
                except Exception:
                    log.exception("the state of %s %s could not be written", *key)
            self._idle.set()


def told(error: BaseException) -> str:
    """Returns an error in one line; Meltica's own need no name."""
    text = " ".join(str(error).split())
    if isinstance(error, MelticaError | Overdue) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""Background persistence of component states, which tolerates an unavailable database."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from meltica.errors import DatabaseUnavailable, MelticaError, NotFound

log = logging.getLogger("meltica.states")


class StateWriter:
    """Persists the latest state of each component in the background.

    A write is retried until it succeeds, also when the database refuses it: it may be read-only for a while.
    A start never passes through here: it is committed before it is acted on.
    """

    def __init__(self, retry: float = 1.0) -> None:
        self._retry = retry
        self._latest: dict[tuple[str, str], Callable[[], Awaitable[object]]] = {}
        self._writing: tuple[str, str] | None = None
        """The component whose state is being written; None also once that write was discarded."""
        self._written = asyncio.Condition()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._refusals: dict[tuple[str, str], str] = {}
        """Why the database refused the last attempt, by component; logged when it changes."""

    def start(self) -> None:
        """Starts the background task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-state-writer")

    def put(self, kind: str, name: str, write: Callable[[], Awaitable[object]]) -> None:
        """Schedules `write`; a later `put` for the same component replaces it if it has not run yet."""
        self._latest[kind, name] = write
        self._idle.clear()
        self._changed.set()

    def is_pending(self, kind: str, name: str) -> bool:
        """Returns whether a state is scheduled or being written."""
        return (kind, name) in self._latest or self._writing == (kind, name)

    def refused(self) -> str:
        """Returns why the database refused a state that is retried; empty if it refused none."""
        return next((reason for key, reason in self._refusals.items() if self.is_pending(*key)), "")

    async def wait_written(self, kind: str, name: str, timeout: float) -> None:
        """Waits until a state is written or discarded, for at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._written:
                await self._written.wait_for(lambda: not self.is_pending(kind, name))

    def discard(self, kind: str, name: str) -> bool:
        """Drops a scheduled write; returns whether there was one. One that was sent is not retried."""
        dropped = self.is_pending(kind, name)
        self._latest.pop((kind, name), None)
        if self._writing == (kind, name):
            self._writing = None
        return dropped

    def discard_all(self, kind: str) -> list[str]:
        """Drops the scheduled writes of a kind; returns their components."""
        keys = {key for key in (*self._latest, self._writing) if key is not None and key[0] == kind}
        return sorted(name for _, name in keys if self.discard(kind, name))

    async def close(self, timeout: float) -> bool:
        """Writes pending states for at most `timeout` seconds; returns False when some were not written."""
        if self._task is not None:
            idle = asyncio.ensure_future(self._idle.wait())
            # The cancelled task is not awaited: cancelling a query on a server that hangs takes seconds.
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
                self._writing = key
                written = await self._write(key, write)
                discarded, self._writing = self._writing != key, None
                if not written and not discarded:
                    # A newer state of the component takes precedence.
                    self._latest.setdefault(key, write)
                    await asyncio.sleep(self._retry)
                async with self._written:
                    self._written.notify_all()
            self._idle.set()

    async def _write(self, key: tuple[str, str], write: Callable[[], Awaitable[object]]) -> bool:
        """Writes one state; returns False when it must be retried."""
        try:
            await write()
        except DatabaseUnavailable as error:
            log.debug("state of %s %s not persisted yet, retrying: %s", *key, error)
            return False
        except NotFound as error:
            log.error("state of %s %s not persisted: %s", *key, error)
        except Exception as error:
            if self._refusals.get(key) != str(error):
                unexpected = not isinstance(error, MelticaError)
                log.error("state of %s %s not persisted, retrying: %s", *key, error, exc_info=unexpected)
                self._refusals[key] = str(error)
            return False
        self._refusals.pop(key, None)
        return True

"""Background persistence of component states, which tolerates an unavailable database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from meltica.errors import DatabaseUnavailable, MelticaError

log = logging.getLogger("meltica.states")


class StateWriter:
    """Persists the latest state of each component in the background.

    Writes are retried while the database is unavailable. Desired states never pass through here: they are
    committed before they are acted on.
    """

    def __init__(self, retry: float = 1.0) -> None:
        self._retry = retry
        self._latest: dict[tuple[str, str], Callable[[], Awaitable[object]]] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the background task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-state-writer")

    def put(self, kind: str, name: str, write: Callable[[], Awaitable[object]]) -> None:
        """Schedules `write`; a later `put` for the same component replaces it if it has not run yet."""
        self._latest[kind, name] = write
        self._idle.clear()
        self._changed.set()

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
                try:
                    await write()
                except DatabaseUnavailable as error:
                    # A newer state of the component takes precedence.
                    self._latest.setdefault(key, write)
                    log.debug("state of %s %s not persisted yet, retrying: %s", *key, error)
                    await asyncio.sleep(self._retry)
                except MelticaError as error:
                    log.error("state of %s %s not persisted: %s", *key, error)
                except Exception:
                    log.exception("state of %s %s not persisted", *key)
            self._idle.set()

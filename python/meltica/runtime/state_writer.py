"""Persists the latest state of each component in the background while the database comes and goes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from meltica.errors import DatabaseUnavailable, MelticaError

log = logging.getLogger("meltica.states")


class StateWriter:
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

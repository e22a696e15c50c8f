"""Changes that are carried through to their end, whoever still waits for the answer."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from meltica.errors import DatabaseUnavailable

PATIENCE = 6.0
"""Seconds a client waits for a change; existing clients give up after 8."""

log = logging.getLogger(__name__)


class Actions:
    """The changes under way. A client that leaves, or a server that stops, breaks none of them off."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, change: Coroutine[Any, Any, object], name: str, recorded: Callable[[], bool]) -> bool:
        """Returns whether a change was done in time; one that was not goes on by itself.

        `recorded` tells whether what is wanted is in the database. Raises what the change raises, and
        DatabaseUnavailable when even that took too long.
        """
        # In a context of its own: what it starts lives longer than the request and must not log its id.
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(
            change, name=name, context=contextvars.Context()
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        except asyncio.CancelledError:
            task.add_done_callback(_told)
            raise
        if done:
            task.result()
            return True
        task.add_done_callback(_told)
        if not recorded():
            raise DatabaseUnavailable(
                f"the database has not answered within {PATIENCE:g} s; the change may still come"
            )
        return False


def _told(task: "asyncio.Task[object]") -> None:
    """Logs how a change ended that nobody waits for."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed: %s", task.get_name(), error)

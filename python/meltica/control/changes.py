"""Changes that are completed even when their client disconnects or stops waiting."""

import asyncio
import contextvars
import copy
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from meltica.errors import ChangeInDoubt
from meltica.http.answer_time import remaining
from meltica.persistence.database import rehearsing
from meltica.persistence.stores.audit import Act, acting
from meltica.persistence.stores.modules import condition

PATIENCE = 6.0
"""Seconds that a response waits for a change."""
MARGIN = 0.25
"""Seconds between the end of that wait and the time by which the request must be answered."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class ChangeRunner:
    """Runs changes. Neither a client that disconnects nor a server that stops cancels one."""

    def __init__(self, act: Act | None = None) -> None:
        self._act = act
        self._running: set[asyncio.Task[object]] = set()

    def on_behalf_of(self, actor: str) -> "ChangeRunner":
        """Returns a runner whose changes are audited as those of a client."""
        runner = copy.copy(self)
        runner._act = Act(actor)
        return runner

    async def run(self, change: Coroutine[Any, Any, object], name: str, recorded: Callable[[], bool]) -> bool:
        """Runs a change and returns whether it ended in time; one that did not continues in the background.

        `recorded` returns whether the desired state is in the database. Raises what the change raises, and
        ChangeInDoubt when the desired state was not recorded in time.
        """
        # In a context of its own: what it starts lives longer than the request and must not log its id.
        context = contextvars.Context()
        context.run(acting.set, self._act)
        context.run(rehearsing.set, rehearsing.get())
        context.run(condition.set, condition.get())
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(
            change, name=name, context=context
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=max(0.0, min(PATIENCE, remaining() - MARGIN)))
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        if done:
            task.result()
            return True
        task.add_done_callback(_log_failure)
        if not recorded():
            raise ChangeInDoubt(
                f"outcome unknown: no response from the database within {PATIENCE:g} s;"
                " the change is applied if the database committed it"
            )
        return False

    async def result(self, change: Coroutine[Any, Any, T], name: str) -> T:
        """Runs a change and returns its result.

        Raises what the change raises, and ChangeInDoubt when it did not end in time.
        """
        results: list[T] = []

        async def keep() -> None:
            results.append(await change)

        await self.run(keep(), name, lambda: False)
        return results[0]


def _log_failure(task: "asyncio.Task[object]") -> None:
    """Logs the failure of a change whose request has ended."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed: %s", task.get_name(), error)

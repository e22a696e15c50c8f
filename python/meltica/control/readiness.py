"""Readiness: one check for all who request it at the same time, in bounded time."""

import asyncio
from collections.abc import Awaitable, Callable

from meltica.http.errors import HttpError

READY_SECONDS = 3.0
"""How long a check may take."""


class NotReady(HttpError):
    """The gateway is not ready; `faults` lists why, by part."""

    def __init__(self, faults: dict[str, str]) -> None:
        text = "; ".join(f"{part} {fault}" for part, fault in faults.items())
        super().__init__(503, "not_ready", text, faults)


class ReadinessCheck:
    """Shares a check that is running, so that a database that hangs is queried once."""

    def __init__(self, find_faults: Callable[[], Awaitable[dict[str, str]]]) -> None:
        self._find_faults = find_faults
        self._task: asyncio.Future[dict[str, str]] | None = None

    async def faults(self) -> dict[str, str]:
        """Returns what keeps the gateway from being ready, by part."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._find_faults())
        # Another request may have begun the next check when this one continues.
        task = self._task
        done, _ = await asyncio.wait({task}, timeout=READY_SECONDS)
        if not done:
            return {"gateway": f"did not report its state within {READY_SECONDS:g} s"}
        return task.result()

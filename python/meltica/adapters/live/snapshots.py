"""Snapshots for books that wait for one.

What is looked at is the state, not what led to it: a book that waits gets a snapshot, however it came to
wait. There is one request in flight a symbol, and a few in all; where a snapshot fails, or was too old to
help, the next waits longer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Set
from typing import TYPE_CHECKING

from meltica.errors import VenueError
from meltica.runtime.backoff import Backoff

if TYPE_CHECKING:
    from meltica._core import Producer

log = logging.getLogger("meltica.adapters.live")

MAX_CONCURRENT = 4
POLL_SECONDS = 0.1
PAUSES = 0.2, 10.0
"""Seconds between two snapshots of a symbol that still waits: the first pause, and the longest."""


class SnapshotScheduler:
    """The books of one provider. Belongs to the loop's thread.

    `snapshot` fetches a frame that `Producer.feed` knows; it returns None where the venue sends one by itself
    at the start of a subscription, and then `renew` has the symbol's subscription begin anew. `subscribed`
    returns the symbols whose diffs come at present.
    """

    def __init__(
        self,
        producer: "Producer",
        snapshot: Callable[[str], Awaitable[bytes | None]],
        renew: Callable[[str], object],
        subscribed: Callable[[], Set[str]],
    ) -> None:
        self._producer = producer
        self._snapshot = snapshot
        self._renew = renew
        self._subscribed = subscribed
        self._new: set[str] = set()
        """Subscribed since the connection began, without a snapshot: a quiet market sends no diff to wait
        after."""
        self._pauses: dict[str, tuple[Backoff, float]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(self) -> None:
        """Looks after the books until it is cancelled."""
        while True:
            self.poll(asyncio.get_running_loop().time())
            await asyncio.sleep(POLL_SECONDS)

    def on_subscribed(self, symbols: Iterable[str]) -> None:
        """The diffs of these symbols come from now on."""
        self._new.update(symbols)

    def on_disconnected(self) -> None:
        """The connection was lost; what is in flight would come too early for the next."""
        self._new.clear()
        for task in self._tasks.values():
            task.cancel()

    def poll(self, now: float) -> None:
        """Asks for what is missing."""
        subscribed = self._subscribed()
        waiting = subscribed & self._new.union(self._producer.unsynced())
        for symbol in self._pauses.keys() - waiting - self._tasks.keys():
            del self._pauses[symbol]
        for symbol in sorted(waiting - self._tasks.keys()):
            backoff, not_before = self._pauses.get(symbol) or (Backoff(*PAUSES), now)
            if now < not_before:
                continue
            self._pauses[symbol] = backoff, now + backoff.next()
            task = asyncio.get_running_loop().create_task(self._fetch(symbol), name=f"snapshot-{symbol}")
            self._tasks[symbol] = task
            task.add_done_callback(lambda _, symbol=symbol: self._tasks.pop(symbol))

    async def _fetch(self, symbol: str) -> None:
        try:
            async with self._slots:
                frame = await self._snapshot(symbol)
        except VenueError as error:
            log.warning("no snapshot of %s: %s", symbol, error)
            return
        if symbol not in self._subscribed():
            return
        if frame is None:
            if symbol not in self._new:
                self._renew(symbol)
        else:
            self._producer.feed(frame)
        self._new.discard(symbol)

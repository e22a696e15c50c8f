"""Fetches snapshots for books that need one.

The scheduler polls the state of the books instead of following events: every book without a snapshot gets
one, whatever the cause. Each symbol has one request in flight, and all symbols together a few. After a
snapshot that failed or was too old, the next one waits longer. Where three snapshots in a row do not have
their checksums, more of them do not help: the fault is logged, and the pauses are long.
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
"""Most requests in flight, over all symbols."""
POLL_SECONDS = 0.1
PAUSES = 0.2, 10.0
"""Seconds between two snapshots of one symbol: the first pause, and the longest."""
FAULT_PAUSES = 40.0, 300.0
"""The same for a symbol whose checksums are at fault; each is up to a fifth shorter."""


class SnapshotScheduler:
    """Requests snapshots for the books of one provider. Belongs to the event loop's thread.

    `snapshot` fetches a frame that `Producer.feed` decodes. It returns None where the venue sends a snapshot
    at the start of each subscription; then `renew` renews the subscription of the symbol. `subscribed`
    returns the symbols whose diffs arrive.
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
        """Symbols without a snapshot since the connection was opened. A quiet market sends no diff, so the
        core does not report them."""
        self._pauses: dict[str, tuple[Backoff, float]] = {}
        self._faults: Set[str] = frozenset()
        """Symbols whose snapshots do not have their checksums."""
        self._decimals: Set[str] = frozenset()
        """Symbols whose checksums have other decimals than the instrument list."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(self) -> None:
        """Polls the books until it is cancelled."""
        while True:
            self.poll(asyncio.get_running_loop().time())
            await asyncio.sleep(POLL_SECONDS)

    def on_subscribed(self, symbols: Iterable[str]) -> None:
        """Reports that the venue confirmed the subscription of symbols."""
        self._new.update(symbols)

    def on_disconnected(self) -> None:
        """Cancels the requests in flight: their snapshots would be too old for the next connection."""
        self._new.clear()
        for task in self._tasks.values():
            task.cancel()

    def poll(self, now: float) -> None:
        """Starts a request for each book that needs one and whose pause is over."""
        subscribed = self._subscribed()
        waiting = subscribed & self._new.union(self._producer.unsynced())
        for symbol in self._pauses.keys() - waiting - self._tasks.keys():
            del self._pauses[symbol]
        faults = self._producer.checksum_faults()
        self._report_decimals({symbol for symbol, fault in faults.items() if fault == "decimals"})
        self._report_faults({symbol for symbol in waiting if faults.get(symbol) == "snapshots"}, now)
        for symbol in sorted(waiting - self._tasks.keys()):
            backoff, next_at = self._pauses.get(symbol) or (Backoff(*PAUSES), now)
            if now < next_at:
                continue
            self._pauses[symbol] = backoff, now + backoff.next()
            task = asyncio.get_running_loop().create_task(self._fetch(symbol), name=f"snapshot-{symbol}")
            self._tasks[symbol] = task
            task.add_done_callback(lambda _, symbol=symbol: self._tasks.pop(symbol))

    def _report_decimals(self, faults: Set[str]) -> None:
        for symbol in sorted(faults - self._decimals):
            log.warning(
                "checksums of %s have other decimals than the instrument list: used; correct the list",
                symbol,
            )
        self._decimals = faults

    def _report_faults(self, faults: Set[str], now: float) -> None:
        for symbol in sorted(faults - self._faults):
            log.error(
                "book of %s stale: its last three snapshots did not have their checksums; correct the layout"
                " that the codec declares, or the precision of the instrument",
                symbol,
            )
            backoff = Backoff(*FAULT_PAUSES)
            self._pauses[symbol] = backoff, now + backoff.next()
        self._faults = faults

    async def _fetch(self, symbol: str) -> None:
        try:
            async with self._slots:
                frame = await self._snapshot(symbol)
        except VenueError as error:
            log.warning("snapshot of %s not fetched: %s", symbol, error)
            return
        if symbol not in self._subscribed():
            return
        if frame is None:
            if symbol not in self._new:
                self._renew(symbol)
        else:
            self._producer.feed(frame, symbol=symbol)
        self._new.discard(symbol)

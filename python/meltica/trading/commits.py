"""`CommitLoop`: writes what has changed by group commits, and sends new orders after their commit.

Whatever waited while the last commit ran is written by the next one. If a commit fails, its new orders end as
REJECTED and are never sent, also if they turn out to be committed; all other rows are written again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from meltica._core import IntentQueue
from meltica.errors import ChangeInDoubt, DatabaseError, one_line
from meltica.persistence.stores.trading.rows import HaltRow, OrderRow, Row
from meltica.persistence.stores.trading.writer import Committed
from meltica.runtime.backoff import Backoff
from meltica.trading.desk import REFUSALS, Desk
from meltica.trading.failure import freeze
from meltica.trading.gate import SUPERSEDED
from meltica.trading.halt_watch import HaltWatch
from meltica.trading.pending import Batch
from meltica.trading.requests import Requests

log = logging.getLogger("meltica.trading")

UNAVAILABLE = "persistence_unavailable"
ROW_REFUSED = "persistence_refused"
HALT_POLL = 0.5
"""Seconds after which an idle loop commits nothing, which proves the epoch and reads the active halts."""
PAUSES = 0.05, 2.0
"""Seconds between two attempts to commit: the first pause, and the longest."""


class Writer(Protocol):
    """The part of `GroupCommitWriter` that the loop uses."""

    @property
    def in_doubt(self) -> bool:
        """Whether `settle` must be called before the next commit."""
        ...

    @property
    def frozen(self) -> frozenset[str]:
        """The instances whose ledger is no longer written."""
        ...

    @property
    def superseded(self) -> bool:
        """Whether another gateway has written since the writer was made."""
        ...

    @property
    def has_rival(self) -> bool:
        """Whether another gateway is known to hold the lock."""
        ...

    async def commit(self, rows: list[Row], /) -> Committed:
        """Writes rows in one transaction."""
        ...

    async def settle(self) -> bool:
        """Returns whether the batch in doubt was committed."""
        ...


class CommitLoop:
    """The task that commits."""

    def __init__(
        self,
        desk: Desk,
        writer: Writer,
        requests: Requests,
        intents: IntentQueue,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Creates the loop.

        - `intents`: not empty when something waits to be committed.
        - `on_failure`: called with an exception that nothing expects; the loop goes on.

        """
        self._on_failure = on_failure
        self._desk = desk
        self._writer = writer
        self._requests = requests
        self._intents = intents
        self._halts = HaltWatch(desk)
        self._waiters: list[asyncio.Future[Committed]] = []
        self._wanted = asyncio.Event()
        self._backoff = Backoff(*PAUSES)
        self._ending = asyncio.Event()
        self._committed_at = 0.0
        self._doubtful: list[Row] = []
        """The rows of the commit in doubt."""
        self.count = 0
        """How many commits succeeded."""
        self.seconds = 0.0
        """How long they took together."""
        self.failure: str | None = None
        """Why the last commit failed; None while commits succeed."""

    def end(self) -> None:
        """Ends `run` after the commit that runs: a commit that is cancelled is in doubt."""
        self._ending.set()
        self._wanted.set()

    async def run(self) -> None:
        """Commits until `end` is called."""
        while True:
            await self._wait()
            if self._ending.is_set():
                return
            if await self._committed():
                self._backoff.reset()
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), self._backoff.next())
                self._wanted.set()

    async def _wait(self) -> None:
        """Waits until something is to be committed, at most for `HALT_POLL`."""
        # The orders of the last commit are sent first.
        await asyncio.sleep(0)
        if not self._intents.take() and not self._wanted.is_set():
            # The loop listens only here, because what comes during a commit waits for its end.
            loop, descriptor = asyncio.get_running_loop(), self._intents.fileno()
            loop.add_reader(descriptor, self._wanted.set)
            try:
                async with asyncio.timeout(HALT_POLL):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            finally:
                loop.remove_reader(descriptor)
            self._intents.take()
        self._wanted.clear()

    async def _committed(self) -> bool:
        try:
            return await self.commit()
        except Exception as error:
            self._on_failure(error)
            return False

    async def commit(self) -> bool:
        """Commits what waits; returns whether that succeeded."""
        waiters, self._waiters = self._waiters, []
        # While nothing is written, refusals are folded instead of waiting for the next attempt.
        batch = self._desk.take_batch(refusals=REFUSALS if self.failure is None else 0)
        now = asyncio.get_running_loop().time()
        if not batch and not waiters and now < self._committed_at + HALT_POLL:
            return True
        try:
            if self._writer.in_doubt:
                await self._settle(batch)
            committed = await self._writer.commit(batch.rows)
        except DatabaseError as error:
            self._waiters = waiters + self._waiters
            self._failed(batch, error)
            return False
        except BaseException:
            self._waiters = waiters + self._waiters
            self._desk.put_back(batch, UNAVAILABLE)
            raise
        if self.failure is not None:
            log.info("trading is written again")
            self.failure = None
            self._desk.gate.rival = False
        self._committed_at = now
        self.count += 1
        self.seconds += asyncio.get_running_loop().time() - now
        freeze(self._desk, self._writer.frozen)
        self._halts.take(committed.halts, [row for row in batch.rows if isinstance(row, HaltRow)])
        self._send(batch, committed)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(committed)
        return True

    async def committed(self) -> Committed:
        """Waits until what waits now is committed, and the halts of the database are effective."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wanted.set()
        return await waiter

    async def _settle(self, batch: Batch) -> None:
        """Finds out what became of the commit in doubt; rows that were committed are not written again."""
        committed = await self._writer.settle()
        log.warning("the commit in doubt was %s", "executed" if committed else "rolled back")
        if not committed:
            batch.rows = [*self._doubtful, *batch.rows]
        self._doubtful = []

    def _failed(self, batch: Batch, error: DatabaseError) -> None:
        text = one_line(error)
        if text != self.failure:
            log.error("trading is not written: %s", text)
        self.failure = text
        superseded = self._writer.superseded
        self._desk.gate.rival = superseded or self._writer.has_rival
        if superseded:
            # Our orders, positions and rows are those of before the other gateway.
            self._desk.gate.blocked = SUPERSEDED
            batch.rows = []
        if isinstance(error, ChangeInDoubt) and self._writer.in_doubt and not self._doubtful:
            self._doubtful, batch.rows = batch.rows, []
        self._desk.put_back(batch, UNAVAILABLE)

    def _send(self, batch: Batch, committed: Committed) -> None:
        refused = {failure.row.id for failure in committed.failures if isinstance(failure.row, OrderRow)}
        for machine in batch.new:
            if machine.record.id in refused:
                self._desk.apply(machine, lambda m, now: m.refused(now, ROW_REFUSED))
            else:
                self._desk.apply(machine, lambda m, now: m.committed(now))
                self._requests.submit(machine)
        for machine, requested_at in batch.amendments:
            self._requests.submit_amendment(machine, requested_at)

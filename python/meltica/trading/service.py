"""`Trading`: the thread and the loop on which orders are written, sent and followed.

What happens elsewhere, on threads of strategies and accounts, changes the desk and wakes the loop. The loop
makes the requests, the commits and the ticks, and reconciles the accounts.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from meltica._core import IntentQueue
from meltica.errors import CapacityError, ChangeInDoubt, DatabaseUnavailable, VenueError
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.writer import Committed
from meltica.runtime.loop_thread import LoopThread
from meltica.trading.accounts import Key
from meltica.trading.closing import close_due
from meltica.trading.commits import CommitLoop, Writer
from meltica.trading.desk import Desk
from meltica.trading.failure import cancel_open, fail
from meltica.trading.faults import TradingFault, faults
from meltica.trading.loss_watch import LossWatch
from meltica.trading.reconciliation import Reconciler
from meltica.trading.requests import Requests
from meltica.trading.restore import StoredOrders, restore
from meltica.trading.state_machine import OrderMachine
from meltica.trading.transitions import TimingsOf

log = logging.getLogger("meltica.trading")

TICK = 0.25
"""Seconds between two checks for repeated cancels, queries and expiries."""
MARK_EVERY = 4
"""How many ticks apart scopes are valued for their limits of loss."""
RECORD_SECONDS = 5.0
"""How long `committed` waits."""
DRAIN = 2.0
"""Seconds that requests in flight and the last commit have when trading stops."""

Storage = tuple[Writer, TradingLoader]
T = TypeVar("T")


class Trading:
    """Trading, from `start` to `stop`."""

    def __init__(
        self,
        desk: Desk,
        open_storage: Callable[[], AbstractAsyncContextManager[Storage]],
        timings: TimingsOf,
    ) -> None:
        """Creates trading, stopped.

        - `open_storage`: opens the database; called on trading's loop.
        - `timings`: the intervals of a provider.

        """
        self.desk = desk
        self.timings = timings
        desk.wake = self.wake
        desk.wake_commits = self.wake_commits
        self._open_storage = open_storage
        self._intents = IntentQueue()
        """What is to be committed."""
        self._work = IntentQueue(capacity=1)
        """Not empty when there are requests to make, or accounts to follow."""
        self._loop = LoopThread()
        self._thread: threading.Thread | None = None
        self._requests = Requests(desk)
        self._losses = LossWatch(desk)
        self._commits: CommitLoop | None = None
        self._reconciling: dict[Key, asyncio.Task[None]] = {}
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._has_failed = False
        self.on_failure: Callable[[], None] = lambda: None
        """Called on trading's thread, once, when trading has failed and has to be rebuilt."""

    def start(self) -> None:
        """Starts the thread; returns when the database is open. Raises what opening it raises."""
        self._thread = threading.Thread(target=self._run, name="meltica-trading", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout: float = 5.0) -> bool:
        """Writes what waits and ends the thread; returns whether it ended in time."""
        self._loop.stop()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def push(self, machine: OrderMachine, trace: int | None = None) -> None:
        """Passes a new order to the loop. Raises CapacityError when too many wait."""
        self._intents.push(machine, trace)

    def wake(self) -> None:
        """Lets the loop check what there is to do. Called from any thread."""
        with contextlib.suppress(CapacityError):  # it is awake
            self._work.push(None)
        self.wake_commits()

    def wake_commits(self) -> None:
        """Lets the loop write what has changed, after the commit that runs. Called from any thread."""
        if not len(self._intents):
            self._intents.push(None)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` on trading's loop and returns its result to another loop."""
        return await self._loop.call(work)

    async def load(self, read: Callable[[TradingLoader], Awaitable[T]]) -> T:
        """Reads the database on trading's loop. Raises DatabaseError."""
        return await self.call(lambda: read(self._loader))

    async def committed(self) -> Committed:
        """Waits until what waits now is committed, and the halts of the database are effective.

        Raises ChangeInDoubt after `RECORD_SECONDS`; what waits is then written later.
        """
        commits = self._commits
        if commits is None:
            raise DatabaseUnavailable("nothing was written: trading is not running")
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                return await self.call(commits.committed)
        except TimeoutError:
            cause = self.write_failure or f"the database did not respond within {RECORD_SECONDS:g} s"
            raise ChangeInDoubt(f"not recorded yet: {cause}") from None

    @property
    def write_failure(self) -> str | None:
        """Why the last commit failed; None while commits succeed."""
        if self.desk.gate.failure is not None:
            return "trading has failed, and is rebuilt from the database"
        return None if self._commits is None else self._commits.failure

    @property
    def commits(self) -> tuple[int, float]:
        """How many commits succeeded, and how many seconds they took together."""
        return (0, 0.0) if self._commits is None else (self._commits.count, self._commits.seconds)

    def faults(self) -> list[TradingFault]:
        """Returns what an operator has to look at now. Called from any thread."""
        return faults(self.desk, self.write_failure)

    def _run(self) -> None:
        try:
            self._loop.run(self._main)
        except BaseException as error:
            if self._started.is_set():
                self._fail(error)
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        async with self._open_storage() as (writer, loader):
            self._loader = loader
            self._stored = StoredOrders(self.desk, loader, self.timings)
            await restore(self.desk, loader, self.timings)
            commits = self._commits = CommitLoop(self.desk, writer, self._requests, self._intents, self._fail)
            loop = asyncio.get_running_loop()
            loop.add_reader(self._work.fileno(), self._take)
            tasks = [loop.create_task(commits.run()), loop.create_task(self._tick())]
            self._started.set()
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                loop.remove_reader(self._work.fileno())
                await self._wind_up(commits, tasks)

    async def _wind_up(self, commits: CommitLoop, tasks: "list[asyncio.Task[None]]") -> None:
        commits.end()
        committing, ticking = tasks
        others = [ticking, *self._reconciling.values()]
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        await asyncio.wait({committing}, timeout=DRAIN)
        committing.cancel()
        await asyncio.wait({committing})
        cancelled = await self._requests.close(DRAIN)
        if cancelled:
            log.warning(
                "%d requests were in flight at the stop; the next start asks for their outcome", cancelled
            )
        with self._supervised():
            self._losses.close()
            self.desk.write_refusals()
        if not await commits.commit():
            log.error("the last changes of orders were not written: %s", commits.failure)

    def _fail(self, error: BaseException) -> None:
        """Ends trading on this desk, which is rebuilt. Called on trading's thread."""
        if fail(self.desk, error):
            self._has_failed = True
            self.on_failure()

    @contextlib.contextmanager
    def _supervised(self) -> Generator[None]:
        """Ends trading after an unexpected exception of a task, or in a change of any thread."""
        try:
            yield
        except Exception as error:
            self._fail(error)
        failure = self.desk.gate.failure
        if failure is not None and not self._has_failed:
            self._fail(failure)

    def _take(self) -> None:
        with self._supervised():
            self._begin()

    def _begin(self) -> None:
        self._work.take()
        for key in self.desk.account_keys():
            if key not in self._reconciling:
                work = Reconciler(self.desk, self._stored, *key).run()
                self._reconciling[key] = task = asyncio.get_running_loop().create_task(work)
                task.add_done_callback(self._reconciler_ended)
        close_due(self.desk)
        for machine, effect in self.desk.take_requests():
            self._requests.begin(machine, effect)

    def _reconciler_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _reconnect(self) -> None:
        silent, self.desk.silent = self.desk.silent, []
        for key in silent:
            account = self.desk.account_of(*key)
            if account is not None:
                with contextlib.suppress(VenueError):  # its provider stops
                    await account.reconnect()

    async def _tick(self) -> None:
        for number in itertools.count():
            with self._supervised():
                if self.desk.gate.failure is not None:
                    cancel_open(self.desk)
                else:
                    self.desk.tick()
                    await self._reconnect()
                    if number % MARK_EVERY == 0:
                        self._losses.mark()
            await asyncio.sleep(TICK)

"""An event loop owned by a component: prepared, run on one thread, stopped from any thread in bounded time.

Other threads submit work with `wait`, other event loops with `call`. Every accepted call completes: when the
loop ends, calls in progress have `GRACE` seconds and are then cancelled.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from meltica.errors import VenueUnavailable

T = TypeVar("T")

GRACE = 1.0
"""Seconds that calls in progress have to complete when the loop ends."""


class LoopThread:
    """The event loop. `closing` runs on it before calls are cancelled, `close` runs last."""

    def __init__(
        self,
        closing: Callable[[], object] = lambda: None,
        close: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._closing = closing
        self._close = close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._running = False
        self._closed = False
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()

    def prepare(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `main` on this thread and leaves the loop ready for `run`; a failure ends the loop.

        Raises what `main` raises, or VenueUnavailable when the loop is stopped first.
        """
        try:
            if not self._enter(main):
                raise VenueUnavailable("stopped", "the provider was stopped during its start")
        except BaseException:
            self._shut()
            raise

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `main` on this thread until it ends or `stop` is called, then ends the loop."""
        try:
            self._enter(main)
        finally:
            self._shut()

    def stop(self) -> None:
        """Ends the loop soon. Thread-safe and idempotent."""
        with self._lock:
            if self._closed:
                return
            if self._loop is None:
                self._closed = True
                return
            self._loop.call_soon_threadsafe(self._stopping.set)
            if self._running:
                return
        # No thread runs the loop, and the calling thread may be running a loop of its own.
        shutting = threading.Thread(target=self._shut, name="loop-close", daemon=True)
        shutting.start()
        shutting.join(GRACE * 3)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` on this loop and returns its result to a caller on another loop.

        Cancelling the caller does not cancel `work`. Raises VenueUnavailable when the loop has ended.
        """
        return await asyncio.shield(asyncio.wrap_future(self._submit(work)))

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` on this loop and returns its result to the calling thread, which blocks."""
        return self._submit(work).result()

    def _submit(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        outcome: Future[T] = Future()

        def settle(task: asyncio.Task[T]) -> None:
            self._calls.discard(task)
            if task.cancelled():
                outcome.set_exception(VenueUnavailable("stopped", "the provider was stopped"))
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(task.result())

        async def run() -> T:
            return await work()

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(run())
            self._calls.add(task)
            task.add_done_callback(settle)

        with self._lock:
            if self._closed or self._loop is None:
                raise VenueUnavailable("stopped", "the provider is not running")
            self._loop.call_soon_threadsafe(begin)
        return outcome

    def _enter(self, main: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Runs `main` until it ends or `stop` is called; returns whether it ended by itself."""
        with self._lock:
            if self._closed or self._running:
                return False
            if self._loop is None:
                self._loop = _EventLoop()
            loop, self._running = self._loop, True
        try:
            return loop.run_until_complete(self._until_stopped(main()))
        finally:
            with self._lock:
                self._running = False

    async def _until_stopped(self, main: Coroutine[Any, Any, None]) -> bool:
        stopping = asyncio.ensure_future(self._stopping.wait())
        running = asyncio.ensure_future(main)
        await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
        ended = running.done()
        for task in (stopping, running):
            task.cancel()
        await asyncio.wait({stopping, running})
        if not running.cancelled() and (error := running.exception()) is not None:
            raise error
        return ended and not self._stopping.is_set()

    def _shut(self) -> None:
        with self._lock:
            if self._closed or self._running:
                return
            self._closed = True
            loop = self._loop
        if loop is None:
            return
        try:
            loop.run_until_complete(self._wind_up())
        finally:
            loop.close()

    async def _wind_up(self) -> None:
        # Calls that were accepted last start before any call is cancelled.
        await asyncio.sleep(0)
        self._closing()
        if self._calls:
            await asyncio.wait(self._calls, timeout=GRACE)
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        if remaining:
            await asyncio.wait(remaining, timeout=GRACE)
        if self._close is not None:
            await self._close()
        # The done callbacks that settle calls run in the next iteration of the loop.
        await asyncio.sleep(0)


class _EventLoop(asyncio.SelectorEventLoop):
    """An event loop whose creation may fail, such as without a free file descriptor.

    asyncio closes an incomplete loop when it is deleted, which logs a traceback.
    """

    _complete = False

    def __init__(self) -> None:
        super().__init__()
        self._complete = True

    def close(self) -> None:
        """Closes the loop if it was created completely."""
        if self._complete:
            super().close()

"""An event loop that an adapter owns: prepared in `start`, run in `run`, stopped from any thread, in bounded
time.

Others reach it from wherever they are: `wait` from a thread, `call` from any event loop. A call that is
accepted is answered, come what may: when the loop ends, calls under way have `GRACE` seconds and are then
cancelled.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from meltica.errors import VenueUnavailable

T = TypeVar("T")

GRACE = 1.0
"""Seconds that calls under way have when the loop ends."""


class LoopThread:
    """The loop. `closing` is called on it before calls are cut short, `close` as the last thing."""

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

        Raises what `main` raised, VenueUnavailable when it was stopped first.
        """
        try:
            if not self._enter(main):
                raise VenueUnavailable("stopped", "the provider was stopped while it started")
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
        """Ends the loop soon; from any thread, at any time, more than once."""
        with self._lock:
            if self._closed:
                return
            if self._loop is None:
                self._closed = True
                return
            self._loop.call_soon_threadsafe(self._stopping.set)
            if self._running:
                return
        # Nobody runs it, and this thread may have a running loop of its own.
        shutting = threading.Thread(target=self._shut, name="loop-close", daemon=True)
        shutting.start()
        shutting.join(GRACE * 3)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Returns what `work` does on this loop, where it is called, or never if the loop has ended. Whoever
        stops waiting does not end it.
        """
        return await asyncio.shield(asyncio.wrap_future(self._begin(work)))

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Returns what `work` does on this loop, to a thread that waits for it."""
        return self._begin(work).result()

    def _begin(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        answer: Future[T] = Future()

        def settle(task: asyncio.Task[T]) -> None:
            self._calls.discard(task)
            if task.cancelled():
                answer.set_exception(VenueUnavailable("stopped", "the provider was stopped"))
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        async def do() -> T:
            return await work()

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(do())
            self._calls.add(task)
            task.add_done_callback(settle)

        with self._lock:
            if self._closed or self._loop is None:
                raise VenueUnavailable("stopped", "the provider does not run")
            self._loop.call_soon_threadsafe(begin)
        return answer

    def _enter(self, main: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Runs `main` until it ends or `stop`; returns whether it ended by itself."""
        with self._lock:
            if self._closed or self._running:
                return False
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
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
        # What was accepted last begins before anything is cut short.
        await asyncio.sleep(0)
        self._closing()
        if self._calls:
            await asyncio.wait(self._calls, timeout=GRACE)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=GRACE)
        if self._close is not None:
            await self._close()
        # What settles a call runs in the loop's next round.
        await asyncio.sleep(0)

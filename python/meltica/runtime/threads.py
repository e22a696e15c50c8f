"""Blocking calls next to an event loop, each on its own daemon thread.

The loop's default executor is unsuitable: a call that never returns would keep the process from exiting, and
a few of them would exhaust its threads.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from meltica.errors import Overdue, one_line

T = TypeVar("T")


def call(function: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Runs `function` on a new thread and returns a future of its result or exception.

    Cancelling the future does not end the call. A BaseException such as SystemExit is converted to a
    RuntimeError, because it would otherwise end the loop.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = function()
        except Exception as error:
            # A future does not accept StopIteration.
            failure = _as_runtime_error(error) if isinstance(error, StopIteration) else error
        except BaseException as error:
            failure = _as_runtime_error(error)
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop is closed, so the result has no receiver.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def within(seconds: float, future: "asyncio.Future[T]", late: Callable[[T], object] | None = None) -> T:
    """Waits for a future of `call` and returns its result or raises its exception.

    Raises Overdue after `seconds`. After that, or when the wait is cancelled, the call continues in the
    background and its eventual result is passed to `late`.
    """

    def settle(done: "asyncio.Future[T]") -> None:
        # Reading a late exception keeps asyncio from logging it as never retrieved.
        if not done.cancelled() and done.exception() is None and late is not None:
            late(done.result())

    try:
        _, pending = await asyncio.wait([future], timeout=seconds)
    except asyncio.CancelledError:
        future.add_done_callback(settle)
        raise
    if pending:
        future.add_done_callback(settle)
        raise Overdue(f"timed out after {seconds:g} s")
    return future.result()


def _as_runtime_error(error: BaseException) -> RuntimeError:
    failure = RuntimeError(one_line(error))
    failure.__cause__ = error
    return failure

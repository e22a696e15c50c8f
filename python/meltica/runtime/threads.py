"""Blocking calls beside an event loop, each on a daemon thread of its own.

The loop's own executor will not do: a call that never ends would keep the process from ending, and a few of
them would leave no thread for the others.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from meltica.errors import Overdue

T = TypeVar("T")


def call(function: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Runs `function` on a new thread; the future has what it returned or raised.

    Cancelling the future does not end the call. What is no Exception, `sys.exit` above all, arrives as a
    RuntimeError: it would end the loop.
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
            # A future refuses StopIteration.
            failure = _as_runtime_error(error) if isinstance(error, StopIteration) else error
        except BaseException as error:
            failure = _as_runtime_error(error)
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def within(seconds: float, future: "asyncio.Future[T]", late: Callable[[T], object] | None = None) -> T:
    """Returns what a call of `call` returned, or raises what it raised.

    Raises Overdue after `seconds`. The call then goes on by itself, as it does when the wait is cancelled;
    `late` gets what it returns in the end.
    """

    def look(done: "asyncio.Future[T]") -> None:
        # An exception that came too late for anybody is taken, so that it is not reported as lost.
        if not done.cancelled() and done.exception() is None and late is not None:
            late(done.result())

    try:
        _, left = await asyncio.wait([future], timeout=seconds)
    except asyncio.CancelledError:
        future.add_done_callback(look)
        raise
    if left:
        future.add_done_callback(look)
        raise Overdue(f"did not end within {seconds:g} s")
    return future.result()


def _as_runtime_error(error: BaseException) -> RuntimeError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    failure = RuntimeError(text)
    failure.__cause__ = error
    return failure

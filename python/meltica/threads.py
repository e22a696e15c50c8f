"""Blocking calls beside an event loop, each on a daemon thread of its own.

The loop's own executor will not do: a call that never ends would keep the process from ending, and a few of
them would leave no thread for the others.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def call(function: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Runs `function` on a new thread; the future has what it returned or raised.

    Cancelling the future does not end the call.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = function()
        except StopIteration as error:
            # A future takes every exception but this one.
            failure = RuntimeError(f"raised StopIteration: {error}")
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def within(seconds: float, future: "asyncio.Future[T]", late: Callable[[T], object] | None = None) -> T:
    """Returns what a call of `call` returned.

    Raises TimeoutError after `seconds` and leaves the call to itself; `late` gets what it returns then.
    """

    def look(done: "asyncio.Future[T]") -> None:
        # An exception that came too late for anybody is taken, so that it is not reported as lost.
        if not done.cancelled() and done.exception() is None and late is not None:
            late(done.result())

    _, left = await asyncio.wait([future], timeout=seconds)
    if left:
        future.add_done_callback(look)
        raise TimeoutError
    return future.result()

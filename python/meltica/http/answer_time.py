"""ASGI middleware: every request is answered within ANSWER_SECONDS.

1. The time runs from when the body has arrived, less what the authentication took.
2. When it is over, the request is cancelled, and its client gets a 503 before the task ends: psycopg
   takes seconds to cancel a query when the server hangs.
3. A response that has begun, such as a stream, is not limited.
"""

import asyncio
import math
from collections.abc import Container
from contextvars import ContextVar
from typing import Any, Final, cast

from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send, WebSocketReceiveMessage

from meltica.http.errors import HttpError

ANSWER_SECONDS: Final = 6.25
"""Existing clients time out after 8, and a busy machine needs some time for many answers at once."""
SPENT: Final = "meltica.spent"
"""Key of a scope: how many seconds of the time have passed."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Deadline:
    """When a request must be answered."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._by = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()

    @property
    def remaining(self) -> float:
        """The seconds that remain."""
        return self._by - self._loop.time()

    def begin(self, seconds: float) -> None:
        """Begins the time, again if it has begun."""
        self.end()
        self._by = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._by, self.over.set_result, None)

    def end(self) -> None:
        """Ends the time."""
        if self._timer is not None:
            self._timer.cancel()


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def remaining() -> float:
    """Returns how many seconds the request of this task still has; infinity outside of one."""
    deadline = _deadline.get()
    return math.inf if deadline is None else deadline.remaining


def extend(seconds: float) -> None:
    """Gives the request of this task more time."""
    deadline = _deadline.get()
    if deadline is not None:
        deadline.begin(deadline.remaining + seconds)


class AnswerTime:
    """Wraps an application behind the request gate; handlers of POST read the body of `streamed` paths."""

    def __init__(self, app: ASGIApp, streamed: Container[str] = ()) -> None:
        self._app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. Raises HttpError when its time is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline, begun = Deadline(), asyncio.get_running_loop().create_future()
        seconds = ANSWER_SECONDS - cast(dict[str, Any], scope).get(SPENT, 0.0)
        late = False

        async def receive_all() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            message = await receive()
            if deadline.remaining == math.inf and not cast(dict[str, Any], message).get("more_body", False):
                deadline.begin(seconds)
            return message

        async def send_in_time(message: Message) -> None:
            if late:
                return
            if not begun.done():
                begun.set_result(None)
            await send(message)

        if scope["method"] == "POST" and scope["path"].rstrip("/") in self._streamed:
            receive_body = receive_all
        else:
            receive_body = receive
            deadline.begin(seconds)
        token = _deadline.set(deadline)
        task = asyncio.ensure_future(self._app(scope, receive_body, send_in_time))
        _deadline.reset(token)
        try:
            await asyncio.wait({task, begun, deadline.over}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not begun.done():
                raise _late(str(scope["method"]))
        except BaseException:
            late = True
            task.add_done_callback(_retrieve)
            task.cancel()
            raise
        finally:
            deadline.end()
        await task


def _late(method: str) -> HttpError:
    if method in _SAFE:
        text = f"request not answered within {ANSWER_SECONDS:g} s; /health/ready shows what does not respond"
        return HttpError(503, "timed_out", text)
    text = "outcome unknown: not answered in time; read it again before you repeat the request"
    return HttpError(503, "outcome_unknown", text)


def _retrieve(task: "asyncio.Future[None]") -> None:
    """Marks an exception as retrieved: the client has its answer."""
    if not task.cancelled():
        task.exception()

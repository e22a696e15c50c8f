"""The response of a stream: it writes events, and ends with its client, its token, or the gateway.

A client that does not read is disconnected after SEND_SECONDS, or CLOSE_SECONDS after its stream must end, so
it never holds more than its queue and what the socket buffers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from meltica.control.access import Principal
from meltica.control.sessions import Sessions
from meltica.control.streams.frames import frame
from meltica.control.streams.hub import EventHub, Start
from meltica.control.streams.market import MarketTap
from meltica.control.streams.subscriber import Subscriber
from meltica.errors import DatabaseError
from meltica.http.responses import ABORT, IS_HEAD

SEND_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 15.0
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
)

Snapshot = Callable[[Subscriber], Awaitable[Mapping[str, Any]]]


class EventStream(ASGIResponse):
    """Streams events to one client."""

    def __init__(
        self,
        hub: EventHub,
        market: MarketTap,
        sessions: Sessions,
        principal: Principal,
        begin: Start,
        subscriber: Subscriber,
        snapshot: Snapshot,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._hub = hub
        self._market = market
        self._sessions = sessions
        self._principal = principal
        self._begin = begin
        self._subscriber = subscriber
        self._snapshot = snapshot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends events until the stream ends."""
        found = cast(dict[str, Any], scope)
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": HEADERS}
        if found.get(IS_HEAD):
            await send(start)
            await send(_body(b"", more=False))
            return
        subscriber = self._subscriber

        def expired(why: str) -> None:
            subscriber.end("unauthenticated", why)

        self._hub.enter()
        self._market.join(subscriber)
        loop = asyncio.get_running_loop()
        writer = loop.create_task(self._write(send, start), name="meltica-stream")
        gone = loop.create_task(_disconnected(receive), name="meltica-stream-client")
        ended = loop.create_task(subscriber.ended.wait(), name="meltica-stream-end")
        try:
            with self._sessions.opened(self._principal, expired):
                await asyncio.wait({writer, gone, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await asyncio.wait({writer, gone}, timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not writer.done() and not gone.done():
                found[ABORT]()
                await gone
        finally:
            self._market.leave(subscriber)
            self._hub.leave(subscriber)
            for task in (writer, gone, ended):
                task.cancel()
            await asyncio.wait({writer, gone, ended})
        if not writer.cancelled():
            writer.result()

    async def _write(self, send: Send, start: HTTPResponseStartEvent) -> None:
        """Writes until the subscriber ends, or the client reads nothing for too long."""
        subscriber = self._subscriber
        try:
            await send(start)
            await self._open(send)
            while chunk := await subscriber.next(HEARTBEAT_SECONDS):
                await _send(send, chunk)
            await _send(send, b"", more=False)
        except TimeoutError:
            subscriber.end("too_slow", "the client has not read for too long")
            await asyncio.Event().wait()  # the connection is closed

    async def _open(self, send: Send) -> None:
        """Writes what comes before the live events."""
        id = self._begin.id
        try:
            if self._begin.reset:
                message = "the events after that id are no longer kept; start from the snapshot"
                await _send(send, frame("reset", {"code": "pruned", "message": message}))
                # Events after the number may be in the snapshot as well: they carry whole states.
                await _send(send, frame("snapshot", await self._snapshot(self._subscriber), id))
            await _send(send, b"retry: 2000\n" + frame("ready", {} if id is None else {"id": id}, id))
            while events := await self._hub.catch_up(self._subscriber):
                await _send(send, b"".join(event.frame for event in events))
        except DatabaseError:
            self._subscriber.end("database_unavailable", "resume by the id of the last event later")


class EventStreamResponse(Stream):
    """What the handler of a stream returns."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__([], media_type="text/event-stream")
        self._stream = stream

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Returns the response."""
        return self._stream


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, data: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send(_body(data, more=more))


def _body(data: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": data, "more_body": more}

"""`Subscriber`: what one stream has not sent yet, within bounds of its own.

1. Events with a number wait in their order. When too many do, the stream is closed with the code `too_slow`;
   the client resumes by the number of the last event that it has.
2. Of states and market data, the latest of each name or route waits; those that it replaces are counted. A
   stream has a bounded number of routes.
"""

import asyncio
from collections import deque
from typing import Final

from meltica.control.streams.events import EventFilter, StreamEvent
from meltica.control.streams.frames import frame

MAX_EVENTS: Final = 1000
MAX_BYTES: Final = 4 << 20
CHUNK: Final = 64 << 10
"""How many bytes are sent at once, at least."""
HEARTBEAT: Final = b": still connected\n\n"


class Subscriber:
    """The bounded queue of one stream. It never waits for its client."""

    def __init__(self, filter: EventFilter, position: int) -> None:
        """`position`: the number of the last event that the client has."""
        self.filter = filter
        self.position = position
        """After the stream has joined, the number after which live events are new."""
        self.ended = asyncio.Event()
        """Set once the stream must end."""
        self.code: str | None = None
        """Why it must."""
        self.conflated = 0
        self._private: deque[StreamEvent] = deque()
        self._bytes = 0
        self._latest: dict[object, bytes] = {}
        self._closing = b""
        self._waiting = asyncio.Event()

    def push(self, event: StreamEvent) -> None:
        """Adds an event that the filter accepts."""
        if self.code is not None or (event.id is not None and event.id <= self.position):
            return
        if not self.filter.accepts(event):
            return
        if event.id is None:
            self.push_latest(event.key, event.frame)
            return
        self._private.append(event)
        self._bytes += len(event.frame)
        if len(self._private) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self.end("too_slow", f"more than {MAX_EVENTS} events waited; resume by the id of the last one")
            return
        self._waiting.set()

    def push_latest(self, key: object, frame: bytes) -> None:
        """Adds the latest state of a thing, in place of one that waits."""
        if self.code is None:
            self.conflated += self._latest.pop(key, None) is not None
            self._latest[key] = frame
            self._waiting.set()

    def end(self, code: str, message: str) -> None:
        """Ends the stream with a last event that says why. What waits is dropped; it can be resumed."""
        if self.code is None:
            self.code = code
            self._private.clear()
            self._latest.clear()
            self._closing = frame("closed", {"code": code, "message": message})
            self.ended.set()
            self._waiting.set()

    async def next(self, patience: float) -> bytes:
        """Waits for events, and returns some; a comment if none comes in time, and nothing after the end."""
        try:
            async with asyncio.timeout(patience):
                await self._waiting.wait()
        except TimeoutError:
            return HEARTBEAT
        if self.code is not None:
            closing, self._closing = self._closing, b""
            return closing
        parts, size = list[bytes](), 0
        while self._private and size < CHUNK:
            data = self._private.popleft().frame
            self._bytes -= len(data)
            parts.append(data)
            size += len(data)
        while self._latest and size < CHUNK:
            data = self._latest.pop(next(iter(self._latest)))
            parts.append(data)
            size += len(data)
        if not self._private and not self._latest:
            self._waiting.clear()
        return b"".join(parts)

"""The websocket side: connected clients, their subscriptions, and the delivery of frames.

The hub and its clients belong to the loop's thread. A frame is queued for each subscriber. Every client has a
task of its own that sends its queue, so that a slow client delays no other.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

import msgspec
from litestar.types import Receive, Scope, Send

from meltica.http.errors import HttpError
from meltica.venue.auth import Keys, SkewedClock
from meltica.venue.messages import (
    LoginMessage,
    PingMessage,
    SubscribeMessage,
    UnsubscribeMessage,
    id_of,
    read,
)

MAX_QUEUED = 10_000
"""Most frames queued for one client; a client that falls further behind is disconnected."""
MAX_CHANNELS = 1_000

GOING_AWAY = 1001
SERVICE_RESTART = 1012

CLOSE_SECONDS = 1.0
"""How long sending the close frame may take."""

Want = Callable[[str, bool], object]
Refuse = Callable[[str], HttpError | None]


class Hub:
    """All open streams.

    `want` is called with a channel of the market when its first client subscribes and its last unsubscribes.
    `refuse` returns the error of an invalid channel name.
    """

    def __init__(self, want: Want, refuse: Refuse, keys: Keys, clock: SkewedClock) -> None:
        self.refuse = refuse
        self.keys = keys
        self.clock = clock
        self.connected = 0
        self.cut = 0
        self.published = 0
        """Frames of the market so far, each counted once."""
        self._want = want
        self._clients: dict[int, Client] = {}
        self._wanted: dict[str, set[Client]] = {}
        self._ids = count(1)

    @property
    def clients(self) -> list["Client"]:
        """The open streams, oldest first."""
        return list(self._clients.values())

    def publish(self, channel: str, frame: str) -> None:
        """Queues a frame of the market for every client of its channel."""
        self.published += 1
        for client in list(self._wanted.get(channel, ())):
            client.put(frame)

    def close(self, code: int, reason: str) -> None:
        """Closes every stream at once."""
        for client in self.clients:
            client.end(code, reason)

    def add(self, client: "Client", channels: Iterable[str]) -> None:
        """Subscribes a client to channels of the market."""
        for channel in channels:
            if channel not in self._wanted:
                self._wanted[channel] = set()
                self._want(channel, True)
            self._wanted[channel].add(client)

    def remove(self, client: "Client", channels: Iterable[str]) -> None:
        """Unsubscribes a client from channels of the market."""
        for channel in channels:
            others = self._wanted[channel]
            others.discard(client)
            if not others:
                del self._wanted[channel]
                self._want(channel, False)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one stream that passed the request gate, from its acceptance to its end."""
        host, port = scope["client"] or ("", 0)
        client = Client(self, next(self._ids), f"{host}:{port}", receive, send)
        self.connected += 1
        self._clients[client.id] = client
        try:
            await client.run()
        finally:
            del self._clients[client.id]
            self.remove(client, client.channels.values())


class Client:
    """One stream."""

    def __init__(self, hub: Hub, id: int, address: str, receive: Receive, send: Send) -> None:
        self.id = id
        self.address = address
        self.account: str | None = None
        self.channels: dict[str, str] = {}
        """Subscribed channels: the client's name -> the market's name."""
        self.sent = 0
        self._hub = hub
        self._receive = receive
        self._send = send
        self._queue: deque[str] = deque()
        self._some = asyncio.Event()
        self._ended: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()

    @property
    def queued(self) -> int:
        """Frames that wait to be sent."""
        return len(self._queue)

    def put(self, text: str) -> None:
        """Queues a frame; disconnects a client that is too far behind."""
        if self._ended.done():
            return
        if len(self._queue) >= MAX_QUEUED:
            self._hub.cut += 1
            # Without a close frame, which would also have to wait for the client.
            self._ended.set_result(None)
            return
        self._queue.append(text)
        self._some.set()

    def end(self, code: int, reason: str) -> None:
        """Closes the stream; queued frames are dropped."""
        if not self._ended.done():
            self._ended.set_result((code, reason))

    async def run(self) -> None:
        """Accepts the stream, then reads and writes until either side ends it."""
        await self._receive()  # the connect event
        await self._send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        tasks = {asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())}
        try:
            await asyncio.wait({*tasks, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended.done() and (ending := self._ended.result()) is not None:
            code, reason = ending
            with contextlib.suppress(TimeoutError, OSError):
                closing = self._send({"type": "websocket.close", "code": code, "reason": reason})
                await asyncio.wait_for(closing, CLOSE_SECONDS)
        for error in ends:
            # A server may report a client that disconnected as an OSError: that is not a failure.
            if isinstance(error, Exception) and not isinstance(error, OSError):
                raise error

    async def _write(self) -> None:
        while True:
            while self._queue:
                await self._send({"type": "websocket.send", "text": self._queue.popleft(), "bytes": None})
                self.sent += 1
            self._some.clear()
            await self._some.wait()

    async def _read(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text")
            self._respond(text if text is not None else message.get("bytes") or b"")

    def _respond(self, raw: str | bytes) -> None:
        try:
            response = self._handle(raw)
        except HttpError as error:
            response = {"op": "error", "id": id_of(raw), "error": str(error), "code": error.code}
        present = {key: value for key, value in response.items() if value is not None}
        self.put(msgspec.json.encode(present).decode())

    def _handle(self, raw: str | bytes) -> dict[str, object]:
        match read(raw):
            case PingMessage(id=id):
                return {"op": "pong", "id": id, "time": self._hub.clock.now()}
            case LoginMessage() as login:
                self._log_in(login)
                return {"op": "loggedIn", "id": login.id, "account": self.account}
            case SubscribeMessage(id=id, channels=names):
                self._subscribe(names)
                return {"op": "subscribed", "id": id, "channels": names}
            case UnsubscribeMessage(id=id, channels=names):
                self._unsubscribe(names)
                return {"op": "unsubscribed", "id": id, "channels": names}

    def _log_in(self, login: LoginMessage) -> None:
        account = self._hub.keys.account(login.signed())
        if self.account not in (None, account):
            raise HttpError(
                400, "bad_request", f"expected a stream without a login, saw that of {self.account}"
            )
        self.account = account

    def _subscribe(self, names: Iterable[str]) -> None:
        added = {name: self._channel(name) for name in names if name not in self.channels}
        if len(self.channels) + len(added) > MAX_CHANNELS:
            text = f"expected at most {MAX_CHANNELS} channels, saw {len(self.channels) + len(added)}"
            raise HttpError(400, "too_many_channels", text)
        self.channels |= added
        self._hub.add(self, added.values())

    def _unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.channels:
                text = f"expected channels that were subscribed, saw {name[:80]!r}"
                raise HttpError(400, "not_subscribed", text)
        self._hub.remove(self, [self.channels.pop(name) for name in dict.fromkeys(names)])

    def _channel(self, name: str) -> str:
        """Returns the market's name of a channel. Raises HttpError."""
        if name == "account":
            if self.account is None:
                raise HttpError(
                    401, "not_logged_in", "expected a login before the channel `account`, saw none"
                )
            return f"account:{self.account}"
        refused = self._hub.refuse(name)
        if refused is not None:
            raise refused
        return name

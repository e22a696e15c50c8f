"""One websocket connection: does what its session says, and tells it what happened.

With a `feed`, each frame goes to the core first, and the handler gets only frames that are not market data of
the codec. Without a `feed`, the handler gets every frame. It returns the answer to a request, if the frame is
one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from meltica.adapters.live.clock import on_loopback
from meltica.adapters.live.session import (
    Ack,
    Action,
    Close,
    Confirmed,
    Down,
    Login,
    Open,
    Phase,
    Ping,
    Ready,
    Refused,
    Session,
    Subscribe,
    Unsubscribe,
)
from meltica.errors import one_line

if TYPE_CHECKING:
    from meltica._core import FeedOutcome

log = logging.getLogger("meltica.adapters.live")

MAX_FRAME = 16 << 20
QUEUED = 256
"""Frames that wait for this side before the venue has to."""
CLOSE_SECONDS = 1.0
GOING_AWAY = 1001


class StreamHandler(Protocol):
    """How a venue is spoken to over one of its streams: the texts of what a session asks."""

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send; None sends a websocket ping in place of a message."""
        ...

    def on_message(self, frame: bytes) -> Ack | None:
        """Handles a frame that the codec does not decode; returns the answer that it is, if it is one."""
        ...

    def on_ready(self) -> None:
        """The connection stands, logged in where that is needed."""
        ...

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        """Channels are there from now on."""
        ...

    def on_disconnected(self, down: Down) -> None:
        """The connection is gone, or did not come to be."""
        ...


class Connection:
    """One connection, from `run` until it is cancelled. Belongs to the loop's thread."""

    def __init__(
        self,
        name: str,
        url: Callable[[], Awaitable[str]],
        session: Session,
        handler: StreamHandler,
        feed: "Callable[[bytes], FeedOutcome] | None" = None,
    ) -> None:
        self.session = session
        self.frames = 0
        """Frames received so far."""
        self.last_error: str | None = None
        """Why it is down; None while it is up."""
        self._name = name
        self._url = url
        self._handler = handler
        self._feed = feed
        self._changed = asyncio.Event()
        self._attempt: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        """The present one; what an earlier one still has is not read."""
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0

    async def run(self) -> None:
        """Connects, and connects again, until it is cancelled."""
        try:
            self._do(self.session.start(self._now()))
            await asyncio.get_running_loop().create_future()
        finally:
            attempt = self._attempt
            self._do(self.session.end())
            if attempt is not None:
                await asyncio.wait([attempt])

    def drop(self, reason: str) -> None:
        """Gives the connection up, if it stands; the next is tried as after any other loss."""
        self._do(self.session.drop(reason, self._now()))

    def want(self, channels: frozenset[str]) -> None:
        """Has these channels, and no others, from now on."""
        self._do(self.session.set_channels(channels, self._now()))

    def renew(self, channels: tuple[str, ...]) -> None:
        """Ends the subscription of channels and asks for them again."""
        self._do(self.session.renew(channels, self._now()))

    async def settled(self, channels: frozenset[str]) -> None:
        """Waits until the venue has said of each of these whether it does what is wanted."""
        while not channels.isdisjoint(self.session.unsettled):
            self._changed.clear()
            await self._changed.wait()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Open():
                    self._attempt = asyncio.get_running_loop().create_task(self._live(), name=self._name)
                case Close():
                    self._socket = None
                    if self._attempt is not None:
                        self._attempt.cancel()
                        self._attempt = None
                case Login() | Subscribe() | Unsubscribe() | Ping():
                    self._outgoing.put_nowait(self._handler.encode(action))
                case Ready():
                    if self.last_error is not None:
                        log.info("%s: connected again", self._name)
                    self._handler.on_ready()
                case Confirmed(channels):
                    self._handler.on_subscribed(channels)
                case Refused(channel, error):
                    log.warning("%s: the venue refused %s: %s", self._name, channel, error)
                case Down():
                    self.last_error = action.reason
                    log.warning(
                        "%s: no connection, next attempt in %.1f s: %s",
                        self._name,
                        action.pause,
                        action.reason,
                    )
                    self._handler.on_disconnected(action)
        if self.session.phase is Phase.UP:
            self.last_error = None
        self._changed.set()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wake_at = self.session.wake_at
        self._timer = None if wake_at is None else asyncio.get_running_loop().call_at(wake_at, self._tick)

    def _tick(self) -> None:
        now = self._now()
        actions: list[Action] = []
        if self.frames != self._seen:
            self._seen = self.frames
            actions += self.session.received(now)
        self._do([*actions, *self.session.tick(now)])

    async def _live(self) -> None:
        """One connection, from the attempt to its end."""
        try:
            url = await self._url()
            socket = await connect(
                url,
                proxy=None if on_loopback(url) else True,
                compression=None,
                open_timeout=None,
                ping_interval=None,
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_FRAME,
                max_queue=QUEUED,
            )
        except Exception as error:
            self._do(self.session.disconnected(f"it could not be opened: {one_line(error)}", self._now()))
            return
        self._socket, self._outgoing = socket, asyncio.Queue()
        writing = asyncio.get_running_loop().create_task(self._write(socket, self._outgoing))
        try:
            self._do(self.session.opened(self._now()))
            await self._read(socket)
            # The session has closed it.
            return
        except ConnectionClosed as error:
            ended = "without a word" if error.rcvd is None else str(error.rcvd)
            reason = f"the venue ended it: {ended}"
        except Exception as error:
            # What a frame does to an adapter costs the connection, never the provider.
            log.exception("%s: a frame could not be taken", self._name)
            reason = f"a frame could not be taken: {one_line(error)}"
        finally:
            writing.cancel()
            if self.session.phase is Phase.ENDED:
                # Whoever leaves for good says so; a venue that does not listen is left all the same.
                closing = asyncio.ensure_future(socket.close(GOING_AWAY))
                await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
            socket.transport.abort()
            await asyncio.wait([writing])
        self._do(self.session.disconnected(reason, self._now()))

    async def _read(self, socket: ClientConnection) -> None:
        receive, feed = socket.recv, self._feed
        while self._socket is socket:
            frame = await receive(decode=False)
            self.frames += 1
            if feed is not None and not feed(frame).needs_adapter:
                continue
            if (ack := self._handler.on_message(frame)) is not None:
                self._do(self.session.acknowledged(ack, self._now()))

    async def _write(self, socket: ClientConnection, outgoing: asyncio.Queue[str | None]) -> None:
        try:
            while True:
                text = await outgoing.get()
                if text is not None:
                    await socket.send(text)
                else:
                    pong = asyncio.ensure_future(await socket.ping())
                    pong.add_done_callback(self._ponged)
        except ConnectionClosed:
            # The reader tells.
            return

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._do(self.session.received(self._now()))

"""One websocket connection: executes the actions of its session, and reports events to it.

With a `feed`, each frame goes to the core first, and the handler gets only frames that are not market data of
the codec. Without a `feed`, the handler gets every frame. The handler returns an `Ack` for a frame that
acknowledges a request.
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
    Refused,
    Session,
    SessionReady,
    Subscribe,
    Unsubscribe,
)
from meltica.errors import one_line

if TYPE_CHECKING:
    from meltica._core import FeedOutcome

log = logging.getLogger("meltica.adapters.live")

MAX_FRAME = 16 << 20
"""The largest frame, in bytes."""
MAX_QUEUE = 256
"""Frames to buffer before the connection stops reading from the socket."""
CLOSE_SECONDS = 1.0
"""Seconds to wait for the venue's close frame."""
GOING_AWAY = 1001


class StreamHandler(Protocol):
    """Encodes the messages of one stream, and handles its frames and its state."""

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send for an action; None sends a websocket ping."""
        ...

    def on_message(self, frame: bytes) -> Ack | None:
        """Handles a frame that the codec does not decode; returns the acknowledgement if the frame is one."""
        ...

    def on_ready(self) -> None:
        """Handles a connection that is up and, where required, logged in."""
        ...

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        """Handles channels whose subscription the venue confirmed."""
        ...

    def on_disconnected(self, down: Down) -> None:
        """Handles a connection that was lost or could not be opened."""
        ...


class Connection:
    """One connection, reopened until `run` is cancelled. Belongs to the event loop's thread."""

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
        """Why the connection is down; None while it is up."""
        self._name = name
        self._url = url
        self._handler = handler
        self._feed = feed
        self._changed = asyncio.Event()
        self._attempt: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        """The current socket; frames of an earlier one are not read."""
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._frames_reported = 0

    async def run(self) -> None:
        """Connects and reconnects until it is cancelled."""
        try:
            self._do(self.session.start(self._now()))
            await asyncio.get_running_loop().create_future()
        finally:
            attempt = self._attempt
            self._do(self.session.end())
            if attempt is not None:
                await asyncio.wait([attempt])

    def drop(self, reason: str) -> None:
        """Closes a connection that is up; the next attempt follows as after any other loss."""
        self._do(self.session.drop(reason, self._now()))

    def set_channels(self, channels: frozenset[str]) -> None:
        """Sets the channels to be subscribed, in place of the previous ones."""
        self._do(self.session.set_channels(channels, self._now()))

    def renew(self, channels: tuple[str, ...]) -> None:
        """Unsubscribes channels and subscribes them again."""
        self._do(self.session.renew(channels, self._now()))

    async def wait_settled(self, channels: frozenset[str]) -> None:
        """Waits until the venue has confirmed or refused each of the channels."""
        while not channels.isdisjoint(self.session.unsettled):
            self._changed.clear()
            await self._changed.wait()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Open():
                    self._attempt = asyncio.get_running_loop().create_task(self._connect(), name=self._name)
                case Close():
                    self._socket = None
                    if self._attempt is not None:
                        self._attempt.cancel()
                        self._attempt = None
                case Login() | Subscribe() | Unsubscribe() | Ping():
                    self._outgoing.put_nowait(self._handler.encode(action))
                case SessionReady():
                    if self.last_error is not None:
                        log.info("%s: reconnected", self._name)
                    self._handler.on_ready()
                case Confirmed(channels):
                    self._handler.on_subscribed(channels)
                case Refused(channel, error):
                    log.warning("%s: the venue refused %s: %s", self._name, channel, error)
                case Down():
                    self.last_error = action.reason
                    log.warning(
                        "%s: disconnected, next attempt in %.1f s: %s",
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
        if self.frames != self._frames_reported:
            self._frames_reported = self.frames
            actions += self.session.received(now)
        self._do([*actions, *self.session.tick(now)])

    async def _connect(self) -> None:
        """Opens one connection and reads it to its end."""
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
                max_queue=MAX_QUEUE,
            )
        except Exception as error:
            self._do(self.session.disconnected(f"connection not opened: {one_line(error)}", self._now()))
            return
        self._socket, self._outgoing = socket, asyncio.Queue()
        writer = asyncio.get_running_loop().create_task(self._write(socket, self._outgoing))
        try:
            self._do(self.session.opened(self._now()))
            await self._read(socket)
            # The session has closed the connection.
            return
        except ConnectionClosed as error:
            ended = "without a close frame" if error.rcvd is None else str(error.rcvd)
            reason = f"closed by the venue: {ended}"
        except Exception as error:
            # An exception in the adapter closes this connection, but does not stop the provider.
            log.exception("%s: a frame could not be handled", self._name)
            reason = f"frame not handled: {one_line(error)}"
        finally:
            writer.cancel()
            if self.session.phase is Phase.ENDED:
                # On shutdown, send a close frame, but do not wait longer than CLOSE_SECONDS.
                closing = asyncio.ensure_future(socket.close(GOING_AWAY))
                await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
            socket.transport.abort()
            await asyncio.wait([writer])
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
            # The reader reports the loss.
            return

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._do(self.session.received(self._now()))

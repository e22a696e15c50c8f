"""The two connections of a live adapter: what each asks for, and what becomes of what it hears."""

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from meltica.adapters.base import Route
from meltica.adapters.live.connection import Connection
from meltica.adapters.live.session import Ack, Down, Login, Ping, Session, Subscribe, Unsubscribe
from meltica.adapters.live.snapshots import SnapshotScheduler
from meltica.errors import ProtocolError, VenueError, VenueUnavailable, one_line

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.live.account import LiveAccount
    from meltica.adapters.live.clock import VenueClock
    from meltica.adapters.live.protocol import VenueMessage, VenueProtocol

log = logging.getLogger("meltica.adapters.live")

_JSON = msgspec.json.Decoder(float_hook=Decimal)


def _encode(venue: "VenueProtocol", action: Login | Subscribe | Unsubscribe | Ping, time: int) -> str | None:
    match action:
        case Login(id):
            message = venue.login(id, time)
        case Subscribe(id, channels):
            message = venue.subscribe(id, channels)
        case Unsubscribe(id, channels):
            message = venue.unsubscribe(id, channels)
        case Ping(id):
            message = venue.ping(id)
    return None if message is None else msgspec.json.encode(message).decode()


def _failed(task: asyncio.Task[None]) -> BaseException | None:
    """Returns what ended a task that should have ended well, and logs it."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("what was read again could not be taken: %s", one_line(error), exc_info=error)
    return error


class MarketStream:
    """Market data: the routes, the books and the instruments. Belongs to the loop's thread."""

    def __init__(self, name: str, venue: "VenueProtocol", producer: "Producer", clock: "VenueClock") -> None:
        self.instruments: dict[str, Mapping[str, object]] = {}
        """What the venue listed when last asked, by symbol."""
        self._venue = venue
        self._producer = producer
        self._clock = clock
        self._routes: frozenset[Route] = frozenset()
        self._snapshots = SnapshotScheduler(producer, venue.fetch_snapshot, self._renew, self._subscribed)
        self._symbols: dict[str, str] = {}
        """Channel -> the symbol whose book it carries."""
        self._was_ready = False
        self._refreshing: asyncio.Task[None] | None = None
        self._connection = Connection(
            f"{name}-market",
            venue.market_url,
            Session(venue.timing),
            self,
            # Without a codec, the adapter decodes every frame.
            producer.feed if venue.codec() is not None else None,
        )

    @property
    def error(self) -> str | None:
        """Why its connection is down; None while it is up, or was not tried yet."""
        return self._connection.last_error

    async def run(self) -> None:
        """Keeps the connection and the books until it is cancelled."""
        self._tell(self.instruments)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connection.run())
            tasks.create_task(self._snapshots.run())

    async def refresh(self) -> None:
        """Reads the instruments again."""
        listed = await self._venue.fetch_instruments()
        self.instruments = {str(instrument["symbol"]): instrument for instrument in listed}

    async def route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route], timeout: float) -> None:
        """Asks for what is wanted now, and returns once the venue has confirmed it. Raises VenueError."""
        self._routes = self._routes.difference(unsubscribe).union(subscribe)
        session = self._connection.session
        before = session.wanted
        self._want()
        asked = (before - session.wanted) | self._channels(subscribe)
        if any(route.kind == "InstrumentUpdate" for route in subscribe):
            # Whoever comes later is told what the others were told before.
            self._tell(self.instruments)
        try:
            async with asyncio.timeout(timeout):
                await self._connection.settled(asked)
        except TimeoutError:
            missing = ", ".join(sorted(asked & session.unsettled)[:3])
            state = self._connection.last_error or "it stands"
            raise VenueUnavailable(
                "not_confirmed", f"expected {missing} within {timeout:g} s; the connection: {state}"
            ) from None
        for channel, error in session.refused.items():
            if channel in asked:
                raise type(error)(error.code, f"{channel}: {error.message}")

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send; None where a websocket ping does."""
        return _encode(self._venue, action, self._clock.now())

    def on_message(self, frame: bytes) -> Ack | None:
        """Handles an acknowledgement, or market data that the codec does not declare."""
        try:
            message: VenueMessage = _JSON.decode(frame)
        except msgspec.DecodeError as error:
            log.warning("market data: a frame is not valid JSON, it was dropped: %s: %r", error, frame[:80])
            return None
        answer = self._venue.parse_ack(message)
        if answer is None:
            self._venue.market_message(message)
        return answer

    def on_ready(self) -> None:
        """The connection stands."""
        if self._was_ready:
            self._refreshing = asyncio.get_running_loop().create_task(self._tell_changes())
            self._refreshing.add_done_callback(_failed)
        self._was_ready = True

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        """Channels are there from now on."""
        self._snapshots.on_subscribed(
            self._symbols[channel] for channel in channels if channel in self._symbols
        )

    def on_disconnected(self, down: Down) -> None:
        """The connection is gone: no book is good any more, and ids may come again."""
        if down.was_up:
            self._producer.restart()
            self._snapshots.on_disconnected()

    async def _tell_changes(self) -> None:
        before = self.instruments
        try:
            await self.refresh()
        except VenueError as error:
            log.warning("the instruments could not be read again: %s", error)
            return
        # Routes of all symbols are of those that are listed now.
        self._want()
        after = self.instruments.items()
        self._tell({symbol: instrument for symbol, instrument in after if before.get(symbol) != instrument})

    def _want(self) -> None:
        self._symbols = {
            channel: symbol
            for symbol in self._symbols_of("BookSnapshot")
            for channel in self._venue.channels("BookSnapshot", symbol)
        }
        self._connection.want(self._channels(self._routes))

    def _tell(self, instruments: Mapping[str, Mapping[str, object]]) -> None:
        for symbol, instrument in instruments.items():
            self._producer.publish("InstrumentUpdate", symbol, {"instrument": instrument})

    def _channels(self, routes: frozenset[Route] | Sequence[Route]) -> frozenset[str]:
        venue = self._venue
        return frozenset(
            channel
            for kind, symbol in routes
            for each in ([symbol] if symbol is not None else self.instruments)
            for channel in venue.channels(kind, each)
        )

    def _symbols_of(self, kind: str) -> Set[str]:
        symbols = {route.symbol for route in self._routes if route.kind == kind}
        return self.instruments.keys() if None in symbols else {symbol for symbol in symbols if symbol}

    def _subscribed(self) -> Set[str]:
        confirmed = self._connection.session.confirmed
        return {symbol for channel, symbol in self._symbols.items() if channel in confirmed}

    def _renew(self, symbol: str) -> None:
        self._connection.renew(tuple(self._venue.channels("BookSnapshot", symbol)))


class AccountStream:
    """The account's own connection. Belongs to the loop's thread."""

    def __init__(
        self, name: str, venue: "VenueProtocol", account: "LiveAccount", clock: "VenueClock"
    ) -> None:
        self._venue = venue
        self._account = account
        self._clock = clock
        self._clock_is_old = False
        self._catching_up: asyncio.Task[None] | None = None
        self._wanted = frozenset(venue.account_channels)
        self._connection = Connection(
            f"{name}-account", self._url, Session(venue.timing, login=venue.requires_login), self
        )

    @property
    def error(self) -> str | None:
        """Why its connection is down; None while it is up, or was not tried yet."""
        return self._connection.last_error

    async def run(self) -> None:
        """Keeps the connection until it is cancelled."""
        self._connection.want(self._wanted)
        await self._connection.run()

    async def wait_reconciled(self, timeout: float) -> None:
        """Waits until everything of the account is told. Raises VenueUnavailable."""
        try:
            async with asyncio.timeout(timeout):
                await self._account.wait_reconciled()
        except TimeoutError:
            state = self._connection.last_error or "it stands"
            raise VenueUnavailable(
                "not_confirmed", f"expected the account within {timeout:g} s; its connection: {state}"
            ) from None

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send; None where a websocket ping does."""
        return _encode(self._venue, action, self._clock.now())

    def on_message(self, frame: bytes) -> Ack | None:
        """Takes a frame. Raises what is wrong with one: nothing that was said of an account may be missed, so
        the connection begins anew, and all is read again.
        """
        try:
            message: VenueMessage = _JSON.decode(frame)
        except msgspec.DecodeError as error:
            raise ProtocolError("unreadable_frame", f"expected JSON, saw {frame[:80]!r}") from error
        answer = self._venue.parse_ack(message)
        if answer is None:
            self._venue.account_message(message)
        return answer

    def on_ready(self) -> None:
        """The connection stands, logged in."""
        if not self._wanted:
            self._catch_up()

    def on_subscribed(self, channels: tuple[str, ...]) -> None:  # noqa: ARG002
        """Channels are there from now on."""
        if self._wanted <= self._connection.session.confirmed:
            self._catch_up()

    def on_disconnected(self, down: Down) -> None:  # noqa: ARG002
        """The connection is gone: what happens at the venue is not told until it is back."""
        self._account.disconnected()
        self._clock_is_old = True
        if self._catching_up is not None:
            self._catching_up.cancel()

    def _catch_up(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
        self._catching_up = asyncio.get_running_loop().create_task(self._account.reconcile())
        self._catching_up.add_done_callback(self._caught_up)

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        error = _failed(task)
        if error is not None and task is self._catching_up:
            # As for a frame that cannot be taken: another connection, and all is read again.
            self._connection.drop(f"the account could not be read: {one_line(error)}")

    async def _url(self) -> str:
        if self._clock_is_old:
            # Whatever ended the last connection, the next login is signed by a clock that is right.
            await self._clock.measure(self._venue.fetch_time)
            self._clock_is_old = False
        return await self._venue.account_url()

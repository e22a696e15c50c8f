"""The two connections of a live adapter: market data with its subscriptions, and the account."""

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
    """Logs and returns the error of a task; None if it succeeded or was cancelled."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("reading again after a reconnect failed: %s", one_line(error), exc_info=error)
    return error


class MarketStream:
    """Market data: subscriptions, books and instruments. Belongs to the event loop's thread."""

    def __init__(self, name: str, venue: "VenueProtocol", producer: "Producer", clock: "VenueClock") -> None:
        self.instruments: dict[str, Mapping[str, object]] = {}
        """Symbol -> instrument, as of the latest request."""
        self._venue = venue
        self._producer = producer
        if venue.category is not None:
            producer.set_category(venue.category)
        self._clock = clock
        self._routes: frozenset[Route] = frozenset()
        self._snapshots = SnapshotScheduler(producer, venue.fetch_snapshot, self._renew, self._subscribed)
        self._symbols: dict[str, str] = {}
        """Channel -> symbol, for the channels of books."""
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
        """Why the connection is down; None while it is up, and before the first attempt."""
        return self._connection.last_error

    async def run(self) -> None:
        """Runs the connection and the snapshots until it is cancelled."""
        self._publish_instruments(self.instruments)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connection.run())
            tasks.create_task(self._snapshots.run())

    async def refresh(self) -> None:
        """Fetches the instruments."""
        instruments = await self._venue.fetch_instruments()
        self.instruments = {str(instrument["symbol"]): instrument for instrument in instruments}
        texts = dict(self._venue.venue_symbols())
        self._producer.list_symbols(list(self.instruments), texts, category=self._venue.category)

    async def route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route], timeout: float) -> None:
        """Changes the subscriptions; returns once the venue has confirmed them. Raises VenueError."""
        self._routes = self._routes.difference(unsubscribe).union(subscribe)
        session = self._connection.session
        before = session.wanted
        self._set_channels()
        changed = (before - session.wanted) | self._channels(subscribe)
        if any(route.kind == "InstrumentUpdate" for route in subscribe):
            # A new subscriber gets the instruments that earlier subscribers already have.
            self._publish_instruments(self.instruments)
        try:
            async with asyncio.timeout(timeout):
                await self._connection.wait_settled(changed)
        except TimeoutError:
            missing = ", ".join(sorted(changed & session.unsettled)[:3])
            state = self._connection.last_error or "connected"
            raise VenueUnavailable(
                "not_confirmed", f"{missing}: not confirmed within {timeout:g} s; connection: {state}"
            ) from None
        for channel, error in session.refused.items():
            if channel in changed:
                raise type(error)(error.code, f"{channel}: {error.message}")

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send for an action; None sends a websocket ping."""
        return _encode(self._venue, action, self._clock.now())

    def on_message(self, frame: bytes) -> Ack | None:
        """Handles an acknowledgement, or market data that the codec does not declare."""
        try:
            message: VenueMessage = _JSON.decode(frame)
        except msgspec.DecodeError as error:
            # A codec passes on such a frame only where it declares the text.
            if self._venue.codec() is None:
                log.warning("market data: frame dropped, not valid JSON: %s: %r", error, frame[:80])
            return None
        ack = self._venue.parse_ack(message)
        if ack is None:
            self._venue.market_message(message)
        return ack

    def on_ready(self) -> None:
        """Fetches the instruments again after a reconnect."""
        if self._was_ready:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_instruments())
            self._refreshing.add_done_callback(_failed)
        self._was_ready = True

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        """Requests snapshots for the books of new channels."""
        self._snapshots.on_subscribed(
            self._symbols[channel] for channel in channels if channel in self._symbols
        )

    def on_disconnected(self, down: Down) -> None:
        """Marks the market data as stale; the venue may repeat ids after the reconnect."""
        if down.was_up:
            self._producer.restart()
            self._snapshots.on_disconnected()

    async def _refresh_instruments(self) -> None:
        before = self.instruments
        try:
            await self.refresh()
        except VenueError as error:
            log.warning("instruments not refreshed after the reconnect: %s", error)
            return
        # A route of all symbols covers the symbols that are listed now.
        self._set_channels()
        after = self.instruments
        changed = {symbol: each for symbol, each in after.items() if before.get(symbol) != each}
        # Trading in what is no longer listed has ended.
        removed = {symbol: {**before[symbol], "halted": True} for symbol in before.keys() - after.keys()}
        self._publish_instruments(changed | removed)

    def _set_channels(self) -> None:
        self._symbols = {
            channel: symbol
            for symbol in self._symbols_of("BookSnapshot")
            for channel in self._venue.channels("BookSnapshot", symbol)
        }
        self._connection.set_channels(self._channels(self._routes))

    def _publish_instruments(self, instruments: Mapping[str, Mapping[str, object]]) -> None:
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
    """The connection of the account. Belongs to the event loop's thread."""

    def __init__(
        self, name: str, venue: "VenueProtocol", account: "LiveAccount", clock: "VenueClock"
    ) -> None:
        self._venue = venue
        self._account = account
        self._clock = clock
        self._measure_clock = False
        self._reconciling: asyncio.Task[None] | None = None
        self._account_channels = frozenset(venue.account_channels)
        self._connection = Connection(
            f"{name}-account", self._url, Session(venue.timing, login=venue.requires_login), self
        )
        account.drop_stream = self._connection.drop

    @property
    def error(self) -> str | None:
        """Why the connection is down; None while it is up, and before the first attempt."""
        return self._connection.last_error

    async def run(self) -> None:
        """Runs the connection until it is cancelled."""
        self._connection.set_channels(self._account_channels)
        await self._connection.run()

    async def wait_reconciled(self, timeout: float) -> None:
        """Waits until the account is reconciled. Raises VenueUnavailable."""
        try:
            async with asyncio.timeout(timeout):
                await self._account.wait_reconciled()
        except TimeoutError:
            state = self._connection.last_error or "connected"
            raise VenueUnavailable(
                "not_confirmed", f"account: not reconciled within {timeout:g} s; connection: {state}"
            ) from None

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        """Returns the text to send for an action; None sends a websocket ping."""
        return _encode(self._venue, action, self._clock.now())

    def on_message(self, frame: bytes) -> Ack | None:
        """Handles a frame. Raises when the frame cannot be handled.

        A lost message could leave the account wrong, so the exception closes the connection, and the account
        is reconciled after the reconnect.
        """
        try:
            message: VenueMessage = _JSON.decode(frame)
        except msgspec.DecodeError as error:
            raise ProtocolError("unreadable_frame", f"expected JSON, saw {frame[:80]!r}") from error
        ack = self._venue.parse_ack(message)
        if ack is None:
            self._venue.account_message(message)
        return ack

    def on_ready(self) -> None:
        """Reconciles the account, unless channels have to be confirmed first."""
        if not self._account_channels:
            self._reconcile()

    def on_subscribed(self, channels: tuple[str, ...]) -> None:  # noqa: ARG002
        """Reconciles the account once all its channels are confirmed."""
        if self._account_channels <= self._connection.session.confirmed:
            self._reconcile()

    def on_disconnected(self, down: Down) -> None:  # noqa: ARG002
        """Marks the account as not reconciled until the reconnect."""
        self._account.disconnected()
        self._measure_clock = True
        if self._reconciling is not None:
            self._reconciling.cancel()

    def _reconcile(self) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
        self._reconciling = asyncio.get_running_loop().create_task(self._account.reconcile())
        self._reconciling.add_done_callback(self._reconciled)

    def _reconciled(self, task: asyncio.Task[None]) -> None:
        error = _failed(task)
        if error is not None and task is self._reconciling:
            # As with a frame that cannot be handled: reconnect and reconcile again.
            self._connection.drop(f"account not reconciled: {one_line(error)}")

    async def _url(self) -> str:
        if self._measure_clock:
            # A wrong clock may have ended the last connection, so the next login uses a fresh measurement.
            await self._clock.measure(self._venue.fetch_time)
            self._measure_clock = False
        return await self._venue.account_url()

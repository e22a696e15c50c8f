"""`LiveAccount`: an account over a venue's REST, and the reports of its stream.

A venue's adapter sends each request and reads each answer; this class keeps the rules that are the same
everywhere:

- Orders leave only while the account is reconciled; cancels and amendments always do.
- The stream's reports are published as they come.
- After each (re)connect, orders, fills and balances are read again, and what was missed is published. The
  stream is back before the first query, so it reports what happens after the answer.

`OrderTracker` decides which reports are new.
"""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, TypeVar

from meltica.adapters.live.order_tracker import OrderTracker, Reading
from meltica.adapters.live.reports import OrderReport, Report
from meltica.errors import (
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    VenueError,
    VenueUnavailable,
    one_line,
)
from meltica.model.account import Account, AccountCapabilities, LastCheck, unchecked
from meltica.model.balances import Balance, Transfer
from meltica.model.enums import OrderState
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.runtime.backoff import Backoff

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.runtime.loop_thread import LoopThread

log = logging.getLogger("meltica.adapters.live")

T = TypeVar("T")

_PAUSES = 0.5, 30.0
_QUERY_PAUSES = 0.05, 0.5
QUERY_REPEATS = 4
"""How often a failed query of an order is repeated while an account is read again."""


class LiveAccount(Account):
    """One account. A venue's adapter states `capabilities` and `arrives_within`, and implements the `send_`
    and `fetch_` methods; they run on the adapter's loop.
    """

    capabilities: ClassVar[AccountCapabilities]  # pyright: ignore[reportIncompatibleMethodOverride]
    arrives_within: ClassVar[float]  # pyright: ignore[reportIncompatibleMethodOverride]
    """The venue's window for the time of a request, the time-out of its engine, and some seconds."""

    def __init__(self, loop: "LoopThread") -> None:
        self._loop = loop
        self._producer: Producer | None = None
        self._tracker = OrderTracker()
        self._reconciled = asyncio.Event()
        self._disconnects = 0
        self.drop_stream: Callable[[str], None] = lambda _: None
        """Closes the stream for a reason; it is opened again."""

    @property
    def has_stream(self) -> bool:
        """Always true."""
        return True

    async def reconnect(self) -> None:
        """Closes the stream and connects it again; the account is reconciled after that."""

        async def drop() -> None:
            self.drop_stream("reports are missing")

        await self._loop.call(drop)

    @property
    def disconnects(self) -> int:
        """How often the account's stream was lost."""
        return self._disconnects

    @property
    def reconciled(self) -> bool:
        """Whether the stream is connected and everything it missed was published; orders are refused until
        then.
        """
        return self._reconciled.is_set()

    @abstractmethod
    async def send_order(self, order: NewOrder, last_check: LastCheck) -> OrderSnapshot:
        """Sends an order; returns the venue's answer.

        `last_check` is passed to `rest.call`. For an order over a websocket, call it before the write.
        """

    @abstractmethod
    async def send_cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        """Cancels an open order; returns the order in the venue's answer."""

    async def send_cancel_all(self, symbol: str | None) -> None:
        """Cancels all open orders of a symbol, or of the account; for a venue that can."""
        raise NotImplementedError

    async def send_amend(
        self,
        symbol: str,
        client_order_id: str,
        quantity: Decimal | None,
        price: Decimal | None,
        last_check: LastCheck,
    ) -> OrderSnapshot:
        """Changes an open order's whole quantity, its price, or both; returns the order as answered.

        For a venue that can.
        """
        raise NotImplementedError

    @abstractmethod
    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order; None when the venue answers that it does not know the id."""

    @abstractmethod
    async def fetch_open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first."""

    @abstractmethod
    async def fetch_fills(self, symbol: str | None, mark: FillMark) -> Sequence[Fill]:
        """Returns the fills of a symbol from a mark on, oldest first.

        None means all symbols; only a venue with `account_fills` gets it, and gets nothing else.
        """

    @abstractmethod
    async def fetch_balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""

    @abstractmethod
    async def fetch_time(self) -> int:
        """Returns the time that the venue stamps on orders and balances, in nanoseconds."""

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order; returns the venue's answer. Fills arrive as reports.

        Cancelling the call does not take the order back: query it with `order`.
        """
        self.capabilities.check_order(order)
        return await self._loop.call(lambda: self._submit(order, last_check))

    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        """Cancels an open order; returns the order. It has ended only if its state is final."""
        return await self._loop.call(lambda: _change(self.send_cancel(symbol, client_order_id)))

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancels all open orders of a symbol or of the account, those of other clients included.

        Their ends arrive as reports.
        """
        self.capabilities.check_cancel_all(symbol)
        await self._loop.call(lambda: _change(self.send_cancel_all(symbol)))

    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        """Changes an open order's price, its whole quantity (the filled part included), or both.

        Returns the order after the change.
        """
        self.capabilities.check_amend(client_order_id)
        return await self._loop.call(
            lambda: _change(self.send_amend(symbol, client_order_id, quantity, price, last_check))
        )

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order as the venue has it; None when the venue does not know the id.

        Raises VenueUnavailable, code `unsettled`, when the venue does not know an order that may still
        arrive.
        """
        return await self._loop.call(lambda: self._order(symbol, client_order_id))

    async def time(self) -> int:
        """Returns the time that the venue stamps on fills and balances, in ns."""
        return await self._loop.call(lambda: _query(self.fetch_time()))

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first, those of other clients included."""
        return await self._loop.call(lambda: _query(self.fetch_open_orders()))

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills of symbols, each from its mark on, oldest first; those of other clients included.

        A fill at its mark is returned again. Without marks, nothing is requested.
        """
        return await self._loop.call(lambda: self._fills(marks))

    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""
        return await self._loop.call(lambda: _query(self.fetch_balances()))

    def attach(self, producer: "Producer") -> None:
        """Sets the producer that publishes the account's events."""
        self._producer = producer

    def publish_order(self, order: OrderSnapshot, fill: Fill | None = None) -> None:
        """Publishes an order that the stream reports, with the fill that the report describes.

        The rejection of a second order under the id of an open one is not published.
        """
        reports = self._tracker.order_reported(order, fill)
        if not reports:
            log.info(
                "order %s: a second order under this id was rejected: %s", order.client_order_id, order.reason
            )
        self._publish(reports)

    def publish_balance(self, currency: str, balance: Balance, transfer: Transfer | None = None) -> None:
        """Publishes a balance that the stream reports, unless a newer one was published.

        A balance with the deposit or withdrawal that led to it is always published.
        """
        self._publish(self._tracker.balance_reported(currency, balance, transfer))

    async def reconcile(self) -> None:
        """Publishes what the stream missed; retries until the venue has answered every query."""
        backoff = Backoff(*_PAUSES)
        while True:
            try:
                await self._read()
            except (VenueError, OrderRefused) as error:
                pause = backoff.next()
                if isinstance(error, RateLimited):
                    pause = max(pause, error.retry_after)
                log.warning("account not reconciled: %s; retry in %.1f s", error, pause)
                await asyncio.sleep(pause)
            else:
                self._reconciled.set()
                return

    async def wait_reconciled(self) -> None:
        """Waits until the stream is connected and everything it missed was published."""
        await self._reconciled.wait()

    def disconnected(self) -> None:
        """Marks the account as not reconciled: the stream is disconnected and reports nothing."""
        self._disconnects += 1
        self._reconciled.clear()
        self._tracker.disconnected()

    async def _submit(self, order: NewOrder, last_check: LastCheck) -> OrderSnapshot:
        if not self._reconciled.is_set():
            # An order would add to a position that is unknown now. Cancels and amendments would not.
            raise VenueUnavailable(
                "not_reconciled",
                f"order {order.client_order_id} not sent: the account is reconciling after a reconnect; "
                "retry when `account.reconciled` is true",
            )
        sent = self._tracker.sent(order)
        try:
            answer = await _change(self.send_order(order, last_check))
        except OutcomeUnknown:
            self._tracker.outcome_unknown(sent, self._now() + self.arrives_within)
            raise
        except (VenueError, OrderRefused):
            self._tracker.refused(sent)
            raise
        except BaseException:
            # Cancelled, or failed in a way that does not show whether the order was sent.
            self._tracker.outcome_unknown(sent, self._now() + self.arrives_within)
            raise
        self._tracker.accepted(sent, answer)
        return answer

    async def _order(self, symbol: str, id: str) -> OrderSnapshot | None:
        # Checked before the query: the venue's answer may be as old as that.
        may_arrive = self._tracker.may_arrive(id, self._now())
        order = await _query(self.fetch_order(symbol, id))
        if order is None and may_arrive:
            raise VenueUnavailable(
                "unsettled",
                f"order {id}: the venue does not know it, and it may still arrive; query it again later",
            )
        return order

    async def _fills(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        if not marks:
            return ()
        if not self.capabilities.account_fills:
            parts = [await _query(self.fetch_fills(symbol, mark)) for symbol, mark in marks.items()]
            return sorted((fill for part in parts for fill in part), key=lambda fill: fill.time)
        # The earliest mark; of two with the same time the one without an id, which may be before it.
        earliest = min(marks.values(), key=lambda mark: (mark.time, mark.execution_id is not None))
        fills = await _query(self.fetch_fills(None, earliest))
        return [fill for fill in fills if fill.symbol in marks and _follows(fill, marks[fill.symbol])]

    async def _read(self) -> None:
        """Reads the account again and publishes the changes."""
        tracker = self._tracker
        reading = tracker.start_reading(self._now())
        reading.time = await _query(self.fetch_time())
        open_orders = await _query(self.fetch_open_orders())
        fills = await self._missed_fills(reading)
        for query in tracker.queries(reading, open_orders, fills):
            reading.answered(query, await self._found(query.symbol, query.client_order_id))
        reading.balances = await _query(self.fetch_balances())
        self._publish(tracker.reconciled(reading))
        tracker.complete(reading)
        for fill in tracker.unexplained_fills:
            log.error(
                "fill %s of order %s (%s of %s): the venue does not report an order with this fill; the "
                "order is queried again after the next reconnect",
                fill.execution_id,
                fill.client_order_id,
                fill.quantity,
                fill.symbol,
            )

    async def _found(self, symbol: str, id: str) -> OrderSnapshot | None:
        """Queries an order, repeatedly: among many queries, some fail at a venue that fails now and then."""
        backoff = Backoff(*_QUERY_PAUSES)
        for _ in range(QUERY_REPEATS):
            try:
                return await _query(self.fetch_order(symbol, id))
            except RateLimited:
                raise
            except VenueUnavailable:
                await asyncio.sleep(backoff.next())
        return await _query(self.fetch_order(symbol, id))

    async def _missed_fills(self, reading: Reading) -> Sequence[Fill]:
        """Returns the fills that the stream may have missed, of all symbols where the venue lists them so."""
        if reading.fills_from is None:
            return ()
        mark = FillMark(reading.fills_from)
        if self.capabilities.account_fills:
            return await _query(self.fetch_fills(None, mark))
        return await self._fills(dict.fromkeys(self._tracker.symbols(), mark))

    def _publish(self, reports: Iterable[Report]) -> None:
        assert self._producer is not None, "an account is read after the adapter has started"
        for report in reports:
            if isinstance(report, OrderReport) and report.order.state is OrderState.UNKNOWN:
                order = report.order
                log.error("order %s of %s: the venue no longer knows it", order.client_order_id, order.symbol)
            kind, symbol, payload, time = report.event
            self._producer.publish(kind, symbol, payload, venue_time=time)
            self._tracker.published(report)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _follows(fill: Fill, mark: FillMark) -> bool:
    """Returns whether a fill may be at a mark or after it; with an id, the order of the list decides."""
    return mark.execution_id is not None or fill.time >= mark.time


# What reading an answer of an unexpected form raises.
_UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


async def _change(request: Awaitable[T]) -> T:
    """Returns the answer to a request that changes something. An unreadable answer proves nothing."""
    try:
        return await request
    except _UNREADABLE as error:
        raise OutcomeUnknown("unreadable_answer", one_line(error)) from error


async def _query(request: Awaitable[T]) -> T:
    """Returns the answer to a query."""
    try:
        return await request
    except _UNREADABLE as error:
        raise ProtocolError("unreadable_answer", one_line(error)) from error

"""`LiveAccount`: an account over a venue's REST, and what its stream missed while it was away.

A venue's own file says how each request is made and read; all that is about safety stands here. What the
account's stream tells is passed on as it comes, late and twice included: whoever keeps orders absorbs that.
After each (re)connect, once the stream is there, orders, fills and balances are read again, and what they say
beyond what was told is told as well. Since the stream is there before the question, what happens after the
answer is told by it.
"""

import asyncio
import logging
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from meltica.errors import (
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    VenueError,
    VenueUnavailable,
    one_line,
)
from meltica.model.account import Account, Execution, Holding, NewOrder, OrderState, OrderStatus
from meltica.model.enums import Side
from meltica.runtime.backoff import Backoff

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.runtime.loop_thread import LoopThread

log = logging.getLogger("meltica.adapters.live")

T = TypeVar("T")

REMEMBERED = 10_000
"""Ended orders of which it is remembered what was told."""

LATE = 60 * 10**9
"""ns by which a report may come after what happened later."""

_PAUSES = 0.5, 30.0
_RANKS: dict[OrderState, int] = {"ACK": 0, "PARTIAL": 1}
_FINAL = 2


class Order(NamedTuple):
    """All that a venue says of an order."""

    client_order_id: str
    venue_order_id: str | None
    symbol: str
    side: Side
    state: OrderState
    quantity: Decimal
    filled: Decimal
    price: Decimal | None = None
    """The limit; None of a market order."""
    remaining: Decimal | None = None
    average_price: Decimal | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    reason: str | None = None
    """Why it was rejected or expired."""
    time: int | None = None
    """When it last changed, the venue's, ns."""

    @property
    def rank(self) -> int:
        """How far it has come: a later state has no lower one."""
        return _RANKS.get(self.state, _FINAL)

    def status(self) -> OrderStatus:
        """Returns what `Account` tells of it."""
        return OrderStatus(
            self.client_order_id,
            self.venue_order_id,
            self.symbol,
            self.side,
            self.state,
            self.quantity,
            self.filled,
            self.price,
            self.reason,
        )

    def report(self) -> dict[str, Any]:
        """Returns the payload of an `ExecReport`."""
        report = {
            "clientOrderId": self.client_order_id,
            "venueOrderId": self.venue_order_id,
            "state": self.state,
            "side": self.side.value,
            "orderType": "Market" if self.price is None else "Limit",
            "price": self.price,
            "quantity": self.quantity,
            "filledQuantity": self.filled,
            "remainingQuantity": self.remaining,
            "averagePrice": self.average_price,
            "fee": self.fee,
            "feeCurrency": self.fee_currency,
            "reason": self.reason,
        }
        return {key: value for key, value in report.items() if value is not None}


class _Sent(NamedTuple):
    """An order that was sent, and not told of yet."""

    symbol: str
    venue_order_id: str | None = None
    """What the venue answered, if it did."""


class LiveAccount(Account):
    """One account. The `send_` and `fetch_` methods are a venue's; they run on the adapter's loop."""

    arrives_within: ClassVar[float] = 10.0
    """Seconds after which an order whose outcome is unknown is at the venue, or will never be."""

    def __init__(self, loop: "LoopThread") -> None:
        self._loop = loop
        self._producer: Producer | None = None
        self._told: OrderedDict[str, Order] = OrderedDict()
        self._open: set[str] = set()
        """Told, and not ended."""
        self._sent: dict[str, _Sent] = {}
        """Sent and not told of yet, by the client's id."""
        self._in_flight: set[str] = set()
        self._unsettled: dict[str, float] = {}
        """Sent, outcome unknown: the client's id -> the loop's time until which it may arrive."""
        self._balances: dict[str, int] = {}
        """Currency -> venue's time of what was last told of it."""
        self._newest = 0
        """The latest of the venue's times that was told."""
        self._known_until = 0
        """The venue's time up to which nothing is missing."""
        self._reconciled = asyncio.Event()

    @property
    def reconciled(self) -> bool:
        """Whether the stream is there, and nothing missing of what was told; no order goes out until then."""
        return self._reconciled.is_set()

    @abstractmethod
    async def send_order(self, order: NewOrder) -> Order:
        """Sends an order; returns what the venue answers."""

    @abstractmethod
    async def send_cancel(self, symbol: str, client_order_id: str) -> None:
        """Cancels an open order."""

    @abstractmethod
    async def send_amend(
        self, symbol: str, client_order_id: str, quantity: Decimal | None, price: Decimal | None
    ) -> None:
        """Changes an open order's whole quantity, its limit, or both."""

    @abstractmethod
    async def fetch_order(self, symbol: str, client_order_id: str) -> Order | None:
        """Returns an order; None when the venue says that it knows none of that id."""

    @abstractmethod
    async def fetch_open_orders(self) -> Sequence[Order]:
        """Returns all open orders, oldest first."""

    @abstractmethod
    async def fetch_fills(self, time: int) -> Sequence[Execution]:
        """Returns all executions from a venue time (ns) on, oldest first."""

    @abstractmethod
    async def fetch_balances(self) -> Mapping[str, Holding]:
        """Returns what the account owns, by currency."""

    @abstractmethod
    async def fetch_time(self) -> int:
        """Returns the time that the venue stamps on orders and balances, ns."""

    async def submit(self, order: NewOrder) -> OrderStatus:
        """Sends an order; returns what the venue says of it at once. Fills come as reports.

        Whoever is cancelled while waiting does not take the order back: ask for it with `order`.
        """
        return await self._loop.call(lambda: self._submit(order))

    async def cancel(self, symbol: str, client_order_id: str) -> None:
        """Cancels an open order."""
        await self._loop.call(lambda: _sent(self.send_cancel(symbol, client_order_id)))

    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
    ) -> None:
        """Changes an open order's limit, its whole quantity (what is filled included), or both."""
        await self._loop.call(lambda: _sent(self.send_amend(symbol, client_order_id, quantity, price)))

    async def order(self, symbol: str, client_order_id: str) -> OrderStatus | None:
        """Returns what the venue knows of an order; None when it says that it knows none of that id.

        Raises VenueUnavailable, code `unsettled`, where it knows none that was sent and may still arrive.
        """
        order = await self._loop.call(lambda: self._order(symbol, client_order_id))
        return None if order is None else order.status()

    async def open_orders(self) -> Sequence[OrderStatus]:
        """Returns all open orders, oldest first."""
        orders = await self._loop.call(lambda: _asked(self.fetch_open_orders()))
        return [order.status() for order in orders]

    async def fills_since(self, time: int = 0) -> Sequence[Execution]:
        """Returns all executions from a venue time (ns) on, that time included, oldest first."""
        return await self._loop.call(lambda: _asked(self.fetch_fills(time)))

    async def balances(self) -> Mapping[str, Holding]:
        """Returns what the account owns, by currency."""
        return await self._loop.call(lambda: _asked(self.fetch_balances()))

    def attach(self, producer: "Producer") -> None:
        """Takes what events are sent with."""
        self._producer = producer

    def tell_order(self, order: Order) -> None:
        """Passes on what the stream tells of an order, unless it is of another that was refused its id."""
        if self._refuses_another(order):
            log.info("a second order %s was refused: %s", order.client_order_id, order.reason)
            return
        self._publish("ExecReport", order.symbol, order.report(), order.time)
        # What could not be passed on was not told.
        self._note(order)

    def tell_balance(self, currency: str, holding: Holding, time: int) -> None:
        """Passes on what is told of a balance, unless something newer was told before."""
        if time < self._balances.get(currency, 0):
            return
        payload = {"currency": currency, "total": holding.total, "available": holding.available}
        self._publish("BalanceUpdate", currency, payload, time)
        self._balances[currency] = time
        self._newest = max(self._newest, time)

    async def reconcile(self) -> None:
        """Tells what the stream missed; asks until the venue has answered everything."""
        backoff = Backoff(*_PAUSES)
        while True:
            try:
                await self._catch_up()
            except (VenueError, OrderRefused) as error:
                pause = backoff.next()
                if isinstance(error, RateLimited):
                    pause = max(pause, error.retry_after)
                log.warning("the account could not be read, again in %.1f s: %s", pause, error)
                await asyncio.sleep(pause)
            else:
                self._reconciled.set()
                return

    async def wait_reconciled(self) -> None:
        """Waits until the stream is there and nothing is missing of what was told."""
        await self._reconciled.wait()

    def cut_off(self) -> None:
        """The stream is gone: what happens at the venue is not told until it is back."""
        self._reconciled.clear()

    async def _submit(self, order: NewOrder) -> OrderStatus:
        id = order.client_order_id
        if not self._reconciled.is_set():
            # Whoever does not know what it has does not add to it; cancels and amends go out.
            raise VenueUnavailable(
                "not_reconciled",
                f"{id}: expected an account whose stream is there and told, saw one that is not",
            )
        # An id that is sent again, and refused for that, leaves the first order what it is.
        first, before = id not in self._sent, self._told.get(id)
        self._sent.setdefault(id, _Sent(order.symbol))
        self._in_flight.add(id)
        try:
            accepted = await _sent(self.send_order(order))
        except OutcomeUnknown:
            now = asyncio.get_running_loop().time()
            self._unsettled = {id: until for id, until in self._unsettled.items() if now < until}
            self._unsettled[id] = now + self.arrives_within
            raise
        except (VenueError, OrderRefused):
            # Nothing came of it, so nothing will be told.
            if first:
                self._sent.pop(id, None)
            raise
        finally:
            self._in_flight.discard(id)
        if id in self._sent:
            self._sent[id] = _Sent(order.symbol, accepted.venue_order_id)
        if before is not None and before.rank == _FINAL and self._told.get(id) is before:
            number = before.venue_order_id
            # The id begins anew, unless the venue answers with the order that has ended.
            if number is None or number != accepted.venue_order_id:
                del self._told[id]
        return accepted.status()

    async def _order(self, symbol: str, id: str) -> Order | None:
        # What may arrive is looked at before the question: the answer may be as old as that.
        may_arrive = self._may_arrive(id)
        order = await _asked(self.fetch_order(symbol, id))
        if order is None and may_arrive:
            raise VenueUnavailable("unsettled", f"{id}: the venue knows none of it, and it may still arrive")
        return order

    def _may_arrive(self, id: str) -> bool:
        """Whether an order that the venue does not know may be under way to it."""
        return id in self._in_flight or asyncio.get_running_loop().time() < self._unsettled.get(id, 0.0)

    async def _catch_up(self) -> None:
        since, again = max(self._known_until, self._newest - LATE), self._newest > 0
        asked_at = await _asked(self.fetch_time())
        orders = {order.client_order_id: order for order in await _asked(self.fetch_open_orders())}
        symbols = {id: self._told[id].symbol for id in self._open}
        symbols.update((id, sent.symbol) for id, sent in self._sent.items())
        filled: dict[tuple[str, str], Decimal] = {}
        for fill in await _asked(self.fetch_fills(since)) if again else ():
            id, key = fill.client_order_id, (fill.client_order_id, fill.venue_order_id)
            filled[key] = filled.get(key, Decimal(0)) + fill.quantity
            last = self._told.get(id)
            if last is None or last.rank < _FINAL or self._is_another(fill.venue_order_id, last):
                symbols[id] = fill.symbol
            elif filled[key] > last.filled:
                # What ended is told to have ended with less.
                symbols[id] = fill.symbol
        for id, symbol in symbols.items():
            if id in orders:
                continue
            order = await _asked(self.fetch_order(symbol, id))
            if order is not None:
                orders[id] = order
            elif id in self._open:
                log.error("the venue knows no order %s of %s any more, told open before", id, symbol)
                self._open.discard(id)
            elif not self._may_arrive(id):
                self._sent.pop(id, None)
        balances = await _asked(self.fetch_balances())
        for order in orders.values():
            if self._is_news(order):
                self.tell_order(order)
        for currency, holding in balances.items():
            self.tell_balance(currency, holding, asked_at)
        self._newest = max(self._newest, asked_at)
        self._known_until = asked_at

    def _is_news(self, order: Order) -> bool:
        """Whether an order says more than was told of it."""
        last = self._told.get(order.client_order_id)
        if last is None:
            return True
        if self._is_another(order.venue_order_id, last):
            # Of two orders under one id, the later counts.
            return order.time is None or order.time >= (last.time or 0)
        if order.filled > last.filled:
            return True
        if order.filled < last.filled or order.rank < last.rank:
            return False
        if order.rank > last.rank:
            return True
        changed = (order.price, order.quantity) != (last.price, last.quantity)
        return changed and order.rank < _FINAL and (order.time or 0) >= (last.time or 0)

    @staticmethod
    def _is_another(venue_order_id: str | None, last: Order) -> bool:
        """Whether the venue's id is not that of the order that was told under the same client's id."""
        if venue_order_id is None or venue_order_id == last.venue_order_id:
            return False
        return last.venue_order_id is not None or last.rank == _FINAL

    def _refuses_another(self, order: Order) -> bool:
        """Whether a rejection is not of the order that the venue has under its id, but of a second."""
        if order.state != "REJECTED" or order.venue_order_id is not None:
            return False
        sent, last = self._sent.get(order.client_order_id), self._told.get(order.client_order_id)
        if sent is not None and sent.venue_order_id is not None:
            return True
        if last is None or last.venue_order_id is None:
            return False
        return last.rank < _FINAL or sent is None

    def _note(self, order: Order) -> None:
        """Remembers what was told, the most advanced of it."""
        id = order.client_order_id
        self._newest = max(self._newest, order.time or 0)
        self._sent.pop(id, None)
        if not self._is_news(order):
            return
        self._told[id] = order
        self._told.move_to_end(id)
        if order.rank < _FINAL:
            self._open.add(id)
            return
        self._open.discard(id)
        while len(self._told) - len(self._open) > REMEMBERED:
            self._told.pop(next(id for id in self._told if id not in self._open))

    def _publish(self, kind: str, symbol: str, payload: Mapping[str, Any], time: int | None) -> None:
        assert self._producer is not None, "an account is read after the adapter has started"
        self._producer.publish(kind, symbol, payload, venue_time=time)


# What reading an answer of another form than was expected raises.
_UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


async def _sent(request: Awaitable[T]) -> T:
    """Returns an answer to what changes something. One that cannot be read does not say what was done."""
    try:
        return await request
    except _UNREADABLE as error:
        raise OutcomeUnknown("unreadable_answer", one_line(error)) from error


async def _asked(request: Awaitable[T]) -> T:
    """Returns an answer to a query."""
    try:
        return await request
    except _UNREADABLE as error:
        raise ProtocolError("unreadable_answer", one_line(error)) from error

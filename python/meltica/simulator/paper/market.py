"""`PaperMarket`: fills the paper orders of one account against the live market of one symbol.

The market is only watched, so fills are assumed only where a real order would have had them too. The rules:

1. An order arrives at a known time. It trades at once with what the book shows only at the first book that is
   received after its arrival, or at the known book once it has not changed for `quiet` nanoseconds.
2. A taker walks the shown levels, less what was taken from them before (`liquidity.py`).
3. What rests queues behind everything that is shown at its price, and behind the account's earlier orders. It
   advances only by trades at its price whose taker is on the other side, never because others cancel. Beyond
   the shown levels, its place is not known until its price is shown.
4. A trade, or a quantity offered, at a price beyond the order's would have reached the order first. It is
   filled at its own price, up to that quantity. What fills one order advances no other one.
5. Nothing is filled while the book is stale or has a gap.

Every method returns the reports of what it changed, in order.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

from meltica.errors import OrderRefused
from meltica.model.enums import FillRule, OrderState, Side, TimeInForce
from meltica.model.enums import Liquidity as Role
from meltica.model.fills import Fill
from meltica.model.instruments import Instrument
from meltica.model.orders import NewOrder
from meltica.simulator.paper.funds import Funds
from meltica.simulator.paper.liquidity import Levels, Liquidity
from meltica.simulator.paper.orders import PaperOrder, PaperReport
from meltica.simulator.paper.rules import check

WOULD_CROSS = "would_cross"
_NONE = Decimal(0)


class PaperMarket:
    """The open orders of an account in one symbol, and the market they meet. Times are in nanoseconds."""

    def __init__(
        self,
        rules: Instrument,
        funds: Funds,
        next_id: Callable[[], int],
        *,
        maker_fee: Decimal,
        taker_fee: Decimal,
        quiet: int,
    ) -> None:
        self.rules = rules
        self._funds = funds
        self._next_id = next_id
        self._fee_rates = {Role.MAKER: maker_fee, Role.TAKER: taker_fee}
        self._quiet = quiet
        self._book = Liquidity()
        self._taking: dict[str, PaperOrder] = {}
        """Orders that still have to trade with the opposite side, by id, in the order of their arrival."""
        self._resting: dict[str, PaperOrder] = {}
        """Orders that rest in the book, by id, in the order of their arrival."""

    @property
    def open_orders(self) -> list[PaperOrder]:
        """The open orders, oldest first."""
        return sorted([*self._taking.values(), *self._resting.values()], key=lambda order: order.arrived_at)

    def due(self) -> int | None:
        """Returns the time at which `advance` has something to do; None while nothing waits for a time."""
        if not self._book.synced:
            return None
        return min((order.arrived_at + self._quiet for order in self._taking.values()), default=None)

    def arrive(self, new: NewOrder, now: int) -> PaperOrder:
        """Accepts an order. Raises OrderRefused, and changes nothing, when the venue would refuse it."""
        reference = next((price for price, _ in self._book.offered(new.side, None)), None)
        check(self.rules, new.quantity, new.price, reference)
        crosses = new.price is None or self._book.crosses(new.side, new.price)
        if new.post_only:
            if new.price is None or new.time_in_force is not TimeInForce.GTC:
                raise OrderRefused("invalid_order", "expected a GTC limit order for post-only")
            if crosses:
                raise OrderRefused(WOULD_CROSS, f"the opposite side is at {new.price} or better")
        if new.price is not None:
            self._funds.reserve(new.client_order_id, self.rules, new.side, new.quantity, new.price)
        order = PaperOrder(new, str(self._next_id()), new.quantity, new.price, now, now)
        self._enter(order, takes=crosses or new.time_in_force is not TimeInForce.GTC)
        return order

    def restore(self, order: PaperOrder) -> None:
        """Takes over an open order of an earlier run. It queues behind everything at its price."""
        assert order.price is not None, "a market order is never open over a restart"
        self._funds.reserve(order.id, self.rules, order.new.side, order.remaining, order.price)
        order.ahead = None
        self._resting[order.id] = order

    def cancel(self, id: str, now: int) -> PaperReport:
        """Cancels an open order. Raises OrderRefused, code `unknown_order`."""
        order = self._open(id)
        return self._end(order, OrderState.CANCELLED, None, now)

    def amend(self, id: str, quantity: Decimal | None, price: Decimal | None, now: int) -> PaperReport:
        """Changes an order's whole quantity, its price, or both. Only a lower quantity keeps its place.

        A quantity at or below the filled one cancels the rest. Raises OrderRefused, and changes nothing.
        """
        order = self._open(id)
        if order.price is None:
            raise OrderRefused("invalid_order", "a market order cannot be amended")
        whole = order.quantity if quantity is None else quantity
        limit = order.price if price is None else price
        check(self.rules, whole, limit, None)
        if whole <= order.filled_quantity:
            return self._end(order, OrderState.CANCELLED, None, now)
        crosses = self._book.crosses(order.new.side, limit)
        keeps_place = limit == order.price and whole <= order.quantity
        if order.new.post_only and crosses and not keeps_place:
            raise OrderRefused(WOULD_CROSS, f"the opposite side is at {limit} or better")
        self._funds.reserve(id, self.rules, order.new.side, whole - order.filled_quantity, limit)
        order.quantity, order.price, order.changed_at = whole, limit, now
        if not keeps_place:
            order.arrived_at = now
            self._remove(order)
            self._enter(order, takes=crosses)
        return PaperReport(order.snapshot())

    def book(self, bids: Levels, asks: Levels, time: int, *, complete: bool = False) -> list[PaperReport]:
        """Applies a book that was received at `time`."""
        self._book.update(bids, asks, complete=complete)
        reports = [*self._take(time, after=time), *self._offered_through(time)]
        for order in self._resting.values():
            if order.ahead is None:
                self._place(order)
        return reports

    def mark_stale(self) -> None:
        """Marks the book as stale or in a gap; nothing is filled until its next update."""
        self._book.mark_stale()

    def advance(self, now: int) -> list[PaperReport]:
        """Lets orders take from a book that has not changed since they arrived."""
        return list(self._take(now, after=now - self._quiet + 1)) if self._book.synced else []

    def trade(self, price: Decimal, quantity: Decimal, taker: Side | None, time: int) -> list[PaperReport]:
        """Applies a public trade that was received at `time`. A taker of unknown side advances no queue."""
        if not self._book.synced:
            return []
        reports: list[PaperReport] = []
        for side in Side if taker is None else (_opposite(taker),):
            left = quantity
            for order in self._rested(side, time):
                assert order.price is not None
                rule, reached = FillRule.TRADED_THROUGH, left
                if not _is_beyond(side, price, order.price):
                    rule, reached = FillRule.QUEUE, _NONE
                    if price == order.price and order.ahead is not None and taker is not None:
                        # What filled the account's other orders would not have reached this queue.
                        reached = left - order.ahead
                        order.ahead = max(_NONE, order.ahead - left)
                filled = min(reached, order.remaining)
                if filled > 0:
                    left -= filled
                    reports.append(self._fill(order, order.price, filled, Role.MAKER, rule, time))
        return reports

    def _rested(self, side: Side, time: int) -> list[PaperOrder]:
        """Returns the orders that rested before `time`, best price first, then oldest."""
        sign = -1 if side is Side.BUY else 1
        resting = [
            order for order in self._resting.values() if order.new.side is side and order.arrived_at < time
        ]
        return sorted(resting, key=lambda order: sign * order.price if order.price is not None else _NONE)

    def _offered_through(self, time: int) -> Iterator[PaperReport]:
        """4: fills what rests at a worse price than the opposite side offers."""
        for side in Side:
            for order in self._rested(side, time):
                for price, available in list(self._book.offered(side, order.price)):
                    if price == order.price or order.remaining <= 0:
                        break
                    assert order.price is not None
                    filled = min(available, order.remaining)
                    self._book.take(side, price, filled)
                    yield self._fill(order, order.price, filled, Role.MAKER, FillRule.TRADED_THROUGH, time)

    def _take(self, now: int, after: int) -> Iterator[PaperReport]:
        """1 and 2: lets the orders that arrived before `after` take, then rests or ends them."""
        for order in [order for order in self._taking.values() if order.arrived_at < after]:
            yield from self._walk(order, now)

    def _walk(self, order: PaperOrder, now: int) -> Iterator[PaperReport]:
        side, kind = order.new.side, order.new.time_in_force
        if order.new.post_only and order.price is not None and self._book.crosses(side, order.price):
            # The book was not known when the order arrived.
            yield self._end(order, OrderState.EXPIRED, WOULD_CROSS, now)
            return
        offered = list(self._book.offered(side, order.price))
        if kind is TimeInForce.FOK and sum((size for _, size in offered), _NONE) < order.remaining:
            yield self._end(order, OrderState.EXPIRED, "the book does not fill the whole order", now)
            return
        reason = "the rest did not trade at once"
        for price, available in offered:
            filled = min(available, order.remaining)
            if order.price is None:
                filled = min(filled, self._affordable(side, price))
            if filled <= 0:
                reason = "insufficient funds"
                break
            self._book.take(side, price, filled)
            yield self._fill(order, price, filled, Role.TAKER, FillRule.TAKER, now)
            if order.remaining <= 0:
                return
        if kind is TimeInForce.GTC and order.price is not None:
            self._remove(order)
            self._rest(order)
        else:
            yield self._end(order, OrderState.EXPIRED, reason, now)

    def _affordable(self, side: Side, price: Decimal) -> Decimal:
        quantity = self._funds.affordable(self.rules, side, price)
        lot = self.rules.quantity_increment
        return quantity // lot * lot if lot else quantity

    def _enter(self, order: PaperOrder, *, takes: bool) -> None:
        """1: lets an order wait for a later book if it may trade at once, or if the book is not known."""
        if takes or not self._book.synced:
            self._taking[order.id] = order
        else:
            self._rest(order)

    def _rest(self, order: PaperOrder) -> None:
        self._resting[order.id] = order
        self._place(order)

    def _place(self, order: PaperOrder) -> None:
        """3: places an order behind everything that is shown at its price."""
        assert order.price is not None
        order.ahead = self._book.standing(order.new.side, order.price)

    def _remove(self, order: PaperOrder) -> None:
        self._taking.pop(order.id, None)
        self._resting.pop(order.id, None)

    def _fill(
        self, order: PaperOrder, price: Decimal, quantity: Decimal, role: Role, rule: FillRule, time: int
    ) -> PaperReport:
        side = order.new.side
        fee, currency = self._funds.fee(self.rules, side, quantity, price, self._fee_rates[role])
        order.filled_quantity += quantity
        order.filled_cost += quantity * price
        order.fees[currency] = order.fees.get(currency, _NONE) + fee
        order.changed_at = time
        order.state = OrderState.PARTIAL if order.remaining > 0 else OrderState.FILLED
        if order.price is not None:
            self._funds.reduce(order.id, self.rules, side, order.remaining, order.price)
        self._funds.settle(self.rules, side, quantity, price, fee, currency)
        if order.state is OrderState.FILLED:
            self._remove(order)
        fill = Fill(
            execution_id=str(self._next_id()),
            time=time,
            symbol=order.new.symbol,
            client_order_id=order.id,
            venue_order_id=order.venue_order_id,
            side=side,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_currency=currency,
            liquidity=role,
            rule=rule.value,
        )
        return PaperReport(order.snapshot(), fill)

    def _end(self, order: PaperOrder, state: OrderState, reason: str | None, now: int) -> PaperReport:
        order.state, order.reason, order.changed_at = state, reason, now
        self._funds.reduce(order.id, self.rules, order.new.side, _NONE, _NONE)
        self._remove(order)
        return PaperReport(order.snapshot())

    def _open(self, id: str) -> PaperOrder:
        order = self._taking.get(id) or self._resting.get(id)
        if order is None:
            raise OrderRefused("unknown_order", f"order {id} is not open")
        return order


def _opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


def _is_beyond(side: Side, price: Decimal, limit: Decimal) -> bool:
    """Returns whether a trade at a price would have passed a resting order's limit."""
    return price < limit if side is Side.BUY else price > limit

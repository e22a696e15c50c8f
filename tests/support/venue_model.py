"""A plain model of a venue's side of an account: its orders, its fills, and the reports of its stream.

The model keeps the whole truth in simple lists. A test asks it what a venue would answer, and compares what
was published with what is true.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from meltica.model.enums import Liquidity, OrderState, OrderType, Side
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot

SYMBOL = "BTC-USDT"
T0 = 1_700_000_000_000_000_000
QUANTITY = Decimal(8)


def new_order(client_order_id: str) -> NewOrder:
    return NewOrder(client_order_id, SYMBOL, Side.BUY, QUANTITY, Decimal(100))


@dataclass(eq=False)
class Order:
    """One order at the venue."""

    client_order_id: str
    venue_order_id: str | None
    time: int
    state: OrderState = OrderState.ACK
    quantity: Decimal = QUANTITY
    filled: Decimal = Decimal(0)
    price: Decimal = Decimal(100)
    reason: str | None = None
    forgotten: bool = False
    """Whether the venue answers that it does not know the order."""
    placed: int = field(init=False)
    """The time at which it was placed."""

    def __post_init__(self) -> None:
        self.placed = self.time

    @property
    def open(self) -> bool:
        return not self.state.is_final

    def snapshot(self) -> OrderSnapshot:
        return OrderSnapshot(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            symbol=SYMBOL,
            side=Side.BUY,
            state=self.state,
            order_type=OrderType.LIMIT,
            quantity=self.quantity,
            filled_quantity=self.filled,
            price=self.price,
            reason=self.reason,
            time=self.time,
        )


@dataclass(frozen=True)
class Message:
    """A report of the stream."""

    order: OrderSnapshot
    fill: Fill | None = None
    second: bool = False
    """Whether it rejects a second order under the id of an open one."""


@dataclass
class Venue:
    """The venue's truth. Every change puts a report on `stream`."""

    now: int = T0
    orders: list[Order] = field(default_factory=list[Order])
    fills: list[Fill] = field(default_factory=list[Fill])
    stream: list[Message] = field(default_factory=list[Message])
    said: set[OrderSnapshot] = field(default_factory=set[OrderSnapshot])
    """Every snapshot that the venue ever gave."""

    def current(self, client_order_id: str) -> Order | None:
        """Returns the latest order under an id."""
        found = [order for order in self.orders if order.client_order_id == client_order_id]
        return found[-1] if found else None

    def place(self, order: NewOrder) -> OrderSnapshot | None:
        """Places an order; returns the answer, or None when it is refused for its id."""
        other = self.current(order.client_order_id)
        if other is not None and other.open and not other.forgotten:
            self.reject(order, second=True)
            return None
        placed = Order(order.client_order_id, f"x{len(self.orders) + 1}", self.now)
        self.orders.append(placed)
        return self._report(placed)

    def reject(self, order: NewOrder, *, second: bool = False) -> None:
        """Refuses an order: it gets no venue order id and is not kept."""
        snapshot = OrderSnapshot(
            client_order_id=order.client_order_id,
            venue_order_id=None,
            symbol=SYMBOL,
            side=Side.BUY,
            state=OrderState.REJECTED,
            order_type=OrderType.LIMIT,
            quantity=QUANTITY,
            filled_quantity=Decimal(0),
            price=Decimal(100),
            reason="duplicate" if second else "poor",
            time=self.now,
        )
        self.said.add(snapshot)
        self.stream.append(Message(snapshot, second=second))

    def fill(self, order: Order, quantity: Decimal) -> None:
        """Fills a part of an order; of one that has ended, too."""
        quantity = min(quantity, order.quantity - order.filled)
        order.filled += quantity
        order.time = self.now
        if order.open:
            order.state = OrderState.FILLED if order.filled == order.quantity else OrderState.PARTIAL
        fill = Fill(
            execution_id=str(len(self.fills) + 1),
            time=self.now,
            symbol=SYMBOL,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id or "",
            side=Side.BUY,
            price=order.price,
            quantity=quantity,
            fee=Decimal("0.1"),
            fee_currency="USDT",
            liquidity=Liquidity.MAKER,
        )
        self.fills.append(fill)
        self._report(order, fill)

    def end(self, order: Order, state: OrderState) -> None:
        """Ends an order."""
        order.state, order.time = state, self.now
        self._report(order)

    def amend(self, order: Order, price: Decimal) -> None:
        """Changes an order's price."""
        self.now += 1
        order.price, order.time = price, self.now
        self._report(order)

    def find(self, client_order_id: str) -> OrderSnapshot | None:
        """Answers a query for an order."""
        order = self.current(client_order_id)
        return None if order is None or order.forgotten else self._say(order)

    def open_orders(self) -> list[OrderSnapshot]:
        """Answers a query for the open orders."""
        return [
            self._say(order)
            for order in self.orders
            if order.open and not order.forgotten and self.current(order.client_order_id) is order
        ]

    def fills_since(self, time: int) -> list[Fill]:
        """Answers a query for fills."""
        return [fill for fill in self.fills if fill.time >= time]

    def _report(self, order: Order, fill: Fill | None = None) -> OrderSnapshot:
        self.stream.append(Message(self._say(order), fill))
        return order.snapshot()

    def _say(self, order: Order) -> OrderSnapshot:
        snapshot = order.snapshot()
        self.said.add(snapshot)
        return snapshot

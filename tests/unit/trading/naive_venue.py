"""A plain model of a venue with one order of ours, and of the way to it."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from meltica.model.enums import OrderState
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.trading.order import Amendment
from tests.unit.trading.orders import fill, report

CURRENCIES = ("USDT", "BTC", "BNB")


@dataclass(eq=False)
class Request:
    """A request on its way to the venue."""

    kind: str
    sent_at: int
    amendment: Amendment | None = None
    answered: bool = False
    """Whether our side has the answer, or has given it up."""


@dataclass(eq=False)
class Message:
    """Something on its way to us: an answer, or a report of the stream."""

    kind: str
    payload: Any
    request: Request | None = None
    asked_at: int = 0


@dataclass(eq=False)
class NaiveVenue:
    """The venue's truth."""

    time: int = 0
    posts: int = 0
    state: OrderState | None = None
    """None while the venue does not have the order."""
    forgotten: bool = False
    quantity: Decimal = Decimal(10)
    price: Decimal = Decimal(100)
    fills: list[Fill] = field(default_factory=list[Fill])
    stream: list[Message] = field(default_factory=list[Message])

    @property
    def filled(self) -> Decimal:
        return sum((each.quantity for each in self.fills), Decimal(0))

    @property
    def is_open(self) -> bool:
        return self.state in (OrderState.ACK, OrderState.PARTIAL)

    def snapshot(self) -> OrderSnapshot | None:
        """Returns the answer to a query."""
        if self.state is None or self.forgotten:
            return None
        rejected = self.state is OrderState.REJECTED
        return report(
            self.state,
            self.filled,
            self.time,
            quantity=self.quantity,
            price=self.price,
            venue_order_id=None if rejected else "v1",
        )

    def post(self, *, accepts: bool) -> OrderSnapshot | str:
        """Receives the order; returns the answer."""
        self.posts += 1
        assert self.posts == 1
        self.state = OrderState.ACK if accepts else OrderState.REJECTED
        self._publish()
        snapshot = self.snapshot()
        return "lot_size" if not accepts or snapshot is None else snapshot

    def cancel(self) -> OrderSnapshot | str | None:
        """Receives a cancel; returns the answer."""
        if not self.is_open:
            return "unknown_order"
        self.state = OrderState.CANCELLED
        self._publish()
        return self.snapshot()

    def amend(self, amendment: Amendment) -> OrderSnapshot | str | None:
        """Receives an amendment; returns the answer."""
        if not self.is_open:
            return "unknown_order"
        quantity = self.quantity if amendment.quantity is None else amendment.quantity
        if quantity <= self.filled:
            return "below_filled"
        self.quantity = quantity
        self.price = self.price if amendment.price is None else amendment.price
        self._publish()
        return self.snapshot()

    def trade(self, quantity: Decimal, price: Decimal, fee: Decimal, currency: str) -> None:
        """Fills a part of the open order."""
        quantity = min(quantity, self.quantity - self.filled)
        self.time += 1
        new = fill(f"e{len(self.fills)}", quantity, price, time=self.time, fee=fee, fee_currency=currency)
        self.fills.append(new)
        self.state = OrderState.FILLED if self.filled == self.quantity else OrderState.PARTIAL
        self.stream.append(Message("fill", new))
        self._publish()

    def expire(self) -> None:
        """Ends the open order."""
        self.state = OrderState.EXPIRED
        self._publish()

    def _publish(self) -> None:
        self.time += 1
        self.stream.append(Message("report", self.snapshot()))

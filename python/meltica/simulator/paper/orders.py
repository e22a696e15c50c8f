"""An order of a paper account, and what is reported of it."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from meltica.model.enums import OrderState
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot

_NONE = Decimal(0)


class PaperReport(NamedTuple):
    """A change of an order, and the fill that led to it where one did."""

    order: OrderSnapshot
    fill: Fill | None = None


@dataclass(slots=True)
class PaperOrder:
    """An order that reached the paper venue, and what is known of its place in the queue."""

    new: NewOrder
    venue_order_id: str
    quantity: Decimal
    price: Decimal | None
    arrived_at: int
    changed_at: int
    state: OrderState = OrderState.ACK
    reason: str | None = None
    filled_quantity: Decimal = _NONE
    filled_cost: Decimal = _NONE
    fees: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    ahead: Decimal | None = None
    """The quantity that queues before it at its price; None while its price is beyond the shown levels."""

    @property
    def id(self) -> str:
        """The client order id."""
        return self.new.client_order_id

    @property
    def remaining(self) -> Decimal:
        """The quantity that can still be filled."""
        return self.quantity - self.filled_quantity

    def snapshot(self) -> OrderSnapshot:
        """Returns the order as a venue would report it."""
        filled = self.filled_quantity
        single = next(iter(self.fees.items())) if len(self.fees) == 1 else None
        return OrderSnapshot(
            client_order_id=self.id,
            venue_order_id=self.venue_order_id,
            symbol=self.new.symbol,
            side=self.new.side,
            state=self.state,
            order_type=self.new.order_type,
            quantity=self.quantity,
            filled_quantity=filled,
            time_in_force=self.new.time_in_force,
            price=self.price,
            remaining_quantity=self.remaining,
            average_price=self.filled_cost / filled if filled else None,
            fee=None if single is None else single[1],
            fee_currency=None if single is None else single[0],
            reason=self.reason,
            time=self.changed_at,
        )

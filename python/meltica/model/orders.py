"""Orders: as they are sent, and as a venue reports them."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from meltica.model.enums import OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill

_CLIENT_ORDER_ID = re.compile(r"[0-9a-z]{1,18}")


def is_client_order_id(text: str) -> bool:
    """Returns whether a text can be a client order id: 1 to 18 of 0-9 and a-z, the form that every venue
    accepts.
    """
    return _CLIENT_ORDER_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to send. Its numbers are already on the instrument's increments.

    Raises ValueError when the client order id does not have its form.
    """

    client_order_id: str
    """1 to 18 of 0-9 and a-z."""
    symbol: str
    side: Side
    quantity: Decimal
    """In the base currency."""
    price: Decimal | None = None
    """The limit, in the quote currency; None for a market order."""
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    """Whether the venue keeps the order from increasing a position; see `AccountCapabilities`."""

    def __post_init__(self) -> None:
        if not is_client_order_id(self.client_order_id):
            raise ValueError(
                f"client order id: expected 1 to 18 of 0-9 and a-z, saw {self.client_order_id[:80]!r}"
            )

    @property
    def order_type(self) -> OrderType:
        """`Limit` with a price, else `Market`."""
        return OrderType.MARKET if self.price is None else OrderType.LIMIT


class OrderSnapshot(NamedTuple):
    """An order as its venue reports it at one moment. Fields that the venue does not report are None."""

    client_order_id: str
    """The id that its client gave it; empty for an order of another client that has none."""
    venue_order_id: str | None
    symbol: str
    side: Side
    state: OrderState
    order_type: OrderType
    quantity: Decimal
    filled_quantity: Decimal
    time_in_force: TimeInForce | None = None
    price: Decimal | None = None
    """The limit; None for a market order."""
    remaining_quantity: Decimal | None = None
    average_price: Decimal | None = None
    """Of all fills so far."""
    fee: Decimal | None = None
    """Of all fills so far; None once they were charged in more than one currency."""
    fee_currency: str | None = None
    reason: str | None = None
    """Why the order was rejected, expired or became unknown."""
    time: int | None = None
    """The venue's time of the order's last change, in nanoseconds."""


def exec_report(order: OrderSnapshot, fill: Fill | None = None) -> dict[str, Any]:
    """Returns the payload of the `ExecReport` of an order, and of the one fill that led to it where one did.

    Absent fields are left out. `Producer.publish` takes the payload.
    """
    report: dict[str, Any] = {
        "clientOrderId": order.client_order_id,
        "venueOrderId": order.venue_order_id,
        "state": order.state.value,
        "side": order.side.value,
        "orderType": order.order_type.value,
        "timeInForce": None if order.time_in_force is None else order.time_in_force.value,
        "price": order.price,
        "quantity": order.quantity,
        "filledQuantity": order.filled_quantity,
        "remainingQuantity": order.remaining_quantity,
        "averagePrice": order.average_price,
        "fee": order.fee,
        "feeCurrency": order.fee_currency,
        "reason": order.reason,
    }
    if fill is not None:
        report |= {
            "executionId": fill.execution_id,
            "lastQuantity": fill.quantity,
            "lastPrice": fill.price,
            "liquidity": None if fill.liquidity is None else fill.liquidity.value,
            "lastFee": fill.fee,
            "lastFeeCurrency": fill.fee_currency,
        }
    return {key: value for key, value in report.items() if value is not None}
